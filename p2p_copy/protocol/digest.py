"""Digests: of one file as a tree over its segments, and of a whole transfer.

File digest = BLAKE3 in key derivation mode, context "p2p-copy/1 file digest", over the file's size (u64,
big-endian) and the plain BLAKE3 digests of its segments of `limits.SEGMENT` bytes, in order. A segment that
was verified once need not be read again to finish the file's digest.

Root digest = BLAKE3 in key derivation mode, context "p2p-copy/1 root digest", over every manifest entry in
order, as it stood in its page but for the plain BLAKE3 digest of its extended attributes in their place, each
followed by 0x01 and the file digest if it is a file that was sent whole, by 0x00 if it is a file that was not,
and by 0x02 if it is a directory or a link.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from blake3 import blake3

from p2p_copy.protocol import limits
from p2p_copy.protocol.attributes import encode_xattrs
from p2p_copy.protocol.messages import Kind
from p2p_copy.protocol.wire import encode_entry
from p2p_copy.units import KIB

if TYPE_CHECKING:
    from p2p_copy.protocol.messages import Entry, Extra

_FILE: Final = blake3(derive_key_context="p2p-copy/1 file digest")
"""Copied for each file, since the context has to be hashed first."""
_ROOT: Final = "p2p-copy/1 root digest"

_AT_ONCE: Final = 16 * KIB
"""Bytes that are worth a call to the hash."""


def file_digest(data: bytes | memoryview) -> bytes:
    """Return the digest of a file that is all here; it has one segment at most."""
    assert len(data) <= limits.SEGMENT, "a file of several segments is never here as a whole"
    return _tree(len(data), blake3(data).digest()).digest() if data else _EMPTY


def _tree(size: int, leaves: bytes = b"") -> blake3:
    tree = _FILE.copy()
    tree.update(size.to_bytes(8, "big") + leaves)
    return tree


_EMPTY: Final = _tree(0).digest()

_ZEROS: Final = memoryview(bytes(64 * KIB))


def leaf_digest(segment: bytes | memoryview) -> bytes:
    """Return the leaf that stands for a whole segment."""
    return blake3(segment).digest()


@cache
def zero_leaf(size: int) -> bytes:
    """Return the leaf that stands for a segment of so many zero bytes."""
    segment = blake3()
    for at in range(0, size, len(_ZEROS)):
        segment.update(_ZEROS[: size - at])
    return segment.digest()


def prefix_digest(leaves: bytes | bytearray) -> bytes:
    """Return the digest of a file that has just the segments with these leaves, every one of them full."""
    return _tree(len(leaves) // limits.DIGEST * limits.SEGMENT, bytes(leaves)).digest()


class FileDigest:
    """Collects the bytes of a file of `size` bytes, in order.

    Attributes:
        leaves: the digests of all segments that are complete, joined.

    """

    __slots__ = ("_at", "_segment", "_tree", "leaves")

    def __init__(self, size: int, leaves: bytes = b"") -> None:
        """Begin a file, or go on behind the segments with these `leaves`."""
        self._tree = _tree(size, leaves)
        self.leaves = bytearray(leaves)
        self._segment: blake3 | None = None
        self._at = 0

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes, any number of them."""
        while data:
            if self._segment is None:
                self._segment = blake3()
            room = limits.SEGMENT - self._at
            piece = data[:room] if len(data) > room else data
            self._segment.update(piece)
            self._at += len(piece)
            data = data[room:] if len(data) > room else b""
            if self._at == limits.SEGMENT:
                self._end_segment()

    def add(self, piece: bytes | memoryview | int) -> None:
        """Take a piece of a file: bytes, or the length of a hole."""
        if isinstance(piece, int):
            self.skip(piece)
        else:
            self.update(piece)

    def skip(self, count: int) -> None:
        """Take so many zero bytes; whole segments of them take no time."""
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

    def _end_segment(self) -> None:
        if self._segment is not None:
            leaf = self._segment.digest()
            self._tree.update(leaf)
            self.leaves += leaf
            self._segment = None
            self._at = 0

    def digest(self) -> bytes:
        """Return the digest, once all bytes were taken."""
        self._end_segment()
        return self._tree.digest()


class StreamDigest(FileDigest):
    """Collects the bytes of a file whose size is known only at its end. `size` is how many they are by now."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        """Begin with nothing."""
        super().__init__(0)
        self.size = 0

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes, any number of them."""
        super().update(data)
        self.size += len(data)

    def digest(self) -> bytes:
        """Return the digest of a file that ends here; more bytes may follow all the same."""
        last = self._segment.digest() if self._segment is not None else b""
        return _tree(self.size, bytes(self.leaves) + last).digest()

    def copy(self) -> StreamDigest:
        """Return one that has taken the same bytes."""
        other = StreamDigest()
        other.leaves = self.leaves.copy()
        other._segment = self._segment.copy() if self._segment is not None else None
        other._at, other.size = self._at, self.size
        return other


def brief(extra: Extra) -> Extra:
    """Return an extra with the plain BLAKE3 digest of extended attributes in place of them."""
    if not extra.xattrs:
        return extra
    return extra._replace(xattrs=(), xattrs_digest=blake3(encode_xattrs(extra.xattrs)).digest())


class RootDigest:
    """Collects the entries of a transfer, in order."""

    __slots__ = ("_hash", "_waiting")

    def __init__(self) -> None:
        self._hash = blake3(derive_key_context=_ROOT)
        self._waiting = bytearray()  # many entries are hashed in one go

    def add(self, entry: Entry, digest: bytes | None) -> None:
        """Take the next entry; `digest` is None for a file that was not sent whole and for all but files."""
        if entry.extra is not None:
            entry = entry._replace(extra=brief(entry.extra))
        if entry.kind is not Kind.FILE:
            outcome = b"\x02"
        elif digest is None:
            outcome = b"\x00"
        else:
            outcome = b"\x01" + digest
        self._waiting += encode_entry(entry) + outcome
        if len(self._waiting) >= _AT_ONCE:
            self._take_waiting()

    def _take_waiting(self) -> None:
        self._hash.update(self._waiting)
        self._waiting.clear()

    def digest(self) -> bytes:
        """Return the digest of all entries taken so far."""
        self._take_waiting()
        return self._hash.digest()
