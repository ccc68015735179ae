"""Finds what an earlier conversation of the same transfer has put into the output directory.

The journal has what we made, and the disk has what is there now. Only what both agree on is held: a file that was
changed since, a part that is shorter than it was, and an entry that has changed at the sender are sent again. And only
what we made ourselves may be replaced without asking the user.

In a directory into which other users may have put things, we record what we make before it gets its name, and likewise
that one of our files is about to be replaced. So whatever the journal does not have there belongs to another user: its
name is taken, and the sender learns nothing about it, whatever it claims to have sent.

In a directory that we made, records are lost when the process is killed: those of the journal's last second. What the
journal does not have there was made by that process (`killed`, `unrecorded_names`). It may be replaced, and is sent
again.
"""

from __future__ import annotations

import os
import stat
import struct
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, TypeAlias

from p2p_copy.errors import exhausted
from p2p_copy.files import limits
from p2p_copy.files.state.journal import Begun, Done, key_of
from p2p_copy.files.system import KINDS
from p2p_copy.files.target.errors import Refused
from p2p_copy.files.temporary import is_part
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.digest import FileDigest, leaf_digest, prefix_digest
from p2p_copy.protocol.messages import Kind
from p2p_copy.units import MIB
from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from p2p_copy.files.directory import Directory
    from p2p_copy.files.state.journal import Journal
    from p2p_copy.protocol.manifest import Item
    from p2p_copy.protocol.messages import Entry

    Intend: TypeAlias = Callable[[str, os.stat_result], None]

_ANNOUNCED: Final = struct.Struct(">BQq")
"""What the sender announced of an entry: kind, size, time."""

_ON_DISK: Final = struct.Struct(">QQQq")
"""What the disk said of it when it was complete: device, inode, size, time."""

_FILE_ON_DISK: Final = struct.Struct(">BQqQQQq")
"""Both of a file, which are packed at once since there are many."""

_INTENDED: Final = bytes(_ON_DISK.size)
"""In place of that: it did not exist yet, or was about to be replaced."""

_ALL_RECORDED: Final = key_of("")
"""The key, which no entry has, under which a process that ends in good order records that the journal lacks nothing."""

_UNFINISHED: Final = 0o700
"""The mode of a directory of ours in which something is missing."""


class PartialFile(NamedTuple):
    """The beginning of a file, or all of it, that need not be sent again.

    Attributes:
        size: how many bytes of the file are here.
        digest: the file digest of these bytes.
        leaves: the digests of the segments, joined, if the file is incomplete.
        part: the temporary name, if the file is incomplete.
        name: the file's name, if it is complete.
        old: its status, if it is an old file that is the same, and not one that an earlier conversation has brought.

    """

    size: int
    digest: bytes
    leaves: bytes = b""
    part: str = ""
    name: str = ""
    old: os.stat_result | None = None


class ResumeIndex:
    """Finds what we have made, and records it.

    With `reverify`, digests are computed from the disk and not taken from the journal.

    Attributes:
        journal: what is recorded.
        restarted: an earlier process worked on this transfer.
        killed: that process was killed, so it may have made files that the journal does not have.
        tag: marks the temporary names of this transfer.
        fresh: no earlier conversation made anything, so nothing need be looked up.
        clock_ahead: seconds by which the output's clock is ahead of the clock that says when the journal was committed.

    """

    def __init__(
        self,
        journal: Journal,
        *,
        reverify: bool = False,
        restarted: bool = False,
        tag: str = "",
    ) -> None:
        self.journal = journal
        self._reverify = reverify
        self.restarted = restarted
        self.killed = restarted and journal.done(_ALL_RECORDED) is None
        self.tag = tag
        self.fresh = journal.empty and not restarted
        self.clock_ahead = 0.0
        # As it was before this conversation: later commits say nothing of the parts that are here already.
        self._last_commit = journal.committed_at

    # Finding

    def find_held(self, item: Item, directory: Directory) -> PartialFile | None:
        """Return what is here of a file that the sender announces now."""
        if self.fresh:
            return None
        key = key_of(item.path)
        done = self.journal.done(key)
        if done is not None:
            name = done.name or item.entry.name
            same = done.identity[: _ANNOUNCED.size] == _announced(item.entry) and self._is_ours(
                item, done, directory, name
            )
            if same and done.digest and self._has_same_contents(key, done, directory, name):
                return PartialFile(item.entry.size, done.digest, name=name)
            return None
        begun = self.journal.begun(key)
        if begun is None or begun.identity != _announced(item.entry):
            return None
        leaves = self._good_leaves(key, begun, directory)
        if not leaves:
            return None
        size = len(leaves) // protocol_limits.DIGEST * protocol_limits.SEGMENT
        return PartialFile(size, prefix_digest(leaves), leaves, _last(begun.part))

    def earlier_name(self, item: Item, directory: Directory) -> str:
        """Return the name that an earlier conversation has given to this entry; empty if it is gone, or was changed."""
        if self.fresh:
            return ""
        done = self.journal.done(key_of(item.path))
        name = (done.name if done is not None else "") or item.entry.name
        return name if done is not None and self._is_ours(item, done, directory, name) else ""

    def is_unchanged(self, item: Item) -> bool:
        """Return whether the sender announces an entry as it did when we made it."""
        done = self.journal.done(key_of(item.path))
        if done is None or done.identity[_ANNOUNCED.size :] == _INTENDED:
            return False
        return done.identity[: _ANNOUNCED.size] == _announced(item.entry)

    def unrecorded_names(self, above: Item | None, directory: Directory) -> frozenset[str]:
        """Return the names in the directory of `above` that a killed process may have made without recording them.

        A killed process commits often, so it made nothing long after the journal's last commit. What was changed later
        than that belongs to another user, even if the directory is ours.
        """
        path = f"{above.path}/" if above is not None else ""
        return frozenset(
            name
            for name in directory.names()
            if self.journal.done(key_of(path + name)) is None
            and (there := directory.lstat(name)) is not None
            and there.st_ctime <= self._last_commit + self.clock_ahead + limits.JOURNAL_LATE
        )

    def part_name(self, item: Item) -> str | None:
        """Return the name of the part in which an earlier conversation has left this file; None if there is none."""
        if self.fresh:
            return None
        begun = self.journal.begun(key_of(item.path))
        return _last(begun.part) if begun is not None else None

    def _is_ours(self, item: Item, done: Done, directory: Directory, name: str) -> bool:
        there = directory.lstat(name)
        if there is None:
            return False
        kind, now = done.identity[0], KINDS.get(stat.S_IFMT(there.st_mode))
        then = done.identity[_ANNOUNCED.size :]
        if then == _INTENDED:  # a file may have been about to replace a symlink, or a symlink a file
            return now is not None and (now is Kind.DIRECTORY) == (kind == Kind.DIRECTORY)
        if now != kind:  # inode numbers are used again
            return False
        return _on_disk(there, kind) == then or self._is_as_we_left_it(item, done, directory, name, there)

    def _is_as_we_left_it(
        self, item: Item, done: Done, directory: Directory, name: str, there: os.stat_result
    ) -> bool:
        """Return whether something has the contents or attributes that we gave it, although its inode number differs.

        FUSE gives a file another number once the kernel has forgotten the first one.
        """
        entry = item.entry
        if stat.S_ISREG(there.st_mode):
            _, _, size, mtime_ns = _ON_DISK.unpack(done.identity[_ANNOUNCED.size :])
            return (there.st_size, there.st_mtime_ns) == (size, mtime_ns) and (
                digest_of(directory, name) == done.digest
            )
        if stat.S_ISLNK(there.st_mode):
            return directory.readlink(name) == entry.target
        mode = there.st_mode & 0o777
        given = entry.mode & directory.allowed
        return mode == _UNFINISHED or (mode, there.st_mtime_ns) == (given, entry.mtime_ns)

    def _has_same_contents(self, key: bytes, done: Done, directory: Directory, name: str) -> bool:
        """Return whether a complete file has the contents that it had; read it if a power cut may have changed them."""
        if not self._reverify and (done.flushed or self.journal.of_this_boot(key)):
            return True
        return digest_of(directory, name) == done.digest

    def _good_leaves(self, key: bytes, begun: Begun, directory: Directory) -> bytes:
        """Return the digests of the segments that a part certainly has."""
        part = _last(begun.part)
        there = directory.lstat(part)
        if there is None or not is_part(directory, there, self.tag):
            return b""
        leaves = begun.leaves
        if not self.journal.of_this_boot(key):
            leaves = leaves[: begun.flushed * protocol_limits.DIGEST]
        leaves = leaves[: there.st_size // protocol_limits.SEGMENT * protocol_limits.DIGEST]
        # All of a part is read again if it was written to after the journal's last commit.
        late = 0 < self._last_commit < there.st_mtime - self.clock_ahead - limits.JOURNAL_LATE
        every = self._reverify or late
        count = len(leaves) // protocol_limits.DIGEST
        look = range(count) if every else sorted({0, count - 1} - {-1})
        good = _check_segments(directory, part, leaves, look)
        return leaves[: good * protocol_limits.DIGEST] if every else (leaves if good == count else b"")

    # Recording

    def record_complete(
        self, item: Item, there: os.stat_result, digest: bytes = b"", name: str = "", *, flushed: bool
    ) -> None:
        """Record that an entry is complete under this name, and its identity on disk."""
        self.journal.set_done_later(_completed, item, there, digest, name, flushed)

    @contextmanager
    def naming(
        self, item: Item, directory: Directory, digest: bytes = b"", *, flushed: bool
    ) -> Iterator[Intend]:
        """Yield a function to call with each name before a complete entry gets that name.

        In a directory where other users may write, or if it is not the entry's own name, the name is recorded first.
        Else the file would count as another user's if this process were killed right after naming it. If the entry is
        `Refused`, the record is withdrawn.
        """
        recorded = False

        def intend(name: str, there: os.stat_result) -> None:
            nonlocal recorded
            if directory.created and name == item.entry.name:
                self.journal.commit_if_late()
            else:
                recorded = True
                self.record_complete(item, there, digest, name, flushed=flushed)
                self.journal.commit()

        try:
            yield intend
        except Refused:
            if recorded:
                self.journal.forget(key_of(item.path))
            raise

    def record_intent(self, item: Item, name: str) -> None:
        """Record at once that this entry is about to be made, or that what we made under this name is to be replaced.

        From then on everything under that name counts as ours.
        """
        own = "" if name == item.entry.name else name
        self.journal.set_done(key_of(item.path), Done(_announced(item.entry) + _INTENDED, b"", own, True))
        self.journal.commit()

    def record_part(self, item: Item, part: str) -> None:
        """Record that a file is being written; `part` is its path, relative to the output directory."""
        self.journal.begin(key_of(item.path), Begun(_announced(item.entry), part, b"", 0))

    def mark_running(self) -> None:
        """Record that from now on the journal may lack things that were made."""
        if self.journal.done(_ALL_RECORDED) is not None:
            self.journal.forget(_ALL_RECORDED)
            self.journal.commit()

    def mark_stopped(self) -> None:
        """Record that the journal lacks nothing. A process that is killed does not get here.

        An empty journal stays empty: there is nothing to resume.
        """
        if not self.killed and not self.journal.empty:
            self.journal.set_done(_ALL_RECORDED, Done(b"", b"", "", True))


def _completed(
    item: Item, there: os.stat_result, digest: bytes, name: str, flushed: bool
) -> tuple[bytes, Done]:
    """Return the key of a complete entry, and what the journal has of it."""
    entry = item.entry
    kind, size, mtime_ns = entry.kind, entry.size, entry.mtime_ns
    if kind is Kind.FILE:
        on_disk = there.st_dev, there.st_ino, there.st_size, there.st_mtime_ns
        identity = _FILE_ON_DISK.pack(kind, size, mtime_ns, *on_disk)
    else:
        identity = _announced(entry) + _on_disk(there, kind)
    return key_of(item.path), Done(identity, digest, "" if name == entry.name else name, flushed)


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _announced(entry: Entry) -> bytes:
    return _ANNOUNCED.pack(entry.kind, entry.size, 0 if entry.kind is Kind.DIRECTORY else entry.mtime_ns)


def _on_disk(there: os.stat_result, kind: int) -> bytes:
    """Return what identifies an entry on this disk: device and inode, and of a file also its size and time."""
    if kind == Kind.FILE:
        return _ON_DISK.pack(there.st_dev, there.st_ino, there.st_size, there.st_mtime_ns)
    return _ON_DISK.pack(there.st_dev, there.st_ino, 0, 0)


def _segments(directory: Directory, name: str, which: range | list[int]) -> Iterator[bytes]:
    """Yield segments of a file; a segment is short, or empty, if the file ends in it."""
    fd = directory.read(name)
    try:
        for number in which:
            os.lseek(fd, number * protocol_limits.SEGMENT, os.SEEK_SET)
            segment = bytearray()
            while len(segment) < protocol_limits.SEGMENT and (
                more := os.read(fd, min(MIB, protocol_limits.SEGMENT - len(segment)))
            ):
                segment += more
            yield bytes(segment)
    finally:
        os.close(fd)


def _check_segments(directory: Directory, name: str, leaves: bytes, which: range | list[int]) -> int:
    """Return how many segments come before the first of those looked at that has changed; all if none has."""
    with suppress(OSError):
        for number, segment in zip(which, _segments(directory, name, which), strict=False):
            if (
                leaf_digest(segment)
                != leaves[number * protocol_limits.DIGEST : (number + 1) * protocol_limits.DIGEST]
            ):
                return number
        return len(leaves) // protocol_limits.DIGEST
    return 0


def digest_of(directory: Directory, name: str) -> bytes:
    """Return the file digest of a file in the output directory; empty if it cannot be read."""
    try:
        there = directory.lstat(name)
        size = there.st_size if there is not None else 0
        digest = FileDigest(size)
        for segment in _segments(directory, name, range(-(-size // protocol_limits.SEGMENT))):
            digest.update(segment)
        return digest.digest()
    except OSError as error:
        if failed := exhausted(error):
            raise failed from None
        return b""
