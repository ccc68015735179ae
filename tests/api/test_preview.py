"""What a program learns of what it would send."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

import p2p_copy as p2p

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A tree whose names were made in no order."""
    top = tmp_path / "top"
    (top / "m" / "deep").mkdir(parents=True)
    for name in ("z", "a", "q", "m/9", "m/10", "m/deep/x", "b.tmp"):
        (top / name).write_text(name)
    return top


def test_each_directory_comes_before_its_contents_and_names_in_order(mixed: Path, tmp_path: Path) -> None:
    (tmp_path / "alone").write_text("12345")
    items = list(p2p.preview([mixed, tmp_path / "alone"], exclude="*.tmp"))
    sent = [(item.path, item.kind, item.size) for item in items if item.kind]
    assert sent == [
        ("alone", "file", 5),
        ("top", "directory", 0),
        ("top/a", "file", 1),
        ("top/m", "directory", 0),
        ("top/m/10", "file", 4),
        ("top/m/9", "file", 3),
        ("top/m/deep", "directory", 0),
        ("top/m/deep/x", "file", 8),
        ("top/q", "file", 1),
        ("top/z", "file", 1),
    ]
    assert [(item.excluded, item.path) for item in items if not item.kind] == [(True, "")]
    assert items == list(p2p.preview((tmp_path / "alone", mixed), exclude=["*.tmp"]))


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such files")
def test_it_says_why_something_is_left_out(mixed: Path) -> None:
    os.mkfifo(mixed / "pipe")
    (mixed / "out").symlink_to("/etc")
    (mixed / "in").symlink_to("a")
    (mixed / ".p2p-copy-0123456789abcdef").write_text("unfinished")
    found = {item.path: item for item in p2p.preview(mixed, only=["in", "out", "pipe"], symlinks="keep")}
    assert found["top/in"] == p2p.SourceItem("top/in", "symlink", target="a")
    assert (found["top/pipe"].kind, found["top/pipe"].excluded) == (None, False)
    assert "is not a regular file" in found["top/pipe"].reason
    assert "leads out of its tree" in found["top/out"].reason
    skipped = [item.path for item in p2p.preview(mixed, only=["in", "out"], symlinks="skip") if item.path]
    assert skipped == []


def test_what_cannot_be_asked_is_said_at_once(mixed: Path) -> None:
    with pytest.raises(p2p.NothingToSend):
        p2p.preview(mixed / "missing")
    with pytest.raises(p2p.UsageError):
        p2p.preview(mixed, only="[")
    with pytest.raises(ValueError, match="choices"):
        p2p.preview(mixed, symlinks="gaga")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        p2p.preview(7)  # type: ignore[arg-type]
