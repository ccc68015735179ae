"""What lies in the output directory already because an earlier link of this transfer brought it.

The journal says what we made; the disk says what is still so. Only what both say is held: a file that somebody has
touched since, a part that is shorter than it was, an entry that the sender has changed come once more. And only what we
made ourselves may be replaced without being asked.

In a directory that others may have put things into, what we make is noted before it gets its name, and so is that a
file of ours is about to be replaced. So what the journal does not know there is somebody else's: the sender is told
nothing of it, whatever it claims to have, and its name is taken.

In a directory that we have made the rest of the journal's last second is lost when the process is killed. What the
journal does not know there was made by that process (`killed`, `unnoted`), may be replaced, and comes again.
"""

from __future__ import annotations

import os
import stat
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from p2p_copy.errors import exhausted
from p2p_copy.files import limits
from p2p_copy.files.state.journal import Begun, Done, key_of
from p2p_copy.files.temporary import is_part
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.digest import FileDigest, leaf_digest, prefix_digest
from p2p_copy.protocol.messages import Kind
from p2p_copy.units import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from p2p_copy.files.directory import Directory
    from p2p_copy.files.state.journal import Journal
    from p2p_copy.protocol.manifest import Item
    from p2p_copy.protocol.messages import Entry

_SAID: Final = struct.Struct(">BQq")
"""What the sender said of an entry: kind, size, time."""

_THERE: Final = struct.Struct(">QQQq")
"""What the disk said of it when it was complete: device, inode, size, time."""

_INTENDED: Final = bytes(_THERE.size)
"""In place of that: it was not there yet, or was about to be replaced."""

_ALL_IS_NOTED: Final = key_of("")
"""Key, no entry's, under which a process that ends in good order notes that nothing is missing in the journal."""

_KINDS: Final = {stat.S_IFDIR: Kind.DIRECTORY, stat.S_IFREG: Kind.FILE, stat.S_IFLNK: Kind.LINK}

_UNFINISHED: Final = 0o700
"""The mode of a directory of ours in which something is missing."""

_COARSE_NS: Final = 2 * 10**9
"""What the times of some file systems are rounded to."""


class PartialFile(NamedTuple):
    """The beginning of a file, or all of it, that need not come again.

    Attributes:
        size: bytes.
        digest: their file digest.
        leaves: of a part, the digests of its segments, joined.
        part: of a part, its name.
        name: of a complete file, its name.

    """

    size: int
    digest: bytes
    leaves: bytes = b""
    part: str = ""
    name: str = ""


class ResumeIndex:
    """Looks up and notes what we have made.

    With `reverify`, digests are those of the disk and not of the journal.

    Attributes:
        restarted: an earlier process may have made more than the journal knows.
        killed: it was not ended in good order, so that it may have made files that the journal does not know.
        tag: of temporary names.
        fresh: nothing was made by an earlier link, so nothing need be looked up.
        ahead: seconds by which the output's clock is ahead of that by which the journal says its last word.

    """

    def __init__(
        self,
        journal: Journal,
        *,
        reverify: bool = False,
        restarted: bool = False,
        tag: str = "",
    ) -> None:
        self._journal = journal
        self._reverify = reverify
        self.restarted = restarted
        self.killed = restarted and journal.done(_ALL_IS_NOTED) is None
        self.tag = tag
        self.fresh = journal.empty and not restarted
        self.ahead = 0.0
        self._last_word = (
            journal.committed_at
        )  # before this link: what is noted now says nothing of older parts
        self._waiting: list[tuple[Item, os.stat_result, bytes, str, bool]] = []

    # Looking up

    def holding(self, item: Item, directory: Directory) -> PartialFile | None:
        """Return what is held of a file that the sender names now."""
        if self.fresh:
            return None
        key = key_of(item.path)
        done = self._journal.done(key)
        if done is not None:
            name = done.name or item.entry.name
            same = done.identity[: _SAID.size] == _said(item.entry) and self._is_ours(
                item, done, directory, name
            )
            if same and done.digest and self._is_sure(key, done, directory, name):
                return PartialFile(item.entry.size, done.digest, name=name)
            return None
        begun = self._journal.begun(key)
        if begun is None or begun.identity != _said(item.entry):
            return None
        leaves = self._good_leaves(key, begun, directory)
        if not leaves:
            return None
        size = len(leaves) // protocol_limits.DIGEST * protocol_limits.SEGMENT
        return PartialFile(size, prefix_digest(leaves), leaves, _last(begun.part))

    def own_name(self, item: Item, directory: Directory) -> str:
        """Return the name under which an earlier link has put this entry, if it is there and nobody has changed it.

        Else it is empty.
        """
        if self.fresh:
            return ""
        done = self._journal.done(key_of(item.path))
        name = (done.name if done is not None else "") or item.entry.name
        return name if done is not None and self._is_ours(item, done, directory, name) else ""

    def is_as_said(self, item: Item) -> bool:
        """Return whether the sender says of an entry what it said when we made it."""
        done = self._journal.done(key_of(item.path))
        if done is None or done.identity[_SAID.size :] == _INTENDED:
            return False
        return done.identity[: _SAID.size] == _said(item.entry)

    def unnoted(self, above: Item | None, directory: Directory) -> frozenset[str]:
        """Return the names in a directory of what a killed process has made there and not noted.

        The directory lies in the entry `above`. What has changed longer after the journal's last word than that process
        can have lived is somebody else's, also if the whole directory is.
        """
        self.note()
        path = f"{above.path}/" if above is not None else ""
        return frozenset(
            name
            for name in directory.names()
            if self._journal.done(key_of(path + name)) is None
            and (there := directory.lstat(name)) is not None
            and there.st_ctime <= self._last_word + self.ahead + limits.JOURNAL_LATE
        )

    def parts(self) -> frozenset[str]:
        """Return the names of the parts that are under way."""
        return frozenset(_last(begun.part) for _, begun in self._journal.all_begun())

    def is_worth_keeping(self, item: Item) -> bool:
        """Return whether at least one segment of a file under way is verified."""
        begun = self._journal.begun(key_of(item.path))
        return begun is not None and bool(begun.leaves)

    def orphans(self) -> list[str]:
        """Forget all that is under way; return where the parts lie."""
        begun = self._journal.all_begun()
        for key, _ in begun:
            self._journal.forget(key)
        return [each.part for _, each in begun if each.part]

    def _is_ours(self, item: Item, done: Done, directory: Directory, name: str) -> bool:
        there = directory.lstat(name)
        if there is None:
            return False
        kind, now = done.identity[0], _KINDS.get(stat.S_IFMT(there.st_mode))
        seen = done.identity[_SAID.size :]
        if seen == _INTENDED:  # a file may be about to take the place of a link, or a link of it
            return now is not None and (now is Kind.DIRECTORY) == (kind == Kind.DIRECTORY)
        if now != kind:  # inodes are used again
            return False
        return _seen(there, kind) == seen or self._is_as_we_left_it(item, done, directory, name, there)

    def _is_as_we_left_it(
        self, item: Item, done: Done, directory: Directory, name: str, there: os.stat_result
    ) -> bool:
        """Return whether something is what we made, though its number is another.

        FUSE gives it another one once the kernel has forgotten it. So what it holds decides.
        """
        entry = item.entry
        if stat.S_ISREG(there.st_mode):
            _, _, size, mtime_ns = _THERE.unpack(done.identity[_SAID.size :])
            return (there.st_size, there.st_mtime_ns) == (size, mtime_ns) and (
                digest_of(directory, name) == done.digest
            )
        if stat.S_ISLNK(there.st_mode):
            return directory.readlink(name) == entry.target
        mode = there.st_mode & 0o777
        given = entry.mode & directory.allowed
        return mode == _UNFINISHED or (mode, there.st_mtime_ns) == (given, entry.mtime_ns)

    def _is_sure(self, key: bytes, done: Done, directory: Directory, name: str) -> bool:
        """Return whether a complete file holds what it held: if a power cut may have cost it something, look."""
        if not self._reverify and (done.flushed or self._journal.of_this_boot(key)):
            return True
        digest = digest_of(directory, name)
        return digest == done.digest

    def _good_leaves(self, key: bytes, begun: Begun, directory: Directory) -> bytes:
        """Return the digests of the segments that a part certainly holds."""
        part = _last(begun.part)
        there = directory.lstat(part)
        if there is None or not is_part(directory, there, self.tag):
            return b""
        leaves = begun.leaves
        if not self._journal.of_this_boot(key):
            leaves = leaves[: begun.flushed * protocol_limits.DIGEST]
        leaves = leaves[: there.st_size // protocol_limits.SEGMENT * protocol_limits.DIGEST]
        # A part that was written to after the journal's last word is looked at again, all of it.
        late = 0 < self._last_word < there.st_mtime - self.ahead - limits.JOURNAL_LATE
        every = self._reverify or late
        count = len(leaves) // protocol_limits.DIGEST
        look = range(count) if every else sorted({0, count - 1} - {-1})
        good = _check_segments(directory, part, leaves, look)
        return leaves[: good * protocol_limits.DIGEST] if every else (leaves if good == count else b"")

    # Noting

    def made(
        self, item: Item, there: os.stat_result, digest: bytes = b"", name: str = "", *, flushed: bool
    ) -> None:
        """Remember that an entry is complete, and what the disk says of it."""
        self._waiting.append((item, there, digest, name, flushed))

    def unmade(self, item: Item) -> None:
        """Forget that an entry is complete: it did not get its name after all."""
        self.note()
        self._journal.forget(key_of(item.path))

    def note(self) -> None:
        """Let the journal have what is remembered here: most transfers are done before anybody wants that."""
        waiting, self._waiting = self._waiting, []
        for item, there, digest, name, flushed in waiting:
            identity = _said(item.entry) + _seen(there, item.entry.kind)
            own = "" if name == item.entry.name else name
            self._journal.set_done(key_of(item.path), Done(identity, digest, own, flushed))

    def go_on(self) -> None:
        """Begin to make more than the journal knows."""
        if self._journal.done(_ALL_IS_NOTED) is not None:
            self._journal.forget(_ALL_IS_NOTED)
            self._journal.commit()

    def rest(self) -> None:
        """Let the journal know all that was made, and that this is all, unless a process was killed before.

        If it is nothing, the journal stays empty: there is nothing to go on with.
        """
        self.note()
        if not self.killed and not self._journal.empty:
            self._journal.set_done(_ALL_IS_NOTED, Done(b"", b"", "", True))

    def intend(self, item: Item, name: str) -> None:
        """Note durably that something is about to be made, or to take the place of what we have made under this name.

        Then it is ours whatever it is by the time that somebody looks.
        """
        own = "" if name == item.entry.name else name
        self._journal.set_done(key_of(item.path), Done(_said(item.entry) + _INTENDED, b"", own, True))
        self._journal.commit()

    def begin(self, item: Item, part: str) -> None:
        """Note that a large file is under way; `part` is where, from the output directory on."""
        self._journal.begin(key_of(item.path), Begun(_said(item.entry), part, b"", 0))

    def part_of(self, item: Item) -> str | None:
        """Return the name of the part in which an earlier link has left this file, if there is one."""
        if self.fresh:
            return None
        begun = self._journal.begun(key_of(item.path))
        return _last(begun.part) if begun is not None else None

    def add_leaves(self, item: Item, leaves: bytes) -> None:
        """Note that segments are written, and what their digests are."""
        self._journal.add_leaves(key_of(item.path), leaves)

    def commit(self, size: int) -> None:
        """Make what was noted durable if that is due, after `size` more bytes were written."""
        if self._journal.is_due(size):
            self.write()

    def write(self) -> None:
        """Make what was noted durable."""
        self.note()
        self._journal.commit()

    def renew(self) -> None:
        """Let the journal's last word be new enough to tell that what is made now, and not noted yet, is ours."""
        if self._journal.is_old:
            self.note()
            self._journal.renew()

    def flushed(self, item: Item, segments: int) -> None:
        """Note that so many segments are on the disk, whatever happens to the power."""
        self._journal.set_flushed(key_of(item.path), segments)

    def forget(self, item: Item) -> None:
        """Forget what is under way of an entry; what an earlier link has made of it is still ours."""
        key = key_of(item.path)
        done = self._journal.done(key)
        if done is None:
            self._journal.forget(key)
        else:
            self._journal.set_done(key, done)


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _said(entry: Entry) -> bytes:
    return _SAID.pack(entry.kind, entry.size, 0 if entry.kind is Kind.DIRECTORY else entry.mtime_ns)


def _seen(there: os.stat_result, kind: int) -> bytes:
    """Return what tells a file on this disk from any other; of directories and links, only which one it is."""
    if kind == Kind.FILE:
        return _THERE.pack(there.st_dev, there.st_ino, there.st_size, there.st_mtime_ns)
    return _THERE.pack(there.st_dev, there.st_ino, 0, 0)


def _segments(directory: Directory, name: str, which: range | list[int]) -> Iterator[bytes]:
    """Yield segments of a file, each read at once; fewer if it is shorter or cannot be read."""
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
    """Return how many segments there are before the first of those looked at that is not what it was."""
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
