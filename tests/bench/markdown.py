"""Writes reports in Markdown: tables, and the machine and versions that figures depend on."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench import proc

if TYPE_CHECKING:
    from collections.abc import Sequence

KIB_OF_MIB = 1024


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; all columns but the first are aligned to the right."""
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, rule, *rows))


def number(value: float) -> str:
    """Return a number with three significant digits, or more before the point."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def median(values: Sequence[float]) -> str:
    """Return the median of values, with the lowest and the highest."""
    middle = number(statistics.median(values))
    return f"{middle} ({number(min(values))}-{number(max(values))})" if len(values) > 1 else middle


def mib(kib: float) -> float:
    return kib / KIB_OF_MIB


class Machine:
    """The machine, and how much processor time other programs took during the measurement."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._others = _others()

    def about(self, programs: Sequence[str] = ()) -> str:
        """Return a paragraph; `programs` are those whose versions matter."""
        others = (_others() - self._others) / (time.monotonic() - self._began)
        versions = [f"Python {platform.python_version()}", *filter(None, map(_version, programs))]
        return (
            f"{time.strftime('%Y-%m-%d %H:%M')}, {_model()}, {os.cpu_count()} cores for all processes together, "
            f"loopback, {platform.system()} {platform.release()}; {', '.join(versions)}. Other programs took "
            f"{others:.0%} of one core meanwhile."
        )


def _others() -> float:
    """Return the processor time that all other programs have used up to now."""
    ours = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return proc.all_processor_seconds() - sum(each.ru_utime + each.ru_stime for each in ours)


def _model() -> str:
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    models = [
        line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name")
    ]
    return models[0] if models else platform.machine()


def _version(program: str) -> str:
    """Return the first line of what a program prints as its version."""
    words = [program, "-V"] if Path(program).name == "ssh" else [program, "--version"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    lines = (done.stdout or done.stderr).splitlines() if done.returncode == 0 else []
    return lines[0].strip() if lines else ""


def say(text: str, *, to_people: bool = False) -> None:
    """Write a line to the report, or to the person who waits for it."""
    (sys.stderr if to_people else sys.stdout).write(f"{text}\n")
    (sys.stderr if to_people else sys.stdout).flush()
