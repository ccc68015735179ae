"""The goals for speed and memory: ratios of our medians to those of other programs."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.bench.contestants import Ours, Rival
from tests.bench.markdown import median, mib
from tests.bench.secure_shell import Rsync

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.arena import Results
    from tests.bench.runs import Run

LEAST = 1e-9
"""The least value of a divisor."""


@dataclass(frozen=True, slots=True)
class Goal:
    """One goal: the ratio of a figure of ours to that of another program."""

    title: str
    work: str
    rival: str
    figure: Callable[[Run], float]
    bar: float
    faster: bool
    """If true, the rival's figure divided by ours must be `bar` at least; else ours by the rival's `bar` at most."""

    def row(self, results: Results) -> list[str] | None:
        """Return the row of the table; None if this was not measured."""
        runs = results.get(self.work, {})
        if not runs.get(Ours.name) or not runs.get(self.rival):
            return None
        ours, rival = ([self.figure(run) for run in runs[who]] for who in (Ours.name, self.rival))
        ratio = statistics.median(ours) / max(statistics.median(rival), LEAST)
        ratio = 1 / max(ratio, LEAST) if self.faster else ratio
        reached = ratio >= self.bar if self.faster else ratio <= self.bar
        bar = f"{'>=' if self.faster else '<='} {self.bar}"
        return [
            self.title,
            median(ours),
            f"{self.rival}: {median(rival)}",
            f"{ratio:.2f}",
            bar,
            "yes" if reached else "no",
        ]


def goals(gib: float) -> list[Goal]:
    """Return the goals; the large file has `gib` GiB."""

    def seconds(run: Run) -> float:
        return run.seconds

    def sender_seconds(run: Run) -> float:
        return run.sender.seconds

    def relay_processor(run: Run) -> float:
        assert run.relay is not None
        return run.relay.processor / gib

    def relay_peak(run: Run) -> float:
        assert run.relay is not None
        return mib(run.relay.peak)

    rival = Rival.name
    return [
        Goal("large random file, ws: s", "large-ws", rival, seconds, 3.0, True),
        Goal("large random file, wss on both legs: s", "large-wss", rival, seconds, 2.5, True),
        Goal("many files of 4 KiB, ws: s", "small", rival, seconds, 6.0, True),
        Goal("many files of 4 KiB, ws: s", "small", Rsync.name, seconds, 1.0, True),
        Goal("relay, ws: CPU s per GiB", "large-ws", rival, relay_processor, 0.5, False),
        Goal("relay, wss: CPU s per GiB", "large-wss", rival, relay_processor, 0.5, False),
        Goal("relay, ws: peak memory, MiB", "large-ws", rival, relay_peak, 0.8, False),
        Goal("relay, wss: peak memory, MiB", "large-wss", rival, relay_peak, 0.8, False),
        Goal("start: `p2p-copy --help`, s", "help", rival, sender_seconds, 0.7, False),
        Goal("start: `send` of one byte, receiver waiting, s", "one-byte", rival, sender_seconds, 0.7, False),
    ]
