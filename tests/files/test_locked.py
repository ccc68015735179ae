"""Directories whose mode keeps even their owner out, and a receiver that is not root."""

from __future__ import annotations

import codecs
import os
import shutil
import stat
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from p2p_copy.files.state.journal import Journal, key_of
from p2p_copy.files.target.resume import ResumeIndex
from p2p_copy.files.target.target import Target
from p2p_copy.options import Conflict
from p2p_copy.protocol import limits
from p2p_copy.protocol.messages import Extra
from tests.files.helpers import a_directory, a_file, put_small

if TYPE_CHECKING:
    from collections.abc import Iterator

    from p2p_copy.protocol.manifest import Item

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="permission bits mean nothing there")

NOBODY: Final = 65534

LOCKED = pytest.mark.parametrize("mode", [0o000, 0o100, 0o300, 0o400, 0o500, 0o600], ids="{:04o}".format)


@pytest.fixture
def out() -> Iterator[Path]:
    """An output directory of a user who is not root; the test runs as that user."""
    where = Path(tempfile.mkdtemp())
    root = os.geteuid() == 0
    if root:
        # A module that is imported late, and that only root may read where Python is root's own.
        codecs.lookup("ascii")
        os.chown(where, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    try:
        yield where
    finally:
        if root:
            os.seteuid(0)
        for folder, names, _ in os.walk(where):
            for name in names:
                os.chmod(os.path.join(folder, name), 0o700)
        shutil.rmtree(where)


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SEGMENT", 4096)


def target_in(out: Path, journal: Journal, *, restarted: bool = False) -> Target:
    return Target(
        str(out), conflict=Conflict.REFUSE, resume=ResumeIndex(journal, restarted=restarted, tag="0123abcd")
    )


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def look_into(*directories: Path) -> None:
    for directory in directories:
        directory.chmod(0o700)


@LOCKED
@pytest.mark.parametrize("restarted", [False, True], ids=["recorded", "killed"])
def test_a_complete_directory_is_entered_again(out: Path, mode: int, *, restarted: bool) -> None:
    journal = Journal(None)
    top, inner = a_directory("top"), None
    for number in range(2):
        target = target_in(out, journal, restarted=restarted and number > 0)
        target.directories.make(top)
        inner = a_directory("inner", top, mode=mode)
        target.directories.make(inner)
        put_small(target, a_file(f"file {number}", inner), b"new")
        target.directories.finish(inner)
        assert mode_of(out / "top" / "inner") == mode
        target.close(keep=not restarted)
        if restarted:
            journal = Journal(None)
            journal_of(journal, out, top)
    look_into(out / "top" / "inner")
    assert sorted(os.listdir(out / "top" / "inner")) == ["file 0", "file 1"]


def journal_of(journal: Journal, out: Path, top: Item) -> None:
    """Record nothing but the directory at the top, as after a kill."""
    index = ResumeIndex(journal)
    index.record_complete(top, (out / "top").lstat(), flushed=True)
    index.journal.commit()


@LOCKED
def test_a_file_in_a_complete_directory_gets_another_name(out: Path, mode: int) -> None:
    with closing(target_in(out, Journal(None))) as target:
        top = a_directory("top", mode=mode)
        target.directories.make(top)
        first = a_file("first", top)
        first.entry = first.entry._replace(extra=Extra(named_again=True))
        put_small(target, first, b"new")
        target.directories.finish(top)
        again = a_file("again")
        again.original = first
        target.hard_links.make(again)
    assert (out / "again").read_bytes() == b"new"
    assert mode_of(out / "top") == mode


@LOCKED
def test_an_orphan_in_a_complete_directory_is_removed(out: Path, mode: int) -> None:
    journal, top = Journal(None), a_directory("top", mode=mode)
    target = target_in(out, journal)
    target.directories.make(top)
    gone = a_file("gone", top, size=2 * limits.SEGMENT)
    target.files.begin(gone).write(bytes(limits.SEGMENT))
    target.resume.journal.add_leaves(key_of(gone.path), bytes(limits.DIGEST))
    target.close(keep=True)
    with closing(target_in(out, journal)) as target:
        target.directories.make(top)
        target.directories.finish(top)
        target.remove_orphans()
    assert mode_of(out / "top") == mode
    look_into(out / "top")
    assert os.listdir(out / "top") == []
