"""The large file that is coming in: what is written of it and what is hashed of it stay in step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_copy import limits
from p2p_copy.protocol.digest import FileDigest

if TYPE_CHECKING:
    from p2p_copy.files.target import Holding, Part, Target
    from p2p_copy.protocol.manifest import Item


class Arriving:
    """One file after the other, each from `begin` to `publish` or `discard`. All of it raises what `Target` raises."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._part: Part | None = None
        self._digest = FileDigest(0)

    @property
    def under_way(self) -> bool:
        """Whether a file has begun that is not complete."""
        return self._part is not None

    def begin(self, item: Item, holding: Holding | None) -> None:
        """Begin a file, or go on behind what is held of it."""
        self._digest = FileDigest(item.entry.size, holding.leaves if holding else b"")
        self._part = self._target.begin_file(item, holding)

    def add(self, item: Item, piece: bytes | memoryview | int) -> None:
        """Append bytes, or a hole of so many."""
        assert self._part is not None, "it has begun"
        known, flushed = len(self._digest.leaves), self._part.flushed
        self._digest.add(piece)
        self._part.add(piece)
        if len(self._digest.leaves) > known:
            self._target.kept.add_leaves(item, bytes(self._digest.leaves[known:]))
            self._target.kept.flushed(item, self._part.flushed // limits.SEGMENT)
        if (
            self._part.flushed > flushed
        ):  # it may have taken long; what comes now must not be newer than the journal's word
            self._target.kept.commit(limits.JOURNAL_BYTES)

    def digest(self) -> bytes:
        """Return the digest of a file of which all is here."""
        return self._digest.digest()

    def publish(self) -> None:
        """Give the file its name."""
        self._part = None
        self._target.publish()

    def discard(self) -> None:
        """Throw away what has begun, if something has."""
        self._part = None
        self._target.discard()
