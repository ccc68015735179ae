"""Remembers the digests of files that a sender has read, so that a resumed transfer need not read them again.

A digest counts only for the file that was read: the same device, inode, size and time.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from p2p_copy.files.state.journal import Begun, Done, key_of

if TYPE_CHECKING:
    from p2p_copy.files.source.entry import SourceEntry
    from p2p_copy.files.state.journal import Journal

_IDENTITY: Final = struct.Struct(">QQQq")


class DigestCache:
    """A sender's journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        # Not in the journal yet: most transfers are complete before a commit is due, and never need it.
        self._pending: list[tuple[SourceEntry, bytes]] = []

    def digest(self, found: SourceEntry) -> bytes | None:
        """Return the digest of a whole file, None if it is not known."""
        self.record_pending()
        done = self._journal.done(_key(found))
        return done.digest if done is not None and done.identity == _identity(found) else None

    def leaves(self, found: SourceEntry) -> bytes:
        """Return the digests of the segments of a file that are known, joined."""
        begun = self._journal.begun(_key(found))
        return begun.leaves if begun is not None and begun.identity == _identity(found) else b""

    def set_digest(self, found: SourceEntry, digest: bytes) -> None:
        """Remember the digest of a whole file."""
        self._pending.append((found, digest))

    def record_pending(self) -> None:
        """Move all digests into the journal."""
        pending, self._pending = self._pending, []
        for found, digest in pending:
            self._journal.set_done(_key(found), Done(_identity(found), digest, "", False))

    def begin(self, found: SourceEntry, leaves: bytes) -> None:
        """Record that a large file is being sent, and what is known of it."""
        self._journal.begin(_key(found), Begun(_identity(found), "", leaves, 0))

    def add_leaves(self, found: SourceEntry, leaves: bytes) -> None:
        """Record the digests of the segments that follow."""
        self._journal.add_leaves(_key(found), leaves)

    def commit_if_due(self, size: int) -> None:
        """Commit the records if that is due after `size` more bytes were sent, so that they survive a kill."""
        if self._journal.add_work(size):
            self.record_pending()
            self._journal.commit()


def _key(found: SourceEntry) -> bytes:
    return key_of(found.inner_path)


def _identity(found: SourceEntry) -> bytes:
    return _IDENTITY.pack(*found.identity)
