"""The queue of records that wait to be sent. A channel has one, however many links it has."""

from __future__ import annotations

from collections import deque

import anyio
import trio

from p2p_copy.peer import limits


class Backlog:
    """A queue of records with room for `limits.PIPELINE`.

    A sender adds its records first and then waits for room. So they go out whether or not that wait is cancelled, and
    at most one batch of each sender is in the queue beyond its room.

    Attributes:
        dropped: records were dropped, because nothing goes out any more.

    """

    def __init__(self) -> None:
        self._records: deque[bytes] = deque()
        self._changed = trio.lowlevel.ParkingLot()  # for senders: there is room, or no way any more
        self._filled = trio.lowlevel.ParkingLot()  # for the writer
        self._failure: Exception | None = None
        self.dropped = False

    def __len__(self) -> int:
        return len(self._records)

    @property
    def first(self) -> bytes:
        """The record that goes out next."""
        return self._records[0]

    def add(self, *records: bytes) -> None:
        """Add records behind all others; or raise what has ended the backlog, and add nothing."""
        self.check()
        self._records.extend(records)
        self._filled.unpark()

    def pop(self) -> bytes:
        """Take the first record out."""
        record = self._records.popleft()
        self._changed.unpark_all()
        return record

    def fail(self, error: Exception) -> None:
        """Drop all records: nothing goes out any more. Every sender is told `error`; only the first one counts."""
        self._failure = self._failure or error
        self.dropped = self.dropped or bool(self._records)
        self._records.clear()
        self._changed.unpark_all()

    def close(self) -> None:
        """End the backlog from this side, without an error for what is left."""
        self._records.clear()
        self.fail(anyio.ClosedResourceError())

    def check(self) -> None:
        """Raise what has ended the backlog, if it has ended."""
        if self._failure is not None:
            raise self._failure

    async def wait_for_room(self) -> None:
        """Wait until no more records are here than there is room for, or raise what ended the backlog meanwhile."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while len(self._records) > limits.PIPELINE:
            await self._changed.park()
            self.check()

    async def wait_until_empty(self) -> None:
        """Wait until all records are gone: taken by a link, or dropped."""
        while self._records:
            await self._changed.park()

    async def wait_for_records(self) -> None:
        """Wait until there are records, or until `wake`; for one writer."""
        if not self._records:
            await self._filled.park()

    def wake(self) -> None:
        """Let the writer look again."""
        self._filled.unpark_all()
