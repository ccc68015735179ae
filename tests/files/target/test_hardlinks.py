"""A file gets a further name only while it is what this transfer has put there."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from p2p_copy.files import system
from p2p_copy.files.directory import Directory
from p2p_copy.files.target.target import Target
from p2p_copy.options import Conflict
from p2p_copy.protocol.digest import file_digest
from p2p_copy.protocol.messages import Extra, Reason
from tests.files.helpers import a_file, deliver, refusal
from tests.support.trees import leftovers

if TYPE_CHECKING:
    from pathlib import Path

    from p2p_copy.protocol.manifest import Item


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return Target(str(tmp_path / "out"), conflict=Conflict.REFUSE)


def named_again(name: str, parent: Item | None = None) -> Item:
    item = a_file(name, parent)
    item.entry = item.entry._replace(extra=Extra(named_again=True))
    return item


def other_name(name: str, original: Item) -> Item:
    item = a_file(name)
    item.entry = item.entry._replace(extra=Extra(original=original.index))
    item.original = original
    return item


@pytest.mark.parametrize("ways", ["handles", "paths"])
def test_a_file_that_was_changed_or_replaced_gets_no_other_name(
    tmp_path: Path, target: Target, monkeypatch: pytest.MonkeyPatch, ways: str
) -> None:
    if ways == "paths":
        monkeypatch.setattr(system, "HANDLES", False)
    (tmp_path / "secret").write_text("xyz")
    for number, how in enumerate(("written to", "swapped", "a link", "gone", "untouched")):
        first = named_again(f"file {number}")
        deliver(target, first)
        path = tmp_path / "out" / first.name
        match how:
            case "written to":
                path.write_text("longer")
            case "swapped":
                path.unlink()
                path.write_text("new")
            case "a link":
                path.unlink()
                path.symlink_to(tmp_path / "secret")
            case "gone":
                path.unlink()
        other = other_name(f"other {number}", first)
        if how == "untouched":
            target.hard_links.make(other)
            assert os.path.samefile(path, tmp_path / "out" / other.name)
        else:
            assert refusal(lambda item=other: target.hard_links.make(item)) is Reason.ORIGINAL  # type: ignore[misc]
            assert not os.path.lexists(tmp_path / "out" / other.name)
    assert (tmp_path / "secret").stat().st_nlink == 1
    target.close()
    assert not leftovers(tmp_path / "out")


def test_a_file_that_has_another_number_by_now_gets_its_other_name(tmp_path: Path, target: Target) -> None:
    first = named_again("file")
    first.digest = file_digest(b"new")
    deliver(target, first)
    path = tmp_path / "out" / "file"
    shutil.copy2(path, tmp_path / "again")  # as FUSE does when the kernel has dropped a file from its cache
    (tmp_path / "again").rename(path)
    other = other_name("other", first)
    other.digest = first.digest
    target.hard_links.make(other)
    assert os.path.samefile(path, tmp_path / "out" / "other")
    target.close()


@pytest.mark.parametrize("conflict", [Conflict.REFUSE, Conflict.OVERWRITE])
def test_a_copy_under_the_other_name_is_no_other_name(tmp_path: Path, conflict: Conflict) -> None:
    """It may have the same contents and time, from an earlier transfer for example, and still is another file."""
    first = named_again("file")
    first.digest = file_digest(b"new")
    with closing(Target(str(tmp_path / "out"), conflict=conflict)) as target:
        deliver(target, first)
        path, theirs = tmp_path / "out" / "file", tmp_path / "out" / "other"
        shutil.copy2(path, theirs)
        other = other_name("other", first)
        other.digest = first.digest
        if conflict is Conflict.REFUSE:
            assert refusal(lambda: target.hard_links.make(other)) is Reason.EXISTS
        else:
            target.hard_links.make(other)
        assert os.path.samefile(path, theirs) is (conflict is Conflict.OVERWRITE)


def test_a_file_that_is_swapped_in_the_last_instant_gets_no_other_name(
    tmp_path: Path, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = named_again("file")
    deliver(target, first)
    (tmp_path / "secret").write_text("xyz")
    real = Directory.hard_link

    def swap(self: Directory, name: str, where: Directory, new: str) -> None:
        (tmp_path / "out" / name).unlink()
        os.link(tmp_path / "secret", tmp_path / "out" / name)
        real(self, name, where, new)

    monkeypatch.setattr(Directory, "hard_link", swap)
    assert refusal(lambda: target.hard_links.make(other_name("other", first))) is Reason.ORIGINAL
    assert os.listdir(tmp_path / "out") == ["file"]
    target.close()


def test_a_file_of_the_users_own_gets_no_other_name(tmp_path: Path, target: Target) -> None:
    (tmp_path / "out" / "theirs").write_text("old")
    first = named_again("theirs")
    assert refusal(lambda: deliver(target, first)) is Reason.EXISTS
    assert refusal(lambda: target.hard_links.make(other_name("other", first))) is Reason.ORIGINAL
    assert os.listdir(tmp_path / "out") == ["theirs"]
    target.close()
