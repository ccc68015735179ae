"""A large file that is being received: its part on the disk and its digest, fed with the same bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_copy.files import limits
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.digest import FileDigest

if TYPE_CHECKING:
    from p2p_copy.files.target.target import PartialFile, Target
    from p2p_copy.protocol.manifest import Item


class HashedPart:
    """One file, from its first byte to `publish` or `discard`. Every method raises what `Target` raises.

    With `partial` it continues behind what is already here of the file. It never acts on another entry's file.
    """

    def __init__(self, target: Target, item: Item, partial: PartialFile | None) -> None:
        self._target = target
        self._item = item
        self._digest = FileDigest(item.entry.size, partial.leaves if partial else b"")
        self._part = target.begin_file(item, partial)

    def add(self, piece: bytes | memoryview | int) -> None:
        """Append bytes, or a hole of so many bytes."""
        leaves, flushed = len(self._digest.leaves), self._part.flushed
        self._digest.add(piece)
        self._part.add(piece)
        if len(self._digest.leaves) > leaves:
            self._target.kept.add_leaves(self._item, bytes(self._digest.leaves[leaves:]))
            self._target.kept.flushed(self._item, self._part.flushed // protocol_limits.SEGMENT)
        if self._part.flushed > flushed:
            # A flush may take seconds. Commit now: what is written next must not be newer than the last commit.
            self._target.kept.commit(limits.JOURNAL_BYTES)

    def digest(self) -> bytes:
        """Return the digest of the file, once all of it is here."""
        return self._digest.digest()

    def publish(self) -> None:
        """Give the file its name."""
        self._target.publish(self._item)

    def discard(self) -> None:
        """Delete what is here of the file."""
        self._target.discard(self._item)
