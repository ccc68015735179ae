"""How a transfer looks to the person who waits for it.

On a terminal one live line, elsewhere a plain line now and then: both say how much, how fast and how long
still. The observer's methods only note facts or write a line; `draw` is called by a clock, so the rate
falls to zero when nothing moves.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from p2p_copy.cli import limits
from p2p_copy.cli.ui.display import displayed, one_line
from p2p_copy.observer import Observer
from p2p_copy.protocol.escape import escape
from p2p_copy.units import amount, duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from p2p_copy.cli.ui.terminal import Terminal
    from p2p_copy.observer import Report

_ROOT_DIGITS: Final = 16


class Progress(Observer):
    """Watches one transfer and shows it."""

    def __init__(self, terminal: Terminal, *, verb: str) -> None:
        """Show the transfer on `terminal`; `verb` is what this side will have done: "Sent" or "Received"."""
        self._terminal = terminal
        self._verb = verb
        self._announcement = ""
        self._is_vital = False
        self._meter = Meter()
        self._state = self._before_stall = ""
        self._paired = False
        self._since: float | None = None
        self._files = self._size = 0
        self._spared = 0  # of these bytes, what was there when both sides met
        self._moved = 0  # in earlier meetings of this run
        self._links = 1
        self._total: tuple[int, int] | None = None
        self._problems = self._skipped = 0
        self._last_plain: float | None = None
        self._question = ""

    def announce(self, lines: Sequence[str], *, vital: bool) -> None:
        """Write these lines once the relay has us: only then is the code of any use.

        If they are `vital`, nobody can come who has not read them.
        """
        self._announcement = "\n".join(lines)
        self._is_vital = vital

    # --- Facts, in the order in which they come ---

    def connecting(self, relay: str) -> None:
        """Say who is called."""
        self._terminal.say(f"Connecting to {escape(relay)}.")

    def waiting(self, relay: str) -> None:
        """Say on whom we wait, where, and since when."""
        if self._announcement:
            (self._terminal.result if self._is_vital else self._terminal.hint)(self._announcement)
        self._announcement = ""
        self._terminal.say(
            f"Waiting for the other side at {escape(relay)} since {time.strftime('%H:%M:%S')}."
        )
        self._state = "Waiting for the other side"

    def lost(self, sentence: str, patience: float) -> None:
        """Say what is gone, and for how long this side tries to come back."""
        self._terminal.say(
            f"{one_line(sentence)} Coming back, and going on, for {duration(patience)} if need be."
        )
        self._state = "Coming back"
        self._paired = False
        self._since = None

    def stalled(self, sentence: str, seconds: float) -> None:
        """Say on whom it is."""
        self._terminal.say(f"{sentence} for {duration(seconds)}.")
        if self._state != "Stalled":
            self._before_stall = self._state
        self._state = "Stalled"

    def moving(self) -> None:
        """Say so."""
        self._terminal.say("It moves again.")
        if self._state == "Stalled":
            self._state = self._before_stall

    def notice(self, sentence: str) -> None:
        """Pass it on."""
        self._terminal.say(sentence)

    def paired(self) -> None:
        """Say that the waiting is over: whoever had to read the code has read it."""
        if self._is_vital:
            self._is_vital = False
            self._terminal.waive()
        self._terminal.say("The other side is there and holds the same code.")
        self._state = "Transferring"
        self._paired = True
        self._since = None
        self._links = 1
        self._moved = self._moved_by(self._size)  # each meeting counts from the beginning
        self._files = self._size = self._spared = 0
        self._meter = Meter()

    def links(self, count: int) -> None:
        """Note it, for the line."""
        self._links = count

    def asked(self) -> None:
        """Say on whom it is."""
        self._terminal.say("The receiver is shown what there is, and asked.")
        self._state = "Waiting for the receiver's answer"
        self._paired = False
        self._since = None

    def accepted(self) -> None:
        """Say that it goes on."""
        self._state = "Transferring"
        self._paired = True
        self._since = None

    def declined(self, wait: float) -> None:
        """Say so, and that the code is still good."""
        self._terminal.say(f"The receiver declined. The same code is good for {duration(wait)} more.")
        self._paired = False
        self._since = None

    @contextmanager
    def asking(self, question: str) -> Iterator[None]:
        """Show a question, and draw nothing over it until it is answered."""
        self._question = question
        self._terminal.prompt(question)
        try:
            yield
        finally:
            self._question = ""

    def total(self, files: int, size: int) -> None:
        """Note it, for the percentage and the time left; tell it if a question is open."""
        self._total = (files, size)
        if self._question:
            self._terminal.error(f"\nIn all: {files} files, {amount(size)}.")
            self._terminal.prompt(self._question)

    def spared(self, size: int) -> None:
        """Note it, for the rate."""
        self._spared = size

    def progress(self, files: int, size: int) -> None:
        """Note it."""
        self._files, self._size = files, size

    def _moved_by(self, size: int) -> int:
        """Return how many bytes have been sent in this run, if so many are at the receiver by now."""
        return self._moved + max(size - self._spared, 0)

    def problem(self, path: str, sentence: str) -> None:
        """Name the path, unless too many were named already. These lines are errors."""
        self._problems += 1
        if self._problems <= limits.PROBLEM_LINES:
            self._terminal.error(f"Not delivered: {displayed(path)} {sentence}")

    def skipped(self, path: str) -> None:
        """Name the path, unless too many were named already."""
        self._skipped += 1
        if self._skipped <= limits.PROBLEM_LINES:
            self._terminal.say(f"Left as it was: {displayed(path)}")

    def verifying(self) -> None:
        """Say that only the receipt is missing."""
        self._state = "Verifying"

    # --- The clock ---

    def draw(self, now: float) -> None:
        """Show where things stand; called every `limits.PROGRESS_INTERVAL` seconds with a clock's time.

        Raises:
            BrokenPipeError: whoever was to read the code has gone.
            ResultNotWritten: the code could not be written.

        """
        if self._is_vital:
            self._terminal.check()
        if not self._state or self._question:
            return
        if self._since is None:
            self._since = self._last_plain = now
        if not self._paired:
            self._terminal.live(f"{self._state} for {duration(now - self._since)}")
            return
        self._meter.note(now, self._moved_by(self._size))
        if self._terminal.is_live:
            self._terminal.live(self._line())
        elif self._last_plain is None or now - self._last_plain >= limits.PLAIN_PROGRESS_INTERVAL:
            self._last_plain = now
            self._terminal.say(self._line())

    def _line(self) -> str:
        rate = self._meter.rate
        if self._total is None:
            parts = [amount(self._size), f"{self._files} files", f"{amount(rate)}/s"]
        else:
            files, size = self._total
            left = max(size - self._size, 0)
            parts = [
                f"{100 * self._size // size if size else 100:3d} %",
                f"{amount(self._size)} of {amount(size)}",
                f"{self._files} of {files} files",
                f"{amount(rate)}/s",
                f"{duration(left / rate)} left" if rate else "",
            ]
        if self._links > 1:
            parts.append(f"{self._links} links")
        return "  ".join(filter(None, [f"{self._state}:", *parts]))

    # --- The end ---

    def close(self) -> None:
        """Wipe the live line and count what was not named."""
        self._terminal.wipe()
        if self._problems > limits.PROBLEM_LINES:
            self._terminal.error(f"... and {self._problems - limits.PROBLEM_LINES} more not delivered.")
        if self._skipped > limits.PROBLEM_LINES:
            self._terminal.say(f"... and {self._skipped - limits.PROBLEM_LINES} more left as they were.")

    def done(self, report: Report) -> None:
        """Sum up. Both sides show the same digest of the same transfer."""
        moved = min(self._moved_by(report.size), report.size)
        rate = moved / report.seconds if report.seconds > 0 else 0.0
        there = f", of which {amount(report.size - moved)} were there," if moved < report.size else ""
        files = "1 file" if report.files == 1 else f"{report.files} files"
        excluded = f" Left out by --only or --exclude: {report.excluded}." if report.excluded else ""
        self._terminal.say(
            f"{self._verb} {files}, {amount(report.size)}{there} in {report.seconds:.1f} s ({amount(rate)}/s), "
            f"digest {report.root[:_ROOT_DIGITS]}.{excluded}"
        )


class Meter:
    """The rate over the last `limits.RATE_WINDOW` seconds."""

    def __init__(self) -> None:
        """Begin without a rate."""
        self._notes: deque[tuple[float, int]] = deque()

    def note(self, now: float, size: int) -> None:
        """So much is through in all, at this time in seconds."""
        self._notes.append((now, size))
        # One note from before the window stays, or the rate of a slow clock could not be told.
        while len(self._notes) > 2 and self._notes[1][0] <= now - limits.RATE_WINDOW:
            self._notes.popleft()

    @property
    def rate(self) -> float:
        """Bytes in a second; 0 as long as there is nothing to compare."""
        if len(self._notes) < 2:
            return 0.0
        (then, before), (now, after) = self._notes[0], self._notes[-1]
        return max(after - before, 0) / (now - then) if now > then else 0.0
