"""What a walk through a tree finds, what it leaves out and why, and what it costs."""

from __future__ import annotations

import os
import random
import socket
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from p2p_copy.files import limits as files_limits
from p2p_copy.files.source import walk as source
from p2p_copy.files.source.entry import SourceEntry, SourceTrees
from p2p_copy.files.source.walk import walk
from p2p_copy.options import Symlinks
from p2p_copy.protocol import limits
from p2p_copy.protocol.manifest import Manifest
from p2p_copy.protocol.messages import Entry, Kind, Omitted, Page, Reason
from tests.files.helpers import open_handles

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@pytest.fixture(autouse=True, params=["handles", "paths"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run each test twice: as it is, and as on systems that list directories by path only."""
    if request.param == "paths":
        monkeypatch.setattr(source, "BY_HANDLE", False)
    elif not source.BY_HANDLE:
        pytest.skip("this system lists directories by path only")
    return str(request.param)


def names_of(found: Iterable[SourceEntry | Omitted]) -> dict[str, Kind | Reason]:
    """Return each path from its top-level name on, with its kind or why it is left out; check the order."""
    result: dict[str, Kind | Reason] = {}
    way: list[str] = []
    for one in found:
        if isinstance(one, Omitted):
            assert one.path not in result or isinstance(result[one.path], Kind)
            result[f"! {one.path}" if one.path in result else one.path] = one.reason
            continue
        assert one.entry.depth <= len(way)
        way[one.entry.depth :] = [one.entry.name]
        assert "/".join(way) not in result
        result["/".join(way)] = one.entry.kind
    return result


def walked(
    *paths: Path | str, links: Symlinks = Symlinks.KEEP, portable_names: bool = True
) -> dict[str, Kind | Reason]:
    return names_of(walk(SourceTrees([str(path) for path in paths], links, portable_names=portable_names)))


def entries(*paths: Path, links: Symlinks = Symlinks.KEEP) -> list[Entry]:
    walk_ = walk(SourceTrees([str(path) for path in paths], links))
    return [found.entry for found in walk_ if isinstance(found, SourceEntry)]


@pytest.fixture
def top(tmp_path: Path) -> Path:
    top = tmp_path / "top"
    top.mkdir()
    return top


# What is named


def test_a_tree_is_named_with_all_that_lies_in_it(top: Path) -> None:
    (top / "empty").mkdir()
    (top / "inner").mkdir()
    (top / "inner" / "file").write_text("abc")
    (top / "inner" / "link").symlink_to("../inner/file")
    assert walked(top) == {
        "top": Kind.DIRECTORY,
        "top/empty": Kind.DIRECTORY,
        "top/inner": Kind.DIRECTORY,
        "top/inner/file": Kind.FILE,
        "top/inner/link": Kind.SYMLINK,
    }


def test_an_entry_says_what_the_file_is(top: Path) -> None:
    file = top / "file"
    file.write_text("abc")
    file.chmod(0o4751)
    os.utime(file, ns=(0, -1_500_000_000_000_000_001))
    (top / "link").symlink_to("file")
    top.chmod(0o1705)
    named = {entry.name: entry for entry in entries(top)}
    assert named["file"] == Entry(Kind.FILE, 1, "file", 0o751, -1_500_000_000_000_000_001, 3)
    assert named["top"] == Entry(Kind.DIRECTORY, 0, "top", 0o705, top.stat().st_mtime_ns)
    mtime_ns = (top / "link").lstat().st_mtime_ns
    assert named["link"] == Entry(Kind.SYMLINK, 1, "link", 0o777, mtime_ns, 0, "file")


@pytest.mark.parametrize("spelling", ["{}", "{}/", "{}//", "{}/.", "{}/inner/..", "{}/inner/../../top"])
def test_a_directory_goes_by_its_own_name_however_it_is_spelled(top: Path, spelling: str) -> None:
    (top / "inner").mkdir()
    (top / "file").touch()
    assert set(walked(spelling.format(top))) == {"top", "top/inner", "top/file"}


def test_the_current_directory_goes_by_its_own_name(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (top / "inner").mkdir()
    monkeypatch.chdir(top / "inner")
    assert walked(".") == {"inner": Kind.DIRECTORY}
    assert set(walked("..")) == {"top", "top/inner"}


def test_dots_after_a_symlink_mean_what_the_system_says(top: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("top")
    assert set(walked(f"{tmp_path}/link/..")) >= {tmp_path.name, f"{tmp_path.name}/top"}


@pytest.mark.parametrize("links", list(Symlinks))
def test_a_named_symlink_is_followed_and_sent_under_its_own_name(
    top: Path, tmp_path: Path, links: Symlinks
) -> None:
    (top / "file").write_text("abc")
    (tmp_path / "tree").symlink_to("top")
    (tmp_path / "leaf").symlink_to("top/file")
    (tmp_path / "nothing").symlink_to("nowhere")
    assert walked(tmp_path / "tree", tmp_path / "leaf", tmp_path / "nothing", links=links) == {
        "tree": Kind.DIRECTORY,
        "tree/file": Kind.FILE,
        "leaf": Kind.FILE,
        "nothing": Reason.VANISHED,
    }


def test_a_root_has_no_name() -> None:
    assert walked("/", "//") == {"/": Reason.NAME, "//": Reason.NAME}


def test_what_is_missing_is_reported_without_its_directory(tmp_path: Path) -> None:
    assert walked(tmp_path / "missing", f"{tmp_path}/nul\0") == {
        "missing": Reason.VANISHED,
        "nul\\x00": Reason.NAME,
    }


@pytest.mark.parametrize("portable", [True, False])
def test_of_two_with_the_same_name_the_first_is_taken(tmp_path: Path, portable: bool) -> None:
    for parent, name in (("a", "x"), ("b", "x"), ("c", "X")):
        (tmp_path / parent).mkdir()
        (tmp_path / parent / name).touch()
    paths = [tmp_path / "a" / "x", tmp_path / "b" / "x", tmp_path / "c" / "X"]
    second, third = list(walk(SourceTrees([str(path) for path in paths], portable_names=portable)))[1:]
    assert second == Omitted("x", Reason.EXISTS)
    assert (third == Omitted("X", Reason.EXISTS)) is portable


# The order

NAMES = ["0", "10", "9", "Y", "_", "a", "a b", "a.b", "b", "z", "ä", "\U0001f600"]
"""In the order of their code points, which is that of their bytes."""


def test_names_come_in_order_at_each_level(top: Path) -> None:
    order = random.Random(1)
    expected = ["top"]
    for name in order.sample(NAMES, len(NAMES)):
        (top / name).mkdir()
        for inner in order.sample(NAMES, len(NAMES)):
            (top / name / inner).touch()
    for name in NAMES:
        expected += [f"top/{name}", *(f"top/{name}/{inner}" for inner in NAMES)]
    assert list(walked(top)) == expected


def test_a_directory_with_very_many_names_is_sorted_in_parts(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_limits, "SORTED_NAMES", 16)
    names = [f"{number:02}" for number in range(20)]
    for name in names:
        (top / name).mkdir()
        (top / name / "b").touch()
        (top / name / "a").touch()
    with os.scandir(top) as entries:
        listed = [entry.name for entry in entries]
    found = list(walked(top))
    assert [path for path in found if path.count("/") == 1] == [
        f"top/{name}" for part in (listed[:8], listed[8:16], listed[16:]) for name in sorted(part)
    ]
    for name in names:
        at = found.index(f"top/{name}")
        assert found[at + 1 : at + 3] == [f"top/{name}/a", f"top/{name}/b"]


def test_names_to_come_take_bounded_memory(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_limits, "SORTED_NAMES", 200)
    (top / "0").touch()
    for number in range(4000):
        os.link(top / "0", top / f"{number:0200}")
    tracemalloc.start()
    try:
        seen = sum(isinstance(found, SourceEntry) for found in walk(SourceTrees([str(top)])))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seen == 4002
    # Some 400 kB are the names seen so far, of which 1024 are kept whole; all 4000 would take 1 MB more.
    assert peak < 800_000


# What is left out


@pytest.mark.fault(72, "fifo", "device", "socket")
def test_only_files_and_directories_are_opened(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(top / "fifo")
    (top / "to fifo").symlink_to("fifo")
    (top / "to device").symlink_to("/dev/zero")
    monkeypatch.chdir(top)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        named = walked(top, top / "fifo", "/dev/null", links=Symlinks.COPY)
    assert named == {"top": Kind.DIRECTORY} | dict.fromkeys(
        ("top/fifo", "top/to fifo", "top/to device", "top/socket", "fifo", "null"), Reason.SPECIAL
    )


@pytest.mark.fault(74, "not UTF-8", "newline")
def test_names_that_no_receiver_takes_are_left_out_and_shown_escaped(top: Path) -> None:
    for name in (b"line\nbreak", b"\xff\xfe", "\u202etxt".encode(), b".p2p-copy-0123.part"):
        (top / os.fsdecode(name)).touch()
    (top / os.fsdecode(b"d\xe9")).mkdir()
    (top / os.fsdecode(b"d\xe9") / "file").touch()
    assert walked(top, portable_names=False) == {"top": Kind.DIRECTORY} | dict.fromkeys(
        ("top/line\\nbreak", "top/\\xff\\xfe", "top/\\u202etxt", "top/.p2p-copy-0123.part", "top/d\\xe9"),
        Reason.NAME,
    )


def test_portable_names_are_asked_for_only_where_they_are_needed(top: Path) -> None:
    for name in ("a:b", "nul", "x ", "README", "readme"):
        (top / name).touch()
    assert set(walked(top, portable_names=False).values()) == {Kind.DIRECTORY, Kind.FILE}
    named = walked(top)
    assert {named[f"top/{name}"] for name in ("a:b", "nul", "x ")} == {Reason.NAME}
    assert {named["top/README"], named["top/readme"]} == {Kind.FILE, Reason.NAME}


def test_every_manifest_takes_what_the_walk_names(top: Path) -> None:
    for parent in (top, top / "Sub", top / "sub"):
        parent.mkdir(exist_ok=True)
        for name in ("ß", "ss", "SS", "é", "e\u0301", "b", "\u212a", "k", "ok"):
            (parent / name).touch()
        (parent / "inside").symlink_to("ok")
        (parent / "outside").symlink_to("../../../x")
    for portable in (True, False):
        found = list(walk(SourceTrees([str(top)], portable_names=portable)))
        manifest = Manifest(portable=portable, key=bytes(16))
        manifest.page(Page(tuple(one.entry for one in found if isinstance(one, SourceEntry))))
        assert any(isinstance(one, Omitted) for one in found)


def test_a_directory_that_cannot_be_read_is_sent_empty_and_reported(commoners_path: Path) -> None:
    for name, mode in (("shut", 0), ("unlisted", 0o311), ("unsearchable", 0o644)):
        (commoners_path / name).mkdir()
        (commoners_path / name / "file").touch()
        (commoners_path / name).chmod(mode)
    named = walked(*(commoners_path / name for name in ("shut", "unlisted", "unsearchable")))
    assert named == {
        "shut": Kind.DIRECTORY,
        "! shut": Reason.UNREADABLE,
        "unlisted": Kind.DIRECTORY,
        "! unlisted": Reason.UNREADABLE,
        "unsearchable": Kind.DIRECTORY,
        "unsearchable/file": Reason.UNREADABLE,
    }
    assert walked(commoners_path / "shut" / "file") == {"file": Reason.UNREADABLE}


def test_a_directory_that_vanishes_during_the_walk_is_reported(top: Path) -> None:
    (top / "inner").mkdir()
    found = []
    for one in walk(SourceTrees([str(top)])):
        found.append(one)
        if isinstance(one, SourceEntry) and one.entry.name == "inner":
            (top / "inner").rmdir()
    assert names_of(found)["! top/inner"] is Reason.VANISHED


def test_a_file_that_vanishes_before_it_is_looked_at_is_reported(top: Path) -> None:
    for number in range(10):
        (top / str(number)).touch()
    found = []
    for one in walk(SourceTrees([str(top)])):
        found.append(one)
        if len(found) == 2:  # the listing is in memory by now
            for path in top.iterdir():
                path.unlink()
    assert sorted(names_of(found).values()) == [Reason.VANISHED] * 9 + [Kind.DIRECTORY, Kind.FILE]


def test_a_directory_replaced_by_another_is_not_entered(top: Path, tmp_path: Path, both_ways: str) -> None:
    if both_ways == "paths":
        pytest.skip("by path only, that cannot be seen")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").touch()
    (top / "inner").mkdir()
    found = []
    for one in walk(SourceTrees([str(top)])):
        found.append(one)
        if isinstance(one, SourceEntry) and one.entry.name == "inner":
            (top / "inner").rmdir()
            (top / "inner").symlink_to(tmp_path / "outside")
    assert names_of(found) == {
        "top": Kind.DIRECTORY,
        "top/inner": Kind.DIRECTORY,
        "! top/inner": Reason.CHANGED,
    }


def test_a_directory_whose_inode_number_has_changed_is_entered(top: Path, tmp_path: Path) -> None:
    (top / "inner").mkdir()
    (top / "inner" / "file").touch()
    found = []
    for one in walk(SourceTrees([str(top)])):
        found.append(one)
        if isinstance(one, SourceEntry) and one.entry.name == "inner":
            (tmp_path / "again").mkdir()
            (top / "inner" / "file").rename(tmp_path / "again" / "file")
            (top / "inner").rmdir()
            (tmp_path / "again").rename(top / "inner")
    assert names_of(found) == {
        "top": Kind.DIRECTORY,
        "top/inner": Kind.DIRECTORY,
        "top/inner/file": Kind.FILE,
    }


def test_at_most_as_many_names_are_open_as_a_manifest_takes(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_OPEN_NAMES", 10)
    one = Manifest(portable=True, key=bytes(16))
    for name in "abc":
        (top / name).mkdir()
        for number in range(8):
            (top / name / f"{number}").touch()
    found = list(walk(SourceTrees([str(top)])))
    for each in found:
        if isinstance(each, SourceEntry):
            one.page(Page((each.entry,)))
    omitted = [each for each in found if isinstance(each, Omitted)]
    assert {each.reason for each in omitted} == {Reason.TOO_MUCH}
    assert len(omitted) == 0 + 1 + 2  # with the tree's own name, two, three and four are open above


# Symlinks in a tree


def plant_links(top: Path) -> None:
    (top.parent / "outside").write_text("abc")
    (top / "inner").mkdir()
    (top / "inner" / "file").write_text("abc")
    for name, target in {
        "up": "../inner/file",
        "out": "../../outside",
        "absolute": str(top / "inner" / "file"),
        "zigzag": "../inner/../../outside",
        "dangling": "nothing",
    }.items():
        (top / "inner" / name).symlink_to(target)


def test_symlinks_are_kept_if_they_stay_in_their_tree(top: Path) -> None:
    plant_links(top)
    assert walked(top) == {
        "top": Kind.DIRECTORY,
        "top/inner": Kind.DIRECTORY,
        "top/inner/file": Kind.FILE,
        "top/inner/up": Kind.SYMLINK,
        "top/inner/dangling": Kind.SYMLINK,
        "top/inner/out": Reason.SYMLINK_OUTSIDE,
        "top/inner/absolute": Reason.SYMLINK_OUTSIDE,
        "top/inner/zigzag": Reason.SYMLINK_OUTSIDE,
    }


def test_symlinks_are_replaced_by_what_they_point_to(top: Path) -> None:
    plant_links(top)
    assert walked(top, links=Symlinks.COPY) == {
        "top": Kind.DIRECTORY,
        "top/inner": Kind.DIRECTORY,
        "top/inner/dangling": Reason.VANISHED,
    } | dict.fromkeys(
        [f"top/inner/{name}" for name in ("file", "up", "out", "absolute", "zigzag")], Kind.FILE
    )
    copied = next(entry for entry in entries(top, links=Symlinks.COPY) if entry.name == "out")
    assert copied.size == 3
    assert copied.target == ""


def test_symlinks_are_left_out_without_a_word(top: Path) -> None:
    plant_links(top)
    (top / "line\nbreak").symlink_to("inner")
    assert set(walked(top, links=Symlinks.SKIP)) == {"top", "top/inner", "top/inner/file"}


@pytest.mark.fault(72, "looping link")
def test_symlinks_to_a_directory_above_end(top: Path) -> None:
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "b" / "top").symlink_to("../..")
    (top / "a" / "b" / "self").symlink_to("self")
    (top / "a" / "b" / "here").symlink_to(".")
    (top / "a" / "twice").symlink_to("b")
    named = walked(top, links=Symlinks.COPY)
    assert {path for path, what in named.items() if what is Kind.DIRECTORY} == {
        "top",
        "top/a",
        "top/a/b",
        "top/a/twice",
    }
    assert {path for path, what in named.items() if what is Reason.TOO_DEEP} == {
        f"top/a/{way}/{name}" for way in ("b", "twice") for name in ("top", "self", "here")
    }


# Size


def test_a_tree_is_cut_where_a_manifest_ends(top: Path) -> None:
    here = top
    for _ in range(70):
        here = here / "d"
        here.mkdir()
        (here / "file").touch()
    named = walked(top)
    assert (
        max(path.count("/") for path, what in named.items() if isinstance(what, Kind)) == limits.MAX_DEPTH - 1
    )
    assert [path.count("/") for path, what in named.items() if what is Reason.TOO_DEEP] == [
        limits.MAX_DEPTH
    ] * 2
    assert len(named) == 2 * limits.MAX_DEPTH


def test_a_path_is_cut_where_a_manifest_ends(top: Path) -> None:
    name = "d" * limits.MAX_NAME
    handle = os.open(top, os.O_RDONLY)
    for _ in range(16):
        os.mkdir(name, dir_fd=handle)
        below = os.open(name, os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = below
    os.close(handle)
    named = walked(top)
    too_deep = [path for path, what in named.items() if what is Reason.TOO_DEEP]
    assert len(too_deep) == 1
    assert all(len(path) <= limits.MAX_PATH for path, what in named.items() if isinstance(what, Kind))


def test_a_wide_directory_costs_two_handles(top: Path) -> None:
    (top / "0").touch()
    for number in range(1, 5_000):
        os.link(top / "0", top / str(number))  # several times faster than a new file
    before = open_handles()
    seen = 0
    for found in walk(SourceTrees([str(top)])):
        if seen % 1_000 == 1:
            assert open_handles() <= before + 2
        seen += isinstance(found, SourceEntry)
    assert seen == 5_001
    assert open_handles() == before


def test_an_abandoned_walk_leaves_nothing_open(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_limits, "SORTED_NAMES", 1)  # else each directory is read to its end at once
    (top / "a" / "b" / "c").mkdir(parents=True)
    before = open_handles()
    tree = walk(SourceTrees([str(top)]))
    for _ in range(4):
        next(tree)
    assert open_handles() > before
    del tree
    assert open_handles() == before


# Pruning


def test_a_pruned_directory_is_not_entered(top: Path) -> None:
    for name in ("a", "b"):
        (top / name).mkdir()
        (top / name / "file").touch()
    found = []
    for one in walk(SourceTrees([str(top)])):
        found.append(one)
        if isinstance(one, SourceEntry) and one.entry.name == "a":
            one.pruned = True
    assert set(names_of(found)) == {"top", "top/a", "top/b", "top/b/file"}


def test_a_directory_pruned_late_is_left_at_once(top: Path, tmp_path: Path) -> None:
    (top / "a" / "b").mkdir(parents=True)
    for number in range(10):
        (top / "a" / "b" / str(number)).touch()
        (top / "a" / str(number)).touch()
    (tmp_path / "next").touch()
    found = []
    for one in walk(SourceTrees([str(top), str(tmp_path / "next")])):
        found.append(one)
        if isinstance(one, SourceEntry) and one.entry.depth == 3:
            assert one.parent is not None
            assert one.parent.parent is not None
            one.parent.parent.parent.pruned = True  # type: ignore[union-attr]
    assert len([one for one in found if isinstance(one, SourceEntry) and one.entry.depth == 3]) == 1
    assert isinstance(found[-1], SourceEntry)
    assert found[-1].entry.name == "next"
