"""An output directory into which another user writes, too, and a disk that fails."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from p2p_copy.errors import NoSpace, OutputNotWritable
from p2p_copy.files import limits
from p2p_copy.files.target import conflicts
from p2p_copy.files.target.errors import Refused
from p2p_copy.files.target.target import Target
from p2p_copy.options import Conflict
from p2p_copy.protocol.messages import Reason
from p2p_copy.units import KIB, MIB
from tests.files.helpers import a_directory, a_file, a_link, deliver, open_handles, refusal, tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("both_ways")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    outside = tmp_path / "outside"
    outside.mkdir()
    return outside


@pytest.fixture
def target(out: Path) -> Iterator[Target]:
    with closing(Target(str(out), conflict=Conflict.REFUSE)) as target:
        yield target


def failing(number: int) -> Callable[..., Any]:
    def call(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "secret name")

    return call


# Symlinks planted by another user


@pytest.mark.fault(58, "link at the target")
@pytest.mark.parametrize("conflict", tuple(Conflict))
@pytest.mark.parametrize("size", [0, 3])
def test_a_symlink_at_the_final_name_is_not_written_through(
    out: Path, outside: Path, conflict: Conflict, size: int
) -> None:
    (outside / "file").write_text("old")
    with closing(Target(str(out), conflict=conflict)) as target:
        part = target.files.begin(a_file("file", size=size))
        (out / "file").symlink_to(outside / "file")
        (out / "new").symlink_to(outside / "new")
        if conflict is Conflict.RENAME:
            part.publish()
        else:
            refusal(part.publish)
            refusal(lambda: deliver(target, a_file("new", size=size), b"new"[:size]))
    assert tree(outside) == {"file": "old"}


@pytest.mark.fault(58, "link at the temporary name")
@pytest.mark.parametrize("conflict", tuple(Conflict))
def test_a_symlink_at_the_temporary_name_is_not_written_through(
    out: Path, outside: Path, conflict: Conflict, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Target(str(out), conflict=conflict)) as target:
        monkeypatch.setattr(os, "urandom", lambda size: b"\xab" * size)  # which cannot be guessed
        planted = out / f".p2p-copy-{'ab' * 8}.part"
        planted.symlink_to(outside / "file")
        assert refusal(lambda: target.files.begin(a_file("file"))) is Reason.EXISTS
        assert planted.is_symlink()
    assert tree(outside) == {}


def swap(directory: Path, outside: Path) -> Path:
    away = directory.with_name("away")
    directory.rename(away)
    directory.symlink_to(outside)
    return away


@pytest.mark.fault(58, "link at a parent")
@pytest.mark.parametrize("conflict", tuple(Conflict))
def test_a_parent_swapped_for_a_symlink_is_not_followed(
    out: Path, outside: Path, conflict: Conflict, both_ways: str
) -> None:
    with closing(Target(str(out), conflict=conflict)) as target:
        top = a_directory("top", mode=0o711)
        inner = a_directory("inner", top, mode=0o711)
        target.directories.make(top)
        target.directories.make(inner)
        part = target.files.begin(a_file("file", inner))
        part.write(b"new")
        away = swap(out / "top", outside)
        (outside / "inner").mkdir(mode=0o700)
        acts: list[Callable[[], object]] = [
            part.publish,
            lambda: deliver(target, a_file("later", inner)),
            lambda: deliver(target, a_file("empty", inner, size=0), b""),
            lambda: target.directories.make(a_directory("deeper", inner)),
            lambda: target.make_symlink(a_link("link", "file", inner)),
        ]
        for act in acts:
            if both_ways == "handles":
                act()  # into the directory that was opened, wherever it is now
            else:
                assert refusal(act) is Reason.NOT_WRITABLE
        target.directories.finish(inner)
        target.directories.finish(top)
    assert tree(outside) == {"inner": "directory"}
    assert (outside / "inner").stat().st_mode & 0o777 == 0o700
    if both_ways == "handles":
        assert (away / "inner" / "file").read_bytes() == b"new"


def test_a_directory_whose_handle_was_closed_is_found_again_or_refused(
    target: Target, out: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DIRECTORY_HANDLES", 2)
    tops = [a_directory(str(number)) for number in range(4)]
    for top in tops:
        target.directories.make(top)
    swap(out / "0", outside)
    (out / "1").rename(out / "was 1")
    (out / "1").mkdir()
    assert refusal(lambda: target.files.begin(a_file("file", tops[0]))) is Reason.NOT_WRITABLE
    assert refusal(lambda: target.files.begin(a_file("file", tops[1]))) is Reason.NOT_WRITABLE
    for top in tops[2:]:
        deliver(target, a_file("file", top))
    for top in tops:
        target.directories.finish(top)
    assert tree(outside) == {}
    assert {name for name in tree(out) if name.endswith("file")} == {"2/file", "3/file"}


def test_a_directory_whose_handle_was_closed_may_have_another_inode_number(
    target: Target, out: Path, monkeypatch: pytest.MonkeyPatch, both_ways: str
) -> None:
    if both_ways == "paths":
        pytest.skip("by path only, numbers are all there is; Windows keeps them")
    monkeypatch.setattr(limits, "DIRECTORY_HANDLES", 2)
    tops = [a_directory(str(number)) for number in range(4)]
    for top in tops:
        target.directories.make(top)
    (out / "again").mkdir(0o700)  # as FUSE does it once the kernel has forgotten a directory
    (out / "0").rmdir()
    (out / "again").rename(out / "0")
    deliver(target, a_file("file", tops[0]))
    for top in tops:
        target.directories.finish(top)
    assert (out / "0" / "file").exists()


@pytest.mark.fault(58, "parent in a race")
def test_no_race_for_a_parent_leads_outside(
    out: Path, outside: Path, monkeypatch: pytest.MonkeyPatch, both_ways: str
) -> None:
    if both_ways == "paths":
        pytest.skip("without handles this race can be lost; the module says so")
    monkeypatch.setattr(limits, "DIRECTORY_HANDLES", 1)
    stop = threading.Event()

    def disturb() -> None:
        while not stop.is_set():
            (out / "top").rename(out / "away")
            (out / "top").symlink_to(outside)
            (out / "top").unlink()
            (out / "away").rename(out / "top")

    with closing(Target(str(out), conflict=Conflict.OVERWRITE)) as target:
        top, other = a_directory("top"), a_directory("other")
        target.directories.make(top)
        target.directories.make(other)
        thread = threading.Thread(target=disturb)
        thread.start()
        placed = 0
        reasons = set()
        try:
            for number in range(300):
                target.files.begin(a_file("x", other)).discard()  # so that the other handle is closed
                try:
                    deliver(target, a_file(str(number), top))
                    placed += 1
                except Refused as refused:
                    reasons.add(refused.reason)
        finally:
            stop.set()
            thread.join()
    assert tree(outside) == {}
    assert reasons <= {Reason.NOT_WRITABLE}
    assert len(list((out / "top").glob("[0-9]*"))) == placed


def test_a_symlink_that_was_sent_is_not_followed_either(target: Target, out: Path, outside: Path) -> None:
    target.make_symlink(a_link("way", "../outside"))
    way = a_directory("way")
    assert refusal(lambda: target.directories.make(way)) is Reason.EXISTS
    assert refusal(lambda: target.files.begin(a_file("file", way))) is Reason.NOT_WANTED
    assert tree(outside) == {}


# Directories that cannot be written to


def test_nothing_more_is_written_into_a_directory_removed_meanwhile(target: Target, out: Path) -> None:
    top = a_directory("top")
    target.directories.make(top)
    part = target.files.begin(a_file("file", top))
    part.write(b"new")
    shutil.rmtree(out / "top")
    assert refusal(part.publish) is Reason.NOT_WRITABLE
    assert refusal(lambda: target.files.begin(a_file("file", top))) is Reason.NOT_WRITABLE
    assert refusal(lambda: target.directories.make(a_directory("inner", top))) is Reason.NOT_WRITABLE
    assert refusal(lambda: target.make_symlink(a_link("link", "x", top))) is Reason.NOT_WRITABLE
    target.directories.finish(top)


def test_nothing_more_is_written_into_an_output_directory_removed_meanwhile(
    target: Target, out: Path, both_ways: str
) -> None:
    out.rmdir()
    assert refusal(lambda: deliver(target, a_file("file"))) is Reason.NOT_WRITABLE
    if both_ways == "paths":
        with pytest.raises(OutputNotWritable):
            target.free_bytes()
    assert not out.exists()


def test_a_part_removed_meanwhile_is_not_delivered(target: Target, out: Path) -> None:
    part = target.files.begin(a_file("file"))
    part.write(b"new")
    next(out.iterdir()).unlink()
    assert refusal(part.publish) is Reason.NOT_WRITABLE
    assert tree(out) == {}


def test_a_directory_without_write_permission_refuses_its_entries(commoners_path: Path) -> None:
    (commoners_path / "top").mkdir()
    (commoners_path / "top").chmod(0o555)
    (commoners_path / "shut").mkdir()
    (commoners_path / "shut").chmod(0)
    with closing(Target(str(commoners_path), conflict=Conflict.REFUSE)) as target:
        top, shut = a_directory("top"), a_directory("shut")
        target.directories.make(top)
        acts: list[Callable[[], object]] = [
            lambda: deliver(target, a_file("file", top)),
            lambda: deliver(target, a_file("empty", top, size=0), b""),
            lambda: target.directories.make(a_directory("inner", top)),
            lambda: target.make_symlink(a_link("link", "x", top)),
        ]
        assert [refusal(act) for act in acts] == [Reason.NOT_WRITABLE] * 4

        def fill_shut() -> None:
            target.directories.make(shut)
            deliver(target, a_file("file", shut))

        assert refusal(fill_shut) is Reason.NOT_WRITABLE
        deliver(target, a_file("file"))
    assert (commoners_path / "file").read_bytes() == b"new"


@pytest.mark.fault(64, "unwritable parent")
def test_an_output_directory_without_write_permission_is_reported_at_once(commoners_path: Path) -> None:
    closed = commoners_path / "closed"
    closed.mkdir()
    closed.chmod(0o500)
    before = open_handles()
    for out in (closed, closed / "below"):
        with pytest.raises(OutputNotWritable, match="You may not"):
            Target(str(out), conflict=Conflict.REFUSE)
    assert open_handles() == before


@pytest.mark.parametrize("what", ["file", "file/below", "dangling", "fifo", "nul\0", ""])
def test_an_output_path_that_is_not_a_directory_is_reported_at_once(tmp_path: Path, what: str) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "dangling").symlink_to("nowhere/at/all")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OutputNotWritable) as error:
        Target(str(tmp_path / what) if what else "", conflict=Conflict.OVERWRITE)
    assert str(tmp_path) not in str(error.value)
    assert (tmp_path / "file").read_text() == "old"


# Names that this system refuses


@pytest.mark.parametrize("name", ["x" * 256, "nul\0", "\ud800"])
def test_an_entry_with_an_impossible_name_is_refused_alone(target: Target, out: Path, name: str) -> None:
    acts: list[Callable[[], object]] = [
        lambda: deliver(target, a_file(name)),
        lambda: deliver(target, a_file(name, size=0), b""),
        lambda: target.directories.make(a_directory(name)),
        lambda: target.make_symlink(a_link(name, "x")),
    ]
    assert [refusal(act) for act in acts] == [Reason.NAME] * 4
    assert tree(out) == {}


def test_a_name_too_long_for_a_number_cannot_be_renamed(out: Path) -> None:
    out.mkdir()
    (out / ("x" * 255)).write_text("old")
    with closing(Target(str(out), conflict=Conflict.RENAME)) as target:
        assert refusal(lambda: deliver(target, a_file("x" * 255))) is Reason.NAME
    assert list(tree(out).values()) == ["old"]


def test_renaming_gives_up_when_too_many_names_are_taken(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conflicts, "_MOST_NUMBERS", 2)
    with closing(Target(str(out), conflict=Conflict.RENAME)) as target:
        for _ in range(3):
            deliver(target, a_file("file"))
        assert refusal(lambda: deliver(target, a_file("file"))) is Reason.EXISTS
    assert set(tree(out)) == {"file", "file (1)", "file (2)"}


# Disks that fail


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "small"
    path.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    command = [mount, "-t", "tmpfs", "-o", "size=64k,nr_inodes=8", "tmpfs", str(path)]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


@pytest.mark.fault(64, "full")
def test_a_full_disk_ends_the_transfer_and_leaves_nothing_half_done(small_disk: Path) -> None:
    with closing(Target(str(small_disk), conflict=Conflict.REFUSE)) as target:
        deliver(target, a_file("small"))
        assert target.free_bytes() <= 64 * KIB
        part = target.files.begin(a_file("large", size=MIB))
        part.write(bytes(16 * KIB))
        with pytest.raises(NoSpace):
            part.write(bytes(MIB - 16 * KIB))
    assert tree(small_disk) == {"small": "new"}


def test_a_disk_without_free_inodes_ends_the_transfer(small_disk: Path) -> None:
    def fill(target: Target) -> None:
        for number in range(16):
            target.directories.make(a_directory(str(number)))

    with closing(Target(str(small_disk), conflict=Conflict.REFUSE)) as target, pytest.raises(NoSpace):
        fill(target)
    with pytest.raises(NoSpace):
        Target(str(small_disk), conflict=Conflict.REFUSE)


def test_a_file_larger_than_the_system_allows_is_refused_alone(target: Target, out: Path) -> None:
    resource = pytest.importorskip("resource", reason="this system limits no file's size")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    part = target.files.begin(a_file("file", size=MIB))
    resource.setrlimit(resource.RLIMIT_FSIZE, (KIB, hard))
    try:
        assert refusal(lambda: part.write(bytes(MIB))) is Reason.TOO_MUCH
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    part.discard()
    deliver(target, a_file("other"))
    assert tree(out) == {"other": "new"}


@pytest.mark.fault(64, "quota", "input/output error", "read-only")
@pytest.mark.parametrize(
    ("number", "fatal"),
    [
        (errno.ENOSPC, NoSpace),
        (errno.EDQUOT, NoSpace),
        (errno.EIO, OutputNotWritable),
        (errno.EROFS, OutputNotWritable),
    ],
)
@pytest.mark.parametrize("call", ["write", "fsync"])
def test_an_error_of_the_disk_is_fatal_and_names_no_file(
    out: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, fatal: type[Exception]
) -> None:
    data = bytes(limits.FSYNC_FROM)
    with closing(Target(str(out), conflict=Conflict.REFUSE)) as target:
        monkeypatch.setattr(os, call, failing(number))
        with pytest.raises(fatal) as error:
            deliver(target, a_file("file", size=len(data)), data)
        assert "name" not in str(error.value)
        assert error.value.__suppress_context__
    assert tree(out) == {}


def test_a_short_write_is_continued(target: Target, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda fd, data: write(fd, memoryview(data)[:2]))
        deliver(target, a_file("file", size=7), b"one two")
    assert (out / "file").read_bytes() == b"one two"


@pytest.mark.parametrize("size", [0, 3])
def test_a_file_whose_attributes_cannot_be_set_is_written(
    target: Target, out: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    with monkeypatch.context() as patched:
        for call in ("fchmod", "chmod", "utime"):
            patched.setattr(os, call, failing(errno.EPERM))
        top = a_directory("top")
        target.directories.make(top)
        deliver(target, a_file("file", top, size=size), b"new"[:size])
        target.make_symlink(a_link("link", "file", top))
        target.directories.finish(top)
    assert tree(out) == {"top": "directory", "top/file": "new"[:size], "top/link": "link to file"}


# File systems that lack something


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK])
def test_without_hard_links_a_file_gets_its_name(
    target: Target, out: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "link", failing(number))
    deliver(target, a_file("file"))
    part = target.files.begin(a_file("other"))
    (out / "other").write_text("old")
    assert refusal(part.publish) is Reason.EXISTS
    assert tree(out) == {"file": "new", "other": "old"}


def test_a_lost_answer_of_a_file_server_is_not_a_conflict(
    target: Target, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def link_twice(source: str, name: str, **options: Any) -> None:
        link(source, name, **options)
        link(source, name, **options)

    monkeypatch.setattr(os, "link", link_twice)
    deliver(target, a_file("file"))
    assert tree(out) == {"file": "new"}


def test_a_symlink_that_cannot_replace_a_file_leaves_nothing(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out.mkdir()
    (out / "link").write_text("old")
    with closing(Target(str(out), conflict=Conflict.OVERWRITE)) as target:
        monkeypatch.setattr(os, "replace", failing(errno.EACCES))
        assert refusal(lambda: target.make_symlink(a_link("link", "x"))) is Reason.NOT_WRITABLE
    assert tree(out) == {"link": "old"}


@pytest.mark.parametrize("conflict", tuple(Conflict))
@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP])
def test_without_symlinks_a_symlink_is_refused(
    out: Path, monkeypatch: pytest.MonkeyPatch, conflict: Conflict, number: int
) -> None:
    with closing(Target(str(out), conflict=conflict)) as target:
        monkeypatch.setattr(os, "symlink", failing(number))
        assert refusal(lambda: target.make_symlink(a_link("link", "x"))) is Reason.UNSUPPORTED
    assert tree(out) == {}
