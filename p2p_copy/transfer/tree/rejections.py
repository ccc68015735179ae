"""Remembers which entries the receiver rejects, as long as that can still change what is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_copy.errors import PeerMisbehaved
from p2p_copy.protocol.messages import Reason

if TYPE_CHECKING:
    from p2p_copy.files.source.entry import SourceEntry


class Rejections:
    """The receiver's `Reject` messages.

    Attributes:
        failures: how many entries the receiver cannot take.
        skips: how many it leaves as they are, because its user wants that.
        unwanted: how many of these its patterns leave out.

    """

    def __init__(self) -> None:
        self.failures = 0
        self.skips = 0
        self.unwanted = 0
        self._count = 0
        self._indices: set[int] = set()
        self._next = 0  # the first entry whose contents were not sent
        self._open: frozenset[int] = frozenset()  # earlier directories that the walk has not finished

    def add(self, index: int, reason: Reason, named: int) -> None:
        """Note that the receiver rejects an entry, after `named` entries were named.

        Raises:
            PeerMisbehaved: there is no such entry, or more were rejected than were named.

        """
        self._count += 1
        if index >= named:
            raise PeerMisbehaved("The receiver speaks of an entry that was never named.")
        if self._count > named:
            raise PeerMisbehaved("The receiver refuses more entries than were named.")
        if reason is Reason.UNMADE:
            return  # an empty directory, which neither side counts
        if self._matters(index):
            self._indices.add(index)
        self.failures += reason.is_failure
        self.skips += not reason.is_failure
        self.unwanted += reason is Reason.EXCLUDED

    def has(self, found: SourceEntry) -> bool:
        """Return whether an entry, or a directory above it, was rejected."""
        return bool(self._indices) and (found.index in self._indices or self.above(found) is not None)

    def above(self, found: SourceEntry) -> SourceEntry | None:
        """Return the rejected directory that an entry lies in, None if there is none."""
        if not self._indices:
            return None
        above = found.parent
        while above is not None and above.index not in self._indices:
            above = above.parent
        return above

    def forget(self, last: SourceEntry) -> None:
        """Drop what changes nothing after the contents of `last`: all but the directories that are still open."""
        open_directories = set()
        above: SourceEntry | None = last
        while above is not None:
            open_directories.add(above.index)
            above = above.parent
        self._open, self._next = frozenset(open_directories), last.index + 1
        self._indices = {index for index in self._indices if self._matters(index)}

    def _matters(self, index: int) -> bool:
        return index >= self._next or index in self._open
