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
    """Finds and records digests in a sender's journal."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    def digest(self, found: SourceEntry) -> bytes | None:
        """Return the digest of a whole file, None if it is not known."""
        done = self.journal.done(_key(found))
        return done.digest if done is not None and done.identity == _identity(found) else None

    def leaves(self, found: SourceEntry) -> bytes:
        """Return the digests of the segments of a file that are known, joined."""
        begun = self.journal.begun(_key(found))
        return begun.leaves if begun is not None and begun.identity == _identity(found) else b""

    def set_digest(self, found: SourceEntry, digest: bytes) -> None:
        """Record the digest of a whole file."""
        self.journal.set_done_later(_sent, found, digest)

    def begin(self, found: SourceEntry, leaves: bytes) -> None:
        """Record that a large file is being sent, and the digests of its first segments."""
        self.journal.begin(_key(found), Begun(_identity(found), "", leaves, 0))


def _sent(found: SourceEntry, digest: bytes) -> tuple[bytes, Done]:
    return _key(found), Done(_identity(found), digest, "", False)


def _key(found: SourceEntry) -> bytes:
    return key_of(found.inner_path)


def _identity(found: SourceEntry) -> bytes:
    return _IDENTITY.pack(*found.identity)
