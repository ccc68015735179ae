from __future__ import annotations

import os
import shutil
import stat
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from p2p_copy.files import limits
from p2p_copy.files.target.target import Target
from p2p_copy.options import Conflict
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.messages import Reason
from tests.files.helpers import (
    a_directory,
    a_file,
    a_link,
    deliver,
    open_handles,
    permissions,
    refusal,
    tree,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from p2p_copy.protocol.manifest import Item

pytestmark = pytest.mark.usefixtures("both_ways")

EVERY = tuple(each for each in Conflict if each is not Conflict.ASK)
KEEPING = (Conflict.REFUSE, Conflict.SKIP)
REPLACING = (Conflict.OVERWRITE, Conflict.UPDATE)
WHY = {Conflict.SKIP: Reason.SKIPPED, **dict.fromkeys((Conflict.REFUSE, *REPLACING), Reason.EXISTS)}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def target(out: Path) -> Iterator[Target]:
    with closing(Target(str(out), conflict=Conflict.REFUSE)) as target:
        yield target


# Contents


def test_a_tree_is_written_completely(target: Target, out: Path) -> None:
    top = a_directory("top")
    target.directories.make(top)
    deliver(target, a_file("file", top), b"new")
    deliver(target, a_file("empty", top, size=0), b"")
    inner = a_directory("inner", top)
    target.directories.make(inner)
    target.make_symlink(a_link("link", "../file", inner))
    target.directories.finish(inner)
    target.directories.finish(top)
    assert tree(out) == {
        "top": "directory",
        "top/file": "new",
        "top/empty": "",
        "top/inner": "directory",
        "top/inner/link": "link to ../file",
    }


def test_the_output_directory_is_created_with_its_parents(tmp_path: Path) -> None:
    Target(str(tmp_path / "a" / "b"), conflict=Conflict.REFUSE).close()
    assert tree(tmp_path) == {"a": "directory", "a/b": "directory"}


def test_the_output_directory_may_be_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to("real")
    with closing(Target(str(tmp_path / "out"), conflict=Conflict.REFUSE)) as target:
        deliver(target, a_file("file"))
    assert (tmp_path / "real" / "file").read_bytes() == b"new"


def test_contents_may_come_in_pieces(target: Target, out: Path) -> None:
    part = target.files.begin(a_file("file", size=7))
    part.write(b"one ")
    part.write(memoryview(b"two"))
    part.publish()
    assert (out / "file").read_bytes() == b"one two"


def test_a_small_file_has_no_name_until_it_is_written(
    target: Target, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, seen = os.write, []

    def look(fd: int, data: bytes) -> int:
        (temporary,) = out.iterdir()
        seen.append(permissions(temporary))
        assert temporary.name.startswith(".p2p-copy-")
        return write(fd, data)

    monkeypatch.setattr(os, "write", look)
    deliver(target, a_file("file"))
    assert seen == [0o600]
    assert tree(out) == {"file": "new"}


def test_a_file_has_no_name_until_it_is_published(target: Target, out: Path) -> None:
    part = target.files.begin(a_file("file"))
    part.write(b"new")
    (temporary,) = out.iterdir()
    assert temporary.name.startswith(".p2p-copy-")
    assert temporary.name.endswith(".part")
    assert permissions(temporary) == 0o600
    part.publish()
    assert [path.name for path in out.iterdir()] == ["file"]


@pytest.mark.fault(69, "part", "umask")
@pytest.mark.parametrize("umask", [0, 0o077])
def test_only_the_owner_may_read_incomplete_files_whatever_the_umask_is(out: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with closing(Target(str(out), conflict=Conflict.REFUSE)) as target:
            top = a_directory("top", mode=0o755)
            target.directories.make(top)
            file = a_file("file", top)
            target.files.begin(file).write(b"new")
            (temporary,) = (out / "top").iterdir()
            assert (permissions(out / "top"), permissions(temporary)) == (0o700, 0o600)
            target.files.publish(file)
            target.directories.finish(top)
    finally:
        os.umask(before)
    assert (permissions(out / "top"), permissions(out / "top" / "file")) == (0o755, 0o644)


def test_a_file_large_enough_to_be_flushed_is_written(target: Target, out: Path) -> None:
    data = bytes(limits.FSYNC_FROM)
    deliver(target, a_file("file", size=len(data)), data)
    assert (out / "file").read_bytes() == data


def test_free_bytes_are_those_of_the_file_system(target: Target, out: Path) -> None:
    status = os.statvfs(out)
    assert 0 < target.free_bytes() <= status.f_blocks * status.f_frsize


# Attributes


@pytest.mark.fault(66, "mode")
@pytest.mark.parametrize("size", [0, 3])
@pytest.mark.parametrize("mode", [0o644, 0o400, 0o777, 0o4777, 0o7755])
def test_a_file_gets_its_permissions_and_no_special_bits(
    target: Target, out: Path, mode: int, size: int
) -> None:
    deliver(target, a_file("file", size=size, mode=mode), bytes(size))
    assert permissions(out / "file") == mode & 0o777


@pytest.mark.parametrize("size", [0, 3])
@pytest.mark.parametrize("mtime_ns", [1_700_000_000_123_456_789, 0, -1, -1_000_000_000_000_000_000])
def test_a_file_gets_its_time(target: Target, out: Path, mtime_ns: int, size: int) -> None:
    deliver(target, a_file("file", size=size, mtime_ns=mtime_ns), bytes(size))
    assert (out / "file").stat().st_mtime_ns == mtime_ns


@pytest.mark.fault(66, "time")
@pytest.mark.parametrize("mtime_ns", [-(2**63), 2**63 - 1])
@pytest.mark.parametrize("size", [0, 3])
def test_a_file_with_an_impossible_time_is_written(
    target: Target, out: Path, mtime_ns: int, size: int
) -> None:
    top = a_directory("top", mtime_ns=mtime_ns)
    target.directories.make(top)
    deliver(target, a_file("file", top, size=size, mtime_ns=mtime_ns), bytes(size))
    target.make_symlink(a_link("link", "file", top, mtime_ns=mtime_ns))
    target.directories.finish(top)
    assert (out / "top" / "file").stat().st_size == size
    assert (out / "top" / "link").is_symlink()


def test_a_directory_gets_its_attributes_when_all_in_it_is_done(target: Target, out: Path) -> None:
    top = a_directory("top", mode=0o6555, mtime_ns=-5)
    target.directories.make(top)
    assert permissions(out / "top") == 0o700
    deliver(target, a_file("file", top))
    target.directories.finish(top)
    assert permissions(out / "top") == 0o555
    assert (out / "top").stat().st_mtime_ns == -5


def test_a_directory_whose_mode_forbids_writing_is_filled(commoners_path: Path) -> None:
    with closing(Target(str(commoners_path), conflict=Conflict.REFUSE)) as target:
        top = a_directory("top", mode=0o500)
        target.directories.make(top)
        deliver(target, a_file("file", top, mode=0o400))
        target.directories.finish(top)
    assert permissions(commoners_path / "top") == 0o500
    assert tree(commoners_path / "top") == {"file": "new"}
    (commoners_path / "top").chmod(0o700)


def test_a_directory_keeps_the_special_bits_that_it_inherits_here(target: Target, out: Path) -> None:
    out.chmod(0o2755)
    top = a_directory("top", mode=0o750)
    target.directories.make(top)
    if not (out / "top").stat().st_mode & stat.S_ISGID:
        pytest.skip("this file system does not pass setgid on to new directories")
    target.directories.finish(top)
    assert permissions(out / "top") == 0o2750


def test_a_symlink_gets_its_own_time_and_what_it_points_to_does_not(target: Target, out: Path) -> None:
    top = a_directory("top")
    target.directories.make(top)
    deliver(target, a_file("file", top, mtime_ns=1_000))
    target.make_symlink(a_link("link", "file", top, mtime_ns=-7_000))
    assert (out / "top" / "link").lstat().st_mtime_ns == -7_000
    assert (out / "top" / "file").lstat().st_mtime_ns == 1_000


# Conflicts


@pytest.mark.parametrize("conflict", KEEPING)
@pytest.mark.parametrize("size", [0, 3])
def test_a_file_that_exists_is_kept(out: Path, conflict: Conflict, size: int) -> None:
    out.mkdir()
    (out / "file").write_text("old")
    with closing(Target(str(out), conflict=conflict)) as target:
        item = a_file("file", size=size)
        assert refusal(lambda: target.files.check(item)) is WHY[conflict]
        assert refusal(lambda: target.files.begin(item)) is WHY[conflict]
    assert tree(out) == {"file": "old"}


@pytest.mark.parametrize("size", [0, 3])
@pytest.mark.parametrize("conflict", KEEPING)
def test_a_file_that_appears_meanwhile_is_kept(out: Path, conflict: Conflict, size: int) -> None:
    with closing(Target(str(out), conflict=conflict)) as target:
        part = target.files.begin(a_file("file", size=size))
        (out / "file").write_text("old")
        assert refusal(part.publish) is WHY[conflict]
    assert tree(out) == {"file": "old"}


@pytest.mark.parametrize("size", [0, 3])
def test_overwriting_replaces_a_file_once_the_new_one_is_complete(out: Path, size: int) -> None:
    out.mkdir()
    (out / "file").write_text("old")
    with closing(Target(str(out), conflict=Conflict.OVERWRITE)) as target:
        item = a_file("file", size=size, mtime_ns=99)
        target.files.check(item)
        part = target.files.begin(item)
        if size:
            part.write(b"new")
        assert (out / "file").read_text() == "old"
        part.publish()
        deliver(target, a_file("other", size=size), b"new"[:size])
    assert tree(out) == {"file": "new"[:size], "other": "new"[:size]}
    assert (out / "file").stat().st_mtime_ns == 99


@pytest.mark.parametrize("size", [0, 3])
def test_renaming_keeps_both(out: Path, size: int) -> None:
    out.mkdir()
    for name in ("a.tar.gz", ".hidden", "a.tar (1).gz"):
        (out / name).write_text("old")
    new = b"new"[:size]
    with closing(Target(str(out), conflict=Conflict.RENAME)) as target:
        target.files.check(a_file("a.tar.gz", size=size))
        deliver(target, a_file("a.tar.gz", size=size), new)
        deliver(target, a_file(".hidden", size=size), new)
    assert tree(out) == {
        "a.tar.gz": "old",
        "a.tar (1).gz": "old",
        "a.tar (2).gz": new.decode(),
        ".hidden": "old",
        ".hidden (1)": new.decode(),
    }


def plant(path: Path, what: str) -> None:
    match what:
        case "directory":
            path.mkdir()
        case "link":
            path.symlink_to("elsewhere")
        case "fifo":
            os.mkfifo(path)
        case "file":
            path.write_text("old")
        case _:
            raise AssertionError(what)


@pytest.mark.fault(59, "fifo", "directory", "overwrite")
@pytest.mark.parametrize("size", [0, 3])
@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("what", ["directory", "link", "fifo"])
@pytest.mark.parametrize("conflict", [*KEEPING, *REPLACING])
def test_a_file_replaces_nothing_but_a_file(
    out: Path, conflict: Conflict, what: str, early: bool, size: int
) -> None:
    with closing(Target(str(out), conflict=conflict)) as target:
        item = a_file("x", size=size)
        if early:
            plant(out / "x", what)
            before = tree(out)
            assert refusal(lambda: target.files.begin(item)) is WHY[conflict]
        else:
            part = target.files.begin(item)
            plant(out / "x", what)
            before = {"x": tree(out)["x"]}
            assert refusal(part.publish) is WHY[conflict]
    assert tree(out) == before


@pytest.mark.parametrize("conflict", EVERY)
def test_a_directory_that_exists_is_merged_into(out: Path, conflict: Conflict) -> None:
    (out / "top").mkdir(parents=True)
    (out / "top" / "old").write_text("old")
    (out / "top").chmod(0o711)
    os.utime(out / "top", ns=(5, 5))
    with closing(Target(str(out), conflict=conflict)) as target:
        top = a_directory("top", mode=0o750, mtime_ns=77)
        target.directories.make(top)
        deliver(target, a_file("file", top))
        target.directories.finish(top)
    assert tree(out) == {"top": "directory", "top/old": "old", "top/file": "new"}
    overwritten = conflict in REPLACING
    assert permissions(out / "top") == (0o750 if overwritten else 0o711)
    assert ((out / "top").stat().st_mtime_ns == 77) is overwritten


@pytest.mark.parametrize("what", ["file", "link", "link to a directory", "fifo"])
@pytest.mark.parametrize("conflict", [*KEEPING, *REPLACING])
def test_a_symlink_or_file_is_not_taken_for_a_directory(out: Path, conflict: Conflict, what: str) -> None:
    (out / "elsewhere").mkdir(parents=True)
    plant(out / "x", what.partition(" ")[0])
    if what == "link":
        (out / "elsewhere").rmdir()  # now it dangles
    before = tree(out)
    with closing(Target(str(out), conflict=conflict)) as target:
        top = a_directory("x")
        # A directory whose name is taken is never skipped as a file may be: a whole tree would be missing.
        assert refusal(lambda: target.directories.make(top)) is Reason.EXISTS
        # What lies in it is refused, too.
        assert refusal(lambda: target.files.begin(a_file("y", top))) is Reason.NOT_WANTED
        target.directories.finish(top)
    assert tree(out) == before


@pytest.mark.parametrize("what", ["file", "link", "fifo"])
def test_renaming_puts_a_directory_beside_a_file_of_its_name(out: Path, what: str) -> None:
    (out / "elsewhere").mkdir(parents=True)
    plant(out / "v1.2", what)
    plant(out / "v1.2 (1)", "directory")
    before = tree(out)
    with closing(Target(str(out), conflict=Conflict.RENAME)) as target:
        top = a_directory("v1.2")
        target.directories.make(top)
        deliver(target, a_file("file", top))
        target.directories.finish(top)
    assert tree(out) == before | {"v1.2 (2)": "directory", "v1.2 (2)/file": "new"}


@pytest.mark.parametrize("what", ["file", "link", "fifo", "directory"])
@pytest.mark.parametrize("conflict", EVERY)
def test_a_symlink_whose_name_is_taken(out: Path, conflict: Conflict, what: str) -> None:
    with closing(Target(str(out), conflict=conflict)) as target:
        top = a_directory("top")
        target.directories.make(top)
        plant(out / "top" / "x", what)
        before = tree(out)
        item = a_link("x", "new", top, mtime_ns=8)
        if conflict is Conflict.RENAME:
            target.make_symlink(item)
            assert tree(out) == before | {"top/x (1)": "link to new"}
        elif conflict in REPLACING and what in {"file", "link"}:
            target.make_symlink(item)
            assert tree(out) == before | {"top/x": "link to new"}
            assert (out / "top" / "x").lstat().st_mtime_ns == 8
        else:
            assert refusal(lambda: target.make_symlink(item)) is WHY[conflict]
            assert tree(out) == before


# Handles, and what is left


def test_a_discarded_part_leaves_nothing(target: Target, out: Path) -> None:
    part = target.files.begin(a_file("file"))
    part.write(b"ne")
    part.discard()
    part.discard()
    assert tree(out) == {}


def test_closing_deletes_what_is_incomplete(out: Path) -> None:
    before = open_handles()
    target = Target(str(out), conflict=Conflict.REFUSE)
    top = a_directory("top")
    target.directories.make(top)
    target.files.begin(a_file("file", top)).write(b"ne")
    target.close()
    target.close()
    assert tree(out) == {"top": "directory"}
    assert open_handles() == before


def test_part_files_of_other_runs_stay(out: Path) -> None:
    out.mkdir()
    (out / ".p2p-copy-0123456789abcdef.part").write_text("old")
    with closing(Target(str(out), conflict=Conflict.OVERWRITE)) as target:
        deliver(target, a_file("file"))
    assert tree(out) == {".p2p-copy-0123456789abcdef.part": "old", "file": "new"}


def test_a_wide_directory_costs_one_handle(target: Target, out: Path) -> None:
    top = a_directory("top")
    before = open_handles()
    target.directories.make(top)
    for number in range(5_000):
        deliver(target, a_file(str(number), top, size=number % 2), b"x"[: number % 2])
    assert open_handles() <= before + 1
    target.directories.finish(top)
    assert open_handles() == before
    assert len(os.listdir(out / "top")) == 5_000


def test_many_open_directories_cost_few_handles(target: Target, out: Path) -> None:
    before = open_handles()
    tops = [a_directory(str(number)) for number in range(3)]
    inner = []
    for top in tops:
        target.directories.make(top)
        inner += [a_directory(str(number), top, mode=0o500) for number in range(limits.DIRECTORY_HANDLES)]
    for directory in inner:
        target.directories.make(directory)
    assert open_handles() <= before + limits.DIRECTORY_HANDLES
    for directory in inner:
        deliver(target, a_file("file", directory))
        target.directories.finish(directory)
    for top in tops:
        target.directories.finish(top)
    assert open_handles() == before
    assert {permissions(path) for path in out.glob("*/*")} == {0o500}
    assert len(list(out.glob("*/*/file"))) == len(inner)


def make_way(target: Target, name: str, levels: int) -> list[Item]:
    way: list[Item] = []
    for _ in range(levels):
        way.append(a_directory(name, way[-1] if way else None))
        target.directories.make(way[-1])
    return way


def test_the_deepest_tree_is_written(target: Target, out: Path) -> None:
    way = make_way(target, "d", 70)
    deliver(target, a_file("file", way[-1]))
    for directory in reversed(way):
        target.directories.finish(directory)
    assert [len(path.relative_to(out).parts) for path in out.rglob("file")] == [71]


def test_a_path_longer_than_system_calls_take_needs_handles(
    target: Target, out: Path, both_ways: str
) -> None:
    name = "d" * protocol_limits.MAX_NAME
    if both_ways == "paths":
        assert refusal(lambda: make_way(target, name, 20)) is Reason.NAME
        return
    way = make_way(target, name, 20)
    deliver(target, a_file("file", way[-1]))
    for directory in reversed(way):
        target.directories.finish(directory)
    assert len(list(out.iterdir())) == 1
    shutil.rmtree(out)  # at once: other tools can hardly remove such a tree
