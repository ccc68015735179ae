"""What docs/performance.md says was measured, read out of the page, so that no figure stands in two places."""

from __future__ import annotations

import re
from dataclasses import dataclass

from docs.figures.theme import DOCS


@dataclass(frozen=True)
class Result:
    """A row of the table.

    Attributes:
        work: what was done.
        program: who did it.
        rate: as it stands in the table; empty if there is none, and only the time counts.
        seconds: as they stand in the table, the median first.

    """

    work: str
    program: str
    rate: str
    seconds: str

    @property
    def label(self) -> str:
        """The figure to compare, with its unit."""
        return self.rate or f"{self.seconds.partition(' ')[0]} s"

    @property
    def value(self) -> float:
        """The same as a number."""
        return float(self.label.partition(" ")[0].replace(",", ""))


def results() -> list[Result]:
    """Read the tables of results in docs/performance.md.

    Raises:
        ValueError: there is none.

    """
    page = (DOCS / "performance.md").read_text("utf-8")
    tables = re.findall(r"^\| work \|[^|]*\| rate \| s \|.*\n\|[-:| ]+\n((?:\|.*\n)+)", page, re.MULTILINE)
    if not tables:
        raise ValueError("docs/performance.md has no table with work, program, rate and seconds")
    rows = ([cell.strip() for cell in line.split("|")[1:]] for table in tables for line in table.splitlines())
    return [Result(work, program, rate, seconds) for work, program, rate, seconds, *_ in rows]
