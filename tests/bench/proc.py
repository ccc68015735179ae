"""Reads from Linux what a process uses: memory, descriptors, processor time."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_LINE = re.compile(r"^(\w+): +(\d+) kB$", re.MULTILINE)
_CPU_FIELDS = slice(11, 13)
"""utime and stime among the fields after the name (proc_pid_stat(5)): it ends with the last parenthesis."""
_CPU_FIELDS_CHILDREN = slice(11, 15)
"""The same, and those of its waited-for children."""


_PARENT_FIELD = 1
"""ppid among these."""


class Memory(NamedTuple):
    """Memory of a process in KiB: what is resident, and what of it no other process shares."""

    resident: int
    private: int


def memory(pid: int) -> Memory:
    """Return the memory of a process."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    kib = {name: int(value) for name, value in _LINE.findall(rollup)}
    return Memory(kib["Rss"], kib["Private_Clean"] + kib["Private_Dirty"])


def peak(pid: int) -> int:
    """Return the peak of a process' resident memory, in KiB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1])


def children(pid: int) -> list[int]:
    """Return the processes that a process has started and not waited for."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            stat = path.read_text(encoding="utf-8", errors="replace")
            if int(stat.rpartition(")")[2].split()[_PARENT_FIELD]) == pid:
                found.append(int(path.parent.name))
    return found


def descriptors(pid: int) -> int:
    """Return how many files and sockets a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def processor_seconds(pid: int, *, children: bool = False) -> float:
    """Return the processor time of a process, with `children` also that of its children that have ended."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    ticks = stat.rpartition(")")[2].split()[_CPU_FIELDS_CHILDREN if children else _CPU_FIELDS]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def kernel_seconds(pid: int, *, children: bool = False) -> float:
    """Return those of the `processor_seconds` that a process spent in the kernel."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    ticks = stat.rpartition(")")[2].split()[_CPU_FIELDS_CHILDREN if children else _CPU_FIELDS]
    return sum(map(int, ticks[1::2])) / os.sysconf("SC_CLK_TCK")


def all_processor_seconds() -> float:
    """Return the processor time of all programs on this machine."""
    line = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0]
    user, nice, system, _idle, _iowait, irq, softirq, steal, *_ = map(int, line.split()[1:])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
