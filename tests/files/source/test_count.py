"""What is counted for progress is what a walk finds, as far as it can be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from p2p_copy.files.source.count import FileCount
from p2p_copy.files.source.entry import SourceEntry
from p2p_copy.files.source.walk import walk
from p2p_copy.options import Symlinks
from p2p_copy.protocol import limits
from p2p_copy.protocol.messages import Kind
from tests.files.source.test_walk import plant_links

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def top(tmp_path: Path) -> Path:
    top = tmp_path / "top"
    top.mkdir()
    return top


def counted(*paths: str, symlinks: Symlinks = Symlinks.KEEP) -> tuple[int, int]:
    count = FileCount(paths, symlinks, portable_names=True)
    assert count.run()
    return count.files, count.size


def test_files_are_counted_by_the_rules_of_the_walk(top: Path) -> None:
    plant_links(top)
    (top / "line\nbreak").write_text("abc")
    for symlinks, expected in ((Symlinks.KEEP, (1, 3)), (Symlinks.COPY, (5, 15)), (Symlinks.SKIP, (1, 3))):
        assert counted(str(top), symlinks=symlinks) == expected


def test_counting_goes_as_deep_as_the_walk_and_ends_at_symlinks_to_a_directory_above(top: Path) -> None:
    directory = top
    for _ in range(limits.MAX_DEPTH):
        (directory / "file").write_text("abc")
        (directory / "round").symlink_to(top)
        directory /= "d"
        directory.mkdir()
    for symlinks in Symlinks:
        found = walk([str(top)], symlinks=symlinks, portable_names=True)
        files = sum(isinstance(one, SourceEntry) and one.entry.kind is Kind.FILE for one in found)
        assert counted(str(top), symlinks=symlinks) == (files, 3 * files)


def test_counting_ignores_what_cannot_be_read(top: Path) -> None:
    (top / "file").write_text("abc")
    assert counted(str(top / "missing"), str(top), str(top / "file"), "no\0path") == (2, 6)


def test_counting_can_be_stopped(top: Path) -> None:
    (top / "file").touch()
    count = FileCount([str(top)], Symlinks.KEEP, portable_names=True)
    count.stop()
    assert not count.run()
    assert not count.files


@pytest.mark.parametrize(("most", "everything"), [(3, False), (4, True)])
def test_counting_gives_up_after_so_many_names(top: Path, most: int, everything: bool) -> None:
    for name in ("a", "b"):
        (top / name).mkdir()
        (top / name / "file").touch()
    assert FileCount([str(top)], Symlinks.KEEP, portable_names=True, most=most).run() is everything
