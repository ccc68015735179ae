"""What is said of the named paths before the relay is called."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from p2p_copy.errors import NothingToSend, UsageError
from p2p_copy.files.user_paths import check_paths

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for directory in ("run1", "run2"):
        (tmp_path / directory / "results").mkdir(parents=True)
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo")
    return tmp_path


def test_files_directories_and_links_to_them_can_be_sent(top: Path) -> None:
    assert check_paths(["file", "link", "run1", "run2/", "."]) == []


@pytest.mark.parametrize(
    "paths", [("run1/results", "run2/results"), ("file", "run1/../file"), ("run1", "run1/")]
)
def test_two_of_one_name_are_refused_and_both_are_named(top: Path, paths: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        check_paths(["link", *paths])
    for path in paths:
        assert repr(path) in str(caught.value)


def test_two_that_are_one_name_on_some_systems_are_told(top: Path) -> None:
    (top / "run1" / "FILE").touch()
    (sentence,) = check_paths(["file", "run1/FILE"])
    assert re.search(r"'run1/FILE'.*'file'.*`names` system", sentence)


@pytest.mark.parametrize("path", ["/", "//", "/tmp/..", "/."])
@pytest.mark.parametrize("others", [[], ["file"]])
def test_what_has_no_name_of_its_own_is_refused(top: Path, path: str, others: list[str]) -> None:
    with pytest.raises(NothingToSend, match="no name") as caught:
        check_paths([*others, path])
    assert repr(path) in str(caught.value)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("misspelt", "does not exist"),
        ("", "does not exist"),
        ("file/x", "Not a directory"),
        ("dangling", "symbolic link to nothing"),
        ("fifo", "as a stream"),
        ("/dev/null", "device"),
        ("nul\0", "no path"),
    ],
)
def test_what_cannot_be_sent_is_told_by_its_path(top: Path, path: str, said: str) -> None:
    shown = f"'{path.replace(chr(0), chr(92) + 'x00')}'"
    (sentence,) = check_paths(["file", path])
    assert shown in sentence
    assert said in sentence
    with pytest.raises(NothingToSend) as caught:
        check_paths([path])
    assert sentence in str(caught.value)


def test_a_pipe_of_the_shell_is_told_like_a_fifo() -> None:
    reader, writer = os.pipe()
    try:
        with pytest.raises(NothingToSend, match="as a stream"):
            check_paths([f"/dev/fd/{reader}"])
    finally:
        os.close(reader)
        os.close(writer)


def test_of_very_many_only_some_are_told(top: Path) -> None:
    sentences = check_paths(["file", *map(str, range(1000))])
    assert len(sentences) < 10
    assert "995 more" in sentences[-1]
