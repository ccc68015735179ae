"""What a conversation finds of what an earlier one has written."""

from __future__ import annotations

import itertools
import os
import shutil
import stat
import sys
import time
from contextlib import closing, contextmanager, suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple

import pytest

from p2p_copy.files import limits
from p2p_copy.files.directory import Directory
from p2p_copy.files.state import journal as journals
from p2p_copy.files.state.journal import Journal, key_of
from p2p_copy.files.target.errors import Refused
from p2p_copy.files.target.resume import PartialFile, ResumeIndex
from p2p_copy.files.target.target import Target
from p2p_copy.files.temporary import temporary_name
from p2p_copy.options import Conflict
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.digest import file_digest, leaf_digest
from p2p_copy.protocol.manifest import Item
from p2p_copy.protocol.messages import Entry, Kind
from tests.files.helpers import a_directory, a_file, deliver, permissions
from tests.stateful.sides import abandon

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("both_ways")

DAY = 86_400 * 10**9


def begin(target: Target, top: Item, name: str) -> None:
    """Leave a part of a large file, with one segment that is recorded."""
    target.directories.make(top)
    item = a_file(name, top, size=2 * protocol_limits.SEGMENT)
    part = target.files.begin(item)
    part.write(bytes(protocol_limits.SEGMENT))
    target.resume.journal.add_leaves(key_of(item.path), bytes(protocol_limits.DIGEST))
    target.close(keep=True)


def parts(out: Path) -> list[str]:
    return [name for _, _, names in os.walk(out) for name in names if name.startswith(".p2p-copy-")]


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol_limits, "SEGMENT", 4096)


def test_an_orphan_leaves_no_trace_in_its_directory(tmp_path: Path) -> None:
    journal, top = Journal(None), a_directory("top", mode=0o550, mtime_ns=DAY)
    begin(Target(str(tmp_path), conflict=Conflict.REFUSE, resume=ResumeIndex(journal)), top, "gone")
    assert parts(tmp_path)
    with closing(Target(str(tmp_path), conflict=Conflict.REFUSE, resume=ResumeIndex(journal))) as target:
        target.directories.make(top)
        target.directories.finish(top)
        target.remove_orphans()
    assert not parts(tmp_path)
    there = (tmp_path / "top").stat()
    assert (stat.S_IMODE(there.st_mode), there.st_mtime_ns) == (0o550, DAY)


def test_a_transfer_that_is_given_up_leaves_nothing_in_any_directory(tmp_path: Path) -> None:
    """The journal lacks what was begun in the second before a kill. Files of another transfer stay."""
    out, tag = tmp_path / "out", "0123abcd"
    inner = out / "top" / "deeper"
    inner.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (out / "link").symlink_to(tmp_path / "elsewhere")
    ours = [path / temporary_name(tag) for path in (out, inner, tmp_path / "elsewhere")]
    theirs = [inner / temporary_name("ffffffff"), inner / temporary_name(), inner / "file"]
    for path in ours + theirs:
        path.write_bytes(b"half")
    inner.chmod(0o550)
    os.utime(inner, ns=(DAY, DAY))
    with closing(
        Target(str(out), conflict=Conflict.REFUSE, resume=ResumeIndex(Journal(None), tag=tag))
    ) as target:
        target.remove_traces()
    assert [path.exists() for path in ours] == [False, False, True], "no link is followed"
    assert all(path.exists() for path in theirs)
    assert (stat.S_IMODE(inner.stat().st_mode), inner.stat().st_mtime_ns) == (0o550, DAY)
    inner.chmod(0o750)


@pytest.mark.parametrize("killed", ["before", "after"])
def test_a_file_renamed_right_before_a_kill_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: str
) -> None:
    """It is not sent again under one more name, and what another user puts there is not taken for it."""
    out, memory = tmp_path / "out", tmp_path / "journal"
    out.mkdir()
    (out / "file.txt").write_bytes(b"theirs")
    item = a_file("file.txt", mtime_ns=DAY)
    move = Directory.move_new

    class Killed(BaseException):
        pass

    def and_die(self: Directory, old: str, new: str) -> None:
        if killed == "after":
            move(self, old, new)
        if "(1)" in new:
            shutil.copytree(memory, tmp_path / "found")
            raise Killed
        move(self, old, new)

    monkeypatch.setattr(Directory, "move_new", and_die)
    memory.mkdir()
    with (
        closing(Journal(str(memory / "j"))) as journal,
        pytest.raises(Killed),
        closing(
            Target(str(out), conflict=Conflict.RENAME, resume=ResumeIndex(journal, tag="0123abcd"))
        ) as target,
    ):
        deliver(target, item)
    if killed == "before":
        (out / "file (1).txt").write_bytes(b"new")
        os.utime(out / "file (1).txt", ns=(DAY, 2 * DAY))
    with closing(Journal(str(tmp_path / "found" / "j"))) as journal:
        index = ResumeIndex(journal, restarted=True, tag="0123abcd")
        with closing(Target(str(out), conflict=Conflict.RENAME, resume=index)) as target:
            held = target.files.find_held(item)
    if killed == "after":
        assert held == PartialFile(3, bytes(protocol_limits.DIGEST), name="file (1).txt")
    else:
        assert held is None


def test_a_large_file_that_has_become_small_leaves_no_part(tmp_path: Path) -> None:
    journal, top = Journal(None), a_directory("top")
    begin(Target(str(tmp_path), conflict=Conflict.REFUSE, resume=ResumeIndex(journal)), top, "file")
    with closing(Target(str(tmp_path), conflict=Conflict.REFUSE, resume=ResumeIndex(journal))) as target:
        target.directories.make(top)
        deliver(target, a_file("file", top), b"new")
        target.directories.finish(top)
        target.remove_orphans()
    assert not parts(tmp_path)


@pytest.mark.parametrize("conflict", list(Conflict))
def test_a_directory_made_right_before_a_kill_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, conflict: Conflict
) -> None:
    out, top = tmp_path / "out", a_directory("top", mode=0o750, mtime_ns=DAY)
    (out / "theirs").mkdir(parents=True)
    os.utime(out / "theirs", ns=(0, 0))
    theirs, mode = a_directory("theirs", mode=0o711, mtime_ns=DAY), permissions(out / "theirs")
    journal = Journal(str(tmp_path / "journal"))
    with (
        closing(journal),
        closing(Target(str(out), conflict=conflict, resume=ResumeIndex(journal))) as target,
    ):
        monkeypatch.setattr(target.resume, "record_complete", lambda *_, **__: None)
        target.directories.make(top)
        target.directories.make(theirs)
    journal = Journal(str(tmp_path / "journal"))
    with (
        closing(journal),
        closing(Target(str(out), conflict=conflict, resume=ResumeIndex(journal, restarted=True))) as target,
    ):
        for item in (top, theirs):
            target.directories.make(item)
            target.directories.finish(item)
    assert sorted(path.name for path in out.iterdir()) == ["theirs", "top"]
    assert (permissions(out / "top"), (out / "top").stat().st_mtime_ns) == (0o750, DAY)
    if conflict not in {Conflict.OVERWRITE, Conflict.UPDATE}:
        assert (permissions(out / "theirs"), (out / "theirs").stat().st_mtime_ns) == (mode, 0)


SEGMENTS = 5


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collect which segments of a part are read again."""
    numbers: list[int] = []

    def check(directory: Directory, name: str, leaves: bytes, which: range | list[int]) -> int:
        numbers.extend(which)
        return len(leaves) // protocol_limits.DIGEST

    monkeypatch.setattr("p2p_copy.files.target.resume._check_segments", check)
    return numbers


@pytest.mark.parametrize("link_lost", [False, True])
@pytest.mark.parametrize("touched", [False, True])
def test_a_part_is_read_again_if_another_program_wrote_to_it_but_not_if_it_grew_slowly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looked_at: list[int], *, link_lost: bool, touched: bool
) -> None:
    now = time.time()
    clock = SimpleNamespace(time=lambda: now - 100, monotonic=time.monotonic)
    monkeypatch.setattr(journals, "time", clock)
    out, path = str(tmp_path / "out"), str(tmp_path / "journal")
    item, other = a_file("file", size=9 * protocol_limits.SEGMENT), a_file("other")
    with (
        closing(Journal(path)) as journal,
        closing(Target(out, conflict=Conflict.REFUSE, resume=ResumeIndex(journal))) as target,
    ):
        part = target.files.begin(item)
        part.write(bytes(SEGMENTS * protocol_limits.SEGMENT))
        target.resume.journal.add_leaves(key_of(item.path), bytes(SEGMENTS * protocol_limits.DIGEST))
        target.resume.journal.commit_if_due(limits.JOURNAL_BYTES)
        clock.time = lambda: now
        part.write(b"much later, and no whole segment")
        if link_lost:
            target.close(keep=True)
        else:
            target.resume.journal.commit_if_due(limits.JOURNAL_BYTES)
        again = journal if link_lost else Journal(path)
        if touched:
            (name,) = parts(tmp_path)
            os.utime(tmp_path / "out" / name, (now + 60, now + 60))
        clock.time = lambda: now + 120
        index = ResumeIndex(again, restarted=not link_lost)
        with closing(again), closing(Target(out, conflict=Conflict.REFUSE, resume=index)) as target:
            if touched:  # what is recorded now of other files says nothing of the part
                deliver(target, other)
                index.journal.commit_if_due(limits.JOURNAL_BYTES)
            held = target.files.find_held(item)
    assert held is not None
    assert held.size == SEGMENTS * protocol_limits.SEGMENT
    assert looked_at == (list(range(SEGMENTS)) if touched else [0, SEGMENTS - 1])


def test_a_file_stays_ours_when_its_next_version_is_discarded(tmp_path: Path) -> None:
    journal, top = Journal(None), a_directory("top")
    target = Target(str(tmp_path), conflict=Conflict.REFUSE, resume=ResumeIndex(journal))
    target.directories.make(top)
    deliver(target, a_file("file", top, size=3), b"old")
    target.close(keep=True)
    newer = a_file("file", top, size=2 * protocol_limits.SEGMENT)
    target = Target(str(tmp_path), conflict=Conflict.REFUSE, resume=ResumeIndex(journal))
    target.directories.make(top)
    target.files.begin(newer).write(b"n")
    target.close(keep=True)  # the connection is lost before there is anything worth keeping
    with closing(Target(str(tmp_path), conflict=Conflict.REFUSE, resume=ResumeIndex(journal))) as target:
        target.directories.make(top)
        deliver(target, newer, bytes(2 * protocol_limits.SEGMENT))
    assert (tmp_path / "top" / "file").read_bytes() == bytes(2 * protocol_limits.SEGMENT)
    assert not parts(tmp_path)


def renumber(path: Path) -> None:
    """Do what FUSE does once the kernel has forgotten a tree: it stays the same, but its inode numbers change."""
    again = path.with_name("again")
    shutil.copytree(path, again, symlinks=True)
    shutil.rmtree(path)
    again.rename(path)


@pytest.mark.parametrize("edited", [False, True])
def test_a_file_stays_ours_under_another_inode_number_unless_it_was_edited(
    tmp_path: Path, edited: bool
) -> None:
    journal, top = Journal(None), a_directory("top")
    file = a_file("file", top, size=3)
    file.digest = file_digest(b"old")
    target = Target(str(tmp_path), conflict=Conflict.REFUSE, resume=ResumeIndex(journal))
    target.directories.make(top)
    deliver(target, file, b"old")
    target.close(keep=True)
    renumber(tmp_path / "top")
    if edited:
        before = (tmp_path / "top" / "file").stat()
        (tmp_path / "top" / "file").write_bytes(b"new")
        os.utime(tmp_path / "top" / "file", ns=(0, before.st_mtime_ns))
    with closing(Target(str(tmp_path), conflict=Conflict.REFUSE, resume=ResumeIndex(journal))) as target:
        target.directories.make(top)
        assert (target.files.find_held(file) is None) is edited
        target.directories.finish(top)
    assert permissions(tmp_path / "top") == top.entry.mode
    assert (tmp_path / "top").stat().st_mtime_ns == top.entry.mtime_ns


class Version(NamedTuple):
    """What a sender has under a name at one time."""

    kind: Kind
    contents: bytes = b""
    target: str = ""

    def item(self, top: Item) -> Item:
        if self.kind is Kind.FILE:
            return a_file("entry", top, size=len(self.contents), mtime_ns=DAY * (1 + len(self.contents)))
        entry = Entry(self.kind, 1, "entry", 0o755, DAY, target=self.target)
        return Item(1, top, entry)

    def put(self, target: Target, top: Item) -> None:
        item = self.item(top)
        if self.kind is Kind.FILE:
            deliver(target, item, self.contents)
        elif self.kind is Kind.SYMLINK:
            target.make_symlink(item)
        else:
            target.directories.make(item)
            target.directories.finish(item)

    def is_there(self, path: Path) -> bool:
        if self.kind is Kind.SYMLINK:
            return path.is_symlink() and os.readlink(path) == self.target
        if self.kind is Kind.DIRECTORY:
            return path.is_dir()
        return not path.is_symlink() and path.is_file() and path.read_bytes() == self.contents


VERSIONS = {
    "file": Version(Kind.FILE, b"old"),
    "other file": Version(Kind.FILE, b"newer"),
    "link": Version(Kind.SYMLINK, target="here"),
    "other link": Version(Kind.SYMLINK, target="there"),
    "directory": Version(Kind.DIRECTORY),
}


class Runs:
    """One transfer into `out`, run by several processes in turn; each has made the directory `top`."""

    def __init__(self, folder: Path, conflict: Conflict) -> None:
        self.out = folder / "out"
        self._memory = str(folder / "journal")
        self._conflict = conflict
        self._restarted = False
        self.top = a_directory("top")

    @contextmanager
    def process(self, *, killed: bool) -> Iterator[Target]:
        journal = Journal(self._memory)
        index = ResumeIndex(journal, restarted=self._restarted, tag="0123abcd")
        index.mark_running()
        target = Target(str(self.out), conflict=self._conflict, resume=index)
        target.directories.make(self.top)
        yield target
        self._restarted = True
        if killed:
            abandon(target)
            if journal._db is not None:
                journal._db.close()
        else:
            target.close(keep=True)
            journal.close()


@pytest.mark.parametrize("conflict", list(Conflict))
@pytest.mark.parametrize("recorded", [False, True], ids=["killed at once", "recorded"])
@pytest.mark.parametrize(
    ("old", "new"), [pair for pair in itertools.permutations(VERSIONS, 2) if pair[0] != "directory"]
)
def test_what_we_made_in_a_directory_of_ours_is_replaced_after_any_kill(
    tmp_path: Path, old: str, new: str, *, recorded: bool, conflict: Conflict
) -> None:
    """Whether it was new or replaced what an earlier process made. A directory stays: it may contain things."""
    runs = Runs(tmp_path, conflict)
    with runs.process(killed=True) as target:
        VERSIONS[old].put(target, runs.top)
        if recorded:
            target.resume.journal.commit()
    for _ in range(2):  # the first one is killed before it records what it has replaced
        with runs.process(killed=True) as target:
            VERSIONS[new].put(target, runs.top)
    assert os.listdir(runs.out / "top") == ["entry"]
    assert VERSIONS[new].is_there(runs.out / "top" / "entry")


@pytest.mark.parametrize("conflict", [Conflict.REFUSE, Conflict.SKIP, Conflict.RENAME])
@pytest.mark.parametrize("what", ["new", "edited"])
def test_what_another_user_put_into_a_directory_of_ours_is_kept(
    tmp_path: Path, what: str, conflict: Conflict
) -> None:
    """As far as that can be known: the earlier process ended in good order, or had recorded what it made there."""
    runs = Runs(tmp_path, conflict)
    theirs = runs.out / "top" / "entry"
    with runs.process(killed=what == "edited") as target:
        VERSIONS["other file" if what == "edited" else "directory"].put(target, runs.top)
        target.resume.journal.commit()
    if what == "new":
        theirs.rmdir()
    theirs.write_bytes(b"theirs")
    with runs.process(killed=False) as target, suppress(Refused):
        VERSIONS["file"].put(target, runs.top)
    assert theirs.read_bytes() == b"theirs"


@pytest.mark.parametrize("conflict", [Conflict.REFUSE, Conflict.SKIP, Conflict.RENAME])
def test_what_is_newer_than_the_killed_process_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, conflict: Conflict
) -> None:
    """Another user has replaced a directory of ours, or has put something into it."""
    runs = Runs(tmp_path, conflict)
    hour_ago = SimpleNamespace(time=lambda: time.time() - 3600, monotonic=time.monotonic)
    with monkeypatch.context() as patched:
        patched.setattr(journals, "time", hour_ago)
        with runs.process(killed=True):
            pass
    theirs = runs.out / "top" / "entry"
    theirs.write_bytes(b"theirs")
    with runs.process(killed=False) as target, suppress(Refused):
        VERSIONS["file"].put(target, runs.top)
    assert theirs.read_bytes() == b"theirs"


def test_a_name_that_another_user_took_while_the_next_version_came_is_theirs(tmp_path: Path) -> None:
    out, journal = tmp_path / "out", Journal(None)
    out.mkdir()
    (out / "file").write_bytes(b"there before")
    with closing(Target(str(out), conflict=Conflict.RENAME, resume=ResumeIndex(journal))) as target:
        deliver(target, a_file("file"), b"old")
        target.close(keep=True)
    newer = a_file("file", size=2 * protocol_limits.SEGMENT)
    target = Target(str(out), conflict=Conflict.RENAME, resume=ResumeIndex(journal))
    target.files.check(newer)
    target.files.begin(newer).write(b"n")
    target.close(keep=True)  # the connection is lost
    (out / "file (1)").unlink(missing_ok=True)
    (out / "file (1)").write_bytes(b"theirs")
    with closing(Target(str(out), conflict=Conflict.RENAME, resume=ResumeIndex(journal))) as target:
        target.files.check(newer)
        deliver(target, newer, bytes(2 * protocol_limits.SEGMENT))
    assert (out / "file (1)").read_bytes() == b"theirs"
    assert (out / "file (2)").read_bytes() == bytes(2 * protocol_limits.SEGMENT)


def test_what_another_user_put_in_place_of_ours_while_the_next_version_came_is_kept(tmp_path: Path) -> None:
    out, journal = tmp_path / "out", Journal(None)
    with closing(Target(str(out), conflict=Conflict.REFUSE, resume=ResumeIndex(journal))) as target:
        deliver(target, a_file("file"), b"old")
        target.close(keep=True)
    newer = a_file("file", size=2 * protocol_limits.SEGMENT)
    with closing(Target(str(out), conflict=Conflict.REFUSE, resume=ResumeIndex(journal))) as target:
        target.files.begin(newer).write(bytes(2 * protocol_limits.SEGMENT))
        (out / "file").unlink()
        (out / "file").write_bytes(b"theirs")
        with pytest.raises(Refused):
            target.files.publish(newer)
    assert (out / "file").read_bytes() == b"theirs"


def test_a_transfer_that_made_nothing_leaves_an_empty_journal(tmp_path: Path) -> None:
    journal = Journal(None)
    Target(str(tmp_path), conflict=Conflict.REFUSE, resume=ResumeIndex(journal)).close(keep=True)
    assert journal.empty


def test_a_part_with_another_name_is_left_alone_and_the_file_starts_over(tmp_path: Path) -> None:
    """A copy of the output made of hard links is not written to, and the file is still received."""
    out, journal, top = tmp_path / "out", Journal(None), a_directory("top")
    item = a_file("file", top, size=2 * protocol_limits.SEGMENT)
    target = Target(str(out), conflict=Conflict.REFUSE, resume=ResumeIndex(journal))
    target.directories.make(top)
    target.files.begin(item).write(bytes(protocol_limits.SEGMENT))
    target.resume.journal.add_leaves(key_of(item.path), leaf_digest(bytes(protocol_limits.SEGMENT)))
    target.close(keep=True)
    (part,) = parts(out)
    os.link(out / "top" / part, tmp_path / "snapshot")
    with closing(Target(str(out), conflict=Conflict.REFUSE, resume=ResumeIndex(journal))) as target:
        target.directories.make(top)
        target.files.begin(item, target.files.find_held(item)).write(b"n" * 2 * protocol_limits.SEGMENT)
        target.files.publish(item)
    assert (out / "top" / "file").read_bytes() == b"n" * 2 * protocol_limits.SEGMENT
    assert (tmp_path / "snapshot").read_bytes() == bytes(protocol_limits.SEGMENT)
    assert not parts(out)


@pytest.mark.skipif(sys.platform == "win32", reason="there permission bits mean nothing")
def test_a_held_file_gets_the_mode_that_this_process_gives(tmp_path: Path) -> None:
    """The earlier process may have had another umask. A file that a copy shares keeps its mode."""
    out, journal = tmp_path / "out", Journal(None)
    top = a_directory("top")
    files = [a_file("own", top, mode=0o644), a_file("shared", top, mode=0o644)]
    with closing(Target(str(out), conflict=Conflict.REFUSE, resume=ResumeIndex(journal))) as target:
        target.directories.make(top)
        for item in files:
            item.digest = file_digest(b"new")
            deliver(target, item)
        target.directories.finish(top)
        target.resume.journal.commit()
    os.link(out / "top" / "shared", tmp_path / "copy")
    with closing(
        Target(str(out), conflict=Conflict.REFUSE, resume=ResumeIndex(journal), allowed=0o700)
    ) as target:
        target.directories.make(top)
        for item in files:
            held = target.files.find_held(item)
            assert held is not None
            target.files.accept_held(item, held)
        target.directories.finish(top)
    assert permissions(out / "top") == 0o700
    assert permissions(out / "top" / "own") == 0o600
    assert permissions(tmp_path / "copy") == 0o644
