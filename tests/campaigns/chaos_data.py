"""What the rounds copy, the same each time, and what is not the same about a copy."""

from __future__ import annotations

import os
import random
import stat
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from tests.bench.data import KIB, MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALL = 8 * KIB
"""Bytes of most files at most; one of twenty is empty."""

MEDIUM = (MIB, 3 * MIB)
MEDIUM_ONE_OF = 250
"""One file of so many is of that size."""

FOLDER_ONE_OF, EMPTY_ONE_OF, LINK_ONE_OF = 100, 500, 200
"""There is one of each, and one more for so many files."""

MODES = (0o644, 0o644, 0o644, 0o600, 0o755, 0o444)
FOLDER_MODES = (0o755, 0o755, 0o700, 0o750)
TIMES = (1_000_000_000, 1_700_000_000)
"""Seconds between which things were last changed."""

PREFIX = ".p2p-copy-"
"""Names of what p2p-copy leaves beside files while it is at work."""

KEY_FILE = "p2p-copy.key"
"""What stays in a directory of states: by it the same command finds its state again."""

SPARSE = 16 * MIB
"""Bytes from one mebibyte of contents to the next in a sparse file: each segment has some."""

LONG_NAME = "a name of some sixty-four bytes, as they come out of simulations"
FULL = 1000
"""Files in one directory of those with long paths."""

TINY_ONE_OF = 10
"""Of ten files with long paths one has a few bytes; the others are empty."""

SHOWN = 5
"""Paths of a kind that are named."""

_PIECE = MIB


def make_large(path: Path, size: int) -> None:
    """Make a file that nothing compresses. To be run in a thread, as all that takes long here: it can be cancelled."""
    chance = random.Random(size)
    with path.open("wb") as file:
        for start in range(0, size, _PIECE):
            trio.from_thread.check_cancelled()
            file.write(chance.randbytes(min(_PIECE, size - start)))
    _date(chance, path)


def make_sparse(path: Path, size: int) -> None:
    """Make a file that takes hardly any space: holes, and some contents now and then, which differ everywhere."""
    chance = random.Random(size)
    with path.open("wb") as file:
        for start in range(0, size, SPARSE):
            file.seek(start)
            file.write(chance.randbytes(min(_PIECE, size - start)))
        file.truncate(size)
    _date(chance, path)


def make_long_paths(top: Path, count: int) -> None:
    """Make `count` files, empty ones and tiny ones, whose paths have some three hundred bytes."""
    for number in range(count):
        if number % FULL == 0:
            trio.from_thread.check_cancelled()
            folder = top / f"{number // FULL:06}-{LONG_NAME}" / LONG_NAME / LONG_NAME
            folder.mkdir(parents=True)
        with open(f"{folder}/{number:07}-{LONG_NAME}", "xb") as file:
            if number % TINY_ONE_OF == 0:
                file.write(b"%d" % number)


def make_tree(top: Path, count: int) -> None:
    """Make a tree with `count` files: mostly small ones, in nested directories, with links and empty directories."""
    chance = random.Random(count)
    folders = [top]
    top.mkdir()
    for number in range(1 + count // FOLDER_ONE_OF):
        parent = chance.choice(folders)
        if len(parent.relative_to(top).parts) > 6:
            parent = top
        folder = parent / chance.choice((f"folder {number}", f"ördner-{number}", f"f{number}"))
        folder.mkdir()
        folders.append(folder)
    files = []
    for number in range(count):
        trio.from_thread.check_cancelled()
        path = chance.choice(folders) / chance.choice((f"file {number}.dat", f"{number}", f"ƒile-{number}.☃"))
        size = 0 if chance.random() < 0.05 else chance.randint(1, SMALL)
        path.write_bytes(chance.randbytes(chance.randint(*MEDIUM) if number % MEDIUM_ONE_OF == 7 else size))
        path.chmod(chance.choice(MODES))
        files.append(path)
    for number in range(1 + count // EMPTY_ONE_OF):
        (chance.choice(folders) / f"empty {number}").mkdir()
    for number in range(1 + count // LINK_ONE_OF):
        where, target = chance.choice(folders), chance.choice([*files, *folders[1:]])
        (where / f"link {number}").symlink_to(os.path.relpath(target, where))
    for below, names, others in os.walk(top, topdown=False):
        for name in sorted(names) + sorted(others):
            _date(chance, Path(below, name))
    _date(chance, top)


def _date(chance: random.Random, path: Path) -> None:
    """Set a time, and a directory's mode. What is in a directory has been made before."""
    if path.is_dir() and not path.is_symlink():
        path.chmod(chance.choice(FOLDER_MODES))
    when = chance.randint(*TIMES) * 10**9 + chance.randrange(10**9)
    os.utime(path, ns=(when, when), follow_symlinks=False)


def size_of(top: Path) -> int:
    """Return the bytes in all files."""
    if not top.is_dir():
        return top.stat().st_size
    return sum(path.lstat().st_size for path in top.rglob("*") if stat.S_ISREG(path.lstat().st_mode))


def differences(source: Path, copy: Path) -> list[str]:
    """Return what is not the same: names, kinds, modes, times, targets of links, and each byte.

    Both are walked side by side, and no more than one directory of each level is in memory.
    """
    wrong: dict[str, _Names] = defaultdict(_Names)
    for name, ours, theirs in _side_by_side(source, copy):
        trio.from_thread.check_cancelled()
        if theirs is None:
            wrong["missing"].add(name)
        elif ours is None:
            wrong["more than there should be"].add(name)
        else:
            if _mode(ours) != _mode(theirs):
                wrong["with another mode"].add(name)
            if ours.st_mtime_ns != theirs.st_mtime_ns:
                wrong["with another time"].add(name)
            if _kind(ours) != _kind(theirs):
                wrong["of another kind"].add(name)
            elif not _same(source, copy, name):
                wrong["with other contents"].add(name)
    return [f"{names.count} {what}: {names}" for what, names in wrong.items()]


class _Names:
    """How many names, and the first of them."""

    def __init__(self) -> None:
        self.count = 0
        self._first: list[str] = []

    def add(self, name: str) -> None:
        self.count += 1
        if len(self._first) <= SHOWN:
            self._first.append(name)

    def __str__(self) -> str:
        return _some(self._first)


def _side_by_side(
    source: Path, copy: Path, name: str = ""
) -> Iterator[tuple[str, os.stat_result | None, os.stat_result | None]]:
    """Yield all that is at and below one of two paths, by relative path, with its status here and there."""
    ours, theirs = (_status(top / name) for top in (source, copy))
    yield name, ours, theirs
    names: set[str] = set()
    for top, status in ((source, ours), (copy, theirs)):
        if status is not None and stat.S_ISDIR(status.st_mode):
            names.update(os.listdir(top / name))
    for each in sorted(names):
        yield from _side_by_side(source, copy, os.path.join(name, each))


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def leftovers(out: Path, *states: Path) -> list[str]:
    """Return what is left beside the files, and in the directories of states, where the key stays."""
    beside = [name for name, _ in _all(out) if os.path.basename(name).startswith(PREFIX)]
    kept = [
        os.path.join(top.name, name)
        for top in states
        if top.exists()
        for name, _ in _all(top)
        if name not in {"", KEY_FILE}
    ]
    wrong = {"left beside the files": beside, "left in the state directories": kept}
    return [f"{len(names)} {what}: {_some(sorted(names))}" for what, names in wrong.items() if names]


def _some(names: list[str]) -> str:
    return ", ".join(map(repr, names[:SHOWN])) + (" ..." if len(names) > SHOWN else "")


def _all(top: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield all that is at and below a path, by relative path; its own is empty."""
    try:
        yield "", top.lstat()
    except FileNotFoundError:
        return
    for below, names, others in os.walk(top):
        for name in (*names, *others):
            path = os.path.join(below, name)
            yield os.path.relpath(path, top), os.lstat(path)


def _kind(status: os.stat_result) -> int:
    return stat.S_IFMT(status.st_mode)


def _mode(status: os.stat_result) -> int:
    """Return the mode of a file or directory; a link has none."""
    return 0 if stat.S_ISLNK(status.st_mode) else stat.S_IMODE(status.st_mode)


def _same(source: Path, copy: Path, name: str) -> bool:
    one, other = (top / name if name else top for top in (source, copy))
    if one.is_symlink():
        return one.readlink() == other.readlink()
    if not one.is_file():
        return True
    with one.open("rb", buffering=0) as first, other.open("rb", buffering=0) as second:
        while piece := first.read(_PIECE):
            trio.from_thread.check_cancelled()
            if second.read(_PIECE) != piece:
                return False
        return not second.read(1)
