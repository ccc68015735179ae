"""Turns what a transfer reports into events, for any number of readers.

1. Each reader has a queue of its own. The transfer never waits for a reader.
2. A `Progress` replaces one that is the last in a queue. All other events are kept, in order.
3. A queue has at most `MOST_WAITING` events. For those that come while it is full it gets one `Missed`.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Final

import trio

from p2p_copy.api import events
from p2p_copy.api.report import MOST_FAILURES
from p2p_copy.errors import Failure
from p2p_copy.observer import Observer
from p2p_copy.value import replace

MOST_WAITING: Final = 10_000
"""Events that wait for one reader: two megabytes or so."""

EVENTS_A_TURN: Final = 64
"""Events that a reader takes at once: a turn of Trio's loop costs more than showing an event."""

logger: Final = logging.getLogger("p2p_copy")


class EventQueue:
    """Events that wait for one reader. Used by Trio's thread only."""

    def __init__(self) -> None:
        self._events: deque[events.Event] = deque()
        self._ended = False
        self._changed = trio.Event()
        self._turn = 0  # events since other tasks had their turn

    def put(self, event: events.Event) -> None:
        """Add an event; this never waits."""
        waiting = self._events
        last = waiting[-1] if waiting else None
        if isinstance(event, events.Progress) and isinstance(last, events.Progress):
            waiting[-1] = event
        elif len(waiting) < MOST_WAITING:
            waiting.append(event)
        elif isinstance(last, events.Missed):
            waiting[-1] = events.Missed(last.count + 1)
        else:
            waiting[-1] = events.Missed(2)
        self._changed.set()

    def close(self) -> None:
        """End the queue: what waits can still be read."""
        self._ended = True
        self._changed.set()

    async def get(self) -> events.Event | None:
        """Return the next event; None at the end. Other tasks have their turn after `EVENTS_A_TURN`, and at the end."""
        self._turn = (self._turn + 1) % EVENTS_A_TURN
        if not self._turn or not self._events:
            await trio.lowlevel.checkpoint()
        while not self._events and not self._ended:
            self._changed = trio.Event()
            await self._changed.wait()
        return self._events.popleft() if self._events else None


class Publisher(Observer):
    """Observes one transfer."""

    def __init__(self) -> None:
        """Begin. The first reader gets all events, also those before it began to read."""
        self._failures: dict[str, Failure] = {}  # by path: of this connection, which tells all of them anew
        self._earlier: dict[str, Failure] = {}  # of the connection before, if this one only says goodbye
        self._first: EventQueue | None = EventQueue()
        self._queues = [self._first]
        self._progress = self._published = events.Progress()
        self._resumed = False  # this connection's `Resumed` is published
        self._ended = False
        self._relay = ""  # where the two sides are

    def reader(self) -> EventQueue:
        """Return a queue: for the first reader one with all events, for others one with the events from now on."""
        first, self._first = self._first, None
        if first is not None:
            return first
        queue = EventQueue()
        if self._ended:
            queue.close()
        self._queues.append(queue)
        return queue

    def close(self) -> None:
        """End all queues: the transfer is over."""
        self._ended = True
        for queue in self._queues:
            queue.close()

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The first entries that were not delivered."""
        return tuple((self._failures or self._earlier).values())

    def _publish(self, event: events.Event) -> None:
        for queue in self._queues:
            queue.put(event)

    def _proceed(self, progress: events.Progress) -> None:
        self._progress = progress
        if progress != self._published:
            self._published = progress
            self._publish(progress)

    # What the transfer reports, in the usual order

    def connecting(self, relay: str, proxy: str | None = None) -> None:
        """Publish it."""
        self._publish(events.Connecting(relay, proxy))

    def waiting(self, relay: str, seconds: float) -> None:
        """Publish it."""
        self._publish(events.Waiting(relay, seconds))

    def met_at(self, relay: str) -> None:
        """Note it for `Paired`."""
        self._relay = relay

    def notice(self, sentence: str) -> None:
        """Publish it."""
        logger.info("%s", sentence)
        self._publish(events.Notice(sentence))

    def lost(self, sentence: str, patience: float, pause: float) -> None:
        """Publish it."""
        logger.info("%s Next try in %.0f s, for %.0f s more.", sentence, pause, patience)
        self._publish(events.Reconnecting(sentence, patience, pause))

    def stalled(self, sentence: str, seconds: float) -> None:
        """Publish it."""
        logger.info("%s for %.0f s.", sentence, seconds)
        self._publish(events.Stalled(sentence, seconds))

    def moving(self) -> None:
        """Publish it."""
        self._publish(events.Moving())

    def paired(self, words: tuple[str, str], peer_verifies: bool) -> None:
        """Publish it. Each connection counts from the beginning."""
        self._progress = replace(self._progress, files=0, size=0, resumed=0, links=1, path="")
        self._resumed = False
        self._earlier, self._failures = self._failures or self._earlier, {}
        self._publish(events.Paired(words, peer_verifies, self._relay))

    def asked(self) -> None:
        """Publish it."""
        self._publish(events.Asked())

    def accepted(self) -> None:
        """Publish it."""
        self._publish(events.Accepted())

    def declined(self, wait: float) -> None:
        """Publish it."""
        self._publish(events.NotAccepted(wait))

    def links(self, count: int) -> None:
        """Publish it with the progress."""
        self._proceed(replace(self._progress, links=count))

    def total(self, files: int, size: int) -> None:
        """Publish it with the progress."""
        self._proceed(replace(self._progress, total_files=files, total_size=size))

    def spared(self, size: int) -> None:
        """Publish it, the first time in a connection as an event of its own, then with the progress."""
        if size and not self._resumed:
            self._resumed = True
            self._publish(events.Resumed(size))
        self._progress = replace(self._progress, resumed=size)

    def progress(self, files: int, size: int, path: str = "") -> None:
        """Publish it."""
        self._proceed(replace(self._progress, files=files, size=size, path=path))

    def problem(self, path: str, sentence: str) -> None:
        """Publish it, and keep it for the report."""
        if len(self._failures) < MOST_FAILURES:
            self._failures[path] = Failure(path, sentence)
        self._publish(events.Problem(path, sentence))

    def skipped(self, path: str) -> None:
        """Publish it."""
        self._publish(events.Skipped(path))

    def deleted(self, path: str) -> None:
        """Publish it."""
        self._publish(events.Deleted(path))

    def verifying(self) -> None:
        """Publish it."""
        self._publish(events.Verifying())
