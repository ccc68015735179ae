"""Hard links: further names for files that this transfer has put into the output directory.

Rules
1. Only a file that this transfer itself has brought gets another name, and only while it is what it was then: the same
   device, inode, size and time; or, where inode numbers change (FUSE), the same size, time and contents.
2. The new name is a temporary one at first. It becomes the real one only if it leads to that very file: another user
   who swaps files in between gains nothing.
"""

from __future__ import annotations

import errno
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from p2p_copy.files import limits
from p2p_copy.files.system import identity_of
from p2p_copy.files.target import conflicts
from p2p_copy.files.target.errors import Refused, fail
from p2p_copy.files.target.resume import digest_of
from p2p_copy.files.temporary import temporary_name
from p2p_copy.protocol.digest import UNREAD
from p2p_copy.protocol.messages import Reason

if TYPE_CHECKING:
    import os

    from p2p_copy.files.directory import Directory
    from p2p_copy.files.system import Identity
    from p2p_copy.files.target.conflicts import Conflicts
    from p2p_copy.files.target.directories import Directories
    from p2p_copy.files.target.resume import Intend, ResumeIndex
    from p2p_copy.options import Conflict
    from p2p_copy.protocol.manifest import Item

_UNSUPPORTED: Final = frozenset(
    (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EXDEV, errno.EMLINK)
)
"""How systems say that a file cannot have another name there, or not one more."""


class HardLinks:
    """The files of one transfer that may get further names, and the identity on disk of each when it was complete."""

    def __init__(self, directories: Directories, conflicts: Conflicts, resume: ResumeIndex) -> None:
        self._directories = directories
        self._conflicts = conflicts
        self._resume = resume
        self._files: dict[int | None, tuple[int, Identity]] = {}  # index of the item, and the file

    def remember(self, item: Item, there: os.stat_result) -> None:
        """Remember a file that is complete, if it may get further names."""
        key = _key(item)
        if key is not None:
            self._files[key] = item.index, identity_of(there)

    def remember_held(self, item: Item, directory: Directory) -> None:
        """Remember likewise a file that an earlier conversation has brought."""
        if item.entry.extra is not None:
            with suppress(OSError):
                there = directory.lstat(item.name)
                if there is not None and there.st_size == item.entry.size:
                    self.remember(item, there)

    def check(self, item: Item) -> None:
        """Check early whether a further name would be refused, so that no contents are sent for it in vain.

        Raises:
            Refused: the name is taken, and not by an earlier conversation of this transfer.
            NoSpace, OutputNotWritable: nothing more can be written.

        """
        directory = self._directories.parent_of(item)
        try:
            earlier = self._resume.earlier_name(item, directory)
        except (OSError, ValueError) as error:
            fail(error)
        if not earlier:
            self._conflicts.check(item, directory)

    def make(self, item: Item) -> None:
        """Make `item`, a further name of a file, as a hard link to that file.

        Raises:
            Refused: the file is gone, or has changed since this transfer made it; the name is taken; or this file
                system has no hard links.
            NoSpace, OutputNotWritable: nothing more can be written.

        """
        original, resume = item.original, self._resume
        assert original is not None, "else it is no further name"
        digest = UNREAD if item.digest is None else item.digest  # None: its first name is up to date
        directory = self._directories.parent_of(item)
        flushed = item.entry.size >= limits.FSYNC_FROM
        try:
            item.name = resume.earlier_name(item, directory) or item.entry.name
            there = directory.lstat(item.name)
            if there is None or identity_of(there) != self._identity(original):  # a copy is a file of its own
                policy, earlier = self._conflicts.check(item, directory)
                with resume.naming(item, directory, digest, flushed=flushed) as intend:
                    item.name = self._link(item, original, directory, policy, earlier, intend)
            if (there := directory.lstat(item.name)) is not None:
                resume.record_complete(item, there, digest, item.name, flushed=flushed)
        except FileNotFoundError:
            raise Refused(Reason.ORIGINAL) from None
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in _UNSUPPORTED:
                raise Refused(Reason.UNSUPPORTED) from None
            fail(error)

    def _link(
        self, item: Item, original: Item, directory: Directory, policy: Conflict, earlier: str, intend: Intend
    ) -> str:
        if self._identity(original) is None:
            raise Refused(Reason.ORIGINAL)
        temporary = temporary_name(self._resume.tag)
        try:
            with self._directories.reached(original) as source:
                source.hard_link(original.name, directory, temporary)
            there = directory.lstat(temporary)
            if there is None or not self._is(original, directory, temporary, there):
                raise Refused(Reason.ORIGINAL)
            self._conflicts.remove_earlier(item, directory, earlier)
            return conflicts.move(policy, directory, temporary, item.entry.name, there, intend)
        finally:
            # It still exists if something failed, or if a rename found that both names were the same file already.
            with suppress(OSError):
                directory.unlink(temporary)

    def _is(self, original: Item, directory: Directory, name: str, there: os.stat_result) -> bool:
        """Return whether a name leads to the file that was put there under its first name."""
        known = self._identity(original)
        if known is None or not stat.S_ISREG(there.st_mode):
            return False
        seen = identity_of(there)
        if seen == known or not original.digest:  # without a digest nothing else tells
            return seen == known
        return seen[2:] == known[2:] and digest_of(directory, name) == original.digest

    def _identity(self, original: Item) -> Identity | None:
        """Return the identity on disk that a file had when it was complete; None if it is not known."""
        index, identity = self._files.get(_key(original), (-1, None))
        return identity if index == original.index else None


def _key(item: Item) -> int | None:
    """Return the key of a file; its further names with contents of their own share one, and the last one counts."""
    extra = item.entry.extra
    if extra is None:
        return None
    if extra.named_again:
        return item.index
    return None if extra.original is None else -1 - extra.original
