"""A large file that is coming in: what is written of it and what is hashed of it stay in step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_copy.files import limits
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.digest import FileDigest

if TYPE_CHECKING:
    from p2p_copy.files.target.target import PartialFile, Target
    from p2p_copy.protocol.manifest import Item


class Arriving:
    """One file, from its beginning to `publish` or `discard`. All of it raises what `Target` raises.

    It begins behind what is held of it, if that is given. It belongs to one entry, and so does all that it does.
    """

    def __init__(self, target: Target, item: Item, holding: PartialFile | None) -> None:
        self._target = target
        self._item = item
        self._digest = FileDigest(item.entry.size, holding.leaves if holding else b"")
        self._part = target.begin_file(item, holding)

    def add(self, piece: bytes | memoryview | int) -> None:
        """Append bytes, or a hole of so many."""
        known, flushed = len(self._digest.leaves), self._part.flushed
        self._digest.add(piece)
        self._part.add(piece)
        if len(self._digest.leaves) > known:
            self._target.kept.add_leaves(self._item, bytes(self._digest.leaves[known:]))
            self._target.kept.flushed(self._item, self._part.flushed // protocol_limits.SEGMENT)
        if (
            self._part.flushed > flushed
        ):  # it may have taken long; what comes now must not be newer than the journal's word
            self._target.kept.commit(limits.JOURNAL_BYTES)

    def digest(self) -> bytes:
        """Return the digest of a file of which all is here."""
        return self._digest.digest()

    def publish(self) -> None:
        """Give the file its name."""
        self._target.publish(self._item)

    def discard(self) -> None:
        """Throw away what is here of it."""
        self._target.discard(self._item)
