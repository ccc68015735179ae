"""Makes the data that benchmarks copy, in memory if there is space, and compares the copies byte for byte."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

KIB, MIB, GIB = 2**10, 2**20, 2**30

MEMORY = Path("/dev/shm")
"""Linux keeps files below it in memory, so no disk is measured."""

FOLDER_FILES = 1000
"""Small files in one directory."""

_PIECE = 1 * MIB


@contextmanager
def workspace(need: int) -> Iterator[Path]:
    """Yield a new directory, in memory if there is space for `need` bytes, and remove it."""
    with tempfile.TemporaryDirectory(prefix="p2p-copy-bench-", dir=_in_memory(need)) as folder:
        yield Path(folder)


def _in_memory(need: int) -> Path | None:
    if not MEMORY.is_dir():
        return None
    meminfo = Path("/proc/meminfo").read_text(encoding="ascii")
    (available,) = (line.split()[1] for line in meminfo.splitlines() if line.startswith("MemAvailable:"))
    room = min(shutil.disk_usage(MEMORY).free, int(available) * KIB)
    return MEMORY if room >= need else None


def touch_memory(folder: Path, size: int) -> None:
    """Fill memory once, so that the machine below this one has it, and the first program need not wait for that."""
    path = folder / "touched"
    piece = bytes(_PIECE)
    with path.open("wb") as file:
        for _ in range(0, size, _PIECE):
            file.write(piece)
    path.unlink()


def random_file(path: Path, size: int) -> Path:
    """Make a file of random bytes, which cannot be compressed."""
    with path.open("wb") as file:
        for start in range(0, size, _PIECE):
            file.write(os.urandom(min(_PIECE, size - start)))
    return path


def small_files(top: Path, count: int, size: int) -> Path:
    """Make a tree of small random files."""
    for number in range(count):
        folder = top / f"folder {number // FOLDER_FILES}"
        if number % FOLDER_FILES == 0:
            folder.mkdir(parents=True)
        (folder / f"file {number}").write_bytes(os.urandom(size))
    return top


def difference(source: Path, copy: Path) -> str | None:
    """Return the first path at which a copy of a file or of a tree differs; None if there is none."""
    ours, theirs = _files(source), _files(copy)
    if ours != theirs:
        return min(ours ^ theirs)
    return next((name for name in sorted(ours) if not _same(source / name, copy / name)), None)


def _files(top: Path) -> set[str]:
    """Return the files below a directory by their relative paths; a file's own is empty."""
    if not top.is_dir():
        return {""}
    return {
        os.path.relpath(os.path.join(folder, name), top)
        for folder, _, names in os.walk(top)
        for name in names
    }


def _same(one: Path, other: Path) -> bool:
    with one.open("rb", buffering=0) as first, other.open("rb", buffering=0) as second:
        while piece := first.read(_PIECE):
            if second.read(_PIECE) != piece:
                return False
        return not second.read(1)
