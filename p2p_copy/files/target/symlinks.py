"""Creates symlinks in the output directory as they were sent, without looking at what they point to.

In a directory where other users may write, and if it replaces something, a symlink is first created under a temporary
name and recorded. So when it gets its own name, it has its owner and time, and is known to be ours.
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
    from p2p_copy.files.directory import Directory
    from p2p_copy.files.target.conflicts import Conflicts
    from p2p_copy.files.target.resume import ResumeIndex
    from p2p_copy.protocol.manifest import Item

_NO_SYMLINKS: Final = frozenset((errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP))
"""How file systems say that they have no symlinks."""


def make(item: Item, directory: Directory, taken: Conflicts, resume: ResumeIndex) -> None:
    """Create a symlink in a directory, and record it.

    Not on Windows: there it needs a privilege, and is made either for a file or for a directory, not yet known here.

    Raises:
        Refused: it cannot be created, or something has its name.
        NoSpace, OutputNotWritable: nothing more can be written.

    """
    if sys.platform == "win32":
        raise Refused(Reason.UNSUPPORTED)
    try:
        if earlier := resume.earlier_name(item, directory):
            if resume.is_unchanged(item) and directory.readlink(earlier) == item.entry.target:
                item.name = earlier
                return
            resume.record_intent(item, earlier)
            directory.unlink(earlier)
        elif taken.was_left(item, directory):
            directory.unlink(item.entry.name)
        elif taken.updates and _is_up_to_date(item, directory):
            return
        item.name = _create(item, directory, taken.policy_of(item), resume)
        if (made := directory.lstat(item.name)) is not None:
            resume.record_complete(item, made, name=item.name, flushed=True)
    except OSError as error:
        if error.errno in _NO_SYMLINKS:
            raise Refused(Reason.UNSUPPORTED) from None
        fail(error)
    except ValueError as error:
        fail(error)


def _is_up_to_date(item: Item, directory: Directory) -> bool:
    """Return whether a symlink is here already that leads to the same; bring its time and owner up to date."""
    entry = item.entry
    there = directory.lstat(entry.name)
    if there is None or not stat.S_ISLNK(there.st_mode) or directory.readlink(entry.name) != entry.target:
        return False
    directory.update_symlink(entry.name, there, entry.mtime_ns, entry.extra)
    return True


def _create(item: Item, directory: Directory, conflict: Conflict, resume: ResumeIndex) -> str:
    """Create the symlink under a name that the policy offers; return that name."""
    entry = item.entry

    def create(free: str) -> str:
        directory.symlink(entry.target, free)
        if entry.extra is not None:
            directory.give_symlink(free, entry.extra)
        with suppress(OSError, OverflowError):
            directory.set_time(free, entry.mtime_ns)
        return free

    there = directory.lstat(entry.name) if conflict is Conflict.OVERWRITE else None
    if there is None and directory.created:
        resume.journal.commit_if_late()
        return conflicts.place(conflict, entry.name, create)
    if there is not None and not (stat.S_ISREG(there.st_mode) or stat.S_ISLNK(there.st_mode)):
        raise Refused(Reason.EXISTS)
    temporary = create(temporary_name(resume.tag))
    try:
        made = directory.lstat(temporary)
        if made is None or not stat.S_ISLNK(made.st_mode):
            raise Refused(Reason.NOT_WRITABLE)
        if there is not None:
            conflicts.move_over(directory, temporary, entry.name, made)
            return entry.name
        with resume.naming(item, directory, flushed=True) as intend:
            return conflicts.move_new(conflict, directory, temporary, entry.name, made, intend)
    finally:
        with suppress(OSError):
            directory.unlink(temporary)
