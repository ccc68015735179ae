"""What the chaos campaign draws from its seeds, and whether it sees what is wrong with a copy."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
import trio

from tests.campaigns.chaos_data import (
    SPARSE,
    differences,
    leftovers,
    make_large,
    make_long_paths,
    make_sparse,
    make_tree,
    size_of,
)
from tests.campaigns.chaos_plan import FEWEST, KINDS, MOST, TREE, WITH_NETWORK, WORKS, plan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.once

FILES = 600
LARGE_SIZE = 2_500_000


def test_a_seed_is_a_round() -> None:
    assert plan(7, only=None, network=True) == plan(7, only=None, network=True)
    assert plan(7, only=None, network=True) != plan(9, only=None, network=True)


def test_the_first_accidents_are_the_same_however_many_come() -> None:
    whole = plan(7, only=None, network=True)
    part = plan(7, only=None, network=True, most=2)
    assert part.accidents == whole.accidents[:2]
    assert (part.tls, part.pace, part.work) == (whole.tls, whole.pace, whole.work)


def test_rounds_in_turn_have_everything() -> None:
    plans = [plan(seed, only=None, network=True) for seed in range(2 * len(KINDS))]
    assert {accident.kind for each in plans for accident in each.accidents} == set(KINDS)
    assert {each.work for each in plans} == set(WORKS)
    assert all(FEWEST <= len(each.accidents) <= MOST for each in plans)
    assert {each.tls for each in plans} == {True, False}


def test_accidents_come_one_after_another() -> None:
    for seed in range(100):
        shares = [accident.at for accident in plan(seed, only=TREE, network=True).accidents]
        assert shares == sorted(shares)


def test_without_networks_there_is_nothing_that_needs_them() -> None:
    plans = [plan(seed, only=None, network=False) for seed in range(100)]
    assert not {accident.kind.action for each in plans for accident in each.accidents} & WITH_NETWORK


@pytest.fixture
async def tree(tmp_path: Path) -> tuple[Path, Path]:
    """A tree and its copy."""
    source, copy = tmp_path / "source", tmp_path / "out" / "source"
    await trio.to_thread.run_sync(make_tree, source, FILES)
    shutil.copytree(source, copy, symlinks=True)
    return source, copy


async def test_a_tree_has_a_bit_of_everything(tree: tuple[Path, Path]) -> None:
    source, _ = tree
    paths = [path for path in source.rglob("*") if not path.is_symlink()]
    sizes = [path.stat().st_size for path in paths if path.is_file()]
    assert len(sizes) == FILES
    assert 0 in sizes
    assert max(sizes) >= 2**20
    assert size_of(source) == sum(sizes)
    assert any(path.is_dir() and not list(path.iterdir()) for path in paths)
    assert any(path.is_symlink() for path in source.rglob("*"))


def a_file(top: Path) -> Path:
    return max(
        (path for path in top.rglob("*") if path.is_file() and not path.is_symlink()),
        key=lambda path: path.stat().st_size,
    )


def change_a_byte(top: Path) -> None:
    path = a_file(top)
    when = path.stat().st_mtime_ns
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        (last,) = file.read()
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    os.utime(path, ns=(when, when))


def change_a_link(top: Path) -> None:
    path = next(path for path in top.rglob("*") if path.is_symlink())
    when = path.lstat().st_mtime_ns
    path.unlink()
    path.symlink_to("elsewhere")
    os.utime(path, ns=(when, when), follow_symlinks=False)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": lambda top: a_file(top).unlink(),
    "more than": lambda top: (top / "one more").mkdir(),
    "another mode": lambda top: a_file(top).chmod(0o777),
    "another time": lambda top: os.utime(a_file(top), ns=(1, 1)),
    "other contents": change_a_byte,
    "contents": change_a_link,
}


@pytest.mark.parametrize("what", DAMAGES)
async def test_what_is_not_the_same_is_seen(tree: tuple[Path, Path], what: str) -> None:
    source, copy = tree
    assert await trio.to_thread.run_sync(differences, source, copy) == []
    DAMAGES[what](copy)
    assert what in "\n".join(await trio.to_thread.run_sync(differences, source, copy))


async def test_a_large_file_and_its_copy(tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    await trio.to_thread.run_sync(make_large, source, LARGE_SIZE)
    assert source.stat().st_size == size_of(source) == LARGE_SIZE
    assert await trio.to_thread.run_sync(differences, source, copy)
    shutil.copy2(source, copy)
    assert await trio.to_thread.run_sync(differences, source, copy) == []
    with copy.open("r+b") as file:
        file.truncate(LARGE_SIZE - 1)
    os.utime(copy, ns=(source.stat().st_mtime_ns,) * 2)
    wrong = await trio.to_thread.run_sync(differences, source, copy)
    assert wrong == ["1 with other contents: ''"]


def test_a_sparse_file_takes_hardly_any_space(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    make_sparse(path, 3 * SPARSE)
    assert path.stat().st_size == 3 * SPARSE
    assert path.stat().st_blocks * 512 < SPARSE
    with path.open("rb") as file:
        starts = []
        for number in range(3):
            file.seek(number * SPARSE)
            starts.append(file.read(16))
    assert len(set(starts)) == 3


async def test_long_paths_are_long_and_most_files_empty(tmp_path: Path) -> None:
    top = tmp_path / "many"
    await trio.to_thread.run_sync(make_long_paths, top, 1100)
    files = [path for path in top.rglob("*") if path.is_file()]
    assert len(files) == 1100
    assert len(list(top.iterdir())) == 2
    assert {250 < len(str(path.relative_to(top))) < 350 for path in files} == {True}
    assert sum(bool(path.stat().st_size) for path in files) == 110


async def test_what_is_left_is_seen(tree: tuple[Path, Path], tmp_path: Path) -> None:
    _, copy = tree
    state = tmp_path / "state"
    assert leftovers(copy.parent, state) == []
    state.mkdir()
    assert leftovers(copy.parent, state) == []
    (copy / ".p2p-copy-1.part").touch()
    (state / "one").touch()
    beside, kept = leftovers(copy.parent, state)
    assert ".p2p-copy-1.part" in beside
    assert "state/one" in kept
