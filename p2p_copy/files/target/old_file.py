"""An old file in the place of one that is received: which segments of the new one it has already.

Rules
1. The sender says first what digest its segments have. A receiver that said what its own have would let a sender test
   guesses at the contents of the user's files, as many as a computer can make.
2. A shorter last segment is the same only if the old file ends there, too. Otherwise a sender that names one byte more
   of it in each conversation could guess the file byte by byte.
3. The old file is the user's and may change at any time. So a segment of it is compared once more before it is used.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from p2p_copy.errors import PeerMisbehaved
from p2p_copy.files.system import identity_of, next_data
from p2p_copy.files.target.errors import Refused
from p2p_copy.files.target.resume import PartialFile
from p2p_copy.protocol import limits
from p2p_copy.protocol.digest import FileDigest, leaf_digest, zero_leaf
from p2p_copy.protocol.messages import Reason
from p2p_copy.units import MIB

if TYPE_CHECKING:
    from p2p_copy.files.directory import Directory


class OldFile:
    """A file with this `name` and status, which may have segments of a new one of `size` bytes.

    With `may_stay` it need not be replaced if it has the same contents as the new one.
    """

    def __init__(
        self, directory: Directory, name: str, status: os.stat_result, size: int, *, may_stay: bool
    ) -> None:
        self._may_stay = may_stay
        self._directory = directory
        self._name = name
        self._status = status
        self._size = size
        self._leaves = bytearray()  # the sender's
        self._same: list[bool] = []

    def compare(self, first: int, leaves: bytes | memoryview) -> list[bool]:
        """Return whether the old file has these segments of the new one, from number `first` on, in the same place.

        Raises:
            PeerMisbehaved: the sender does not name segment after segment, or more than the new file has.

        """
        count = len(leaves) // limits.DIGEST
        if first != len(self._same) or (first + count - 1) * limits.SEGMENT >= self._size:
            raise PeerMisbehaved("The other side names segments that its file does not have.")
        fd = self._open()
        try:
            for at in range(count):
                leaf = leaves[at * limits.DIGEST : (at + 1) * limits.DIGEST]
                offset, size = self._place(first + at)
                comparable = size == limits.SEGMENT or self._status.st_size == self._size
                self._same.append(comparable and fd is not None and _leaf(fd, offset, size) == leaf)
        finally:
            if fd is not None:
                os.close(fd)
        self._leaves += leaves
        return self._same[first:]

    def covered(self, leaves: bytes | memoryview) -> int:
        """Return how many bytes the segments with these leaves have, at most."""
        return min(len(leaves) // limits.DIGEST * limits.SEGMENT, self._size)

    @property
    def is_whole(self) -> bool:
        """Whether all was compared, and the old file, which may stay, has the same contents as the new one."""
        if not self._may_stay:
            return False
        segments = -(-self._size // limits.SEGMENT)
        return self._status.st_size == self._size and len(self._same) == segments and all(self._same)

    def held(self) -> PartialFile:
        """Return the old file as one of which all is here; only if it `is_whole`."""
        digest = FileDigest(self._size, bytes(self._leaves)).digest()
        return PartialFile(self._size, digest, name=self._name, old=self._status)

    def segment(self, offset: int, size: int) -> tuple[list[bytes | int], bytes]:
        """Return a segment of the new file out of the old one, in pieces of bytes and lengths of holes, and its leaf.

        Raises:
            PeerMisbehaved: the old file does not have it.
            Refused: the old file has changed since it was compared.

        """
        number, rest = divmod(offset, limits.SEGMENT)
        if rest or number >= len(self._same) or not self._same[number] or self._place(number)[1] != size:
            raise PeerMisbehaved("The other side leaves out what this side does not have.")
        leaf = bytes(self._leaves[number * limits.DIGEST : (number + 1) * limits.DIGEST])
        fd = self._open()
        if fd is not None:
            try:
                if _is_hole(fd, offset, size):
                    if zero_leaf(size) == leaf:
                        return [size], leaf
                elif leaf_digest(segment := _read(fd, offset, size)) == leaf:
                    return _pieces(fd, offset, segment), leaf
            finally:
                os.close(fd)
        raise Refused(Reason.CHANGED)

    def _place(self, number: int) -> tuple[int, int]:
        """Return where a segment of the new file begins, and how long it is."""
        offset = number * limits.SEGMENT
        return offset, min(limits.SEGMENT, self._size - offset)

    def _open(self) -> int | None:
        """Open the file if it is there, unchanged, and may be read."""
        with suppress(OSError):
            fd = self._directory.read(self._name)
            if identity_of(os.fstat(fd)) == identity_of(self._status):
                return fd
            os.close(fd)
        return None


def _is_hole(fd: int, offset: int, size: int) -> bool:
    """Return whether nothing is stored of a whole segment, which need not be read then. The file does not end in it."""
    if size < limits.SEGMENT:
        return False
    end = offset + size
    return next_data(fd, offset, end)[0] == end and os.fstat(fd).st_size >= end


def _leaf(fd: int, offset: int, size: int) -> bytes | None:
    """Return the leaf of bytes of a file; None if there are none."""
    if _is_hole(fd, offset, size):
        return zero_leaf(size)
    segment = _read(fd, offset, size)
    return leaf_digest(segment) if segment else None


def _pieces(fd: int, offset: int, segment: bytes) -> list[bytes | int]:
    """Divide the bytes that a file has from `offset` on into those that it stores, and the lengths of its holes."""
    pieces: list[bytes | int] = []
    at = 0
    while at < len(segment):
        data, end = (place - offset for place in next_data(fd, offset + at, offset + len(segment)))
        if data > at and not segment[at:data].strip(b"\0"):  # the file may have changed since it was read
            pieces.append(data - at)
            at = data
        if end > at:
            pieces.append(segment[at:end])
            at = end
    return pieces


def _read(fd: int, offset: int, size: int) -> bytes:
    """Return bytes of a file, fewer if it ends there or cannot be read."""
    data = bytearray()
    with suppress(OSError):
        os.lseek(fd, offset, os.SEEK_SET)
        while len(data) < size and (more := os.read(fd, min(MIB, size - len(data)))):
            data += more
    return bytes(data)
