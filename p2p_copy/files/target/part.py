"""One file that is being written: under a temporary name first, under its own when it is complete.

The part lies in the directory where the file will be, and only its owner may read it. It gets its name in one step that
fails if the name is taken; only `Conflict.OVERWRITE` replaces, and only a regular file. Attributes are set as far as
the system allows. If it does not, the file is kept without them.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from p2p_copy.files import limits, system
from p2p_copy.files.state.journal import key_of
from p2p_copy.files.target import conflicts
from p2p_copy.files.target.errors import fail
from p2p_copy.files.temporary import is_part, temporary_name
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.digest import FileDigest

if TYPE_CHECKING:
    from collections.abc import Callable

    from p2p_copy.files.directory import Directory
    from p2p_copy.files.state.journal import Journal
    from p2p_copy.files.target.resume import PartialFile
    from p2p_copy.options import Conflict
    from p2p_copy.protocol.manifest import Item
    from p2p_copy.protocol.messages import Entry


class Part:
    """A file that is being written; made by `Files.begin`, ended by `publish`, `keep` or `discard`.

    Attributes:
        flushed: how many bytes from its beginning are certainly on the disk.

    """

    __slots__ = ("_at", "_conflict", "_directory", "_entry", "_fd", "_temporary", "flushed")

    def __init__(
        self,
        directory: Directory,
        entry: Entry,
        conflict: Conflict,
        *,
        tag: str = "",
        held: PartialFile | None = None,
    ) -> None:
        """Begin a file, or continue the part that is `held` of it."""
        self._directory = directory
        self._entry = entry
        self._conflict = conflict
        self._at = self.flushed = 0
        if held is None:
            self._temporary = temporary_name(tag)
            self._fd = directory.create(self._temporary)
            return
        self._temporary = ""  # until it is known to be ours; `discard` must not delete another user's file
        self._fd = directory.reopen(held.part)
        try:
            status = os.fstat(self._fd)
            if not is_part(directory, status, tag) or status.st_size < held.size:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            if sys.platform != "win32" and status.st_mode & 0o077:
                with suppress(OSError):  # a process was killed after it had set the final mode
                    os.fchmod(self._fd, 0o600)
            os.ftruncate(self._fd, held.size)
            self._at = os.lseek(self._fd, held.size, os.SEEK_SET)
        except BaseException:
            self.discard()
            raise
        self._temporary = held.part

    @property
    def path(self) -> str:
        """Its path, relative to the output directory."""
        return self._directory.inner_path + self._temporary

    def write(self, data: bytes | memoryview) -> None:
        """Append all of `data`. After an error only `discard` may be called.

        Raises:
            Refused: the file is larger than the system allows.
            NoSpace, OutputNotWritable: nothing more can be written.

        """
        try:
            write_all(self._fd, data)
            self._at += len(data)
            if self._at - self.flushed >= limits.FLUSH_EVERY:
                self._flush()
        except OSError as error:
            fail(error)

    def add(self, piece: bytes | memoryview | int) -> None:
        """Append a piece of a file: bytes, or the length of a hole; see `write` and `skip`."""
        if isinstance(piece, int):
            self.skip(piece)
        else:
            self.write(piece)

    def skip(self, count: int) -> None:
        """Append a hole of `count` zero bytes, which takes no space where the file system has holes.

        Raises:
            Refused: the file is larger than the system allows.
            NoSpace, OutputNotWritable: nothing more can be written.

        """
        try:
            os.ftruncate(self._fd, self._at + count)  # now, since the file may end with the hole
            self._at = os.lseek(self._fd, count, os.SEEK_CUR)
        except OSError as error:
            fail(error)

    def _flush(self) -> None:
        os.fsync(self._fd)
        self.flushed = self._at

    def publish(
        self,
        intend: Callable[[str, os.stat_result], None] = lambda name, made: None,
        look_again: Callable[[], Conflict] | None = None,
    ) -> tuple[str, os.stat_result]:
        """Give the file its attributes and its name; return that name, and the file's status. Ends the part.

        Args:
            intend: called with each name that is about to be given; see `conflicts.move`.
            look_again: called once the disk has all of the file; returns the policy for its name as it is then.

        Raises:
            Refused: its name was taken meanwhile, or the directory takes no more files.
            NoSpace, OutputNotWritable: the disk did not take all of it after all.

        """
        try:
            there = self._seal()
            if look_again is not None:
                self._conflict = look_again()
            name = conflicts.move(
                self._conflict, self._directory, self._temporary, self._entry.name, there, intend
            )
            self._temporary = ""
        except (OSError, ValueError) as error:
            fail(error)
        else:
            return name, there
        finally:
            self.discard()

    def _seal(self) -> os.stat_result:
        """Set the attributes, flush, and close; return the file's status."""
        if self._entry.extra is not None:
            self._directory.give(self._entry.extra, self._fd)
        set_attributes(self._fd, self._entry.mode & self._directory.allowed, self._entry.mtime_ns)
        if self._at >= limits.FSYNC_FROM:
            os.fsync(self._fd)
        there = os.fstat(self._fd)
        fd, self._fd = self._fd, -1
        os.close(fd)  # network file systems report here what they could not store
        if not system.HANDLES:  # on Windows closing sets a time, and the time can only be set by name
            with suppress(OSError, OverflowError):
                self._directory.set_time(self._temporary, self._entry.mtime_ns)
            there = self._directory.lstat(self._temporary) or there
        return there

    def keep(self) -> None:
        """Flush what is written and leave it for another conversation. Never fails; may be called again."""
        if self._fd >= 0 and self._temporary:
            with suppress(OSError):
                self._flush()
        self._temporary = ""
        self.discard()

    def discard(self) -> None:
        """Delete the part if it was not published. Never fails; may be called again."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)
        name, self._temporary = self._temporary, ""
        if name:
            with suppress(OSError):
                self._directory.unlink(name)


class HashedPart:
    """A part of a large file, and the file's digest: each byte goes to both, and each full segment into the journal.

    `item` is what is received, and `held` what is here of it already.
    """

    def __init__(self, part: Part, item: Item, held: PartialFile | None, journal: Journal) -> None:
        self._part = part
        self._digest = FileDigest(item.entry.size, held.leaves if held else b"")
        self._journal = journal
        self._key = key_of(item.path)

    def add(self, piece: bytes | memoryview | int) -> None:
        """Append bytes, or a hole if `piece` is its size; raise what `Part.add` raises."""
        leaves, flushed = len(self._digest.leaves), self._part.flushed
        self._digest.add(piece)
        self._part.add(piece)
        if len(self._digest.leaves) > leaves:
            self._record(bytes(self._digest.leaves[leaves:]))
        if self._part.flushed > flushed:
            # A flush may take seconds. Commit now: what is written next must not be newer than the last commit.
            self._journal.commit_if_due(limits.JOURNAL_BYTES)

    def _record(self, leaves: bytes) -> None:
        self._journal.add_leaves(self._key, leaves)
        self._journal.set_flushed(self._key, self._part.flushed // protocol_limits.SEGMENT)

    def add_segment(self, pieces: list[bytes | int], leaf: bytes) -> None:
        """Append the pieces of a segment whose leaf is known; raise what `Part.add` raises."""
        flushed = self._part.flushed
        self._digest.add_segment(leaf)
        for piece in pieces:
            self._part.add(piece)
        if (
            sum(piece if isinstance(piece, int) else len(piece) for piece in pieces)
            == protocol_limits.SEGMENT
        ):  # the journal has whole segments only
            self._record(leaf)
        if self._part.flushed > flushed:
            self._journal.commit_if_due(limits.JOURNAL_BYTES)

    def digest(self) -> bytes:
        """Return the digest of the file, once all of it is here."""
        return self._digest.digest()


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of `data`, in as many calls as the system needs."""
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, memoryview(data)[written:])


def set_attributes(fd: int, mode: int, mtime_ns: int) -> None:
    """Set the mode and time of an open file, as far as the system allows."""
    if sys.platform != "win32":  # permission bits mean nothing there
        with suppress(OSError):
            os.fchmod(fd, mode)
    if system.HANDLES:
        with suppress(OSError, OverflowError):
            os.utime(fd, ns=(mtime_ns, mtime_ns))
