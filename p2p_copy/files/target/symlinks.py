"""How a symbolic link gets into the output directory: as it is, without a look at what it points to.

Where others may have put things, and where it replaces something, it is made under a private name, and noted, before it
gets its own: so it has its owner and its time, and is known to be ours.
"""

from __future__ import annotations

import errno
import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from p2p_copy.files.target import conflicts
from p2p_copy.files.target.errors import Refused, fail
from p2p_copy.files.temporary import temporary_name
from p2p_copy.options import Conflict
from p2p_copy.protocol.messages import Reason

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from p2p_copy.files.directory import Directory
    from p2p_copy.files.target.resume import ResumeIndex
    from p2p_copy.protocol.manifest import Item

_NO_LINKS: Final = frozenset((errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP))
"""How file systems say that they know no symbolic links."""


def put(
    item: Item,
    directory: Directory,
    conflict: Conflict,
    kept: ResumeIndex,
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
        elif was_left(item, directory):
            directory.unlink(name)
        item.name = _place(item, directory, conflict, kept)
        if (made := directory.lstat(item.name)) is not None:
            kept.made(item, made, name=item.name, flushed=True)
    except OSError as error:
        if error.errno in _NO_LINKS:
            raise Refused(Reason.UNSUPPORTED) from None
        fail(error)
    except ValueError as error:
        fail(error)


def _place(item: Item, directory: Directory, conflict: Conflict, kept: ResumeIndex) -> str:
    """Create the link under a name that the policy offers; return that."""
    entry = item.entry

    def make(free: str) -> str:
        directory.symlink(entry.target, free)
        if entry.extra is not None:
            directory.give_link(free, entry.extra)
        with suppress(OSError, OverflowError):
            directory.set_time(free, entry.mtime_ns)
        return free

    noted = False

    def intend(free: str, made: os.stat_result) -> None:
        nonlocal noted
        noted = True
        kept.made(item, made, name=free, flushed=True)
        kept.write()

    there = directory.lstat(entry.name) if conflict is Conflict.OVERWRITE else None
    if there is None and directory.created:
        kept.renew()
        return conflicts.place(conflict, entry.name, make)
    if there is not None and stat.S_ISDIR(there.st_mode):
        raise Refused(Reason.EXISTS)
    temporary = make(temporary_name(kept.tag))
    try:
        made = directory.lstat(temporary)
        if made is None or not stat.S_ISLNK(made.st_mode):
            raise Refused(Reason.NOT_WRITABLE)
        if there is None:
            return conflicts.move_new(conflict, directory, temporary, entry.name, made, intend)
        conflicts.move_over(directory, temporary, entry.name, made)
        return entry.name
    except Refused:
        if noted:
            kept.unmade(item)
        raise
    finally:
        with suppress(OSError):
            directory.unlink(temporary)
