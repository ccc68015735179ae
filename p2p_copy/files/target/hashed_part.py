"""A large file that is being received: each byte goes to its part on the disk and into its digest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_copy.files import limits
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.digest import FileDigest

if TYPE_CHECKING:
    from p2p_copy.files.target.resume import PartialFile
    from p2p_copy.files.target.target import Target
    from p2p_copy.protocol.manifest import Item


class HashedPart:
    """One file, from its first byte to `publish` or `discard`. Every method raises what `Target` raises.

    With `held` it continues behind what is already here of the file. It never acts on another entry's file.
    """

    def __init__(self, target: Target, item: Item, held: PartialFile | None) -> None:
        self._files = target.files
        self._resume = target.resume
        self._item = item
        self._digest = FileDigest(item.entry.size, held.leaves if held else b"")
        self._part = self._files.begin(item, held)

    def add(self, piece: bytes | memoryview | int) -> None:
        """Append bytes, or a hole of so many bytes."""
        leaves, flushed = len(self._digest.leaves), self._part.flushed
        self._digest.add(piece)
        self._part.add(piece)
        if len(self._digest.leaves) > leaves:
            self._resume.record_leaves(self._item, bytes(self._digest.leaves[leaves:]))
            self._resume.record_flushed(self._item, self._part.flushed // protocol_limits.SEGMENT)
        if self._part.flushed > flushed:
            # A flush may take seconds. Commit now: what is written next must not be newer than the last commit.
            self._resume.commit_if_due(limits.JOURNAL_BYTES)

    def digest(self) -> bytes:
        """Return the digest of the file, once all of it is here."""
        return self._digest.digest()

    def publish(self) -> None:
        """Give the file its name."""
        self._files.publish(self._item)

    def discard(self) -> None:
        """Delete what is here of the file."""
        self._files.discard(self._item)
