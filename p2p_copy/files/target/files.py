"""The files of one transfer: finds those that are here already, and writes others piece by piece."""

from __future__ import annotations

import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from p2p_copy.files import limits, system
from p2p_copy.files.state.journal import key_of
from p2p_copy.files.target.errors import Refused, fail
from p2p_copy.files.target.old_file import OldFile
from p2p_copy.files.target.part import Part
from p2p_copy.options import Conflict
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.digest import UNREAD
from p2p_copy.protocol.messages import Reason

if TYPE_CHECKING:
    import os

    from p2p_copy.files.directory import Directory
    from p2p_copy.files.target.conflicts import Conflicts
    from p2p_copy.files.target.directories import Directories
    from p2p_copy.files.target.hardlinks import HardLinks
    from p2p_copy.files.target.resume import PartialFile, ResumeIndex
    from p2p_copy.protocol.manifest import Item


class Files:
    """Finds files that are here already; holds the parts of those that are being written.

    Its methods raise `NoSpace` or `OutputNotWritable` if nothing more can be written, and `Refused` as they say.
    """

    def __init__(
        self, directories: Directories, conflicts: Conflicts, resume: ResumeIndex, hard_links: HardLinks
    ) -> None:
        self._directories = directories
        self._conflicts = conflicts
        self._resume = resume
        self._hard_links = hard_links
        self._parts: dict[Item, Part] = {}

    def check(self, item: Item) -> None:
        """Check early whether a file would be refused, so that it is not sent in vain; `publish` decides.

        Raises:
            Refused: its name is taken.

        """
        self._conflicts.check(item, self._directories.parent_of(item))

    def find_held(self, item: Item) -> PartialFile | None:
        """Return what an earlier conversation has brought of a file; None if nothing of it is left.

        Raises:
            Refused: its directory is gone.

        """
        directory = self._directories.parent_of(item)
        try:
            return self._resume.find_held(item, directory)
        except (OSError, ValueError) as error:
            fail(error)

    def is_up_to_date(self, item: Item) -> bool:
        """Return whether a file is here already, with its size and time, if the user wants that to be enough.

        Its mode and the attributes that are preserved are brought up to date. A further name of a file that is up to
        date becomes a hard link to that.

        Raises:
            Refused: its directory is gone; or it cannot become a hard link.

        """
        directory = self._directories.parent_of(item)
        if not self._conflicts.updates or (directory.created and not self._resume.restarted):
            return False
        if item.original is not None and not item.original.refused:
            if item.original.digest != UNREAD:
                return False
            self._hard_links.make(item)
            return True
        entry = item.entry
        try:
            there = directory.lstat(entry.name)
            if (
                there is None
                or not stat.S_ISREG(there.st_mode)
                or there.st_size != entry.size
                or (entry.size and self._conflicts.checksum)
                or not (self._conflicts.checksum or system.is_time(there.st_mtime_ns, entry.mtime_ns))
                or not self._may_stay(item, directory, there)
            ):
                return False
            there = self._update_attributes(item, directory, there)
        except (OSError, ValueError) as error:
            fail(error)
        self._hard_links.remember(item, there)
        return True

    def _may_stay(self, item: Item, directory: Directory, there: os.stat_result) -> bool:
        """Return whether a file with the right contents may stay, or is to be replaced to get its mode, time and more.

        A file that has several names shares these with them: they may be a copy of the output made with `cp -al`,
        which must not change. It may have the names that this transfer gives it.
        """
        entry, extra = item.entry, item.entry.extra
        if there.st_nlink == 1 or (extra is not None and (extra.named_again or extra.original is not None)):
            return True
        has_mode = sys.platform == "win32" or stat.S_IMODE(there.st_mode) == entry.mode & directory.allowed
        has_time = system.is_time(there.st_mtime_ns, entry.mtime_ns)
        return has_mode and has_time and directory.has_attributes(entry.name, there, extra)

    def _update_attributes(self, item: Item, directory: Directory, there: os.stat_result) -> os.stat_result:
        """Bring what differs of a file's attributes up to date; return its status then."""
        entry = item.entry
        directory.update_attributes(entry.name, there, entry.mode & directory.allowed, entry.extra)
        if not system.is_time(there.st_mtime_ns, entry.mtime_ns):
            with suppress(OSError, OverflowError):
                directory.set_time(entry.name, entry.mtime_ns)
            return directory.lstat(entry.name) or there
        return there

    def old_file(self, item: Item) -> OldFile | None:
        """Return the file in the place of one that will replace it, if segments of it may be used; else None.

        Raises:
            Refused: its directory is gone.

        """
        directory, entry = self._directories.parent_of(item), item.entry
        if self._conflicts.policy is not Conflict.OVERWRITE or directory.created or not entry.size:
            return None
        if item.original is not None and not item.original.refused:
            return None
        try:
            there = directory.lstat(entry.name)
        except (OSError, ValueError) as error:
            fail(error)
        if there is None or not stat.S_ISREG(there.st_mode):
            return None
        may_be_same = self._conflicts.checksum and there.st_size == entry.size
        if may_be_same or min(there.st_size, entry.size) >= protocol_limits.SEGMENT:
            may_stay = self._conflicts.updates and self._may_stay(item, directory, there)
            return OldFile(directory, entry.name, there, entry.size, may_stay=may_stay)
        return None

    def accept_old(self, item: Item, held: PartialFile) -> None:
        """Accept an old file that is the same as complete, and bring its attributes up to date.

        Raises:
            Refused: it has changed since it was compared.

        """
        directory = self._directories.parent_of(item)
        assert held.old is not None, "else it is not an old file"
        try:
            there = directory.lstat(held.name)
            if there is None or system.identity_of(there) != system.identity_of(held.old):
                raise Refused(Reason.CHANGED)
            there = self._update_attributes(item, directory, there)
        except (OSError, ValueError) as error:
            fail(error)
        self._resume.record_complete(item, there, held.digest, held.name, flushed=False)
        self._hard_links.remember(item, there)

    def accept_held(self, item: Item, held: PartialFile) -> None:
        """Accept a file that is here already as complete, and correct its mode if that differs."""
        item.name = held.name
        directory = self._directories.parent_of(item)
        if sys.platform != "win32":
            with suppress(OSError):
                self._give_mode(item, directory)
        self._hard_links.remember_held(item, directory)

    def _give_mode(self, item: Item, directory: Directory) -> None:
        """Set a file's mode if it differs: an earlier process may have had another umask.

        A file that has several names keeps its mode: a copy of the output made with `cp -al` shares it.
        """
        mode = item.entry.mode & directory.allowed
        there = directory.lstat(item.name)
        if there is not None and stat.S_IMODE(there.st_mode) != mode and there.st_nlink == 1:
            directory.set_mode(item.name, mode)

    def begin(self, item: Item, held: PartialFile | None = None) -> Part:
        """Create the part of a file, or continue behind what is `held` of it.

        The caller writes all of it, then calls `publish` or `discard`.

        Raises:
            Refused: it cannot be created, or its name is taken already.

        """
        part = self._parts[item] = self.open_part(item, held)
        return part

    def open_part(self, item: Item, held: PartialFile | None = None) -> Part:
        """Do as `begin` does, but leave it to the caller to end the part."""
        directory = self._directories.parent_of(item)
        policy, _ = self._conflicts.check(item, directory)
        try:
            if held is None:
                self.remove_part(item, directory)
            part = Part(directory, item.entry, policy, tag=self._resume.tag, held=held)
            if held is None:
                self._resume.record_part(item, part.path)
        except (OSError, ValueError) as error:
            fail(error)
        return part

    def remove_part(self, item: Item, directory: Directory) -> None:
        """Delete the part that an earlier conversation has left of a file, which starts over."""
        if (old := self._resume.part_name(item)) is not None:
            with suppress(OSError):
                directory.unlink(old)

    def publish(self, item: Item) -> None:
        """Give a file that was begun its name.

        Raises:
            Refused: its name was taken meanwhile, or the directory takes no more files.

        """
        self.publish_part(item, self._parts.pop(item))

    def publish_part(self, item: Item, part: Part) -> None:
        """Do as `publish` does, with a part from `open_part`."""
        assert item.digest is not None, "a file that is complete has one"
        directory = self._directories.parent_of(item)
        flushed = item.entry.size >= limits.FSYNC_FROM

        def look_again() -> Conflict:
            # Another user may have taken the name since `begin`.
            policy, earlier = self._conflicts.check(item, directory)
            self._conflicts.remove_earlier(item, directory, earlier)
            return policy

        with self._resume.naming(item, directory, item.digest, flushed=flushed) as intend:
            item.name, there = part.publish(intend, look_again)
        self._resume.record_complete(item, there, item.digest, item.name, flushed=flushed)
        self._hard_links.remember(item, there)

    def discard(self, item: Item) -> None:
        """Delete what was begun of a file."""
        self._parts.pop(item).discard()
        self._resume.journal.forget_begun(key_of(item.path))

    def close(self, *, keep: bool) -> None:
        """Delete all parts, or `keep` those of which a verified segment is on the disk."""
        journal = self._resume.journal
        for item, part in list(self._parts.items()):
            key = key_of(item.path)
            begun = journal.begun(key)
            if keep and begun is not None and begun.leaves:
                part.keep()
                journal.set_flushed(key, part.flushed // protocol_limits.SEGMENT)
                # After this commit, nothing in the part is newer than the last commit.
                journal.commit_if_due(limits.JOURNAL_BYTES)
                del self._parts[item]
            else:
                self.discard(item)
