"""The tree that the machines copy. It changes, and `World` knows which contents a file may have at the receiver."""

from __future__ import annotations

import os
import random
import shutil
from typing import TYPE_CHECKING, Final

from p2p_copy.protocol import limits
from p2p_copy.protocol.names import PARTIAL_PREFIX
from p2p_copy.units import KIB
from tests.support.numbers import home_of
from tests.support.trees import leftovers

if TYPE_CHECKING:
    from collections.abc import Container
    from pathlib import Path

    import pytest

CHUNK: Final = 2 * KIB
SEGMENT: Final = 2 * CHUNK
JOURNAL: Final = 2 * SEGMENT
"""Small limits, so that a few KiB make a long transfer."""

LATE: Final = 1000.0
"""Seconds by which a poisoned file is newer than the journal: more than a step of a machine takes."""

SIZES: Final = {
    "empty": 0,
    "first/large": 5 * SEGMENT + 1000,
    "first/one segment": SEGMENT,
    "first/small": 700,
    "second/larger": 7 * SEGMENT,
    "second/small": CHUNK,
    "second/third/tiny": 1,
}
HOMES: Final = "/dev/shm" if os.path.isdir("/dev/shm") else None
"""Directory of the worlds: in memory, if the system has that, because thousands of databases are opened and closed."""

EPOCH: Final = 1_500_000_000


def shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make limits small, and remove what depends on the time of day."""
    for name, value in {
        "SEGMENT": SEGMENT,
        "CHUNK": CHUNK,
        "LEAST_CHUNK": CHUNK,
        "MOST_CHUNK": CHUNK,
        "RECORD_SPARE": 200,
        "RECORD_TARGET": CHUNK + 200,
        "MAX_RECORD_CONTENT": 8 * CHUNK,
        "MAX_RECORD": 8 * CHUNK + limits.RECORD_HEADER + limits.RECORD_TAG,
        "SENDER_PAGE_ENTRIES": 3,
        "MAX_OPEN_ENTRIES": 6,
        "FLUSH_EVERY": 2 * SEGMENT,
        "FSYNC_FROM": SEGMENT,
        "JOURNAL_BYTES": JOURNAL,
        "JOURNAL_INTERVAL": 1e9,
        "JOURNAL_LATE": LATE,
    }.items():
        monkeypatch.setattr(home_of(name), name, value)
    monkeypatch.setattr(os, "fsync", lambda _fd: None)  # there is no power cut


class World:
    """The disks of both machines.

    Attributes:
        source: the tree to be sent.
        out: the output directory.
        states: the directory with the states of both sides, if they keep any.
        versions: every content that a file of the source ever had, by its name in the tree.
        extra: bytes that may be sent once more because a test changed something.

    """

    def __init__(self, root: Path) -> None:
        self.source = root / "tree"
        self.out = root / "out"
        self.copy = self.out / "tree"
        self.states = root / "states"
        self.versions: dict[str, set[bytes]] = {name: set() for name in SIZES}
        self.extra = 0
        self._clock = EPOCH
        self._random = random.Random(7)
        self.out.mkdir()
        for name in SIZES:
            (self.source / name).parent.mkdir(parents=True, exist_ok=True)
            self.change(name, SIZES[name])
        (self.source / "link").symlink_to("first/small")
        self._set_times()

    # At the sender

    def change(self, name: str, size: int, *, in_place: bool = False) -> None:
        """Change the contents of a file."""
        path = self.source / name
        data = self._random.randbytes(size)
        self.extra += 2 * max(size, path.stat().st_size if path.exists() else 0) * bool(self.versions[name])
        self.versions[name].add(data)
        new = path if in_place else self.source.parent / "new"
        new.write_bytes(data)
        self._clock += 10
        os.utime(new, (self._clock, self._clock))
        new.replace(path)
        self._set_times()

    def delete(self, name: str) -> None:
        """Remove a file."""
        self.extra += 2 * SIZES[name]
        (self.source / name).unlink(missing_ok=True)
        self._set_times()

    def _set_times(self) -> None:
        """Set times and modes of directories, so that they are the same in each run."""
        for path in (self.source, *self.source.rglob("*")):
            if path.is_dir() or path.is_symlink():
                os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)

    # At the receiver

    def poison(self, at: int) -> None:
        """Change a byte of each part under way."""
        for part in self.parts():
            data = bytearray(part.read_bytes())
            if data:
                data[at % len(data)] ^= 1
                self.extra += 2 * max(SIZES.values())
                part.write_bytes(data)
                late = part.stat().st_mtime + 10 * LATE
                os.utime(part, (late, late))

    def parts(self) -> list[Path]:
        """Return the parts that lie in the output directory."""
        return sorted(path for path in self.out.rglob("*") if path.name.startswith(PARTIAL_PREFIX))

    def lose(self, name: str) -> None:
        """Remove a file that was received."""
        if (self.copy / name).exists():
            self.extra += 2 * (self.copy / name).stat().st_size
            (self.copy / name).unlink()

    def check(self) -> None:
        """Check that each received file has a content that its source had at some time."""
        for folder, _, files in os.walk(self.out):
            for file in files:
                path = os.path.join(folder, file)
                name = os.path.relpath(path, self.copy)
                if file.startswith(PARTIAL_PREFIX):
                    continue
                if name == "link":
                    assert os.readlink(path) == "first/small"
                    continue
                with open(path, "rb") as its:
                    assert its.read() in self.versions[name], f"{name} has contents that it never had"

    def check_whole(self, refused: Container[str]) -> None:
        """Check that the receiver has exactly the source, but for what it refused, and nothing else."""
        for name in SIZES:
            if name not in refused and (self.source / name).exists():
                ours, theirs = self.source / name, self.copy / name
                assert theirs.exists(), f"{name} is missing"
                assert theirs.read_bytes() == ours.read_bytes(), f"{name} is not as it is at the sender"
                assert theirs.stat().st_mtime_ns == ours.stat().st_mtime_ns
        assert os.readlink(self.copy / "link") == "first/small"
        assert not leftovers(self.out)

    @property
    def size(self) -> int:
        """Bytes of all that is to be sent."""
        return sum((self.source / name).stat().st_size for name in SIZES if (self.source / name).exists())

    def begin_another(self) -> None:
        """Remove what was received, and restore the whole tree."""
        shutil.rmtree(self.out)
        shutil.rmtree(self.states, ignore_errors=True)
        self.out.mkdir()
        self.extra = 0
        for name, size in SIZES.items():
            if not (self.source / name).exists():
                self.change(name, size)
