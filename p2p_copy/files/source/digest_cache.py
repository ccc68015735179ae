"""What a sender remembers of the files that it has read: digests, so that nothing is read again only to be compared.

They are good for a file as long as it is the one that was read: the same device, inode, size and time.
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
    """A journal as a sender uses it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._waiting: list[
            tuple[SourceEntry, bytes]
        ] = []  # most transfers are done before anybody wants it noted

    def digest(self, found: SourceEntry) -> bytes | None:
        """Return the digest of a file that was read whole, if that is known."""
        self.note()
        done = self._journal.done(_key(found))
        return done.digest if done is not None and done.identity == _identity(found) else None

    def leaves(self, found: SourceEntry) -> bytes:
        """Return the digests of the segments that were read of a file so far, joined."""
        begun = self._journal.begun(_key(found))
        return begun.leaves if begun is not None and begun.identity == _identity(found) else b""

    def whole(self, found: SourceEntry, digest: bytes) -> None:
        """Remember the digest of a file."""
        self._waiting.append((found, digest))

    def note(self) -> None:
        """Let the journal have what is remembered here."""
        waiting, self._waiting = self._waiting, []
        for found, digest in waiting:
            self._journal.set_done(_key(found), Done(_identity(found), digest, "", False))

    def begin(self, found: SourceEntry, leaves: bytes) -> None:
        """Note that a large file is under way, and what is known of it."""
        self._journal.begin(_key(found), Begun(_identity(found), "", leaves, 0))

    def add_leaves(self, found: SourceEntry, leaves: bytes) -> None:
        """Note the digests of segments that follow those noted before."""
        self._journal.add_leaves(_key(found), leaves)

    def commit(self, size: int) -> None:
        """Make what was noted durable if that is due, after `size` more bytes were said."""
        if self._journal.add_work(size):
            self.note()
            self._journal.commit()


def _key(found: SourceEntry) -> bytes:
    return key_of(found.inner_path)


def _identity(found: SourceEntry) -> bytes:
    return _IDENTITY.pack(*found.identity)
