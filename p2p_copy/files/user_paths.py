"""The paths that a user names: converted to text, and checked before the relay is called.

A path that can never be sent is reported at once, by its name on this machine. The contents of directories are not
checked. The walk checks everything again, since it may have changed by then.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from p2p_copy.errors import NothingToSend, UsageError
from p2p_copy.files.source.walk import own_name
from p2p_copy.files.stdio import STANDARD
from p2p_copy.protocol.escape import escape
from p2p_copy.protocol.names import collision_key

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_TOLD: Final = 5
"""Paths for which the reason is told why they cannot be sent; a wrong pattern of the shell may name thousands."""

_KINDS: Final = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def as_path(given: str | os.PathLike[str]) -> str:
    """Return a path as text. Only the text "-" is standard input or output; a path object "-" is a file.

    Raises:
        TypeError: it is something else.

    """
    if not isinstance(given, str | os.PathLike):
        raise TypeError(f"a path is a str or an os.PathLike, and not {type(given).__name__}")
    path = os.fsdecode(given)
    return path if path != STANDARD or isinstance(given, str) else os.path.join(os.curdir, path)


def as_path_if_any(given: str | os.PathLike[str] | None) -> str | None:
    """Return a path as text, None for None.

    Raises:
        TypeError: it is something else.

    """
    return None if given is None else as_path(given)


def as_paths(given: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> tuple[str, ...]:
    """Return one path or several as texts. A text is one path, not several of one letter.

    Raises:
        TypeError: it is something else.

    """
    if isinstance(given, str | os.PathLike) or not isinstance(given, Iterable):
        return (as_path(given),)
    return tuple(as_path(one) for one in given)


def check_paths(paths: Sequence[str]) -> list[str]:
    """Return a sentence for each path that cannot be sent, or that some receivers cannot take. All others can be sent.

    Raises:
        NothingToSend: no path can be sent, or a path is the root of a file system, which has no name.
        UsageError: two paths have the same name.
        OSError: a path is relative, and the working directory is gone.

    """
    wrong: list[str] = []
    notices: list[str] = []
    exact: dict[str, str] = {}
    portable: dict[str, str] = {}
    for path in paths:
        if reason := _refusal(path):
            wrong.append(f"'{escape(path)}' {reason}.")
            continue
        name = own_name(path)
        if not name:
            raise NothingToSend(
                f"'{escape(path)}' is the root of a file system and has no name under which it could be sent. Name "
                "what is in it instead, or a directory that it is mounted at."
            )
        if (other := exact.setdefault(name, path)) is not path:
            raise UsageError(
                f"'{escape(other)}' and '{escape(path)}' would both be called '{escape(name)}' at the receiver. "
                "Send them one after the other into different directories, or send a directory that holds both."
            )
        if (other := portable.setdefault(collision_key(name, portable=True), path)) is not path:
            notices.append(
                f"'{escape(path)}' has the same name as '{escape(other)}' on some systems, and is sent only to a "
                "receiver with `names` system."
            )
    if len(wrong) > _MOST_TOLD:
        wrong[_MOST_TOLD:] = [f"{len(wrong) - _MOST_TOLD} more cannot be sent."]
    if not exact:
        raise NothingToSend(" ".join(("There is nothing to send.", *wrong)))
    return wrong + notices


def _refusal(path: str) -> str | None:
    """Return why a path is neither a file nor a directory; None if it is one."""
    try:
        mode = os.stat(path).st_mode
    except ValueError:
        return "is no path"
    except OSError as error:
        if error.errno == errno.ENOENT:
            if not os.path.isabs(path):
                os.getcwd()
            return "is a symbolic link to nothing" if os.path.islink(path) else "does not exist"
        return f"cannot be found: {error.strerror}"
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return None
    if stat.S_ISFIFO(mode):
        return "is a pipe and no file; what comes out of it can be sent as a stream"
    return f"is {_KINDS.get(stat.S_IFMT(mode), 'something else')} and neither file nor directory"
