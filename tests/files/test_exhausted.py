"""A process that can open no more files: that is no fault of the files, so none is skipped."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from p2p_copy.errors import SystemFailed
from p2p_copy.files.source.entry import SourceEntry, SourceTrees
from p2p_copy.files.source.reader import open_itself, open_source, read_whole
from p2p_copy.files.source.walk import walk
from p2p_copy.files.target.target import Target
from p2p_copy.options import Conflict
from tests.files.helpers import a_directory, a_file, no_more_files

if TYPE_CHECKING:
    from pathlib import Path


def test_a_walk_skips_no_directory(tmp_path: Path) -> None:
    (tmp_path / "tree" / "inner").mkdir(parents=True)
    walking = walk(SourceTrees([str(tmp_path / "tree")]))
    next(walking)
    with no_more_files(), pytest.raises(SystemFailed):
        next(walking)


@pytest.mark.parametrize("read", [read_whole, open_source])
def test_a_file_is_not_reported_as_unreadable(tmp_path: Path, read: object) -> None:
    (tmp_path / "file").write_text("x")
    found = next(walk(SourceTrees([str(tmp_path / "file")])))
    assert isinstance(found, SourceEntry)
    assert callable(read)
    with no_more_files(), pytest.raises(SystemFailed):
        read(found)


def test_a_file_that_cannot_be_looked_up_is_closed(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("x")
    *_, found = walk(SourceTrees([str(tmp_path / "tree")]))
    assert isinstance(found, SourceEntry)
    (tmp_path / "again").write_text("x")
    (tmp_path / "again").rename(tmp_path / "tree" / "file")  # another inode number, which must be looked up
    last = os.open(os.devnull, os.O_RDONLY)
    with no_more_files():
        os.close(last)
        with pytest.raises(SystemFailed):
            open_itself(found)
        os.close(os.open(os.devnull, os.O_RDONLY))


def test_the_output_directory_is_not_blamed(tmp_path: Path) -> None:
    with closing(Target(str(tmp_path), conflict=Conflict.REFUSE)) as target, no_more_files():
        for make, item in ((target.files.begin, a_file("f")), (target.directories.make, a_directory("d"))):
            with pytest.raises(SystemFailed):
                make(item)
    with no_more_files(), pytest.raises(SystemFailed):
        Target(str(tmp_path), conflict=Conflict.REFUSE)
