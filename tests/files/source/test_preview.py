"""What is counted and shown before a transfer is what a walk finds, as far as it can be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from p2p_copy.files import limits
from p2p_copy.files.selection import Selection
from p2p_copy.files.source.entry import SourceEntry, SourceTrees
from p2p_copy.files.source.preview import Counted, FileCount, preview
from p2p_copy.files.source.walk import walk
from p2p_copy.options import Symlinks
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.messages import Kind
from tests.files.source.test_walk import plant_links

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def top(tmp_path: Path) -> Path:
    top = tmp_path / "top"
    top.mkdir()
    return top


def counted(*paths: str, symlinks: Symlinks = Symlinks.KEEP) -> Counted:
    count = FileCount(SourceTrees(paths, symlinks))
    assert count.run()
    return count.counted


# The count


def test_files_are_counted_by_the_rules_of_the_walk(top: Path) -> None:
    plant_links(top)
    (top / "line\nbreak").write_text("abc")
    for symlinks, expected in ((Symlinks.KEEP, (1, 3)), (Symlinks.COPY, (5, 15)), (Symlinks.SKIP, (1, 3))):
        assert counted(str(top), symlinks=symlinks) == expected


def test_counting_goes_as_deep_as_the_walk_and_ends_at_symlinks_to_a_directory_above(top: Path) -> None:
    directory = top
    for _ in range(protocol_limits.MAX_DEPTH):
        (directory / "file").write_text("abc")
        (directory / "round").symlink_to(top)
        directory /= "d"
        directory.mkdir()
    for symlinks in Symlinks:
        found = walk(SourceTrees([str(top)], symlinks))
        files = sum(isinstance(one, SourceEntry) and one.entry.kind is Kind.FILE for one in found)
        assert counted(str(top), symlinks=symlinks) == (files, 3 * files)


def test_counting_ignores_what_cannot_be_read(top: Path) -> None:
    (top / "file").write_text("abc")
    assert counted(str(top / "missing"), str(top), str(top / "file"), "no\0path") == (2, 6)


def test_counting_can_be_stopped(top: Path) -> None:
    (top / "file").touch()
    count = FileCount(SourceTrees([str(top)]))
    count.stop()
    assert not count.run()
    assert count.counted == (0, 0)


@pytest.mark.parametrize(("most", "everything"), [(3, False), (4, True)])
def test_counting_gives_up_after_so_many_names(top: Path, most: int, everything: bool) -> None:
    for name in ("a", "b"):
        (top / name).mkdir()
        (top / name / "file").touch()
    assert FileCount(SourceTrees([str(top)]), most=most).run() is everything


# The first names


def test_a_preview_is_bounded_and_shows_the_top_and_a_little_below(tmp_path: Path) -> None:
    for number in range(150):
        (tmp_path / "wide" / f"{number:03}" / "deep").mkdir(parents=True)
    (tmp_path / "file").write_text("abc")
    names, entries = preview(SourceTrees([str(tmp_path / "wide"), str(tmp_path / "file")]))
    assert names == 2
    assert [entry.depth for entry in entries] == [0, *[1] * limits.PREVIEW_INSIDE, 0]
    paths = [str(path) for path in (tmp_path / "wide").iterdir()]
    names, entries = preview(SourceTrees(paths))
    assert names == 150
    assert [entry.depth for entry in entries] == [0] * protocol_limits.MAX_PREVIEW_ENTRIES


def test_a_preview_shows_the_first_names_in_order(top: Path) -> None:
    for name in ("m", "z", "c", "x", "d", "a", "b"):
        (top / name).touch()
    assert [entry.name for entry in preview(SourceTrees([str(top)])).entries] == ["top", *"abcdm"]


def test_a_preview_does_not_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        (tmp_path / "top" / f"{number}").mkdir(parents=True)
        (tmp_path / "top" / f"{number}.txt").touch()
    monkeypatch.setattr(limits, "PREVIEW_EXAMINED", 20)
    trees = SourceTrees([str(tmp_path / "top")])
    assert preview(trees._replace(selection=Selection(only=["nothing.py"]))).names == 1
    (tmp_path / "top" / "a.py").touch()
    selection = Selection(only=["top/a.py"], exclude=["*.txt"])
    shown = preview(trees._replace(selection=selection)).entries
    assert shown[0].name == "top"
