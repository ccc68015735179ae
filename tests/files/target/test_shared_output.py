"""An output directory into which other users write: their files are neither written to nor taken for ours."""

from __future__ import annotations

import os
import stat
import sys
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import pytest

from p2p_copy.errors import OutputNotWritable
from p2p_copy.files.directory import Directory
from p2p_copy.files.receipts.writer import ReceiptWriter
from p2p_copy.files.state.journal import Journal, key_of
from p2p_copy.files.target.resume import PartialFile, ResumeIndex
from p2p_copy.files.target.small_files import SmallFiles
from p2p_copy.files.target.target import Target
from p2p_copy.options import Conflict
from p2p_copy.protocol import limits
from p2p_copy.protocol.digest import leaf_digest
from p2p_copy.protocol.messages import Extra, Owner, Reason
from tests.files.helpers import a_directory, a_file, a_link, deliver, permissions, refusal
from tests.files.receipts.samples import publish
from tests.stateful.sides import abandon

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from p2p_copy.protocol.manifest import Item

pytestmark = [
    pytest.mark.usefixtures("both_ways"),
    pytest.mark.skipif(sys.platform == "win32", reason="has no owners and modes that could tell"),
]

NOBODY = 65534

needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can put another user's file there"
)


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SEGMENT", 4096)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    out = tmp_path / "out"
    out.mkdir()
    return out


def target_in(out: Path, journal: Journal, conflict: Conflict = Conflict.REFUSE) -> Target:
    return Target(
        str(out), conflict=conflict, resume=ResumeIndex(journal, restarted=not journal.empty, tag="0123abcd")
    )


# Parts


def begun(out: Path, journal: Journal, item: Item) -> Path:
    """Leave a part with one segment, and return its path."""
    target = target_in(out, journal)
    target.files.begin(item).write(bytes(limits.SEGMENT))
    target.resume.journal.add_leaves(key_of(item.path), leaf_digest(bytes(limits.SEGMENT)))
    target.close(keep=True)
    (part,) = out.iterdir()
    return part


def of_another_user(part: Path) -> None:
    part.unlink()
    part.write_bytes(bytes(limits.SEGMENT))
    os.chown(part, NOBODY, NOBODY)


def for_others_to_write(part: Path) -> None:
    part.chmod(0o620)


@pytest.mark.fault(102, "part", "part that others may write to")
@pytest.mark.parametrize("change", [pytest.param(of_another_user, marks=needs_root), for_others_to_write])
def test_nothing_is_written_into_a_part_that_is_not_ours_alone(
    out: Path, change: Callable[[Path], None]
) -> None:
    journal, item = Journal(None), a_file("file", size=2 * limits.SEGMENT)
    part = begun(out, journal, item)
    change(part)
    theirs = part.open("rb")
    with theirs, closing(target_in(out, journal)) as target:
        assert target.files.find_held(item) is None
        assert refusal(
            lambda: target.files.open_part(item, PartialFile(limits.SEGMENT, b"", bytes(32), part.name))
        )
        target.files.begin(item).write(b"n" * 2 * limits.SEGMENT)
        target.files.publish(item)
        assert theirs.read() == bytes(limits.SEGMENT)
    there = (out / "file").stat()
    assert (there.st_uid, stat.S_IMODE(there.st_mode)) == (os.geteuid(), item.entry.mode)
    assert os.listdir(out) == ["file"]


def test_a_part_that_had_its_final_mode_at_a_kill_is_continued(out: Path) -> None:
    """No other user may write to it, and until it is complete none may read it."""
    journal, item = Journal(None), a_file("file", size=2 * limits.SEGMENT)
    part = begun(out, journal, item)
    part.chmod(0o644)
    with closing(target_in(out, journal)) as target:
        target.files.begin(item, target.files.find_held(item)).write(bytes(limits.SEGMENT))
        assert permissions(part) == 0o600
        target.files.publish(item)
    assert (out / "file").read_bytes() == bytes(2 * limits.SEGMENT)


def test_where_files_get_other_owners_a_part_is_compared_with_a_new_file(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that does not trust root makes 'nobody' their owner, and a stick the user who has mounted it."""
    journal, item = Journal(None), a_file("file", size=2 * limits.SEGMENT)
    begun(out, journal, item)
    real = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: real + 1)
    with closing(target_in(out, journal)) as target:
        held = target.files.find_held(item)
        assert held is not None
        target.files.begin(item, held).write(bytes(limits.SEGMENT))
        target.files.publish(item)
    assert os.listdir(out) == ["file"]


# Directories


@pytest.mark.fault(102, "directory")
@needs_root
@pytest.mark.parametrize("when", ["between two links", "at once"])
def test_a_directory_that_another_user_put_in_place_of_ours_is_theirs(
    out: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    journal, top = Journal(None), a_directory("top", mode=0o750, mtime_ns=10**18)

    def swap() -> None:
        os.rmdir(out / "top")
        os.mkdir(out / "top", 0o700)
        os.chown(out / "top", NOBODY, NOBODY)

    if when == "at once":
        mkdir = os.mkdir

        def and_swap(path: str, *words: int, **more: Any) -> None:
            mkdir(path, *words, **more)
            if path.endswith("top"):
                monkeypatch.setattr(os, "mkdir", mkdir)
                swap()

        monkeypatch.setattr(os, "mkdir", and_swap)
    else:
        with closing(target_in(out, journal)) as target:
            target.directories.make(top)
            target.resume.journal.commit()
        swap()
    with closing(target_in(out, journal)) as target:
        target.directories.make(top)
        assert not target.directories._open[top.index].created
        target.directories.finish(top)
    assert permissions(out / "top") == 0o700, "its attributes are not ours to set"


@needs_root
def test_a_directory_that_was_given_its_owner_is_still_ours(out: Path) -> None:
    journal, top = Journal(None), a_directory("top")
    top.entry = top.entry._replace(extra=Extra(owner=Owner(NOBODY, NOBODY, "", "")))
    for _ in range(2):
        with closing(target_in(out, journal)) as target:
            target.directories.make(top)
            assert target.directories._open[top.index].created
            target.directories.finish(top)
    assert (out / "top").stat().st_uid == NOBODY


@needs_root
def test_a_directory_that_was_given_its_owner_right_before_a_kill_is_still_ours(
    out: Path, tmp_path: Path
) -> None:
    """The journal does not have it, but it lies in a directory of ours."""
    top = a_directory("top")
    inner = a_directory("inner", top)
    inner.entry = inner.entry._replace(extra=Extra(owner=Owner(NOBODY, NOBODY, "", "")))
    journal, file = Journal(str(tmp_path / "journal")), a_file("file", inner)

    def bring(target: Target) -> None:
        target.directories.make(top)
        target.directories.make(inner)
        deliver(target, file)
        target.directories.finish(inner)

    target = target_in(out, journal)
    bring(target)
    abandon(target)
    assert journal._db is not None
    journal._db.close()
    with closing(Journal(str(tmp_path / "journal"))) as journal, closing(target_in(out, journal)) as target:
        bring(target)
    assert (out / "top/inner").stat().st_uid == NOBODY
    assert os.listdir(out / "top/inner") == ["file"]


# Names


def swapped(path: Path) -> None:
    """Replace a file by another one."""
    path.unlink()
    path.write_bytes(b"theirs, and longer")


def swap_before_the_name(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Swap what is complete right before we look at it, give it its name and look again."""
    write = Journal.commit

    def swap(journal: Journal, *, always: bool = False) -> None:
        write(journal, always=always)
        for part in out.glob(".p2p-copy-*"):
            swapped(part)

    monkeypatch.setattr(Journal, "commit", swap)


def swap_at_the_name(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Swap it between our look and the rename."""
    move = Directory.move_new

    def swap(directory: Directory, old: str, new: str) -> None:
        swapped(out / old)
        move(directory, old, new)

    monkeypatch.setattr(Directory, "move_new", swap)


def put_file(target: Target) -> Item:
    item = a_file("entry")
    deliver(target, item)
    return item


def put_link(target: Target) -> Item:
    item = a_link("entry", "somewhere")
    target.make_symlink(item)
    return item


def put_hard_link(target: Target) -> Item:
    first = a_file("first")
    first.entry = first.entry._replace(extra=Extra(named_again=True))
    again = a_file("entry")
    again.entry = again.entry._replace(extra=Extra(original=first.index))
    again.original = first
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Journal, "commit", lambda journal: None)
        patched.setattr(Directory, "move_new", Directory.move_over)
        deliver(target, first)
    target.hard_links.make(again)
    return again


@pytest.mark.fault(103, "before the name", "after the name", "hard link", "symbolic link")
@pytest.mark.parametrize("put", [put_file, put_link, put_hard_link])
@pytest.mark.parametrize("swap", [swap_before_the_name, swap_at_the_name])
def test_what_another_user_swaps_before_it_gets_its_name_does_not_count_as_delivered(
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    put: Callable[[Target], Item],
    swap: Callable[[Path, pytest.MonkeyPatch], None],
) -> None:
    journal = Journal(None)
    with closing(target_in(out, journal)) as target:
        swap(out, monkeypatch)
        assert refusal(lambda: put(target)) is Reason.NOT_WRITABLE
        target.resume.journal.commit()
    assert (out / "entry").exists() is (swap is swap_at_the_name), "what has the name then is not called ours"
    assert not [name for name in os.listdir(out) if name.startswith(".p2p-copy-")]


def test_a_file_stays_if_another_user_swaps_its_replacement(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (out / "entry").write_bytes(b"before")
    check = "p2p_copy.files.target.conflicts.check"

    def swap(*_: object) -> None:
        for part in out.glob(".p2p-copy-*"):
            swapped(part)

    with closing(target_in(out, Journal(None), Conflict.OVERWRITE)) as target:
        monkeypatch.setattr(check, swap)
        assert refusal(lambda: put_file(target)) is Reason.NOT_WRITABLE
    assert (out / "entry").read_bytes() == b"before"


def test_a_receipt_that_another_user_swaps_is_not_published(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = ReceiptWriter(str(out / "receipt"), tag="0123abcd")
    fstat = os.fstat

    def and_swap(fd: int) -> os.stat_result:
        there = fstat(fd)
        for part in out.glob(".p2p-copy-*"):
            swapped(part)
        return there

    monkeypatch.setattr(os, "fstat", and_swap)
    with pytest.raises(OutputNotWritable):
        publish(writer, bytes(32))
    assert not (out / "receipt").exists()


@needs_root
@pytest.mark.skipif(not hasattr(os, "O_PATH"), reason="only Linux can hold a link")
def test_a_file_put_in_place_of_a_symlink_keeps_its_owner(out: Path) -> None:
    (out / "link").symlink_to("somewhere")
    (out / "secret").write_bytes(b"of root alone")
    top = Directory.top(str(out))
    extra = Extra(owner=Owner(NOBODY, NOBODY, "", ""))
    top.give_symlink("link", extra)
    assert not top.attributes_lost
    (out / "link").unlink()
    os.link(out / "secret", out / "link")
    top.give_symlink("link", extra)
    top.close()
    assert top.attributes_lost
    assert (out / "secret").stat().st_uid == 0


# What is ours is recorded before it has its name


def test_a_file_whose_mode_depends_on_its_name_is_still_ours(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Windows Python derives the executable bits from the name, and a file is made under a temporary one."""
    lstat = Directory.lstat

    def as_on_windows(directory: Directory, name: str) -> os.stat_result | None:
        there = lstat(directory, name)
        if there is None or not name.endswith(".exe"):
            return there
        mode, *others = there
        return os.stat_result((mode | 0o111, *others), {"st_mtime_ns": there.st_mtime_ns})

    monkeypatch.setattr(Directory, "lstat", as_on_windows)
    with closing(target_in(out, Journal(None))) as target:
        deliver(target, a_file("tool.exe"))
    assert os.listdir(out) == ["tool.exe"]


@pytest.mark.fault(101, "killed")
@pytest.mark.parametrize("put", [put_file, put_link], ids=["file", "link"])
@pytest.mark.parametrize("killed", ["before", "after"])
def test_what_gets_its_name_right_before_a_kill_is_found_again(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, put: Callable[[Target], Item], killed: str
) -> None:
    """Although what the journal does not have is neither reported to the sender nor replaced."""

    class Killed(BaseException):
        pass

    move = Directory.move_new

    def and_die(directory: Directory, old: str, new: str) -> None:
        if killed == "after":
            move(directory, old, new)
        raise Killed

    journal = Journal(str(tmp_path / "journal"))
    target = target_in(out, journal)
    with monkeypatch.context() as patched:
        patched.setattr(Directory, "move_new", and_die)
        patched.setattr(SmallFiles, "_drop", lambda *_: None)
        with pytest.raises(Killed):
            put(target)
    abandon(target)
    assert journal._db is not None
    journal._db.close()
    with closing(Journal(str(tmp_path / "journal"))) as journal, closing(target_in(out, journal)) as target:
        item = a_file("entry")
        if put is put_file:
            held = target.files.find_held(item)
            assert (held is not None) is (killed == "after")
        if killed == "before" or put is put_link:
            put(target)
    assert [name for name in os.listdir(out) if not name.startswith(".p2p")] == ["entry"]


def test_what_was_made_right_before_a_kill_is_ours_if_the_outputs_clock_is_ahead(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file server may have a clock of its own."""
    here = time.time
    monkeypatch.setattr(time, "time", lambda: here() - 60)
    top = a_directory("top")
    file = a_file("file", top)
    for killed in (True, False):
        journal = Journal(str(tmp_path / "journal"))
        target = target_in(out, journal)
        target.directories.make(top)
        deliver(target, file)
        if killed:
            abandon(target)
            assert journal._db is not None
            journal._db.close()
        else:
            target.close()
            journal.close()
    assert os.listdir(out / "top") == ["file"]


def test_a_name_that_exists_is_never_recorded_as_ours(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were this process killed then, the sender would learn whether that file has the contents that it sent."""
    names, made = [], ResumeIndex.record_complete

    def record(index: ResumeIndex, item: Item, there: os.stat_result, *words: Any, **more: Any) -> None:
        names.append(more["name"] if "name" in more else words[1])
        made(index, item, there, *words, **more)

    monkeypatch.setattr(ResumeIndex, "record_complete", record)
    (out / "entry").write_bytes(b"theirs")
    with closing(target_in(out, Journal(None), Conflict.RENAME)) as target:
        put_file(target)
        put_link(target)
    assert set(names) == {"entry (1)", "entry (2)"}


def test_the_files_of_one_record_are_recorded_with_one_commit(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = []
    with closing(target_in(out, Journal(None))) as target:
        monkeypatch.setattr(Journal, "commit", lambda journal, **_: commits.append(len(os.listdir(out))))
        files = [(a_file(str(number)), b"new") for number in range(20)]
        with suppress(AttributeError):
            assert [refused for _, refused in target.small_files.put(files)] == [None] * 20
    assert len(os.listdir(out)) == 20
    assert len(commits) in {1, 20}, "where there are no handles each is on its own"
