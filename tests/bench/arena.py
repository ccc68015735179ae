"""Lets contestants do the same work one after another, and compares what arrived byte for byte."""

from __future__ import annotations

import shutil
import statistics
from collections import defaultdict
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from tests.bench.data import difference, random_file
from tests.bench.markdown import median, mib, number, say, table
from tests.bench.runs import Failed, Run
from tests.bench.watch import watching

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.bench.contestants import Contestant
    from tests.bench.runs import Usage

Results = dict[str, dict[str, list[Run]]]
"""Runs by work and contestant."""


@dataclass(frozen=True, slots=True)
class Work:
    """A work, and the contestants that do it."""

    name: str
    title: str
    contestants: Sequence[Contestant]
    make: Callable[[Path], Path] | None
    """Makes the source; without one, nothing is copied and the program shows its help."""
    rounds: int
    amount: float = 0
    unit: str = ""
    """The unit of a rate, such as MiB/s."""
    gib: float = 0
    """GiB of a large file: its processor time is shown for each."""
    receiver_waits: bool = False
    pairings: int = 1
    watched: bool = False
    """Whether the longest pause is measured, which costs more the smaller the pieces are."""
    prepare: Callable[[], None] = lambda: None
    """Called before the work begins."""


class Arena:
    """Lets contestants work, and keeps their figures."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.results: Results = defaultdict(lambda: defaultdict(list))
        self.missing: dict[str, str] = {}
        """Why a contestant cannot take part."""
        self.failures: dict[tuple[str, str], str] = {}
        """Why a contestant has no figures for a work; by title and contestant."""

    def warm_up(self, contestants: Sequence[Contestant]) -> None:
        """Let all contestants copy one byte, so that Python has compiled each; note which ones cannot."""
        source = random_file(self._folder / "warm up", 1)
        for contestant in contestants:
            try:
                self._copy(contestant, source, pairings=1)
            except Failed as failed:
                self.missing[contestant.name] = str(failed)

    def do(self, work: Work) -> None:
        work.prepare()
        source = work.make(self._folder / "source") if work.make else None
        able = [each for each in work.contestants if each.name not in self.missing]
        for turn in range(work.rounds):
            for contestant in able:
                if (work.title, contestant.name) not in self.failures:
                    say(f"{work.title}, round {turn + 1}: {contestant.name}", to_people=True)
                    self._measure(work, contestant, source)
        if source:
            _remove(source)

    def _measure(self, work: Work, contestant: Contestant, source: Path | None) -> None:
        try:
            with watching(self._folder / "out 0") if work.watched else nullcontext() as watch:
                run = self._copy(contestant, source, work.pairings, receiver_waits=work.receiver_waits)
            if watch:
                run = replace(run, longest_pause=watch.longest_pause)
            self.results[work.name][contestant.name].append(run)
        except Failed as failed:
            self.failures[work.title, contestant.name] = str(failed)
            say(f"{contestant.name} failed: {failed}", to_people=True)

    def _copy(
        self, contestant: Contestant, source: Path | None, pairings: int, *, receiver_waits: bool = False
    ) -> Run:
        logs = self._folder / "logs"
        outs = [self._folder / f"out {number}" for number in range(pairings)]
        for folder in (logs, *outs):
            folder.mkdir()
        try:
            if source is None:
                return contestant.help(logs)
            run = contestant.copy(source, outs, logs, receiver_waits=receiver_waits)
            for out in outs:
                if (wrong := difference(source, out / source.name)) is not None:
                    raise Failed(f"the copy is not the same: {wrong!r}")
            return run
        finally:
            for folder in (logs, *outs):
                _remove(folder)

    def failed(self, name: str) -> bool:
        """Return whether a contestant could not do something."""
        return name in self.missing or any(who == name for _, who in self.failures)

    def table(self, works: Sequence[Work]) -> str:
        """Return a table of what ran, and a sentence for each that did not."""
        per = " per GiB" if any(work.gib for work in works) else ""
        processor = f"CPU s{per}: sender / relay / receiver"
        heads = ["work", "", "rate", "s", processor, "receiver's in the kernel", "peak MiB: the same"]
        if any(work.watched for work in works):
            heads.append("longest pause, s")
        return table(heads, [row for work in works for row in self._rows(work)]) + "\n"

    def absent(self) -> str:
        """Return a sentence for each contestant that could not take part, and each work that failed."""
        lines = [f"Without {name}: {why}." for name, why in self.missing.items()]
        lines += [f"{title}: {name} failed: {why}" for (title, name), why in self.failures.items()]
        return "\n".join(lines)

    def _rows(self, work: Work) -> Iterator[list[str]]:
        for who, runs in self.results.get(work.name, {}).items():
            seconds = [run.sender.seconds if work.receiver_waits else run.seconds for run in runs]
            rate = f"{number(work.amount / statistics.median(seconds))} {work.unit}" if work.amount else ""
            processor = _sides(runs, partial(_per_gib, work))
            kernel = [run.receiver.kernel / (work.gib or 1) for run in runs if run.receiver]
            peak = _sides(runs, lambda used: mib(used.peak))
            pauses = [run.longest_pause for run in runs if run.longest_pause is not None]
            paused = [number(max(pauses))] if pauses else []
            in_kernel = number(statistics.median(kernel)) if kernel else "-"
            yield [work.title, who, rate, median(seconds), processor, in_kernel, peak, *paused]


def _per_gib(work: Work, used: Usage) -> float:
    """Return the processor time for each GiB of a large file, or that of the whole work."""
    return used.processor / (work.gib or 1)


def _sides(runs: Sequence[Run], figure: Callable[[Usage], float]) -> str:
    """Return the median of a figure for sender, relay and receiver."""
    said = []
    for used in ([run.sender for run in runs], [run.relay for run in runs], [run.receiver for run in runs]):
        figures = [figure(each) for each in used if each]
        said.append(number(statistics.median(figures)) if figures else "-")
    return " / ".join(said)


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()
