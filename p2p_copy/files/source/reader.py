"""Reads one file, its bytes and its attributes, and notices if it is no longer the file that the walk found.

A file must have the size and time that the walk saw, before the first byte and after the last, and be the file at the
path that the walk found (`same_file`). A small one is checked after the last byte only, before any of it is passed on.

Where the system reports holes, those of a large file are not read.
"""

from __future__ import annotations

import errno
import os
import stat
from functools import partial
from typing import TYPE_CHECKING, Final

from p2p_copy.errors import exhausted
from p2p_copy.files import attributes, system
from p2p_copy.files.source.same_file import is_same
from p2p_copy.files.system import OPEN, OPEN_NO_SYMLINK, identity_of
from p2p_copy.protocol import limits
from p2p_copy.protocol.digest import leaf_digest, zero_leaf
from p2p_copy.protocol.messages import Extra, Kind, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Self

    from p2p_copy.files.source.entry import SourceEntry
    from p2p_copy.protocol.messages import Preserved

_REASONS: Final = {
    errno.ENOENT: Reason.VANISHED,
    errno.ENOTDIR: Reason.VANISHED,
    errno.ESTALE: Reason.VANISHED,
    errno.ELOOP: Reason.TOO_DEEP,
    errno.ENAMETOOLONG: Reason.TOO_DEEP,
}
"""What system errors mean; any other means that something cannot be read."""


class SourceFailed(Exception):
    """A file cannot be sent whole; `reason` says why."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.name)
        self.reason = reason


def reason_of(error: OSError | ValueError) -> Reason:
    """Return why something cannot be sent, by the system's error.

    Raises:
        SystemFailed: the error is not about this file: there are no descriptors left, or no memory.

    """
    if failed := exhausted(error):
        raise failed from None
    if isinstance(error, ValueError):  # the path contains a NUL
        return Reason.NAME
    return _REASONS.get(error.errno or 0, Reason.UNREADABLE)


def add_attributes(found: SourceEntry, preserve: Preserved) -> bool:
    """Add owner and extended attributes to an entry, as far as `preserve` asks; return False if some cannot be sent."""
    opened = None if found.entry.kind is Kind.SYMLINK else partial(open_itself, found)
    extra, complete = attributes.read(found.entry.extra or Extra(), preserve, found.owner, opened)
    if extra != Extra():
        found.entry = found.entry._replace(extra=extra)
    return complete


def open_itself(found: SourceEntry) -> int:
    """Open a file or directory that the walk found, to read its attributes.

    Raises:
        OSError: it is gone.
        SystemFailed: this process can open no more files.

    """
    fd = os.open(found.path, OPEN if found.followed else OPEN_NO_SYMLINK)
    try:
        if not is_same(found, os.fstat(fd)):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    except BaseException:
        os.close(fd)
        raise
    return fd


def open_source(found: SourceEntry) -> SourceFile:
    """Open a file that the walk found; the result is a context manager.

    Raises:
        SourceFailed: it is gone or cannot be read, or it has changed since the walk.
        SystemFailed: this process can open no more files.

    """
    try:
        fd = os.open(found.path, OPEN if found.followed else OPEN_NO_SYMLINK)
    except OSError as error:
        raise _not_opened(error) from None
    source = SourceFile(fd, found)
    try:
        if not is_same(found, source.check()):
            raise SourceFailed(Reason.CHANGED)
        system.will_read_in_order(fd)
    except BaseException:
        source.close()
        raise
    return source


def read_whole(found: SourceEntry) -> bytes:
    """Return all of a small file that the walk found. Trees have many, so this makes few calls.

    Raises:
        SourceFailed: it is gone or cannot be read, or it has changed since the walk.
        SystemFailed: this process can open no more files.

    """
    size = found.entry.size
    try:
        fd = os.open(found.path, OPEN if found.followed else OPEN_NO_SYMLINK)
    except OSError as error:
        raise _not_opened(error) from None
    try:
        data = os.read(fd, size + 1)
        if len(data) < size:
            data += _read(fd, size - len(data), probe=True)
        status = os.fstat(fd)
        same = stat.S_ISREG(status.st_mode) and identity_of(status) == found.identity  # as nearly always
        if len(data) != size or not (same or (_is_as_found(found, status) and is_same(found, status))):
            raise SourceFailed(Reason.CHANGED)
    except OSError as error:
        raise _unreadable(error) from None
    finally:
        os.close(fd)
    return data


def _is_as_found(found: SourceEntry, status: os.stat_result) -> bool:
    """Return whether an open file is regular and has the size and time that the walk saw."""
    return stat.S_ISREG(status.st_mode) and (status.st_size, status.st_mtime_ns) == found.identity[2:]


def _not_opened(error: OSError) -> SourceFailed:
    if error.errno in {errno.ELOOP, errno.ENXIO}:  # a symlink or a socket has replaced it
        return SourceFailed(Reason.CHANGED)
    return SourceFailed(reason_of(error))


def _unreadable(error: OSError) -> SourceFailed:
    """Return the failure that follows from an error in reading an open file."""
    if failed := exhausted(error):
        raise failed from None
    return SourceFailed(Reason.UNREADABLE)


def _read(fd: int, size: int, *, probe: bool) -> bytes:
    """Read `size` bytes, or fewer at the end of the file; with `probe` one more if there is one."""
    try:
        data = os.read(fd, size + probe)
        while 0 < len(data) < size:
            more = os.read(fd, size + probe - len(data))
            if not more:
                break
            data += more
    except OSError as error:
        raise _unreadable(error) from None
    return data


class SourceFile:
    """A file that is being read; made by `open_source`."""

    __slots__ = ("_fd", "_found", "_has_holes", "_size")

    def __init__(self, fd: int, found: SourceEntry) -> None:
        self._fd = fd
        self._has_holes = False
        self._found = found
        self._size = found.entry.size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def leaf(self, number: int) -> bytes:
        """Return the digest of one full segment.

        Raises:
            SourceFailed: it cannot be read, or the file has become shorter.

        """
        at = number * limits.SEGMENT
        data, _ = self._extent(at)
        if data >= at + limits.SEGMENT:
            return zero_leaf(limits.SEGMENT)
        self._seek(at)
        segment = _read(self._fd, limits.SEGMENT, probe=False)
        if len(segment) < limits.SEGMENT:
            raise SourceFailed(Reason.CHANGED)
        return leaf_digest(segment)

    def read_pieces(
        self, size: Callable[[], int], offset: int = 0, last: int | None = None
    ) -> Iterator[bytes | int]:
        """Yield the file from `offset` on, or up to `last`: chunks of at most `size()` bytes, and holes.

        A number is the size of a hole. The last piece is yielded only when it is certain that the file has
        not changed since the walk.

        Raises:
            SourceFailed: it has changed, or cannot be read.

        """
        at, last = offset, self._size if last is None else last
        while at < last:
            data, end = (min(place, last) for place in self._extent(at))
            while at < data:
                count = min(data - at, limits.MAX_RECORD_HOLES)
                at += count
                if at == self._size:
                    self.check()
                yield count
            self._seek(at)
            while at < end:
                count = min(size(), end - at)
                at += count
                chunk = _read(self._fd, count, probe=at == self._size)
                if len(chunk) != count:
                    raise SourceFailed(Reason.CHANGED)
                if at == self._size:
                    self.check()
                yield chunk
        if offset == self._size:
            self._seek(offset)
            if _read(self._fd, 0, probe=True):
                raise SourceFailed(Reason.CHANGED)
            self.check()

    def _extent(self, at: int) -> tuple[int, int]:
        """Return where the next data from `at` on begin, and where they end."""
        if not self._has_holes:
            return at, self._size
        return system.next_data(self._fd, at, self._size)

    def _seek(self, at: int) -> None:
        try:
            os.lseek(self._fd, at, os.SEEK_SET)
        except OSError as error:
            raise _unreadable(error) from None

    def check(self) -> os.stat_result:
        """Check that the file has not changed since the walk; return its status.

        Raises:
            SourceFailed: it has.

        """
        try:
            status = os.fstat(self._fd)
        except OSError as error:
            raise _unreadable(error) from None
        if not _is_as_found(self._found, status):
            raise SourceFailed(Reason.CHANGED)
        self._has_holes = system.has_holes(status)
        return status

    def close(self) -> None:
        """Close the file; may be called again."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
