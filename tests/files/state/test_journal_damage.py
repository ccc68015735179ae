"""A journal after a kill, with a broken file, or on a system that fails: it costs work, never correctness."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings, strategies as st

from p2p_copy.files import limits
from p2p_copy.files.state import journal as module
from p2p_copy.files.state.journal import Begun, Done, Journal, key_of
from tests.files.state.journals import (
    DONE,
    KEY,
    LEAVES,
    OTHER,
    POSIX,
    opened,
    overwrite,
    run_child,
    under_way,
)

if TYPE_CHECKING:
    from collections.abc import Callable


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
        # The next one may be written before it was reported, but not in part.
        beyond = [journal.done(key_of(f"file {committed + number}")) is not None for number in range(51)]
        assert beyond in ([False] * 51, [True] * 50 + [False])


# Damaged


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
    overwrite(path, b"")


def noise(path: str) -> None:
    overwrite(path, os.urandom(10_000))


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
def test_a_damaged_journal_remembers_nothing_and_is_made_again(
    path: str, harm: Callable[[str], None]
) -> None:
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
def test_a_journal_that_breaks_before_a_commit_is_made_again(path: str, table: str) -> None:
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


def test_leaves_after_a_broken_one_are_not_used(path: str) -> None:
    with opened(path) as journal:
        journal.begin(KEY, under_way(6, flushed=5))
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE leaf SET digest = ? WHERE number = 2", (LEAVES[7],))
    with opened(path) as journal:
        assert journal.begun(KEY) == under_way(2, flushed=2)
        journal.add_leaves(KEY, LEAVES[2])
    with opened(path) as journal:
        assert journal.begun(KEY) == under_way(3, flushed=2)


def test_leaves_after_a_gap_are_not_used(path: str) -> None:
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


@POSIX
@pytest.mark.parametrize("rest", [b"", bytes(4096), bytes(8192)], ids=["nothing", "a page", "pages"])
def test_a_power_cut_that_leaves_only_the_log_leaves_an_empty_journal(path: str, rest: bytes) -> None:
    run_child(KILLED, path, code=-signal.SIGKILL)
    assert os.path.getsize(path + "-wal") > 4096
    overwrite(path, rest)
    with opened(path) as journal:
        assert journal.done(key_of("file 1")) is None
        assert journal.begun(key_of("large")) is None
        assert journal.failed is None
        journal.set_done(KEY, DONE)
        journal.commit()
        assert journal.failed is None
    with opened(path) as journal:
        assert journal.done(KEY) == DONE


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


def test_the_next_commit_repairs_one_that_was_interrupted(path: str) -> None:
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

    monkeypatch.setattr(module, "_write_rows", broken)
    with opened(path) as journal:
        journal.set_done(KEY, DONE)
        journal.commit()
        assert len(tries) == 2
        assert journal.failed is not None
        assert journal.done(KEY) == DONE
