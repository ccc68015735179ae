"""Lets contestants do the same work one after another, and compares what arrived byte for byte."""

from __future__ import annotations

import shutil
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.bench.data import difference, random_file
from tests.bench.markdown import say
from tests.bench.runs import Failed, Run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.bench.contestants import Contestant

Results = dict[str, dict[str, list[Run]]]
"""Runs by work and contestant."""


@dataclass(frozen=True, slots=True)
class Work:
    """Something to do, and who does it."""

    name: str
    title: str
    contestants: Sequence[Contestant]
    make: Callable[[Path], Path] | None
    """Makes the source; without one, nothing is copied and the program shows its help."""
    rounds: int
    amount: float = 0
    unit: str = ""
    """What a speed is of, per second."""
    receiver_waits: bool = False


class Arena:
    """Lets contestants work, and looks at what comes of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.results: Results = defaultdict(lambda: defaultdict(list))
        self.out_of_it: dict[str, str] = {}
        """Why somebody is not in the table."""

    def warm_up(self, contestants: Sequence[Contestant]) -> None:
        """Let everybody copy one byte, so that no program is compiled later, and see who cannot."""
        source = random_file(self._folder / "warm up", 1)
        for contestant in contestants:
            self._copy(contestant, source, None)

    def do(self, work: Work) -> None:
        source = work.make(self._folder / "source") if work.make else None
        for turn in range(work.rounds):
            for contestant in work.contestants:
                if contestant.name not in self.out_of_it:
                    say(f"{work.title}, round {turn + 1}: {contestant.name}", to_people=True)
                    self._copy(contestant, source, work)
        if source:
            _remove(source)

    def _copy(self, contestant: Contestant, source: Path | None, work: Work | None) -> None:
        logs, out = self._folder / "logs", self._folder / "out"
        logs.mkdir()
        out.mkdir()
        try:
            if source is None:
                run = contestant.help(logs)
            else:
                run = contestant.copy(source, out, logs, receiver_waits=bool(work and work.receiver_waits))
                if (wrong := difference(source, out / source.name)) is not None:
                    raise Failed(f"the copy is not the same: {wrong!r}")
            if work:
                self.results[work.name][contestant.name].append(run)
        except Failed as failed:
            self.out_of_it[contestant.name] = str(failed)
            say(f"{contestant.name} is out of it: {failed}", to_people=True)
        finally:
            _remove(logs)
            _remove(out)


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()
