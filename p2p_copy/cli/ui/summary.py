"""Says how a transfer ended: what, how much, how long and how fast, what was skipped, and what was not delivered."""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING

from p2p_copy.cli import limits
from p2p_copy.cli.ui.display import displayed, with_options
from p2p_copy.units import amount, count, elapsed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from p2p_copy.api.report import Report


class _Group:
    """Paths with something in common: how many, and the first of them in the order of the alphabet."""

    def __init__(self) -> None:
        self.number = 0
        self.first: list[str] = []

    def add(self, path: str) -> None:
        self.number += 1
        insort(self.first, path)
        del self.first[limits.PROBLEM_LINES :]

    def listed(self, most: int) -> Iterator[str]:
        """Yield a line for each of the first paths."""
        for path in self.first[:most]:
            yield f"  {displayed(path)}"


class Undelivered:
    """What does not arrive, grouped by the reason; of each group only the first paths are kept."""

    def __init__(self) -> None:
        self._groups: dict[str, _Group] = {}
        self._earlier: dict[str, _Group] = {}
        self._skipped = _Group()
        self._deleted = _Group()

    def begin_again(self) -> None:
        """Forget what was told: each connection tells all of it anew, unless it only says goodbye."""
        self._earlier, self._groups = self._groups or self._earlier, {}
        self._skipped = _Group()
        self._deleted = _Group()

    def add(self, path: str, reason: str) -> None:
        """Record a path that is not delivered."""
        self._groups.setdefault(reason, _Group()).add(path)

    def skip(self, path: str) -> None:
        """Record a path that was left as it was, as asked."""
        self._skipped.add(path)

    def delete(self, path: str) -> None:
        """Record a path that was deleted, because the sender does not have it."""
        self._deleted.add(path)

    def deletions(self) -> Iterator[str]:
        """Yield lines that say what was deleted."""
        if self._deleted.number:
            yield f"{count(self._deleted.number, 'entry', 'entries')} deleted that the sender does not have:"
            yield from self._deleted.listed(limits.PROBLEM_LINES)
            if self._deleted.number > limits.PROBLEM_LINES:
                yield f"  and {self._deleted.number - limits.PROBLEM_LINES:,} more"

    def skips(self) -> Iterator[str]:
        """Yield lines that say what was skipped."""
        skipped = self._skipped
        if skipped.number == 1:
            yield f"Skipped (already exists): {displayed(skipped.first[0])}"
        elif skipped.number:
            yield f"{count(skipped.number, 'file')} skipped (already exist):"
            yield from skipped.listed(limits.PROBLEM_LINES)
            if skipped.number > len(skipped.first):
                yield f"  and {skipped.number - len(skipped.first):,} more"

    def failures(self) -> Iterator[str]:
        """Yield lines that name the first paths that were not delivered, and say where the rest is."""
        groups = self._groups or self._earlier
        left = limits.PROBLEM_LINES
        for reason, group in groups.items():
            why = with_options(reason)
            if group.number == 1:
                yield f"Not delivered: {displayed(group.first[0])} {why}"
                left -= 1
                continue
            yield f"Not delivered: {count(group.number, 'file')}. Each {why}:"
            named = group.first[: max(left, 1)]
            left -= len(named)
            yield from group.listed(len(named))
            if group.number > len(named):
                yield f"  and {group.number - len(named):,} more (--receipt FILE lists all)"


def summary(report: Report, moved: int, *, sends: bool) -> str:
    """Return one line with what a side has sent or received; this run has moved so many bytes."""
    there = ""
    if moved < report.size:
        there = f", {amount(report.size - moved)} of it already {'there' if sends else 'here'},"
    rate = f" ({amount(moved / report.seconds)}/s)" if moved and report.seconds > 0 else ""
    same = excluded = ""
    if number := report.up_to_date:
        were = "was" if number == 1 else "were"
        same = f" {number:,} of {count(report.files, 'file')} {were} already up to date."
    if report.excluded:
        excluded = f" Excluded by --only or --exclude: {report.excluded:,}."
    digest = report.root[: limits.DIGEST_DIGITS]
    return (
        f"{'Sent' if sends else 'Received'} {count(report.files, 'file')}, {amount(report.size)}{there} "
        f"in {elapsed(report.seconds)}{rate}, digest {digest}.{same}{excluded}"
    )
