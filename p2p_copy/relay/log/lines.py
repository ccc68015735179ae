"""Turns events into lines of the log: text for people, JSON for machines, and few lines in a flood.

Rules:
1. One event is one line, handed on at once. Characters that cannot be printed are written as escapes.
2. Of equal lines, `limits.LOG_REPEATS` are written in `limits.LOG_WINDOW` seconds, or one if their event is `summed`.
   The rest is counted, and summed up in one line at the end of that time. Events that are `single` are always written.
   Lines that differ only in the pairing or in addresses are equal.
3. A log that cannot be written stops nothing: the function that gets the lines does not wait. Lines that are lost are
   counted, and the count is a line of the log.
"""

from __future__ import annotations

import json
import logging
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import trio

from p2p_copy.relay import limits
from p2p_copy.relay.log.events import DROPPED
from p2p_copy.relay.log.redact import LOGGER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from p2p_copy.relay.log.events import Event

_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.DEBUG, 7))
"""The priority of sd-daemon(3) that a line of at least this level has."""


def configure(
    write: Callable[[str], object],
    *,
    level: int = logging.INFO,
    as_json: bool = False,
    journal: bool = False,
) -> Lines:
    """Pass lines about the relay's events from `level` on to `write`, which must not wait, and silence the libraries.

    With `journal`, each line begins with its priority, and has no time: the journal has its own.
    """
    handler = Lines(write, _Json() if as_json else _Text(timed=not journal), journal=journal)
    for old in LOGGER.handlers[:]:
        LOGGER.removeHandler(old)
    LOGGER.addHandler(handler)
    LOGGER.setLevel(level)
    LOGGER.propagate = False
    # At DEBUG this library logs every message, and the payload of pings.
    logging.getLogger("trio-websocket").setLevel(logging.WARNING)
    return handler


def escaped(text: str) -> str:
    """Return a text in which control characters, line ends and the like are escapes."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


class Lines(logging.Handler):
    """Makes lines of events, and sums up floods. Without `attend` a sum waits for the next event."""

    def __init__(
        self,
        write: Callable[[str], object],
        formatter: logging.Formatter,
        *,
        journal: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin. `clock` returns seconds."""
        super().__init__()
        self._write = write
        self.setFormatter(formatter)
        self._journal = journal
        self._clock = clock
        self._began = clock()
        self._seen: dict[str, tuple[logging.LogRecord, int]] = {}

    def format(self, record: logging.LogRecord) -> str:
        """Return the whole line."""
        line = super().format(record)
        if not self._journal:
            return line
        priority = next(priority for level, priority in _PRIORITIES if record.levelno >= level)
        return f"<{priority}>{line}"

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or count it."""
        if self._clock() - self._began >= limits.LOG_WINDOW:
            self.sum_up()
        event = getattr(record, "event", None)
        if event is None or event.single:
            self._hand_on(record)
            return
        line = event.text_of_many % _facts(record)
        _, count = self._seen.get(line, (record, 0))
        self._seen[line] = record, count + 1
        if count < _written(event):
            self._hand_on(record)

    def sum_up(self) -> None:
        """Write the sums of lines that were only counted, and count from zero again."""
        seconds = round(self._clock() - self._began)
        seen, self._seen, self._began = self._seen, {}, self._clock()
        for record, count in seen.values():
            more = count - _written(record.event)  # type: ignore[attr-defined]  # those without one are not counted
            if more > 0:
                self._hand_on(_sum(record, {"more": more, "seconds": seconds}))

    async def attend(self) -> None:
        """Sum up every `limits.LOG_WINDOW` seconds, until cancelled."""
        while True:
            await trio.sleep(limits.LOG_WINDOW)
            self.sum_up()

    def close(self) -> None:
        """Sum up for the last time."""
        self.sum_up()
        super().close()

    def describe(self, count: int) -> str:
        """Return the line that tells how many lines were lost: the disk was full, or no program has read them."""
        return self.format(DROPPED.record((), count=count)) + "\n"

    def _hand_on(self, record: logging.LogRecord) -> None:
        try:
            self._write(self.format(record) + "\n")
        except Exception:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the base class' name
        """Leave out a line that cannot be made, so that the relay goes on."""


def _written(event: Event) -> int:
    """Return how many of the same line are written before they are only counted."""
    return 1 if event.summed else limits.LOG_REPEATS


def _sum(record: logging.LogRecord, more: dict[str, int]) -> logging.LogRecord:
    """Return the record of a line that stands for many: it names no client, no pairing and no worker."""
    event: Event = record.event  # type: ignore[attr-defined]  # records without one are not counted
    facts = {name: value for name, value in _facts(record).items() if name != "pairing"}
    summed = event.record((), **facts)
    summed.msg, summed.created = event.text_of_many, record.created
    summed.more, summed.worker = more, None
    return summed


def _facts(record: logging.LogRecord) -> Mapping[str, Any]:
    return record.args if isinstance(record.args, dict) else {}


class _Text(logging.Formatter):
    """For people: the time with its distance from UTC, the level, the text."""

    def __init__(self, *, timed: bool) -> None:
        super().__init__()
        self._timed = timed

    def format(self, record: logging.LogRecord) -> str:
        line = record.getMessage()
        if self._timed:
            at = datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="seconds")
            line = f"{at} {record.levelname.lower()} {line}"
        if worker := getattr(record, "worker", None):
            line += f" (worker {worker})"
        if addresses := getattr(record, "addresses", None):
            line += f" [{', '.join(addresses)}]"
        if more := getattr(record, "more", None):
            line += f" ... {more['more']} more of these in {more['seconds']} s"
        return escaped(line)


class _Json(logging.Formatter):
    """For machines: one object a line, in ASCII, the same keys first."""

    def format(self, record: logging.LogRecord) -> str:
        event = getattr(record, "event", None)
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "event": event.name if event else "other",
            "text": record.getMessage(),
        }
        line |= _facts(record)
        if addresses := getattr(record, "addresses", None):
            line["addresses"] = addresses
        if worker := getattr(record, "worker", None):
            line["worker"] = worker
        return json.dumps(line | getattr(record, "more", {}))
