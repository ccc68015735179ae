from __future__ import annotations

import errno
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from p2p_copy.files import limits
from p2p_copy.files.state import database, journal as module
from p2p_copy.files.state.journal import Begun, Done, Journal, key_of, pack_identity
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.units import MIB

if TYPE_CHECKING:
    from collections.abc import Callable

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

KEY = key_of("top/file")
OTHER = key_of("top/other")
DONE = Done(b"identity", b"d" * 32, "", flushed=True)
LEAVES = tuple(bytes([number]) * protocol_limits.DIGEST for number in range(8))


def under_way(segments: int = 0, flushed: int = 0, identity: bytes = b"identity") -> Begun:
    return Begun(identity, "part", b"".join(LEAVES[:segments]), flushed)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "a # journal?%41")


def opened(path: str) -> closing[Journal]:
    return closing(Journal(path))


def run_child(script: str, *arguments: str, code: int = 0) -> str:
    """Run a program of its own; it must end with this code, which is negative for a signal."""
    ended = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert ended.returncode == code, ended.stderr
    return ended.stdout


# Keys and identities


def test_a_key_has_16_bytes_and_takes_any_path() -> None:
    keys = {key_of(path) for path in ("", "a", "a/b", "ä", "\udcff")}
    assert len(keys) == 5
    assert {len(key) for key in keys} == {16}


@pytest.mark.once
@given(
    one=st.lists(st.integers() | st.text(max_size=5), max_size=4),
    other=st.lists(st.integers() | st.text(max_size=5), max_size=4),
)
def test_identities_are_the_same_for_the_same_parts_only(
    one: list[int | str], other: list[int | str]
) -> None:
    assert (pack_identity(*one) == pack_identity(*other)) == (one == other)


def test_an_identity_takes_numbers_of_any_size_and_broken_text() -> None:
    assert pack_identity(2**128 - 1, -1) == b"%x,-1," % (2**128 - 1)
    assert pack_identity("\udcff") != pack_identity("\udcfe")


# What is remembered


def test_what_is_set_counts_at_once(path: str) -> None:
    with opened(path) as journal:
        assert journal.empty
        journal.set_done(KEY, DONE)
        journal.begin(OTHER, under_way(2))
        journal.add_leaves(OTHER, LEAVES[2])
        journal.set_flushed(OTHER, 1)
        assert journal.done(KEY) == DONE
        assert journal.begun(OTHER) == under_way(3, flushed=1)
        assert journal.all_begun() == [(OTHER, under_way(3, flushed=1))]
        assert journal.done(OTHER) is None
        assert journal.begun(KEY) is None
        assert not journal.empty
        assert not os.path.exists(path)


def test_what_is_committed_is_there_again(path: str) -> None:
    name = "näme \udcff"
    with opened(path) as journal:
        journal.set_done(KEY, DONE._replace(name=name, flushed=False))
        journal.begin(OTHER, under_way(2)._replace(part=name))
        journal.commit()
        journal.add_leaves(OTHER, LEAVES[2])
        journal.commit()
        journal.set_flushed(OTHER, 2)
    with opened(path) as journal:
        assert journal.done(KEY) == DONE._replace(name=name, flushed=False)
        assert journal.begun(OTHER) == under_way(3, flushed=2)._replace(part=name)
        assert not journal.empty


def test_what_is_done_is_no_longer_begun(path: str) -> None:
    for commits in (False, True):
        with opened(path) as journal:
            journal.begin(KEY, under_way(3))
            if commits:
                journal.commit()
            journal.set_done(KEY, DONE)
            assert journal.begun(KEY) is None
        with opened(path) as journal:
            assert journal.begun(KEY) is None
            assert journal.done(KEY) == DONE


def test_a_file_begun_anew_keeps_nothing_of_the_old(path: str) -> None:
    with opened(path) as journal:
        journal.begin(KEY, under_way(6, flushed=5))
        journal.commit()
        journal.begin(KEY, under_way(1, identity=b"new"))
    with opened(path) as journal:
        journal.add_leaves(KEY, LEAVES[1])
    with opened(path) as journal:
        assert journal.begun(KEY) == under_way(2, identity=b"new")


def test_a_file_that_ends_and_begins_between_two_commits_is_there(path: str) -> None:
    with opened(path) as journal:
        journal.begin(KEY, under_way(6))
        journal.commit()
        journal.forget(KEY)
        journal.begin(KEY, under_way(2))
    with opened(path) as journal:
        assert journal.begun(KEY) == under_way(2)


def test_forgetting_takes_both_kinds(path: str) -> None:
    with opened(path) as journal:
        journal.set_done(KEY, DONE)
        journal.begin(KEY, under_way(1))
        assert journal.done(KEY) == DONE, "the old file is there until the new one is done"
        journal.commit()
        journal.forget(KEY)
        assert journal.empty
        assert journal.done(KEY) is None
        assert journal.begun(KEY) is None
        journal.commit()
        assert journal.empty
    with opened(path) as journal:
        assert journal.empty


def test_leaves_of_what_is_not_begun_are_passed_over(path: str) -> None:
    with opened(path) as journal:
        journal.add_leaves(KEY, LEAVES[0])
        journal.set_flushed(KEY, 1)
        assert journal.begun(KEY) is None


def test_no_more_is_flushed_than_there_is(path: str) -> None:
    with opened(path) as journal:
        journal.begin(OTHER, under_way(1, flushed=2))
        assert journal.begun(OTHER) == under_way(1, flushed=1)
        journal.begin(KEY, under_way(1))
        for segments, flushed in ((2, 1), (-1, 0), (1, 1)):
            journal.set_flushed(KEY, segments)
            assert journal.begun(KEY) == under_way(1, flushed=flushed)
        journal.add_leaves(KEY, LEAVES[1])
        assert journal.begun(KEY) == under_way(2, flushed=1)


def test_a_file_under_way_is_known_after_quiet_commits(path: str) -> None:
    with opened(path) as journal:
        journal.begin(KEY, under_way(2))
        for _ in range(3):
            journal.commit()
        journal.add_leaves(KEY, LEAVES[2])
        for _ in range(3):
            journal.commit()
        assert journal.begun(KEY) == under_way(3)


def test_a_journal_with_nothing_to_say_makes_no_file(path: str) -> None:
    with opened(path) as journal:
        journal.forget(KEY)
        journal.begin(OTHER, under_way())
        journal.forget(OTHER)
        journal.commit()
        assert journal.empty
    assert not os.path.exists(path)


def test_a_closed_journal_is_quiet(path: str) -> None:
    journal = Journal(path)
    journal.set_done(KEY, DONE)
    journal.close()
    journal.close()
    journal.set_done(OTHER, DONE)
    journal.commit()
    with opened(path) as again:
        assert again.done(KEY) == DONE
        assert again.done(OTHER) is None


def test_removing_leaves_nothing(path: str) -> None:
    journal = Journal(path)
    journal.set_done(KEY, DONE)
    journal.commit()
    assert os.path.exists(path)
    journal.remove()
    journal.remove()
    assert journal.empty
    journal.commit()
    journal.close()
    assert os.listdir(os.path.dirname(path)) == []


@POSIX
def test_files_are_for_their_owner_alone(path: str) -> None:
    before = os.umask(0)
    try:
        with opened(path) as journal:
            journal.set_done(KEY, DONE)
            journal.commit()
            directory = Path(path).parent
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in directory.iterdir()}
    finally:
        os.umask(before)
    assert modes == {Path(path).name: 0o600, f"{Path(path).name}-wal": 0o600}


def test_any_thread_may_use_it(path: str) -> None:
    from threading import Thread

    with opened(path) as journal:
        journal.set_done(KEY, DONE)
        journal.commit()
        found: list[Done | None] = []
        thread = Thread(target=lambda: found.append(journal.done(KEY)))
        thread.start()
        thread.join()
        assert found == [DONE]


# Killed


KILLED = """
import os, signal, sys
from p2p_copy.files.state.journal import Begun, Done, Journal, key_of
journal = Journal(sys.argv[1])
for number in range(1000):
    journal.set_done(key_of(f"file {number}"), Done(b"identity", b"d" * 32, "", False))
journal.begin(key_of("large"), Begun(b"identity", "part", b"", 0))
for number in range(100):
    journal.add_leaves(key_of("large"), bytes([number]) * 32)
    journal.commit()
journal.set_flushed(key_of("large"), 64)
journal.commit()
journal.add_leaves(key_of("large"), b"x" * 32)
journal.set_done(key_of("file 1000"), Done(b"identity", b"d" * 32, "", False))
journal.forget(key_of("file 0"))
os.kill(os.getpid(), signal.SIGKILL)
"""


@POSIX
def test_what_was_committed_survives_being_killed(path: str) -> None:
    run_child(KILLED, path, code=-signal.SIGKILL)
    with opened(path) as journal:
        assert all(journal.done(key_of(f"file {number}")) for number in range(1000))
        assert journal.done(key_of("file 1000")) is None
        begun = journal.begun(key_of("large"))
        assert begun == Begun(b"identity", "part", b"".join(bytes([n]) * 32 for n in range(100)), 64)
        assert journal.failed is None


IN_THE_MIDST = """
import sys
from p2p_copy.files.state.journal import Done, Journal, key_of
journal = Journal(sys.argv[1])
print("begun", flush=True)
for number in range(1_000_000):
    journal.set_done(key_of(f"file {number}"), Done(b"identity", b"d" * 32, "", False))
    if number % 50 == 49:
        journal.commit()
        print(number, flush=True)
"""


@POSIX
@pytest.mark.parametrize("after", [0.02, 0.1, 0.3])
def test_being_killed_at_any_time_loses_no_commit(path: str, after: float) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", IN_THE_MIDST, path], stdout=subprocess.PIPE, text=True, env=environment
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(after)
        child.kill()
        said = child.stdout.read().splitlines()
    committed = int(said[-1]) + 1 if said else 0
    with opened(path) as journal:
        assert all(journal.done(key_of(f"file {number}")) for number in range(committed))
        # The next one was written, but not yet told of, or it was not; it cannot be half there.
        beyond = [journal.done(key_of(f"file {committed + number}")) is not None for number in range(51)]
        assert beyond in ([False] * 51, [True] * 50 + [False])


# Poisoned


def poison(path: str, data: bytes) -> None:
    for ending in ("-wal", "-shm"):
        Path(path + ending).unlink(missing_ok=True)
    Path(path).write_bytes(data)


def of_another_version(path: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")


def without_tables(path: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE done")


def without_time(path: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DELETE FROM last")


def with_text(path: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE done SET value = CAST(x'ff' AS TEXT)")


def with_numbers(path: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE done SET value = 7")
        db.execute("UPDATE begun SET value = 7")


def short(path: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE done SET value = x''")
        db.execute("UPDATE begun SET value = substr(value, 1, 9)")


def cut(path: str) -> None:
    os.truncate(path, 5000)


def empty(path: str) -> None:
    poison(path, b"")


def noise(path: str) -> None:
    poison(path, os.urandom(10_000))


def pages_of_noise(path: str) -> None:
    size = os.path.getsize(path)
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))


@pytest.mark.parametrize(
    "harm",
    [
        of_another_version,
        without_tables,
        without_time,
        with_text,
        with_numbers,
        short,
        cut,
        empty,
        noise,
        pages_of_noise,
    ],
)
def test_a_poisoned_journal_remembers_nothing_and_begins_anew(path: str, harm: Callable[[str], None]) -> None:
    with opened(path) as journal:
        journal.set_done(KEY, DONE)
        journal.begin(OTHER, under_way(3))
    harm(path)
    with opened(path) as journal:
        assert journal.done(KEY) is None
        assert journal.begun(OTHER) is None or harm in {without_tables, with_text}
        assert journal.failed is None
        journal.set_done(KEY, DONE)
        journal.begin(OTHER, under_way(2))
        journal.commit()
        assert journal.failed is None
        assert journal.done(KEY) == DONE
    with opened(path) as journal:
        assert journal.done(KEY) == DONE
        assert journal.begun(OTHER) == under_way(2)


def test_a_journal_that_breaks_in_use_keeps_what_is_in_memory(path: str) -> None:
    with opened(path) as journal:
        journal.set_done(KEY, DONE)
        journal.begin(OTHER, under_way(3))
        journal.commit()
        journal.add_leaves(OTHER, LEAVES[3])
        assert journal._db is not None
        journal._db.execute("DROP TABLE done")
        assert journal.done(KEY) is None
        assert journal.begun(OTHER) == under_way(4)
        journal.commit()
        assert journal.failed is None
    with opened(path) as journal:
        assert journal.begun(OTHER) == under_way(4)


@pytest.mark.parametrize("table", ["done", "begun", "leaf"])
def test_a_journal_that_breaks_before_a_commit_is_written_anew(path: str, table: str) -> None:
    with opened(path) as journal:
        journal.begin(OTHER, under_way(3))
        journal.commit()
        journal.set_done(KEY, DONE)
        journal.add_leaves(OTHER, LEAVES[3])
        assert journal._db is not None
        journal._db.execute(f"DROP TABLE {table}")
        journal.commit()
        assert journal.failed is None
    with opened(path) as journal:
        assert journal.done(KEY) == DONE
        assert journal.begun(OTHER) == under_way(4)


@pytest.mark.parametrize("question", [Journal.begun, Journal.of_this_boot, Journal.done])
def test_a_journal_that_breaks_in_use_answers_all_the_same(
    path: str, question: Callable[[Journal, bytes], object]
) -> None:
    with opened(path) as journal:
        journal.begin(KEY, under_way(3))
        journal.set_done(OTHER, DONE)
    with opened(path) as journal:
        assert journal._db is not None
        for table in ("done", "begun"):
            journal._db.execute(f"DROP TABLE {table}")
        assert question(journal, KEY) in {None, True}
        assert journal.all_begun() == []
        assert journal.empty
        assert journal.failed is None


def test_an_empty_journal_that_breaks_is_empty(path: str) -> None:
    with opened(path) as journal:
        journal.set_done(KEY, DONE)
        journal.commit()
        assert journal._db is not None
        journal._db.execute("DROP TABLE done")
        assert journal.empty


def test_leaves_behind_a_broken_one_are_not_used(path: str) -> None:
    with opened(path) as journal:
        journal.begin(KEY, under_way(6, flushed=5))
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE leaf SET digest = ? WHERE number = 2", (LEAVES[7],))
    with opened(path) as journal:
        assert journal.begun(KEY) == under_way(2, flushed=2)
        journal.add_leaves(KEY, LEAVES[2])
    with opened(path) as journal:
        assert journal.begun(KEY) == under_way(3, flushed=2)


def test_leaves_behind_a_gap_are_not_used(path: str) -> None:
    with opened(path) as journal:
        journal.begin(KEY, under_way(6))
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DELETE FROM leaf WHERE number = 0")
    with opened(path) as journal:
        assert journal.begun(KEY) == under_way(0)


def test_the_log_of_a_journal_that_is_gone_is_not_read(path: str) -> None:
    with opened(path) as journal:
        journal.set_done(KEY, DONE)
        journal.commit()
        shutil.copy(path + "-wal", path + ".kept")
        journal.remove()
    os.rename(path + ".kept", path + "-wal")
    with opened(path) as journal:
        journal.set_done(OTHER, DONE)
        journal.commit()
        assert journal.done(KEY) is None
    with opened(path) as journal:
        assert journal.done(KEY) is None
        assert journal.done(OTHER) == DONE


@pytest.mark.once
@settings(max_examples=60)
@given(
    places=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=8)
)
def test_changed_bits_cost_work_and_never_correctness(places: list[tuple[float, int]]) -> None:
    dones = {key_of(f"file {n}"): Done(b"%d" % n, bytes([n]) * 32, f"{n}", bool(n % 2)) for n in range(40)}
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "journal")
        with opened(path) as journal:
            for key, done in dones.items():
                journal.set_done(key, done)
            journal.begin(KEY, under_way(8, flushed=4))
        data = bytearray(Path(path).read_bytes())
        for place, bits in places:
            data[int(place * len(data))] ^= bits
        Path(path).write_bytes(data)
        with opened(path) as journal:
            assert all(journal.done(key) in {None, done} for key, done in dones.items())
            begun = journal.begun(KEY)
            assert begun is None or begun == under_way(len(begun.leaves) // 32, begun.flushed)
            for key, done in dones.items():
                journal.set_done(key, done)
            journal.commit()
            assert all(journal.done(key) in {None, done} for key, done in dones.items())
        with opened(path) as journal:
            assert all(journal.done(key) in {None, done} for key, done in dones.items())


# When the system cannot


FULL = """
import resource, sys
from p2p_copy.files.state.journal import Begun, Done, Journal, key_of
journal = Journal(sys.argv[1])
done = Done(b"identity", b"d" * 32, "", True)
journal.set_done(key_of("first"), done)
journal.begin(key_of("large"), Begun(b"identity", "part", b"", 0))
journal.commit()
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
for turn in range(3):
    for number in range(1000):
        journal.set_done(key_of(f"file {turn} {number}"), done)
    journal.add_leaves(key_of("large"), b"x" * 32)
    journal.commit()
assert all(journal.done(key_of(f"file {turn} {number}")) for turn in range(3) for number in range(1000))
assert journal.done(key_of("first")) == done
assert journal.begun(key_of("large")).leaves == b"x" * 96
journal.forget(key_of("first"))
assert journal.done(key_of("first")) is None
print(journal.failed)
journal.close()
"""


@POSIX
def test_a_full_disk_ends_no_transfer(path: str) -> None:
    said = run_child(FULL, path)
    assert said.startswith("The database says: ")
    assert Path(path).name not in said
    with opened(path) as journal:
        assert journal.done(key_of("first")) is not None, "what was committed before is there"
        assert journal.failed is None


@POSIX
def test_a_disk_that_is_full_from_the_start_ends_no_transfer(path: str) -> None:
    script = """
import resource, sys
from p2p_copy.files.state.journal import Done, Journal, key_of
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
journal = Journal(sys.argv[1])
done = Done(b"identity", b"d" * 32, "", True)
for _ in range(2):
    journal.set_done(key_of("first"), done)
    journal.commit()
    assert journal.done(key_of("first")) == done
print(journal.failed)
journal.close()
"""
    assert run_child(script, path).startswith("The database says: ")
    with opened(path) as journal:
        assert journal.empty


@POSIX
def test_a_directory_that_is_none_ends_no_transfer(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with opened(str(tmp_path / "file" / "journal")) as journal:
        journal.set_done(KEY, DONE)
        journal.commit()
        assert journal.failed == f"The system says: {os.strerror(errno.ENOTDIR)}."
        assert journal.done(KEY) == DONE


def test_a_directory_in_the_place_of_the_journal_ends_no_transfer(path: str) -> None:
    os.mkdir(path)
    with opened(path) as journal:
        assert journal.failed is not None
        journal.set_done(KEY, DONE)
        journal.commit()
        assert journal.done(KEY) == DONE
    assert os.path.isdir(path)


def test_a_file_that_came_in_between_is_not_written_to(path: str) -> None:
    with opened(path) as journal:
        Path(path).write_bytes(b"somebody else's")
        journal.set_done(KEY, DONE)
        journal.commit()
        assert journal.failed is not None
    assert Path(path).read_bytes() == b"somebody else's"


def test_a_python_without_sqlite_works_from_memory(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(path) as journal:
        journal.set_done(KEY, DONE)
    monkeypatch.setitem(sys.modules, "sqlite3", None)
    for place in (path, path + " of another one"):
        with opened(place) as journal:
            assert journal.done(KEY) is None
            journal.set_done(KEY, DONE)
            journal.commit()
            assert journal.failed == "This Python has no SQLite."
            assert journal.done(KEY) == DONE


def test_memory_that_takes_the_place_of_a_file_has_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "JOURNAL_MEMORY", 10)
    (tmp_path / "file").write_bytes(b"")
    with opened(str(tmp_path / "file" / "journal")) as journal:
        keys = [key_of(f"file {number}") for number in range(25)]
        for key in keys:
            journal.set_done(key, DONE)
            journal.commit()
        assert [key for key in keys if journal.done(key) is not None] == keys[-10:]


def test_what_does_not_fit_into_memory_goes_into_a_file_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "JOURNAL_MEMORY", 10)
    monkeypatch.chdir(tmp_path)
    journal = Journal(None)
    keys = [key_of(f"file {number}") for number in range(25)]
    for key in keys:
        journal.set_done(key, DONE)
        journal.commit()
        assert len(journal._done) <= 10
    journal.forget(keys[0])
    journal.begin(keys[1], Begun(b"", "part", b"", 0))
    journal.commit()
    assert [journal.done(key) for key in keys] == [None, *[DONE] * 24]
    assert journal.begun(keys[1]) is not None
    assert not journal.empty
    journal.remove()
    assert os.listdir(tmp_path) == []


def test_what_is_dropped_from_memory_does_not_come_back_older(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "JOURNAL_MEMORY", 1)
    with opened(path) as journal:
        journal.set_done(KEY, DONE)
        journal.begin(OTHER, under_way(2))
        journal.commit()
        journal.commit()
        journal.failed = "as if the disk were full"
        journal.set_done(KEY, DONE._replace(identity=b"new"))
        journal.set_done(key_of("a"), DONE)
        journal.commit()
        assert journal.done(KEY) is None
        assert journal.begun(OTHER) is None


def test_an_interrupt_within_a_commit_is_made_good(path: str) -> None:
    with opened(path) as journal:
        journal.set_done(OTHER, DONE)
        journal.commit()
        assert journal._db is not None
        journal._db.execute("BEGIN IMMEDIATE")
        journal.set_done(KEY, DONE)
        journal.commit()
        assert journal.failed is None
    with opened(path) as journal:
        assert journal.done(KEY) == journal.done(OTHER) == DONE


def test_what_cannot_be_read_again_is_not_written_for_ever(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def broken(*_: object, **__: object) -> None:
        tries.append(1)
        raise sqlite3.DatabaseError

    monkeypatch.setattr(database, "write", broken)
    with opened(path) as journal:
        journal.set_done(KEY, DONE)
        journal.commit()
        assert len(tries) == 2
        assert journal.failed is not None
        assert journal.done(KEY) == DONE


# Boots


def boot(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setattr(module, "boot_id", lambda: said)


@LINUX
def test_linux_says_which_boot_it_is() -> None:
    assert len(module.boot_id()) == 36
    assert module.boot_id() == module.boot_id()


def test_a_fresh_journal_is_of_this_boot(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for said in ("one", ""):
        boot(monkeypatch, said)
        with opened(path) as journal:
            assert journal.committed_at == 0.0
            assert journal.of_this_boot(KEY)


def test_a_journal_knows_whether_the_machine_was_started_anew(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = time.time()
    for said in ("one", "one", "two"):
        boot(monkeypatch, said)
        with opened(path) as journal:
            assert journal.of_this_boot(KEY) is (said == "one")
            if said == "one":
                journal.set_done(KEY, DONE)
        with opened(path) as journal:
            assert before - 1 <= journal.committed_at <= time.time() + 1


def test_where_the_boot_is_unknown_a_journal_may_be_of_another(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot(monkeypatch, "")
    for _ in range(3):
        with opened(path) as journal:
            assert not journal.of_this_boot(KEY) or journal.empty
            journal.set_done(KEY, DONE)
            assert journal.of_this_boot(KEY)
            journal.commit()
            assert journal.of_this_boot(KEY)


def test_what_an_earlier_boot_recorded_stays_uncertain_for_all_later_runs(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot(monkeypatch, "one")
    with opened(path) as journal:
        journal.set_done(KEY, DONE)
        journal.begin(OTHER, under_way(1))
    boot(monkeypatch, "two")
    with opened(path) as journal:
        journal.set_done(key_of("new"), DONE)
        journal.add_leaves(OTHER, LEAVES[1])
    for _ in range(2):
        with opened(path) as journal:
            assert not journal.of_this_boot(KEY)
            assert not journal.of_this_boot(OTHER)
            assert journal.of_this_boot(key_of("new"))
    with opened(path) as journal:
        journal.set_done(KEY, DONE)
        journal.begin(OTHER, under_way(1))
    with opened(path) as journal:
        assert journal.of_this_boot(KEY)
        assert journal.of_this_boot(OTHER)
    boot(monkeypatch, "one")  # another node of a cluster, and back
    with opened(path) as journal:
        assert not journal.of_this_boot(KEY)


# Costs


BOUNDED = """
import sys
from p2p_copy.files.state.journal import Done, Journal, key_of

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

def done(number):
    return Done(b"identity" * 5, key_of(f"digest {number}") * 2, "", False)

journal = Journal(sys.argv[1])
journal.set_done(key_of("first"), done(0))
journal.commit()
before = resident()
for number in range(200_000):
    journal.set_done(key_of(f"file {number}"), done(number))
    if number % 5000 == 4999:
        journal.commit()
journal.close()
journal = Journal(sys.argv[1])
assert all(journal.done(key_of(f"file {number}")) == done(number) for number in range(200_000))
assert journal.done(key_of("file 200000")) is None
print(resident() - before)
journal.remove()
"""


@pytest.mark.once
@LINUX
def test_a_large_journal_takes_little_memory(path: str) -> None:
    grown = int(run_child(BOUNDED, path))
    assert grown < 2 * limits.JOURNAL_CACHE + 8 * MIB


def test_setting_and_committing_cost_little(path: str) -> None:
    done = [(key_of(f"file {number}"), DONE) for number in range(20_000)]
    with opened(path) as journal:
        start = time.process_time()
        for key, value in done[:10_000]:
            journal.set_done(key, value)
        journal.commit()
        for key, value in done[10_000:]:
            journal.set_done(key, value)
        journal.commit()
        took = time.process_time() - start
    assert took < 1.0, "some 0.1 s; this is for machines that are busy"


def test_one_more_leaf_does_not_rewrite_all(path: str) -> None:
    many = 65_536
    with opened(path) as journal:
        journal.begin(KEY, Begun(b"identity", "part", b"l" * protocol_limits.DIGEST * many, 0))
        journal.commit()
        assert journal._db is not None
        before = journal._db.total_changes
        journal.add_leaves(KEY, LEAVES[0])
        journal.commit()
        assert journal._db.total_changes - before < 10
    with opened(path) as journal:
        begun = journal.begun(KEY)
        assert begun is not None
        assert len(begun.leaves) == protocol_limits.DIGEST * (many + 1)


# Against a model


KEYS = st.sampled_from([key_of(str(number)) for number in range(6)])
SOME = st.binary(max_size=40)
DONES = st.builds(Done, SOME, st.sampled_from([b"", b"d" * 32]), st.sampled_from(["", "näme"]), st.booleans())
BEGUNS = st.builds(under_way, st.integers(0, 8), st.integers(0, 9), SOME)


class AJournal(RuleBasedStateMachine):
    """A journal against two dictionaries, one of them committed."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.runs = 0
        self.journal = Journal(self.path())
        self.done: dict[bytes, Done] = {}
        self.begun: dict[bytes, Begun] = {}
        self.kept: tuple[dict[bytes, Done], dict[bytes, Begun]] = {}, {}

    def path(self) -> str:
        return os.path.join(self.directory.name, f"journal {self.runs}")

    @staticmethod
    def seen(begun: Begun) -> Begun:
        return begun._replace(flushed=min(begun.flushed, len(begun.leaves) // protocol_limits.DIGEST))

    @rule(key=KEYS, done=DONES)
    def set_done(self, key: bytes, done: Done) -> None:
        self.journal.set_done(key, done)
        self.done[key] = done
        self.begun.pop(key, None)

    @rule(key=KEYS, begun=BEGUNS)
    def begin(self, key: bytes, begun: Begun) -> None:
        self.journal.begin(key, begun)
        self.begun[key] = self.seen(begun)

    @rule(key=KEYS, leaf=st.sampled_from(LEAVES))
    def add_leaves(self, key: bytes, leaf: bytes) -> None:
        self.journal.add_leaves(key, leaf)
        if key in self.begun:
            self.begun[key] = self.begun[key]._replace(leaves=self.begun[key].leaves + leaf)

    @rule(key=KEYS, segments=st.integers(0, 9))
    def set_flushed(self, key: bytes, segments: int) -> None:
        self.journal.set_flushed(key, segments)
        if key in self.begun:
            self.begun[key] = self.seen(self.begun[key]._replace(flushed=segments))

    @rule(key=KEYS)
    def forget(self, key: bytes) -> None:
        self.journal.forget(key)
        self.done.pop(key, None)
        self.begun.pop(key, None)

    @rule()
    def commit(self) -> None:
        self.journal.commit()
        self.kept = dict(self.done), dict(self.begun)

    def load(self) -> None:
        self.done, self.begun = (
            dict(self.kept[0]),
            dict(self.kept[1]),
        )
        self.journal = Journal(self.path())

    @rule()
    def reopen(self) -> None:
        self.journal.close()
        self.kept = dict(self.done), dict(self.begun)
        self.load()

    @rule()
    def be_killed(self) -> None:
        old = self.path()
        self.runs += 1
        for ending in ("", "-wal"):
            if os.path.exists(old + ending):
                shutil.copy(old + ending, self.path() + ending)
        self.journal.remove()
        self.load()

    @rule(data=st.sampled_from([b"", b"no database", b"SQLite format 3\0" + b"\xff" * 5000]))
    def be_poisoned(self, data: bytes) -> None:
        self.journal.close()
        poison(self.path(), data)
        self.kept = {}, {}
        self.load()

    @precondition(lambda self: self.journal._db is not None)
    @rule()
    def break_in_use(self) -> None:
        self.commit()
        assert self.journal._db is not None
        self.journal._db.execute("DROP TABLE done")
        assert self.journal.done(key_of("any")) is None  # notices
        in_memory = dict(self.journal.all_begun())
        assert in_memory.items() <= self.begun.items()
        self.done, self.begun = {}, in_memory
        self.kept = {}, {}

    @invariant()
    def it_remembers_the_same(self) -> None:
        for key in [key_of(str(number)) for number in range(6)]:
            assert self.journal.done(key) == self.done.get(key)
            assert self.journal.begun(key) == self.begun.get(key)
        assert dict(self.journal.all_begun()) == self.begun
        assert self.journal.empty == (not self.done and not self.begun)
        assert self.journal.failed is None

    def teardown(self) -> None:
        self.journal.close()
        self.directory.cleanup()


TestAJournal = AJournal.TestCase
TestAJournal.settings = settings(max_examples=40, stateful_step_count=30)
