"""A file is read whole and unchanged since the walk, or its failure is reported."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from p2p_copy.files.source.entry import SourceEntry, SourceTrees
from p2p_copy.files.source.reader import SourceFailed, open_itself, open_source, read_whole
from p2p_copy.files.source.walk import walk
from p2p_copy.options import Symlinks
from p2p_copy.protocol.messages import Reason
from p2p_copy.transfer import limits
from tests.files.helpers import open_handles

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK = 1000


def find(path: Path, *, links: Symlinks = Symlinks.KEEP) -> SourceEntry:
    """Return the last thing that a walk finds."""
    *_, found = walk(SourceTrees([str(path)], links))
    assert isinstance(found, SourceEntry)
    return found


def read(found: SourceEntry, between: Callable[[], object] = lambda: None) -> list[bytes]:
    """Return a file's chunks; call `between` after the first of them."""
    chunks: list[bytes] = []
    with open_source(found) as source:
        for chunk in source.read_pieces(lambda: CHUNK):
            assert isinstance(chunk, bytes), "these files have no holes"
            if not chunks:
                between()
            chunks.append(chunk)
    return chunks


def failure(found: SourceEntry, between: Callable[[], object] = lambda: None) -> Reason:
    before = open_handles()
    with pytest.raises(SourceFailed) as failed:
        read(found, between)
    assert open_handles() == before
    return failed.value.reason


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of three chunks whose time is long past, so that any write changes it."""
    (tmp_path / "top").mkdir()
    file = tmp_path / "top" / "file"
    file.write_bytes(os.urandom(3 * CHUNK))
    os.utime(file, (5, 5))
    return file


@pytest.fixture
def found(file: Path) -> SourceEntry:
    return find(file.parent)


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 1])
def test_a_file_comes_in_whole_chunks(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    chunks = read(find(tmp_path / "file"))
    assert b"".join(chunks) == data
    assert [len(chunk) for chunk in chunks[:-1]] == [CHUNK] * (len(chunks) - 1)
    assert len(chunks) == -(-size // CHUNK)


def test_a_file_larger_than_a_chunk_of_ours_comes_whole(tmp_path: Path) -> None:
    data = os.urandom(2 * limits.CHUNK + 1)
    (tmp_path / "file").write_bytes(data)
    with open_source(find(tmp_path / "file")) as source:
        assert b"".join(map(bytes, source.read_pieces(lambda: limits.CHUNK))) == data


def test_short_reads_do_not_shorten_chunks(
    found: SourceEntry, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.read
    monkeypatch.setattr(os, "read", lambda fd, size: real(fd, min(size, 7)))
    assert b"".join(read(found)) == file.read_bytes()
    assert {len(chunk) for chunk in read(found)} == {CHUNK}


def test_a_file_found_through_symlinks_is_read(file: Path, tmp_path: Path) -> None:
    (tmp_path / "named").symlink_to(file)
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "link").symlink_to(file)
    for found in (find(tmp_path / "named"), find(tmp_path / "tree", links=Symlinks.COPY)):
        assert b"".join(read(found)) == file.read_bytes()


def renumber(file: Path) -> None:
    """Give a file another inode number, as FUSE does once the kernel has forgotten it."""
    other = file.with_name("other")
    other.write_bytes(file.read_bytes())
    os.utime(other, ns=(0, file.stat().st_mtime_ns))
    other.rename(file)


def replace(file: Path) -> None:
    renumber(file)
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))


def replace_by_link(file: Path) -> None:
    file.rename(file.parent.parent / "away")
    file.symlink_to("../away")


def replace_by_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def replace_by_directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def grow(file: Path) -> None:
    with file.open("ab") as opened:
        opened.write(b"more")


def shrink(file: Path) -> None:
    os.truncate(file, 2 * CHUNK - 1)


def rewrite(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.write(b"other")


def vanish(file: Path) -> None:
    file.unlink()


def vanish_with_parent(file: Path) -> None:
    file.unlink()
    file.parent.rmdir()


@pytest.mark.fault(71, "grows", "shrinks", "rewritten", "replaced", "deleted")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (replace, Reason.CHANGED),
        (replace_by_link, Reason.CHANGED),
        (replace_by_fifo, Reason.CHANGED),
        (replace_by_directory, Reason.CHANGED),
        (grow, Reason.CHANGED),
        (shrink, Reason.CHANGED),
        (rewrite, Reason.CHANGED),
        (vanish, Reason.VANISHED),
        (vanish_with_parent, Reason.VANISHED),
    ],
)
def test_a_file_that_changes_before_it_is_read_is_not_sent(
    found: SourceEntry, file: Path, change: Callable[[Path], None], reason: Reason
) -> None:
    change(file)
    assert failure(found) is reason


@pytest.mark.parametrize("change", [grow, shrink, rewrite])
def test_a_file_that_changes_while_it_is_read_is_not_sent_whole(
    found: SourceEntry, file: Path, change: Callable[[Path], None]
) -> None:
    assert failure(found, lambda: change(file)) is Reason.CHANGED


def test_a_file_that_only_grows_has_changed(found: SourceEntry, file: Path) -> None:
    before = file.stat()

    def grow_unseen() -> None:
        grow(file)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert failure(found, grow_unseen) is Reason.CHANGED


@pytest.mark.parametrize("change", [replace, vanish])
def test_a_file_that_is_open_is_read_to_its_end_whatever_becomes_of_its_name(
    found: SourceEntry, file: Path, change: Callable[[Path], None]
) -> None:
    data = file.read_bytes()
    assert b"".join(read(found, lambda: change(file))) == data


def test_a_followed_symlink_that_now_points_to_a_device_is_not_read(tmp_path: Path, file: Path) -> None:
    (tmp_path / "link").symlink_to(file)
    found = find(tmp_path / "link")
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("/dev/zero")
    assert failure(found) is Reason.CHANGED


def test_a_parent_replaced_by_a_symlink_leads_to_no_other_file(
    found: SourceEntry, file: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_bytes(file.read_bytes())
    file.parent.rename(tmp_path / "away")
    (tmp_path / "top").symlink_to("outside")
    assert failure(found) is Reason.CHANGED


@pytest.mark.parametrize("size", [CHUNK, 3 * limits.CHUNK])
def test_a_file_whose_inode_number_has_changed_is_the_same(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "top" / "inner").mkdir(parents=True)
    file = tmp_path / "top" / "inner" / "file"
    file.write_bytes(data)
    (tmp_path / "link").symlink_to(file)
    for path in (tmp_path / "top", file, tmp_path / "link"):
        found = find(path)
        renumber(file)
        assert found.identity[1] != file.stat().st_ino
        assert b"".join(read(found)) == data
        assert read_whole(found) == data
        os.close(open_itself(found))


def test_a_hard_link_reached_through_a_new_symlink_is_not_the_same(tmp_path: Path) -> None:
    for name in ("top/inner", "outside"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_text(name[-5:])
        os.utime(tmp_path / name / "file", (5, 5))
    found = find(tmp_path / "top")
    (tmp_path / "top" / "inner").rename(tmp_path / "away")
    (tmp_path / "top" / "inner").symlink_to(tmp_path / "outside")
    assert (found.path, failure(found)) == (str(tmp_path / "top" / "inner" / "file"), Reason.CHANGED)
    with pytest.raises(SourceFailed):
        read_whole(found)
    with pytest.raises(FileNotFoundError):
        open_itself(found)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system has no /proc")
def test_a_file_that_says_it_is_empty_and_is_not_is_reported() -> None:
    assert failure(find(Path("/proc/self/status"))) is Reason.CHANGED


@pytest.mark.fault(71, "unreadable")
def test_a_file_that_may_not_be_read_is_reported(commoners_path: Path) -> None:
    (commoners_path / "file").write_text("secret")
    (commoners_path / "file").chmod(0o200)
    assert failure(find(commoners_path / "file")) is Reason.UNREADABLE


@pytest.mark.parametrize("call", ["read", "fstat"])
def test_a_disk_error_concerns_its_file_only(
    found: SourceEntry, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "secret name")

    before = open_handles()
    with open_source(found) as source, monkeypatch.context() as patched:
        patched.setattr(os, call, fail)
        with pytest.raises(SourceFailed) as failed:
            list(source.read_pieces(lambda: CHUNK))
    assert failed.value.reason is Reason.UNREADABLE
    assert "secret" not in str(failed.value)
    assert open_handles() == before
