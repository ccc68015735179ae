"""The goals for speed: ratios of our medians to those of other programs, and processor time for each GiB."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.bench.bare import Bare
from tests.bench.contestants import Ours, Rival
from tests.bench.markdown import median, number
from tests.bench.pairings import MANY
from tests.bench.secure_shell import Rsync

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.bench.arena import Results
    from tests.bench.pairings import Pairings
    from tests.bench.runs import Run

LEAST = 1e-9
"""The least value of a divisor."""

HEADS = ("", "ours", "beside", "ratio", "goal", "reached")


@dataclass(frozen=True, slots=True)
class Bar:
    """What a ratio, or a figure of ours, must be."""

    value: float
    is_least: bool
    """If true, `value` at least; else at most."""

    def row(self, title: str, ours: str, beside: str, reached: float) -> list[str]:
        done = reached >= self.value if self.is_least else reached <= self.value
        sign = ">=" if self.is_least else "<="
        return [title, ours, beside, f"{reached:.2f}", f"{sign} {self.value}", "yes" if done else "no"]


def least(value: float) -> Bar:
    return Bar(value, is_least=True)


def most(value: float) -> Bar:
    return Bar(value, is_least=False)


def seconds(run: Run) -> float:
    return run.seconds


def sender_seconds(run: Run) -> float:
    return run.sender.seconds


def relay_processor(run: Run) -> float:
    assert run.relay is not None
    return run.relay.processor


def goal_rows(results: Results, pairings: Mapping[int, Sequence[Pairings]], gib: float) -> list[list[str]]:
    """Return the rows of the goals of which all was measured; the large file has `gib` GiB."""

    def beside(
        title: str, work: str, other: str, figure: Callable[[Run], float], bar: Bar, *, faster: bool = False
    ) -> list[list[str]]:
        """Return the row of a figure of ours by that of another program; with `faster` the other way round."""
        runs = results.get(work, {})
        if not runs.get(Ours.name) or not runs.get(other):
            return []
        ours, theirs = ([figure(run) for run in runs[who]] for who in (Ours.name, other))
        ratio = max(statistics.median(ours), LEAST) / max(statistics.median(theirs), LEAST)
        return [bar.row(title, median(ours), f"{other}: {median(theirs)}", 1 / ratio if faster else ratio)]

    rival = Rival.name
    return [
        *beside("1 GiB, ws: s", "gib-ws", Bare.name, seconds, least(0.85), faster=True),
        *beside("large random file, ws: s", "large-ws", rival, seconds, least(2.7), faster=True),
        *beside("1 GiB, wss on both legs: s", "gib-wss", Bare.name, seconds, least(0.92), faster=True),
        *beside("relay, ws: CPU s", "large-ws", rival, relay_processor, most(0.42)),
        *beside("relay, wss: CPU s; with OpenSSL 3.5", "large-wss", rival, relay_processor, most(0.8)),
        *beside("many files of 4 KiB, ws: s", "small", rival, seconds, least(6.5), faster=True),
        *beside("many files of 4 KiB, ws: s", "small", Rsync.name, seconds, most(0.8)),
        *_per_gib(results, gib),
        *beside("`send` of one byte, receiver waiting: s", "one-byte", rival, sender_seconds, most(0.6)),
        *_at_once(pairings),
    ]


def _per_gib(results: Results, gib: float) -> list[list[str]]:
    """Return the rows of what our clients take for each GiB beyond their start, which is that of one byte."""
    large, start = (results.get(work, {}).get(Ours.name, []) for work in ("large-ws", "one-byte"))
    if not large or not start:
        return []

    def processor(side: Callable[[Run], float], bar: Bar, title: str) -> list[str]:
        begun = statistics.median(map(side, start))
        taken = [(side(run) - begun) / gib for run in large]
        return bar.row(title, median(taken), f"start: {number(begun)}", statistics.median(taken))

    def received(run: Run) -> float:
        assert run.receiver is not None
        return run.receiver.processor

    return [
        processor(lambda run: run.sender.processor, most(0.55), "sender, ws: CPU s per GiB without start"),
        processor(received, most(0.8), "receiver, ws: CPU s per GiB without start"),
    ]


def _at_once(pairings: Mapping[int, Sequence[Pairings]]) -> list[list[str]]:
    if not pairings.get(1) or not pairings.get(MANY):
        return []
    one, many = ([each.rate / 2**20 for each in pairings[count]] for count in (1, MANY))
    slow = [1000 * each.pair_p99 for each in pairings[MANY]]
    return [
        least(1.0).row(
            f"{MANY} pairings at once: MiB/s",
            median(many),
            f"one: {median(one)}",
            statistics.median(many) / max(statistics.median(one), LEAST),
        ),
        most(100).row(
            "meanwhile, time to pair: ms, 99th percentile", median(slow), "", statistics.median(slow)
        ),
    ]
