"""Tables in Markdown, and the facts without which a figure says nothing."""

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
    """Return a number with the digits that say something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def median(values: Sequence[float]) -> str:
    """Return the median of some values, with the least and the most of them."""
    middle = number(statistics.median(values))
    return f"{middle} ({number(min(values))}-{number(max(values))})" if len(values) > 1 else middle


def mib(kib: float) -> float:
    return kib / KIB_OF_MIB


class Machine:
    """Where and when it was measured, and how quiet it was from the beginning of the measurement to its end."""

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
    """Return the processor time of all that is none of this measurement, up to now."""
    ours = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return proc.all_processor_seconds() - sum(each.ru_utime + each.ru_stime for each in ours)


def _model() -> str:
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    models = [
        line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name")
    ]
    return models[0] if models else platform.machine()


def _version(program: str) -> str:
    """Return the first line that a program says of its version."""
    words = [program, "-V"] if Path(program).name == "ssh" else [program, "--version"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    lines = (done.stdout or done.stderr).splitlines() if done.returncode == 0 else []
    return lines[0].strip() if lines else ""


def say(text: str, *, to_people: bool = False) -> None:
    """Write to the report; to people who wait for it, instead."""
    (sys.stderr if to_people else sys.stdout).write(f"{text}\n")
    (sys.stderr if to_people else sys.stdout).flush()
