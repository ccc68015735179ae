"""`p2p-copy relay-load`: loads a relay that allows it, and shows how fast it is.

What was measured until then is shown as well when it is interrupted, or when the relay is gone.
"""

from __future__ import annotations

import math
import os
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from p2p_copy.cli.options.inputs import access_to, relays_of
from p2p_copy.cli.run import run
from p2p_copy.cli.ui.display import one_line
from p2p_copy.cli.ui.errors import DEBUG_VARIABLE
from p2p_copy.cli.ui.terminal import Terminal
from p2p_copy.errors import SystemFailed, UsageError
from p2p_copy.load import limits as load_limits
from p2p_copy.load.coordinator import LoadTest
from p2p_copy.load.plan import NEVER_UNLIMITED
from p2p_copy.relay.system_limits import connections_allowed, raise_descriptor_limit
from p2p_copy.units import amount, count, elapsed
from p2p_copy.version import FULL_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from p2p_copy.cli.options.client import AccessArguments
    from p2p_copy.load.coordinator import Progress
    from p2p_copy.load.plan import LowLimit, Plan
    from p2p_copy.load.report import LoadReport, Times

_STEPS: Final = (
    ("connect", "connect (TCP, TLS, WebSocket)"),
    ("welcome", "hello to welcome"),
    ("pair", "connect to paired"),
    ("round_trip", "round trip"),
)
"""What is timed: the field of the report, and its name for people."""


def relay_load(
    url: str,
    plan: Plan,
    processes: int,
    access: AccessArguments,
    *,
    json: bool,
) -> int:
    """Load the relay at `url`, show what was measured, and return exit code 0.

    Raises:
        UsageError: there is nothing to do, or an address, pin or token has the wrong form or cannot be used.
        SystemFailed: this machine cannot make so much load.
        RelayRefused: the relay does not allow it, or has refused clients.
        RelayLost: connections were lost.
        P2PCopyError: there is no connection to the relay.
        Interrupted: a signal came.

    """
    relays = relays_of(url, ())
    (reached,) = access_to(relays, access, Terminal.standard())
    if not plan.connections:
        raise UsageError("There is no load: --waiters and --pairings are both 0.")
    _check_descriptors(plan, processes)
    test = LoadTest(reached, plan, processes, debug=os.environ.get(DEBUG_VARIABLE) == "1")
    shown = _JsonLoad() if json else _Load(test, plan, processes)
    try:
        run(partial(test.run, shown.begin, shown.show))
    finally:
        if test.welcome is not None:
            shown.end(test.report())
    test.report().raise_for_failures()
    return 0


def _check_descriptors(plan: Plan, processes: int) -> None:
    """Let this process, and those that it starts, open as many files as they need.

    Raises:
        SystemFailed: they may not.

    """
    raise_descriptor_limit()
    allowed = connections_allowed()
    needed = plan.share(0, processes).connections + load_limits.DESCRIPTORS_SPARE
    if allowed is not None and needed > allowed:
        enough = math.ceil(plan.connections / max(allowed - load_limits.DESCRIPTORS_SPARE, 1))
        raise SystemFailed(
            f"Each process needs {needed:,} connections for this load, and may have {allowed:,} here. Raise the limit "
            f"of open files (ulimit -n), or use --processes {enough}."
        )


class _JsonLoad:
    """Shows a load test to a program."""

    def __init__(self) -> None:
        from p2p_copy.cli.ui.json_lines import JsonLines, Started

        self._lines = JsonLines(Terminal.standard(quiet=True))
        self._lines.write(Started(program=FULL_NAME, command="relay-load"))

    def begin(self) -> None:
        """Show nothing."""

    def show(self, progress: Progress) -> None:
        """Show nothing."""

    def end(self, report: LoadReport) -> None:
        """Write the report."""
        self._lines.write(report)


class _Load:
    """Shows a load test to a person."""

    def __init__(self, test: LoadTest, plan: Plan, processes: int) -> None:
        self._terminal = Terminal.standard()
        self._test = test
        self._plan = plan
        self._processes = processes
        self._last = (time.monotonic(), 0)

    def begin(self) -> None:
        """Say what the load will be, and which limits of the relay are too low for it."""
        plan = self._plan
        at = "as fast as it goes" if plan.rate is None else f"at {amount(plan.rate)}/s"
        self._terminal.say(
            f"Load: {count(plan.waiters, 'client waits', 'clients wait')}, {count(plan.pairings, 'pairing')} of "
            f"{amount(plan.size)} each {at}, from {count(self._processes, 'process', 'processes')}. Ctrl-C ends it."
        )
        allowed = self._test.welcome.rate if self._test.welcome is not None else None
        if allowed is not None and (plan.rate is None or allowed < plan.rate):
            self._terminal.say(f"The relay limits each pairing to {amount(allowed)}/s.")
        for low in self._test.low_limits:
            self._terminal.error(_too_low(low))

    def show(self, progress: Progress) -> None:
        """Show how far it is in the live line."""
        now = time.monotonic()
        then, before = self._last
        if now - then < 1:
            return
        self._last = now, progress.received
        phase = "measuring" if progress.is_whole else "clients are coming"
        failed = f", {count(progress.failed, 'failure')}" if progress.failed else ""
        self._terminal.live(
            f"{phase}: {progress.waiting:,} waiting, {count(progress.paired, 'pairing')}, "
            f"{amount((progress.received - before) / (now - then))}/s{failed}"
        )

    def end(self, report: LoadReport) -> None:
        """Show the report."""
        self._terminal.wipe()
        for line in _lines(report):
            self._terminal.result(line)


def _too_low(low: LowLimit) -> str:
    hint = "" if low.option in NEVER_UNLIMITED else " (0 is no limit)"
    return (
        f"The relay will refuse a part of this load: it allows {low.allowed:,} by --{low.option}, and this needs "
        f"{low.needed:,}. To load it with all, start it with a higher number{hint}."
    )


def _lines(report: LoadReport) -> Iterator[str]:
    """Yield the lines of a report for people."""
    if report.is_whole:
        yield f"Measured for {elapsed(report.seconds)}, after all clients had come."
    else:
        yield f"Not all clients had come when it ended, after {elapsed(report.seconds)}. Until then:"
    rows: list[tuple[str, ...]] = [("milliseconds", "times", "50 %", "90 %", "99 %", "longest")]
    for field, name in _STEPS:
        times: Times | None = getattr(report, field)
        if times is not None:
            shown = (f"{1000 * value:,.1f}" for value in (times.p50, times.p90, times.p99, times.longest))
            rows.append((name, f"{times.count:,}", *shown))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *numbers in rows:
        cells = (number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True))
        yield "  ".join((name.ljust(widths[0]), *cells))
    yield (
        f"At once: {report.waiters:,} waiting, {count(report.pairings, 'pairing')}. Dialled again while waiting: "
        f"{report.redials:,}."
    )
    yield (
        f"Moved: {amount(report.received)}, all as sent, by {count(report.completed, 'complete pairing')}; "
        f"{amount(report.rate)}/s."
    )
    busiest = ", the busiest" if report.processes > 1 else ""
    made_by = count(report.processes, "process", "processes")
    yield f"Load made by {made_by}{busiest} at {report.processor:.0%} of a processor."
    if report.is_bottleneck:
        yield (
            "That is too busy to say how fast the relay is: it may be faster than this. Use more --processes, or "
            "another machine than the relay's."
        )
    for failure in report.failures:
        option = f" (--{failure.limit})" if failure.limit else ""
        kind = failure.kind.replace("_", " ").capitalize()
        yield f"{kind}, {count(failure.count, 'time')}{option}: {one_line(failure.sentence)}"
    if not report.failures:
        yield "Nothing failed."
