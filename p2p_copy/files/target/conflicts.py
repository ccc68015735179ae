"""What happens when a name is taken already, the same for files, links and directories.

Whether it is taken is never asked beforehand where it matters: whoever creates something does so in a way
that fails if the name exists, and the answer is the policy's.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

from p2p_copy.files.target.errors import Refused
from p2p_copy.options import Conflict
from p2p_copy.protocol.messages import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from p2p_copy.files.directory import Directory

_T = TypeVar("_T")

_MOST_NUMBERS: Final = 9999
"""Names that `Conflict.RENAME` tries before it gives up."""


def place(conflict: Conflict, name: str, put: Callable[[str], _T], *, ending: bool = True) -> _T:
    """Call `put` with a name until it does not raise `FileExistsError`; return what it returns.

    Only `Conflict.RENAME` has more than one name to offer; with `ending`, numbers go before the last dot.

    Raises:
        Refused: there is no other name.

    """
    try:
        return put(name)
    except FileExistsError:
        if conflict is not Conflict.RENAME:
            raise taken(conflict) from None
    for numbered in _numbered(name, ending=ending):
        with suppress(FileExistsError):
            return put(numbered)
    raise Refused(Reason.EXISTS)


def move(
    conflict: Conflict,
    directory: Directory,
    temporary: str,
    name: str,
    made: os.stat_result,
    intend: Callable[[str, os.stat_result], None],
) -> str:
    """Give what is complete under a private name its own, or another one that the policy offers; return that.

    `intend` is told of a name that is free, and what the system says of what is complete (`made`), before it is given.

    Raises:
        Refused: the name is taken, or somebody has put something else in the place of what is complete.
        OSError: the file system does not do it.

    """
    if conflict is Conflict.OVERWRITE:
        check(conflict, directory, name)
        move_over(directory, temporary, name, made)
        return name
    return move_new(conflict, directory, temporary, name, made, intend)


def move_new(
    conflict: Conflict,
    directory: Directory,
    temporary: str,
    name: str,
    made: os.stat_result,
    intend: Callable[[str, os.stat_result], None],
) -> str:
    """Do what `move` does, and replace nothing, whatever the policy."""

    def put(free: str) -> str:
        if not directory.created and directory.lstat(free) is not None:
            raise FileExistsError  # nothing is noted for a name that somebody has
        intend(free, made)
        _check_made(directory, temporary, made)
        directory.move_new(temporary, free)
        _check_made(directory, free, made)
        return free

    return place(conflict, name, put)


def move_over(directory: Directory, temporary: str, name: str, made: os.stat_result) -> None:
    """Give what is complete under a private name its own, in place of what has that and is no directory.

    It raises what `move` does.
    """
    _check_made(directory, temporary, made)
    directory.move_over(temporary, name)
    _check_made(directory, name, made)


def _check_made(directory: Directory, name: str, made: os.stat_result) -> None:
    """Refuse what somebody else has put there; nobody can in a directory that is still ours alone.

    Between a look and the next call somebody still could. So another look follows when the name is given: what is not
    ours then does not count as delivered.
    """
    if not directory.created and not directory.is_made(name, made):
        raise Refused(Reason.NOT_WRITABLE)


def check(conflict: Conflict, directory: Directory, name: str) -> None:
    """Look whether a file can have this name: it is free, or the policy replaces the file that has it.

    Raises:
        Refused: it is taken. Nothing but a regular file is replaced by a file, no link either.

    """
    there = directory.lstat(name)
    if there is None or (conflict is Conflict.OVERWRITE and stat.S_ISREG(there.st_mode)):
        return
    raise taken(conflict)


def taken(conflict: Conflict) -> Refused:
    """Return what to raise if a name is taken, and there will be no other."""
    return Refused(Reason.SKIPPED if conflict is Conflict.SKIP else Reason.EXISTS)


def _numbered(name: str, *, ending: bool) -> Iterator[str]:
    """Yield "name (1).ext", "name (2).ext" and so on."""
    stem, end = os.path.splitext(name) if ending else (name, "")
    for number in range(1, _MOST_NUMBERS + 1):
        yield f"{stem} ({number}){end}"
