"""Computes the digest of one file, as a tree over its segments, and that of a whole transfer.

File digest = BLAKE3 in key derivation mode, context "p2p-copy/1 file digest", over the file's size (u64,
big-endian) and the plain BLAKE3 digests of its segments of `limits.SEGMENT` bytes, in order. A segment that
was verified once need not be read again to complete the file's digest.

Root digest = BLAKE3 in key derivation mode, context "p2p-copy/1 root digest", over every manifest entry in
order, as it stood in its page, but with the plain BLAKE3 digest of its extended attributes in place of them. Each
is followed by 0x01 and the file digest if it is a file that was sent whole, by 0x00 if it is a file that was not,
by 0x03 if it was up to date at the receiver, and by 0x02 if it is a directory or a symlink.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from blake3 import blake3

from p2p_copy.protocol import limits
from p2p_copy.protocol.messages import Kind
from p2p_copy.protocol.wire import encode_entry, encode_xattrs
from p2p_copy.units import KIB

if TYPE_CHECKING:
    from p2p_copy.protocol.messages import Entry, Extra

_FILE: Final = blake3(derive_key_context="p2p-copy/1 file digest")
"""Copied for each file, since the context has to be hashed first."""
_ROOT: Final = "p2p-copy/1 root digest"

UNREAD: Final = b""
"""In place of the digest of a file that was up to date at the receiver by its size and time: no side has read it."""

_AT_ONCE: Final = 16 * KIB
"""Bytes that are collected for one call to the hash function, which costs as much as hashing some KiB."""


def file_digest(data: bytes | memoryview) -> bytes:
    """Return the digest of a file that is in memory as a whole; it has one segment at most."""
    assert len(data) <= limits.SEGMENT, "a file of several segments is never in memory as a whole"
    return _tree(len(data), blake3(data).digest()).digest() if data else _EMPTY


def _tree(size: int, leaves: bytes = b"") -> blake3:
    tree = _FILE.copy()
    tree.update(size.to_bytes(8, "big") + leaves)
    return tree


_EMPTY: Final = _tree(0).digest()

_ZEROS: Final = memoryview(bytes(64 * KIB))


def leaf_digest(segment: bytes | memoryview) -> bytes:
    """Return the leaf of a segment."""
    return blake3(segment).digest()


@cache
def zero_leaf(size: int) -> bytes:
    """Return the leaf of a segment of `size` zero bytes."""
    segment = blake3()
    for at in range(0, size, len(_ZEROS)):
        segment.update(_ZEROS[: size - at])
    return segment.digest()


def prefix_digest(leaves: bytes | bytearray) -> bytes:
    """Return the digest of a file that consists of whole segments with these leaves."""
    return _tree(len(leaves) // limits.DIGEST * limits.SEGMENT, bytes(leaves)).digest()


class FileDigest:
    """The digest of a file of `size` bytes, which are added in order.

    Attributes:
        leaves: the digests of all segments that are complete, joined.

    """

    __slots__ = ("_at", "_segment", "_tree", "leaves")

    def __init__(self, size: int, leaves: bytes = b"") -> None:
        """Begin a file, or continue behind the segments with these `leaves`."""
        self._tree = _tree(size, leaves)
        self.leaves = bytearray(leaves)
        self._segment: blake3 | None = None
        self._at = 0

    def update(self, data: bytes | memoryview) -> None:
        """Add the next bytes."""
        while data:
            if self._segment is None:
                self._segment = blake3()
            rest = limits.SEGMENT - self._at
            piece = data[:rest] if len(data) > rest else data
            self._segment.update(piece)
            self._at += len(piece)
            data = data[rest:] if len(data) > rest else b""
            if self._at == limits.SEGMENT:
                self._end_segment()

    def add(self, piece: bytes | memoryview | int) -> None:
        """Add the next piece of a file: bytes, or the length of a hole."""
        if isinstance(piece, int):
            self.add_zeros(piece)
        else:
            self.update(piece)

    def add_zeros(self, count: int) -> None:
        """Add zero bytes. Whole segments of them are not hashed again."""
        while count:
            if not self._at and (whole := count // limits.SEGMENT):
                leaves = zero_leaf(limits.SEGMENT) * whole
                self._tree.update(leaves)
                self.leaves += leaves
                count -= whole * limits.SEGMENT
                continue
            piece = min(count, limits.SEGMENT - self._at, len(_ZEROS))
            self.update(_ZEROS[:piece])
            count -= piece

    def add_segment(self, leaf: bytes) -> None:
        """Add the next segment, or the last one, by its leaf; only where a segment begins."""
        assert not self._at, "the segment before is complete"
        self._tree.update(leaf)
        self.leaves += leaf

    def _end_segment(self) -> None:
        if self._segment is not None:
            leaf = self._segment.digest()
            self._tree.update(leaf)
            self.leaves += leaf
            self._segment = None
            self._at = 0

    def digest(self) -> bytes:
        """Return the digest, once all bytes were added."""
        self._end_segment()
        return self._tree.digest()


class StreamDigest(FileDigest):
    """The digest of a file whose size is known only at its end. `size` is how many bytes were added by now."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        """Begin with no bytes."""
        super().__init__(0)
        self.size = 0

    def update(self, data: bytes | memoryview) -> None:
        """Add the next bytes."""
        super().update(data)
        self.size += len(data)

    def digest(self) -> bytes:
        """Return the digest of a file that ends here. More bytes may be added after that."""
        last = self._segment.digest() if self._segment is not None else b""
        return _tree(self.size, bytes(self.leaves) + last).digest()

    def copy(self) -> StreamDigest:
        """Return another digest of the same bytes, to which other ones can be added."""
        other = StreamDigest()
        other.leaves = self.leaves.copy()
        other._segment = self._segment.copy() if self._segment is not None else None
        other._at, other.size = self._at, self.size
        return other


def brief(extra: Extra) -> Extra:
    """Return an extra with a BLAKE3 digest in place of the extended attributes."""
    if not extra.xattrs:
        return extra
    return extra._replace(xattrs=(), xattrs_digest=blake3(encode_xattrs(extra.xattrs)).digest())


class RootDigest:
    """The digest of a transfer, whose entries are added in order."""

    __slots__ = ("_hash", "_waiting")

    def __init__(self) -> None:
        self._hash = blake3(derive_key_context=_ROOT)
        self._waiting = bytearray()  # many entries are hashed at once

    def add(self, entry: Entry, digest: bytes | None) -> None:
        """Add the next entry; `digest` is None for directories, symlinks and files that were not sent whole.

        It is `UNREAD` for a file that was up to date.
        """
        if entry.extra is not None:
            entry = entry._replace(extra=brief(entry.extra))
        if entry.kind is not Kind.FILE:
            outcome = b"\x02"
        elif digest is None:
            outcome = b"\x00"
        elif digest == UNREAD:
            outcome = b"\x03"
        else:
            outcome = b"\x01" + digest
        self._waiting += encode_entry(entry) + outcome
        if len(self._waiting) >= _AT_ONCE:
            self._hash_waiting()

    def _hash_waiting(self) -> None:
        self._hash.update(self._waiting)
        self._waiting.clear()

    def digest(self) -> bytes:
        """Return the digest of all entries added so far."""
        self._hash_waiting()
        return self._hash.digest()
