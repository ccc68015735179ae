"""Patterns select what a .gitignore would, in bounded time, for the walk and the count alike."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings, strategies as st
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from p2p_copy.errors import UsageError
from p2p_copy.files.selection import EVERYTHING, Selection
from p2p_copy.files.source import walk as source
from p2p_copy.files.source.entry import SourceEntry, SourceTrees
from p2p_copy.files.source.preview import FileCount
from p2p_copy.files.source.walk import walk
from p2p_copy.protocol.messages import Kind, Omitted, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

# Patterns


@pytest.mark.parametrize(
    ("pattern", "path", "taken"),
    [
        ("*.py", "tree/sub/a.py", True),
        ("*.py", "tree/a.pyc", False),
        ("*.py", "tree/a.py/inside", True),
        ("sub", "tree/sub/deep/file", True),
        ("tree/sub", "tree/sub/file", True),
        ("sub/file", "tree/sub/file", False),
        ("**/sub/file", "tree/sub/file", True),
        ("/tree/*", "tree/sub/file", True),
        ("sub/", "tree/sub", False),
        ("sub/", "tree/sub/file", True),
        ("f?le", "file", True),
        ("f[a-j]le", "tree/file", True),
        ("*", "tree", True),
        ("größe*", "tree/größe ☃", True),
    ],
)
def test_a_pattern_means_what_it_means_in_a_gitignore(pattern: str, path: str, taken: bool) -> None:
    assert Selection(only=[pattern]).takes(path) is taken
    assert Selection(exclude=[pattern]).takes(path) is not taken


def test_a_pattern_that_ends_in_a_slash_is_for_directories() -> None:
    assert Selection(only=["sub/"]).takes("tree/sub", directory=True)
    assert not Selection(exclude=["sub/"]).takes("tree/sub", directory=True)


def test_exclude_takes_precedence_and_within_one_option_the_last_match() -> None:
    both = Selection(only=["*.py"], exclude=["test_*"])
    assert both.takes("tree/a.py")
    assert not both.takes("tree/test_a.py")
    assert not both.takes("tree/a.txt")
    back = Selection(exclude=["*.log", "!keep.log"])
    assert back.takes("tree/keep.log")
    assert not back.takes("tree/other.log")
    assert not Selection(exclude=["!keep.log", "*.log"]).takes("tree/keep.log")


@pytest.mark.parametrize(
    ("only", "leading", "not_leading"),
    [
        ("*.py", ["tree", "tree/sub"], []),
        ("tree/sub/*.py", ["tree", "tree/sub", "tree/sub/deeper"], ["other", "tree/su", "tree/subs"]),
        ("/tree/a", ["tree", "tree/a"], ["tree/b", "tree/ab"]),
        ("tree/**/a", ["tree", "tree/any/where"], ["trees"]),
        ("**/a/b", ["any", "any/where"], []),
        ("tree/a*/b", ["tree", "tree/b"], ["other"]),
    ],
)
def test_only_directories_that_may_contain_a_match_are_entered(
    only: str, leading: Sequence[str], not_leading: Sequence[str]
) -> None:
    selection = Selection(only=[only])
    assert [selection.leads(path) for path in leading] == [True] * len(leading)
    assert [selection.leads(path) for path in not_leading] == [False] * len(not_leading)


def test_nothing_in_an_excluded_directory_is_selected() -> None:
    assert not Selection(only=["*.py"], exclude=["build/"]).leads("tree/build")
    assert not Selection(exclude=["build"]).leads("tree/build")
    assert Selection(exclude=["build/*"]).leads("build")


def test_without_patterns_everything_is_taken() -> None:
    assert EVERYTHING.everything
    assert EVERYTHING.takes("tree/file")
    assert EVERYTHING.leads("tree")


@pytest.mark.parametrize("pattern", ["", " ", "/", "!", "# comment", "a[", "[z-a]", "\\", "x\\"])
@pytest.mark.parametrize("option", ["only", "exclude"])
def test_a_pattern_that_can_match_nothing_is_a_mistake(option: str, pattern: str) -> None:
    with pytest.raises(UsageError, match=f"`{option}` "):
        Selection(**{option: ["fine", pattern]})


# The walk


@pytest.fixture
def top(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    for name in (
        "a.py",
        "a.txt",
        "src/b.py",
        "src/deep/er/c.py",
        "build/d.py",
        "docs/e.txt",
        "docs/more/f.txt",
    ):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text("abc")
    (top / "empty").mkdir()
    (top / "empty src").mkdir()
    return top


def walked(top: Path, selection: Selection) -> tuple[set[str], int]:
    """Return what is sent, and how many things are left out; check that counting agrees."""
    paths: set[str] = set()
    files = excluded = 0
    for one in walk(SourceTrees([str(top)], selection=selection)):
        if isinstance(one, Omitted):
            assert one == Omitted("", Reason.EXCLUDED)
            excluded += 1
            continue
        assert isinstance(one, SourceEntry)
        assert one.parent is None or one.parent.inner_path in paths
        paths.add(one.inner_path)
        files += one.entry.kind is Kind.FILE
    count = FileCount(SourceTrees([str(top)], selection=selection))
    assert count.run()
    assert count.counted == (files, 3 * files)
    return {path.removeprefix("tree/") for path in paths}, excluded


def test_what_is_excluded_is_left_out_with_all_that_is_in_it(top: Path) -> None:
    left, excluded = walked(top, Selection(exclude=["build", "*.txt", "tree/src/deep"]))
    assert left == {"tree", "a.py", "src", "src/b.py", "docs", "docs/more", "empty", "empty src"}
    assert excluded == 5


def test_only_leaves_the_directories_that_lead_to_a_match(top: Path) -> None:
    left, excluded = walked(top, Selection(only=["*.py"], exclude=["build"]))
    assert left == {"tree", "a.py", "src", "src/b.py", "src/deep", "src/deep/er", "src/deep/er/c.py"}
    assert excluded == 4


def test_a_directory_that_matches_itself_is_sent_even_if_it_is_empty(top: Path) -> None:
    assert walked(top, Selection(only=["empty*"]))[0] == {"tree", "empty", "empty src"}


def test_what_is_named_is_left_out_as_well(top: Path) -> None:
    assert walked(top, Selection(exclude=["tree"])) == (set(), 1)
    assert walked(top, Selection(only=["nothing"])) == (set(), 7)
    assert walked(top / "a.py", Selection(exclude=["*.py"])) == (set(), 1)


def test_an_excluded_directory_is_not_even_opened(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[str] = []
    listing = source._listed

    def noted(found: SourceEntry) -> AbstractContextManager[tuple[int | None, Iterator[os.DirEntry[str]]]]:
        listed.append(found.inner_path)
        return listing(found)

    monkeypatch.setattr(source, "_listed", noted)
    walked(top, Selection(only=["tree/src/*.py", "tree/docs/"], exclude=["more"]))
    assert sorted(listed) == ["tree", "tree/docs", "tree/src", "tree/src/deep", "tree/src/deep/er"]


def test_what_cannot_be_sent_and_is_left_out_is_no_problem(top: Path) -> None:
    os.mkfifo(top / "pipe")
    (top / "bad\nname").touch()
    problems = [
        one
        for one in walk(SourceTrees([str(top)], selection=Selection(only=["*.py"])))
        if isinstance(one, Omitted) and one.reason is not Reason.EXCLUDED
    ]
    assert problems == []


def test_a_pruned_directory_is_left_at_once(top: Path) -> None:
    seen = []
    for one in walk(SourceTrees([str(top)], selection=Selection(only=["tree/src/**/*.py"]))):
        if isinstance(one, SourceEntry):
            seen.append(one.inner_path)
            one.pruned = one.inner_path == "tree/src"
    assert seen == ["tree", "tree/src"]


# What a sender may name to keep a receiver busy


@pytest.mark.fault(109, "patterns")
@pytest.mark.parametrize(
    "pattern",
    [
        "*a" * 12 + "b",
        "*?" * 12 + "b",
        "*[a-c]" * 12 + "d",
        "x/**/" + "*a" * 12 + "b",
        "a*/**/" * 9 + "b",
        "**/a*/" * 9 + "b",
    ],
)
def test_a_name_that_nearly_matches_takes_no_time(pattern: str) -> None:
    """Trying all ways to divide the name among the stars would take years."""
    selection = Selection(only=pattern)
    for path in ("a" * 255, "/".join(["x", *["a" * 63] * 63])):
        assert not selection.takes(path)


@settings(max_examples=500)
@given(
    pattern=st.lists(
        st.sampled_from(["a", "b", "*", "**", "/", "/**/", "?", "[ab]", "\\", "!"]), max_size=12
    ).map("".join),
    path=st.lists(st.text(st.sampled_from("ab.[*"), min_size=1, max_size=6), min_size=1, max_size=4).map(
        "/".join
    ),
    directory=st.booleans(),
)
@example(pattern="*/**/a*/**/a*b", path="b/ab/aba/b/ab", directory=False)
@example(pattern="**/a/**/b", path="bba/a/a/b/bba", directory=True)
@example(pattern="a*b*c", path="abbc/abcc", directory=False)
def test_patterns_mean_what_they_mean_in_the_library(pattern: str, path: str, *, directory: bool) -> None:
    try:
        selection = Selection(only=pattern)
    except UsageError:
        return
    regex = GitIgnoreSpecPattern(pattern).regex
    assert regex is not None
    if not pattern.startswith("!"):  # it alone selects nothing
        assert selection.takes(path, directory=directory) == bool(regex.match(path + "/" * directory))


def test_a_name_may_hold_a_line_break() -> None:
    selection = Selection(exclude="**/*/**/?")
    assert not selection.takes("a/line\nbreak/bb/c")
    assert selection.takes("a/line\nbreak/bb/cc")
