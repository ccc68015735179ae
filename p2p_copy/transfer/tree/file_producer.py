"""Turns the contents of one file into messages, leaving out what the receiver already holds."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from p2p_copy.files.source.reader import SourceFailed, open_source, read_whole
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.digest import FileDigest, file_digest, prefix_digest
from p2p_copy.protocol.messages import Data, FileEnd, Hole, Message, Reason, WholeFile
from p2p_copy.transfer import limits

if TYPE_CHECKING:
    from collections.abc import Generator

    from p2p_copy.files.source.digest_cache import DigestCache
    from p2p_copy.files.source.entry import SourceEntry
    from p2p_copy.protocol.messages import Held
    from p2p_copy.transfer.chunk_size import ChunkSize
    from p2p_copy.transfer.tree.rejections import Rejections


class Pause(Enum):
    """Why there is no message at the moment."""

    ANSWER = "the receiver has not answered yet"
    WORK = "this side reads a file only to compare it"


class FileProducer:
    """Makes the messages for one file after the other.

    Attributes:
        spared: bytes that need not be sent, because the receiver has them from an earlier meeting.

    """

    def __init__(self, cache: DigestCache, chunk_size: ChunkSize, rejections: Rejections) -> None:
        self.spared = 0
        self._cache = cache
        self._chunk_size = chunk_size
        self._rejections = rejections

    def messages(self, found: SourceEntry, held: Held | None) -> Generator[Message | Pause, None, bytes]:
        """Send a file, or what the receiver does not hold of it; return its digest.

        Raises:
            SourceFailed: it cannot be sent whole, or the receiver has rejected it meanwhile.

        """
        size = found.entry.size
        if size <= limits.CHUNK:
            digest = self._cache.digest(found) if held else None
            if held and digest == held.digest:
                self.spared += size
                yield FileEnd(found.index, held.digest)
                return held.digest
            data = read_whole(found)
            digest = file_digest(data)
            self._cache.set_digest(found, digest)
            if not data or (held and held.digest == digest):
                self.spared += size
                yield FileEnd(found.index, digest)
            else:
                yield WholeFile(found.index, data, digest)
            return digest
        leaves = b""
        if held is not None and held.size == size:
            digest = self._cache.digest(found) or (yield from self._digest(found))
            if digest == held.digest:
                self.spared += size
                yield FileEnd(found.index, digest)
                return digest
        elif held is not None:
            leaves = yield from self._leaves(found, held)
        digest = yield from self._chunks(found, leaves)
        yield FileEnd(found.index, digest)
        self._cache.set_digest(found, digest)
        return digest

    def _digest(self, found: SourceEntry) -> Generator[Pause, None, bytes]:
        """Read a file only to compare it."""
        digest = FileDigest(found.entry.size)
        with open_source(found) as source:
            for piece in source.read_pieces(lambda: limits.MOST_CHUNK):
                digest.add(piece)
                yield Pause.WORK
        self._cache.set_digest(found, digest.digest())
        return digest.digest()

    def _leaves(self, found: SourceEntry, held: Held) -> Generator[Pause, None, bytes]:
        """Return the digests of the segments that the receiver holds, if the file here begins with the same ones."""
        wanted = min(held.size, found.entry.size) // protocol_limits.SEGMENT
        leaves = bytearray(self._cache.leaves(found)[: wanted * protocol_limits.DIGEST])
        with open_source(found) as source:
            known = len(leaves) // protocol_limits.DIGEST
            for number in sorted({0, known - 1} if known else ()):
                place = slice(number * protocol_limits.DIGEST, (number + 1) * protocol_limits.DIGEST)
                if source.leaf(number) != leaves[place]:
                    leaves.clear()  # the file has changed though size and time have not: no cached digest is good
                    break
            for number in range(len(leaves) // protocol_limits.DIGEST, wanted):
                leaves += source.leaf(number)
                yield Pause.WORK
        agreed = wanted * protocol_limits.SEGMENT == held.size and prefix_digest(leaves) == held.digest
        self._cache.begin(found, bytes(leaves))
        return bytes(leaves) if agreed else b""

    def _chunks(self, found: SourceEntry, leaves: bytes) -> Generator[Message, None, bytes]:
        """Send the bytes of a file behind the segments with these `leaves`; return its digest."""
        digest = FileDigest(found.entry.size, leaves)
        offset = len(leaves) // protocol_limits.DIGEST * protocol_limits.SEGMENT
        self.spared += offset
        if not leaves:
            self._cache.begin(found, b"")
        with open_source(found) as source:
            for piece in source.read_pieces(lambda: self._chunk_size.chunk, offset):
                known = len(digest.leaves)
                digest.add(piece)
                if len(digest.leaves) > known:
                    self._cache.add_leaves(found, bytes(digest.leaves[known:]))
                if isinstance(piece, int):
                    yield Hole(found.index, offset, piece)
                    offset += piece
                else:
                    yield Data(found.index, offset, piece)
                    offset += len(piece)
                if self._rejections.has(found):
                    raise SourceFailed(Reason.NOT_WANTED)
        return digest.digest()
