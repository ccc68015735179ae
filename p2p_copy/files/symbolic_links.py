"""How a symbolic link gets into the output directory: as it is, without a look at what it points to.

It has its owner and its time before it replaces anything.
"""

from __future__ import annotations

import errno
import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from p2p_copy.files import conflicts
from p2p_copy.files.failures import Refused, fail
from p2p_copy.files.part import temporary_name
from p2p_copy.options import Conflict
from p2p_copy.protocol.messages import Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from p2p_copy.files.directories import Directory
    from p2p_copy.files.kept import Kept
    from p2p_copy.protocol.manifest import Item
    from p2p_copy.protocol.messages import Entry

_NO_LINKS: Final = frozenset((errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP))
"""How file systems say that they know no symbolic links."""


def put(
    item: Item,
    directory: Directory,
    conflict: Conflict,
    kept: Kept,
    was_left: Callable[[Item, Directory], bool],
) -> None:
    """Create a symbolic link in a directory, and tell `kept`; `conflict` says what is done if its name is taken.

    `was_left` says whether what has its name was made by a process of this transfer that was killed.

    Windows is left out: a link there needs a privilege, and must know beforehand whether it will point to
    a directory.

    Raises:
        Refused: it cannot be created, or something has its name.
        NoSpace, OutputNotWritable: no more can be written at all.

    """
    if sys.platform == "win32":
        raise Refused(Reason.UNSUPPORTED)
    name = item.entry.name
    try:
        if own := kept.own_name(item, directory):
            if kept.is_as_said(item) and directory.readlink(own) == item.entry.target:
                item.name = own
                return
            kept.intend(item, own)
            directory.unlink(own)
        elif kept.is_unnoted_link(item, directory) or was_left(item, directory):
            directory.unlink(name)  # its owner or its time may be missing
        item.name = _place(item.entry, directory, conflict, kept.tag)
        if (made := directory.lstat(item.name)) is not None:
            kept.made(item, made, name=item.name, flushed=True)
    except OSError as error:
        if error.errno in _NO_LINKS:
            raise Refused(Reason.UNSUPPORTED) from None
        fail(error)
    except ValueError as error:
        fail(error)


def _place(entry: Entry, directory: Directory, conflict: Conflict, tag: str) -> str:
    """Create the link under a name that the policy offers; return that."""

    def make(free: str) -> str:
        directory.symlink(entry.target, free)
        if entry.extra is not None:
            directory.give_link(free, entry.extra)
        with suppress(OSError, OverflowError):
            directory.set_time(free, entry.mtime_ns)
        return free

    there = directory.lstat(entry.name) if conflict is Conflict.OVERWRITE else None
    if there is None:
        return conflicts.place(conflict, entry.name, make)
    if stat.S_ISDIR(there.st_mode):
        raise Refused(Reason.EXISTS)
    temporary = make(temporary_name(tag))
    try:
        directory.move_over(temporary, entry.name)
    except OSError:
        with suppress(OSError):
            directory.unlink(temporary)
        raise
    return entry.name
