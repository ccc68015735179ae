"""What a journal remembers, in memory and in its file, also across boots and against a model."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from p2p_copy.files.state import journal as module
from p2p_copy.files.state.journal import Begun, Done, Journal, key_of
from p2p_copy.protocol import limits as protocol_limits
from tests.files.state.journals import DONE, KEY, LEAVES, LINUX, OTHER, POSIX, opened, overwrite, under_way

# Keys


def test_a_key_has_16_bytes_and_takes_any_path() -> None:
    keys = {key_of(path) for path in ("", "a", "a/b", "ä", "\udcff")}
    assert len(keys) == 5
    assert {len(key) for key in keys} == {16}


# What is remembered


@pytest.mark.parametrize("how", ["done", "begun", "all begun", "committed", "closed"])
def test_what_is_set_later_is_made_only_when_it_is_needed(path: str, how: str) -> None:
    made: list[int] = []

    def make(number: int) -> tuple[bytes, Done]:
        made.append(number)
        return key_of(str(number)), DONE

    with opened(path) as journal:
        journal.begin(key_of("1"), under_way(2))
        for number in (1, 2):
            journal.set_done_later(make, number)
        assert not journal.empty
        assert made == []
        if how == "done":
            assert journal.done(key_of("2")) == DONE
        elif how == "begun":
            assert journal.begun(key_of("1")) is None
        elif how == "all begun":
            assert journal.all_begun() == []
        elif how == "committed":
            journal.commit()
    assert made == [1, 2]
    with opened(path) as journal:
        assert journal.done(key_of("1")) == journal.done(key_of("2")) == DONE
        assert journal.begun(key_of("1")) is None


def test_of_a_transfer_that_is_complete_nothing_is_made(path: str) -> None:
    def make() -> tuple[bytes, Done]:
        raise AssertionError("nothing needs it")

    for journal, end in ((Journal(path), Journal.remove), (Journal(None), Journal.close)):
        journal.set_done_later(make)
        assert journal.all_begun() == [], "a receiver looks for what is under way when all is here"
        assert journal.begun(KEY) is None
        end(journal)


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


def test_a_file_begun_again_keeps_nothing_of_the_old_one(path: str) -> None:
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


def test_leaves_of_what_is_not_begun_are_ignored(path: str) -> None:
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


def test_an_empty_journal_makes_no_file(path: str) -> None:
    with opened(path) as journal:
        journal.forget(KEY)
        journal.begin(OTHER, under_way())
        journal.forget(OTHER)
        journal.commit()
        assert journal.empty
    assert not os.path.exists(path)


def test_a_closed_journal_does_nothing(path: str) -> None:
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


def test_after_a_restart_of_the_machine_records_are_of_another_boot(
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

    @rule(key=KEYS)
    def forget_begun(self, key: bytes) -> None:
        self.journal.forget_begun(key)
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
    def be_damaged(self, data: bytes) -> None:
        self.journal.close()
        overwrite(self.path(), data)
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
