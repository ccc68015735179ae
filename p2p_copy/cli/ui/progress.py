"""Shows a transfer's progress and result to the user.

On a terminal there is one live line, elsewhere a plain line every few seconds: both say how much, how fast and how much
time is left. `show` only stores facts or writes a line. `draw` is called at regular intervals, so the rate falls to
zero when nothing moves.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from p2p_copy.api import events
from p2p_copy.cli import limits
from p2p_copy.cli.ui.display import displayed, one_line, with_options
from p2p_copy.protocol.escape import escape
from p2p_copy.units import amount, duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from p2p_copy.api.report import Report
    from p2p_copy.cli.ui.announcement import Announcement
    from p2p_copy.cli.ui.terminal import Terminal


class Progress:
    """Shows one transfer."""

    def __init__(self, terminal: Terminal, *, sends: bool) -> None:
        """Show on `terminal` the transfer, in which this side sends or receives."""
        self._terminal = terminal
        self._verb, self._peer = ("Sent", "receiver") if sends else ("Received", "sender")
        self._announcement = ""
        self._is_vital = False
        self._meter = Meter()
        self._state = self._before_stall = ""
        self._paired = False
        self._since: float | None = None
        self._progress = events.Progress()
        self._moved = 0  # bytes moved over earlier connections of this run
        self._problems = self._skipped = 0
        self._last_plain: float | None = None
        self._question = ""

    is_full = False
    """Whether so much waits to be read that `show` should not be called: never, it writes few results."""

    def start(self, announcement: Announcement | None) -> None:
        """Write what the receiver's user must know once this side is connected: before that the code is of no use."""
        if announcement is not None:
            self._announcement = "\n".join(announcement.lines)
            self._is_vital = announcement.is_vital

    def show(self, event: events.Event) -> None:
        """Show an event, or store what it says for the next line."""
        say = self._terminal.say
        match event:
            case events.Progress():
                self._take(event)
            case events.Connecting(relay):
                say(f"Connecting to {escape(relay)}.")
            case events.Waiting(relay):
                self._wait_at(escape(relay))
            case events.Paired():
                self._pair()
            case events.Asked():
                say("Asking the receiver whether to accept.")
                self._begin("Waiting for the receiver's answer", paired=False)
            case events.Accepted():
                self._begin("Transferring", paired=True)
            case events.NotAccepted(seconds):
                say(f"The receiver declined. The code stays valid for {duration(seconds)}.")
                self._begin(self._state, paired=False)
            case events.Resumed(size):
                self._progress = replace(self._progress, resumed=size)
            case events.Stalled(sentence, seconds):
                say(f"{sentence} for {duration(seconds)}.")
                if self._state != "Stalled":
                    self._before_stall, self._state = self._state, "Stalled"
            case events.Moving():
                say("Data is moving again.")
                if self._state == "Stalled":
                    self._state = self._before_stall
            case events.Reconnecting(sentence, seconds):
                say(f"{with_options(one_line(sentence))} Reconnecting for up to {duration(seconds)}.")
                self._begin("Reconnecting", paired=False)
            case events.Problem(path, reason):
                self._problems += 1
                if self._problems <= limits.PROBLEM_LINES:  # in spite of `--quiet`
                    self._terminal.error(f"Not delivered: {displayed(path)} {with_options(reason)}")
            case events.Skipped(path):
                self._skipped += 1
                if self._skipped <= limits.PROBLEM_LINES:
                    say(f"Skipped, exists already: {displayed(path)}")
            case events.Notice(sentence):
                say(with_options(sentence))
            case events.Verifying():
                self._state = "Verifying"
            case events.Missed(count):
                say(f"... {count} messages about this transfer were dropped")

    def _wait_at(self, relay: str) -> None:
        """Say which side this one waits for, where, and since when."""
        if self._announcement:
            (self._terminal.result if self._is_vital else self._terminal.hint)(self._announcement)
        self._announcement = ""
        self._state = f"Waiting for the {self._peer}"
        host = relay.rpartition("://")[2]
        self._terminal.say(f"{self._state} ({host}, since {time.strftime('%H:%M')}).")

    def _pair(self) -> None:
        """Show that both sides are connected, and count from 0 again, as each connection does.

        The receiver has the code by now, so it no longer matters if this side could not write it anywhere.
        """
        if self._is_vital:
            self._is_vital = False
            self._terminal.forgive_lost_results()
        self._terminal.say("Connected. Codes match.")
        self._begin("Transferring", paired=True)
        self._moved = self._moved_by(self._progress.size)
        self._progress = replace(self._progress, files=0, size=0, resumed=0, links=1)
        self._meter = Meter()

    def _begin(self, state: str, *, paired: bool) -> None:
        """Show this state from now on: with rate and size if `paired`, else with the time since it began."""
        self._state, self._paired, self._since = state, paired, None

    def _take(self, progress: events.Progress) -> None:
        """Store how far the transfer is; show the total if a question is open."""
        self._progress = progress
        if self._question and progress.total_files is not None and progress.total_size is not None:
            self._terminal.error(f"\nTotal: {progress.total_files} files, {amount(progress.total_size)}.")
            self._terminal.prompt(self._question)

    def notice(self, sentence: str) -> None:
        """Show a sentence of the command line."""
        self._terminal.say(sentence)

    @contextmanager
    def asking(self, question: str) -> Iterator[None]:
        """Show a question, and draw nothing over it until it is answered."""
        self._question = question
        self._terminal.prompt(question)
        try:
            yield
        finally:
            self._question = ""

    def _moved_by(self, size: int) -> int:
        """Return how many bytes this run has moved, given that the receiver has `size`."""
        return self._moved + max(size - self._progress.resumed, 0)

    # --- The clock ---

    def draw(self, now: float) -> None:
        """Show the state of the transfer; called every `limits.DRAW_INTERVAL` seconds with a clock's time.

        Raises:
            BrokenPipeError: the reader of the code has closed its pipe.
            ResultNotWritten: the code could not be written.

        """
        if self._is_vital:
            self._terminal.check()
        if not self._state or self._question:
            return
        if self._since is None:
            self._since = self._last_plain = now
        if not self._paired:
            self._terminal.live(f"{self._state}, {duration(now - self._since)}")
            return
        self._meter.add(now, self._moved_by(self._progress.size))
        if self._terminal.is_live:
            self._terminal.live(self._line())
        elif self._last_plain is None or now - self._last_plain >= limits.PLAIN_PROGRESS_INTERVAL:
            self._last_plain = now
            self._terminal.say(self._line())

    def _line(self) -> str:
        rate, so_far = self._meter.rate, self._progress
        size, files = so_far.total_size, so_far.total_files
        if size is None:
            parts = [amount(so_far.size), f"{so_far.files} files", f"{amount(rate)}/s"]
        else:
            left = max(size - so_far.size, 0)
            parts = [
                f"{100 * so_far.size // size if size else 100:3d} %",
                f"{amount(so_far.size)} of {amount(size)}",
                f"{so_far.files} of {files} files",
                f"{amount(rate)}/s",
                f"{duration(left / rate)} left" if rate else "",
            ]
        if so_far.links > 1:
            parts.append(f"{so_far.links} connections")
        return "  ".join(filter(None, [f"{self._state}:", *parts]))

    # --- The end ---

    def close(self) -> None:
        """Remove the live line, and say how many paths were not named."""
        self._terminal.wipe()
        if self._problems > limits.PROBLEM_LINES:
            self._terminal.error(f"... and {self._problems - limits.PROBLEM_LINES} more not delivered.")
        if self._skipped > limits.PROBLEM_LINES:
            self._terminal.say(f"... and {self._skipped - limits.PROBLEM_LINES} more skipped.")

    def done(self, report: Report) -> None:
        """Show the result. Both sides show the same digest of the same transfer."""
        moved = min(self._moved_by(report.size), report.size)
        rate = moved / report.seconds if report.seconds > 0 else 0.0
        there = f", {amount(report.size - moved)} of it already there," if moved < report.size else ""
        files = "1 file" if report.files == 1 else f"{report.files} files"
        excluded = f" Excluded by --only or --exclude: {report.excluded}." if report.excluded else ""
        same = f" {report.up_to_date} of {files} were already up to date." if report.up_to_date else ""
        self._terminal.say(
            f"{self._verb} {files}, {amount(report.size)}{there} in {report.seconds:.1f} s ({amount(rate)}/s), "
            f"digest {report.root[: limits.DIGEST_DIGITS]}.{same}{excluded}"
        )


class Meter:
    """The rate over the last `limits.RATE_WINDOW` seconds."""

    def __init__(self) -> None:
        """Start without samples, at a rate of 0."""
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, now: float, size: int) -> None:
        """Add a sample: `size` bytes in all at this time in seconds."""
        self._samples.append((now, size))
        # One sample from before the window stays: with rare samples there would be no rate without it.
        while len(self._samples) > 2 and self._samples[1][0] <= now - limits.RATE_WINDOW:
            self._samples.popleft()

    @property
    def rate(self) -> float:
        """Bytes per second; 0 before there are two samples."""
        if len(self._samples) < 2:
            return 0.0
        (then, before), (now, after) = self._samples[0], self._samples[-1]
        return max(after - before, 0) / (now - then) if now > then else 0.0
