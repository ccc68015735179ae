from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from p2p_copy.relay import limits
from p2p_copy.relay.config import RelayConfig
from p2p_copy.relay.system_limits import default_budget, memory_allowed, processors_allowed

if TYPE_CHECKING:
    from pathlib import Path

GIB = 1 << 30


def write(folder: Path, name: str, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text + "\n")


@pytest.fixture
def little(tmp_path: Path) -> tuple[Path, Path]:
    """Return a file that names no control group, and a place where none are mounted."""
    groups = tmp_path / "groups"
    groups.write_text("")
    return groups, tmp_path / "mounted"


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="the system does not tell")
def test_without_groups_it_is_the_machines_memory(little: tuple[Path, Path]) -> None:
    assert memory_allowed(*little) == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("line", "folder", "name"),
    [
        ("0::/system.slice/relay.service", "system.slice/relay.service", "memory.max"),
        ("0::/system.slice/relay.service", "system.slice/relay.service", "memory.high"),
        ("0::/system.slice/relay.service", "system.slice", "memory.max"),
        ("0::/", "", "memory.max"),
        ("0::/../../elsewhere/of/the/host", "", "memory.max"),
        ("7:cpu,memory:/docker/0123", "memory/docker/0123", "memory.limit_in_bytes"),
        ("7:memory:/docker/0123", "memory", "memory.limit_in_bytes"),
    ],
)
def test_the_least_limit_of_a_group_and_those_above_it_counts(
    little: tuple[Path, Path], line: str, folder: str, name: str
) -> None:
    groups, mounted = little
    groups.write_text(f"1:name=systemd:/\n{line}\n")
    write(mounted / "system.slice" / "relay.service", "memory.max", "max")
    write(mounted / folder, name, "123456789")
    assert memory_allowed(groups, mounted) == 123456789


def test_what_makes_no_sense_is_no_limit(little: tuple[Path, Path]) -> None:
    groups, mounted = little
    groups.write_text("0::/a\n")
    unlimited = memory_allowed(groups, mounted)
    write(mounted / "a", "memory.max", "lots")
    write(mounted, "memory.max", "-1")
    assert memory_allowed(groups, mounted) == unlimited


@pytest.mark.parametrize(
    ("allowed", "budget"),
    [(4 * GIB, GIB), (limits.LEAST_MEMORY, limits.LEAST_MEMORY), (None, limits.LEAST_MEMORY)],
)
def test_a_quarter_of_it_is_the_budget_and_never_too_little(
    monkeypatch: pytest.MonkeyPatch, allowed: int | None, budget: int
) -> None:
    monkeypatch.setattr("p2p_copy.relay.system_limits.memory_allowed", lambda: allowed)
    assert default_budget() == budget
    assert RelayConfig("127.0.0.1").max_memory == budget
    assert RelayConfig("127.0.0.1", max_memory=7).max_memory == 7


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit here")
def test_a_relay_raises_its_limit_of_descriptors_and_keeps_some_of_them() -> None:
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 200)); "
        "from p2p_copy.relay.system_limits import connections_allowed, raise_descriptor_limit; "
        "print(connections_allowed()); raise_descriptor_limit(); print(connections_allowed())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["51", "160"]


# Processors


def own_processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.mark.parametrize(
    ("line", "folder", "text", "allowed"),
    [
        ("0::/system.slice/relay.service", "system.slice/relay.service", "100000 100000", 1),
        ("0::/system.slice/relay.service", "system.slice", "150000 100000", 1),
        ("0::/", "", "10000 100000", 1),
        ("0::/../../elsewhere/of/the/host", "", "100000 100000", 1),
        ("0::/", "", "max 100000", None),
        ("0::/", "", "99900000 100000", None),
        ("0::/", "", "nonsense", None),
        ("7:cpu,memory:/docker/0123", "", "100000 100000", None),
    ],
)
def test_processors_are_limited_by_a_group_and_those_above_it(
    little: tuple[Path, Path], line: str, folder: str, text: str, allowed: int | None
) -> None:
    groups, mounted = little
    groups.write_text(f"1:name=systemd:/\n{line}\n")
    write(mounted / folder, "cpu.max", text)
    assert processors_allowed(groups, mounted) == (own_processors() if allowed is None else allowed)


def test_without_groups_they_are_those_of_the_process(little: tuple[Path, Path]) -> None:
    groups, mounted = little
    groups.unlink()
    assert processors_allowed(groups, mounted) == own_processors()
