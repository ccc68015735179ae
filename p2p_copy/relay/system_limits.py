"""Finds out what the operating system allows this process: connections, memory, and processors."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from p2p_copy.relay import limits

if TYPE_CHECKING:
    from collections.abc import Iterator

if sys.platform != "win32":
    import resource

_PROC: Final = Path("/proc/self/cgroup")
_SYS: Final = Path("/sys/fs/cgroup")


def raise_descriptor_limit() -> None:
    """Let this process open as many files as its user may. For programs that are a relay and nothing else."""
    if sys.platform != "win32":
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with suppress(OSError, ValueError):  # macOS says "infinity" and does not mean it
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connections_allowed() -> int | None:
    """Return how many connections there may be, so that some descriptors are left; None for any number."""
    if sys.platform != "win32":
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY:
            return int(soft * limits.DESCRIPTORS_SHARE)
    return None


def default_budget() -> int:
    """Return how many bytes all pairings may hold unless the operator says otherwise."""
    found = memory_allowed()
    return limits.LEAST_MEMORY if found is None else max(limits.LEAST_MEMORY, found // limits.MEMORY_SHARE)


def memory_allowed(groups: Path = _PROC, mounted: Path = _SYS) -> int | None:
    """Return the least of the machine's memory and the limits of the control groups; None if neither is known.

    Args:
        groups: the file that names the control groups of this process (cgroups(7)).
        mounted: where they are mounted.

    """
    found = list(_of_groups(groups, mounted))
    if sys.platform != "win32":
        with suppress(ValueError, OSError):
            found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min((number for number in found if number > 0), default=None)


def processors_allowed(groups: Path = _PROC, mounted: Path = _SYS) -> int:
    """Return how many processors this process may use: the least of its own and its control groups' limits, at least 1.

    The arguments are those of `memory_allowed`. Of control groups those of version 2 are read (`cpu.max`).
    """
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = []
    with suppress(OSError, ValueError):
        lines = groups.read_text("utf-8", "replace").splitlines()
        (group,) = (line[3:] for line in lines if line.startswith("0::"))
        folder = mounted / group.lstrip("/")
        for each in (folder, *folder.parents):
            with suppress(OSError, ValueError):  # the word for no limit is "max"
                quota, period = (each / "cpu.max").read_text().split()
                quotas.append(int(quota) // int(period))
            if each == mounted:
                break
    return max(1, min((own, *quotas)))


def _of_groups(groups: Path, mounted: Path) -> Iterator[int]:
    with suppress(OSError):
        for line in groups.read_text("utf-8", "replace").splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            root = mounted / "memory" if controllers else mounted
            names = ("memory.limit_in_bytes",) if controllers else ("memory.max", "memory.high")
            folder = root / group.lstrip("/")  # in a container it may be the name of another name space
            while True:
                for name in names:
                    with suppress(OSError, ValueError):  # the word for no limit is "max"
                        yield int((folder / name).read_text())
                if folder == root or root not in folder.parents:
                    break
                folder = folder.parent
