"""Shows a transfer's phases, progress and result to the user.

On a terminal there is one live line, as wide as the terminal is at that moment. Elsewhere a phase is a line, and how
far the transfer is comes as a line every few seconds. `show` only stores facts or writes a line. `draw` is called at
regular intervals, so that times go on and the rate falls to zero when nothing moves.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import contextmanager
from enum import Enum, auto
from typing import TYPE_CHECKING

import trio

from p2p_copy import escape
from p2p_copy.api import events
from p2p_copy.cli import limits
from p2p_copy.cli.ui.display import displayed, one_line, with_options
from p2p_copy.cli.ui.live_line import Bar, fields_of, first_that_fits, moving_line, retry_lines
from p2p_copy.cli.ui.summary import Undelivered, summary
from p2p_copy.units import amount, count, duration, part_of
from p2p_copy.value import replace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from p2p_copy.api.report import Report
    from p2p_copy.cli.ui.announcement import Announcement
    from p2p_copy.cli.ui.terminal import Terminal


class Phase(Enum):
    """What a transfer does."""

    CONNECTING = auto()
    WAITING = auto()
    COMPARING = auto()
    ASKING = auto()
    MOVING = auto()
    VERIFYING = auto()
    RECONNECTING = auto()


class Progress:
    """Shows one transfer."""

    def __init__(self, terminal: Terminal, *, sends: bool) -> None:
        """Show on `terminal` the transfer, in which this side sends or receives."""
        self._terminal = terminal
        self._sends = sends
        self._peer, self._there = ("receiver", "at the receiver") if sends else ("sender", "here")
        self._announcement = self._picture = ""
        self._is_vital = False
        self._bar: Bar | None = None
        self._meter = Meter()
        self._phase: Phase | None = None
        self._since: float | None = None  # when it was first drawn
        self._is_stalled = False
        self._relay = self._until = ""
        self._relays: set[str] = set()  # all that this side has tried
        self._met_at = ""
        self._loss: events.Reconnecting | None = None  # until both sides have met again
        self._resumes = False  # there was a loss before, in this run or an earlier one
        self._has_news = False  # the user is to be told how much is there already
        self._progress = events.Progress()
        self._moved = 0  # bytes moved over earlier connections of this run
        self._undelivered = Undelivered()
        self._last_plain: float | None = None
        self._question = ""
        self._words: tuple[str, str] | None = None
        self._paired_again = trio.Event()

    is_full = False
    """Whether so much waits to be read that `show` should not be called: never, it writes few results."""

    def start(self, announcement: Announcement | None) -> None:
        """Write what the receiver's user must know once this side is connected: before that the code is of no use."""
        if announcement is not None:
            self._announcement, self._picture = "\n".join(announcement.lines), announcement.picture
            self._is_vital = announcement.is_vital

    def show(self, event: events.Event) -> None:
        """Show an event, or store what it says for the next line."""
        say = self._terminal.say
        match event:
            case events.Progress():
                self._take(event)
            case events.Connecting(relay, proxy):
                self._connect(escape(relay if proxy is None else f"{relay} through {proxy}"))
            case events.Waiting(relay, seconds):
                self._wait_at(escape(relay), seconds)
            case events.Paired():
                self._pair(event)
            case events.Asked():
                self._begin(Phase.ASKING, f"Waiting for the {self._peer} to accept.")
            case events.Accepted():
                self._begin(Phase.MOVING)
            case events.NotAccepted(seconds):
                say(f"The receiver declined. You can use the same code again for {duration(seconds)}.")
            case events.Resumed(size):
                self._progress = replace(self._progress, resumed=size)
                self._has_news = True
            case events.Stalled(sentence, seconds):
                say(f"{sentence} for {duration(seconds)}.")
                self._is_stalled = True
            case events.Moving():
                say("The transfer is moving again.")
                self._is_stalled = False
            case events.Reconnecting():
                self._lose(event)
            case events.Problem(path, reason):
                self._terminal.detail(f"Not delivered: {displayed(path)} {with_options(reason)}")
                self._undelivered.add(path, reason)
            case events.Skipped(path):
                self._terminal.detail(f"Skipped (already exists): {displayed(path)}")
                self._undelivered.skip(path)
            case events.Deleted(path):
                self._undelivered.delete(path)
            case events.Notice(sentence):
                say(with_options(sentence))
            case events.Verifying():
                self._say_what_is_there()
                self._begin(Phase.VERIFYING)
            case events.Missed(number):
                say(f"... {count(number, 'message')} about this transfer dropped")

    def _begin(self, phase: Phase, sentence: str = "") -> None:
        """Show this phase from now on, on a terminal by the live line and elsewhere by a sentence."""
        self._phase, self._since, self._is_stalled = phase, None, False
        if sentence and not self._terminal.is_live:
            self._terminal.say(sentence)

    def _connect(self, relay: str) -> None:
        self._relays.add(relay)
        if self._phase is Phase.WAITING:  # at another one already
            self._terminal.detail(f"Connecting to {relay}.")
            return
        self._relay = relay
        if self._loss is None:  # a try to reconnect is no news: the live line has its time
            self._begin(Phase.CONNECTING, f"Connecting to {relay}.")
        else:
            self._terminal.detail(f"Connecting to {relay}.")

    def _wait_at(self, relay: str, seconds: float) -> None:
        """Show which side this one waits for, where, and until when."""
        if self._announcement:
            (self._terminal.result if self._is_vital else self._terminal.hint)(self._announcement)
        if self._picture:
            self._terminal.error(self._picture)
        self._announcement = self._picture = ""
        host = _host(relay)
        if self._phase is Phase.WAITING:
            self._relay = f"{self._relay}, {host}"
            self._terminal.detail(f"Waiting at {host}, too.")
            return
        self._relay, self._until = host, _time_of_day(seconds)
        self._begin(Phase.WAITING, f"Waiting for the {self._peer} at {self._relay} until {self._until}.")

    def _pair(self, paired: events.Paired) -> None:
        """Show that both sides are connected, and count from 0 again, as each connection does.

        The receiver has the code by now, so it no longer matters if this side could not write it anywhere.
        """
        if self._is_vital:
            self._is_vital = False
            self._terminal.forgive_lost_results()
        words = " ".join(paired.words)
        relay = _host(escape(paired.relay))
        through = f" through {relay}" if len(self._relays) > 1 and relay != self._met_at else ""
        self._met_at = relay
        met = f"Connected{through}; the codes match. Both sides show: {words}."
        self._terminal.say(f"Reconnected{through}." if self._loss else met)
        self._loss = self._last_plain = None
        self._begin(Phase.MOVING)
        if paired.peer_verifies:
            self._terminal.error(f"The {self._peer} is asked whether you see the words {words}. Tell them.")
            self._begin(Phase.COMPARING)
        self._words = paired.words
        self._paired_again.set()
        self._paired_again = trio.Event()
        self._undelivered.begin_again()
        self._moved = self._moved_by(self._progress.size)
        self._progress = replace(self._progress, files=0, size=0, resumed=0, links=1, path="")
        self._has_news = False  # this connection has its own numbers
        self._meter = Meter()

    async def until_shown(self, words: tuple[str, str]) -> None:
        """Wait until these words of a connection are shown: events come a little later than what they are about."""
        with trio.move_on_after(limits.DRAW_INTERVAL):
            while self._words != words:
                await self._paired_again.wait()

    def _lose(self, loss: events.Reconnecting) -> None:
        """Say once that the other side or the relay was lost; each further try changes the live line only."""
        is_first, self._loss = self._loss is None, loss
        self._resumes = True
        self._begin(Phase.RECONNECTING)
        why = with_options(one_line(loss.sentence))
        if is_first:
            self._last_plain = None
            self._terminal.say(f"{why} Reconnecting; will keep trying for {duration(loss.seconds)}.")
        else:
            self._terminal.detail(f"{why} Next try in {duration(loss.pause)}.")

    def _take(self, progress: events.Progress) -> None:
        """Store how far the transfer is; show the total if a question is open."""
        if progress.links != self._progress.links:
            self._terminal.detail(f"Using {count(progress.links, 'connection')}.")
        self._progress = progress
        if self._phase is Phase.COMPARING:  # its answer was yes
            self._begin(Phase.MOVING)
        if self._question and progress.total_files is not None and progress.total_size is not None:
            total = f"{count(progress.total_files, 'file')}, {amount(progress.total_size)}"
            self._terminal.error(f"Total: {total}.")

    def resume(self, sentence: str) -> None:
        """Show a sentence that says which transfer of an earlier run goes on."""
        self._resumes = True
        self._terminal.say(sentence)

    def notice(self, sentence: str) -> None:
        """Show a sentence of the command line."""
        self._terminal.say(sentence)

    @contextmanager
    def asking(self, question: str) -> Iterator[None]:
        """Show a question, and draw nothing over it until it is answered."""
        self._question = question
        try:
            with self._terminal.asking(question):
                yield
        finally:
            self._question = ""

    def _moved_by(self, size: int) -> int:
        """Return how many bytes this run has moved, given that the receiver has `size`."""
        return self._moved + max(size - self._progress.resumed, 0)

    # --- The clock ---

    @property
    def lacks_bar(self) -> bool:
        """Whether `load_bar` is to be called, in a thread, before the next `draw`."""
        return self._phase is Phase.MOVING and self._terminal.is_live and self._bar is None

    def load_bar(self) -> None:
        """Import what draws a bar, which takes a tenth of a second."""
        self._bar = Bar(self._terminal.encoding)

    def draw(self, now: float) -> None:
        """Show the phase of the transfer; called every `limits.DRAW_INTERVAL` seconds with a clock's time.

        Raises:
            BrokenPipeError: the reader of the code has closed its pipe.
            ResultNotWritten: the code could not be written.

        """
        if self._is_vital:
            self._terminal.check()
        if self._phase is None or self._question:
            return
        if self._since is None:
            self._since = now
        if self._phase is Phase.MOVING:
            self._say_what_is_there()
            self._meter.add(now, self._moved_by(self._progress.size))
        if self._terminal.is_live:
            self._terminal.live(*self._live_line(now - self._since, self._terminal.columns - 1))
        elif self._terminal.wants_progress:
            self._draw_plain(now, now - self._since)

    def _draw_plain(self, now: float, lasted: float) -> None:
        """Say how far the transfer is, if the last such line is long ago."""
        if self._last_plain is None:
            self._last_plain = now
        since_last = now - self._last_plain
        if self._phase is Phase.MOVING and since_last >= limits.PLAIN_PROGRESS_INTERVAL:
            self._last_plain = now
            state = "Stalled" if self._is_stalled else "Transferring"
            parts = (forms[0].strip() for forms in fields_of(self._progress, self._meter.rate))
            self._terminal.say(f"{state}: {', '.join(parts)}")
        elif self._loss and since_last >= limits.PLAIN_RECONNECT_INTERVAL:
            self._last_plain = now
            self._terminal.say(retry_lines(self._loss, lasted, limits.PATH_COLUMNS)[0])

    def _say_what_is_there(self) -> None:
        """Say once in a connection how much the receiver has from before it.

        If nothing was interrupted, these are files that are up to date: the summary tells of them.
        """
        if self._has_news and self._resumes:
            self._has_news = False
            there, size = self._progress.resumed, self._progress.total_size
            how_much = amount(there) if size is None else part_of(there, size)
            self._terminal.say(f"Resumed: {how_much} already {self._there}.")

    def _live_line(self, lasted: float, room: int) -> tuple[str, int]:
        """Return what the live line shows in this room, and its columns."""
        so_far, time_ = self._progress, duration(lasted)
        match self._phase:
            case Phase.CONNECTING:
                return first_that_fits(
                    (f"Connecting to {self._relay} ({time_})", f"Connecting ({time_})"), room
                )
            case Phase.WAITING:
                waiting, until = f"Waiting for the {self._peer}", f"until {self._until} ({time_})"
                at = f"{waiting} at {self._relay} {until}"
                return first_that_fits(
                    (at, f"{waiting} {until}", f"Waiting {until}", f"Waiting, {time_}"), room
                )
            case Phase.COMPARING:
                long = f"Waiting for the {self._peer} to compare the words ({time_})"
                return first_that_fits((long, f"Waiting for an answer ({time_})", f"Waiting, {time_}"), room)
            case Phase.ASKING:
                long = f"Waiting for the {self._peer} to accept ({time_})"
                return first_that_fits((long, f"Waiting for an answer ({time_})", f"Waiting, {time_}"), room)
            case Phase.RECONNECTING if self._loss:
                return first_that_fits(retry_lines(self._loss, lasted, room), room)
            case Phase.VERIFYING:
                what = f"{count(so_far.files, 'file')}, {amount(so_far.size)}"
                return first_that_fits((f"Verifying {what} ({time_})", f"Verifying ({time_})"), room)
        return moving_line(
            so_far,
            self._meter.rate,
            room,
            is_stalled=self._is_stalled,
            encoding=self._terminal.encoding,
            bar=self._bar,
        )

    # --- The end ---

    def close(self) -> None:
        """Remove the live line, and say what no `draw` has said: what was there, was skipped, was not delivered."""
        self._terminal.wipe()
        self._say_what_is_there()
        for line in (*self._undelivered.skips(), *self._undelivered.deletions()):
            self._terminal.say(line)
        for line in self._undelivered.failures():  # in spite of `--quiet`
            self._terminal.error(line)

    def done(self, report: Report) -> None:
        """Show the result. Both sides show the same digest of the same transfer."""
        moved = min(self._moved_by(report.size), report.size)
        self._terminal.say(summary(report, moved, sends=self._sends))


def _host(relay: str) -> str:
    return relay.rpartition("://")[2]


def _time_of_day(seconds: float) -> str:
    """Return the time in so many seconds, with the day if it is not today's."""
    then = time.localtime(time.time() + seconds)
    is_today = then.tm_yday == time.localtime().tm_yday
    return time.strftime("%H:%M" if is_today else "%a %H:%M", then)


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
