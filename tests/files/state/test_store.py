"""States: where they are, who can read them, what is damaged or locked, and what survives a kill."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from p2p_copy.files import limits
from p2p_copy.files.state import store as states_module
from p2p_copy.files.state.facts import Facts
from p2p_copy.files.state.journal import Done, key_of
from p2p_copy.files.state.store import (
    Access,
    State,
    StateBusy,
    States,
    access_of_others,
    default_directory,
    is_state_file,
)
from tests.support.commands import send_command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")

ID = "0123456789abcdef" * 2
OTHER = "f" * 32
FACTS = Facts(
    command=send_command("\udcff", "ä"),
    code="never to be seen",
    claim="5ec4e7" * 6,
    tickets=(b"never to be seen".ljust(32),),
)
DONE = Done(b"identity", b"", "", flushed=False)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "a" / "b"


@pytest.fixture
def states(directory: Path) -> States:
    return States(str(directory))


def write(states: States, id: str = ID, facts: Facts = FACTS) -> None:  # noqa: A002
    states.create(id, facts).close()


def again(states: States, id: str = ID) -> State:  # noqa: A002
    state = states.open(id)
    assert state is not None
    return state


@contextmanager
def child(script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program of its own until it says something, and kill it afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield process
        process.kill()


# Where


@POSIX
def test_states_lie_where_the_specification_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert default_directory() == "/home/someone/.local/state/p2p-copy"
    monkeypatch.setenv("XDG_STATE_HOME", "relative/is/ignored")
    assert default_directory() == "/home/someone/.local/state/p2p-copy"
    monkeypatch.setenv("XDG_STATE_HOME", "/elsewhere")
    assert default_directory() == "/elsewhere/p2p-copy"


@POSIX
@pytest.mark.parametrize("home", ["", "relative", "~"])
def test_without_an_absolute_home_there_are_no_states(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", home)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert default_directory() == ""
    states = States(default_directory())
    assert states.all() == []
    assert states.open("0" * 32) is None
    with pytest.raises(OSError, match="home directory"):
        states.create("0" * 32, Facts())
    assert not list(tmp_path.iterdir())


@pytest.mark.fault(69, "state")
@POSIX
def test_everything_is_for_its_owner_alone(states: States, directory: Path) -> None:
    before = os.umask(0)
    try:
        with states.create(ID, FACTS) as state:
            state.journal.set_done(key_of("file"), DONE)
            state.journal.commit()
            state.save()
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
    finally:
        os.umask(before)
    endings = (".json", ".journal", ".journal-wal", ".lock")
    assert modes == {ID + ending: 0o600 for ending in endings}
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(directory.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "id", ["", "0" * 31, "0" * 33, "g" * 32, "A" * 32, "../" + "0" * 29, "0" * 32 + "\n", "\u0660" * 32]
)
def test_an_id_has_32_hexadecimal_digits(states: States, directory: Path, id: str) -> None:  # noqa: A002
    with pytest.raises(ValueError, match="32"):
        states.open(id)
    with pytest.raises(ValueError, match="32"):
        states.create(id, FACTS)
    assert not directory.exists()


# Ids


@pytest.mark.fault(104, "id")
def test_an_id_is_the_same_again_and_another_one_with_another_key(tmp_path: Path) -> None:
    one, other = States(str(tmp_path / "one")), States(str(tmp_path / "other"))
    id_ = one.id_of(b"a code")
    assert id_ == one.id_of(b"a code") == States(str(tmp_path / "one")).id_of(b"a code")
    assert len({id_, one.id_of(b"another code"), other.id_of(b"a code")}) == 3
    one.create(id_, FACTS).close()


@pytest.mark.fault(104, "key")
@POSIX
def test_the_key_is_for_its_owner_alone_and_never_sent(states: States, directory: Path) -> None:
    before = os.umask(0)
    try:
        states.id_of(b"a code")
    finally:
        os.umask(before)
    (key,) = directory.iterdir()
    assert (stat.S_IMODE(key.stat().st_mode), key.stat().st_size) == (0o600, 32)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert is_state_file(key.name)


@pytest.mark.parametrize("broken", [b"", bytes(31), bytes(33)])
def test_a_key_of_the_wrong_length_is_replaced(states: States, directory: Path, broken: bytes) -> None:
    id_ = states.id_of(b"a code")
    (key,) = directory.iterdir()
    key.write_bytes(broken)
    anew = States(str(directory)).id_of(b"a code")
    assert anew != id_
    assert anew == States(str(directory)).id_of(b"a code")
    assert list(directory.iterdir()) == [key]


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "none"])
def test_processes_that_begin_at_once_have_one_key(
    states: States, directory: Path, monkeypatch: pytest.MonkeyPatch, *, links: bool
) -> None:
    """Each of them finds no key. Where there are no hard links, the key of the last process stays."""
    if not links:
        monkeypatch.delattr(os, "link")
    first, make = States(str(directory)), states_module._make_key
    monkeypatch.setattr(
        states_module,
        "_make_key",
        lambda path: (monkeypatch.setattr(states_module, "_make_key", make), first.id_of(b""), make(path)),
    )
    id_ = states.id_of(b"")
    assert id_ == States(str(directory)).id_of(b"")
    assert not links or id_ == first.id_of(b"")
    assert len(list(directory.iterdir())) == 1


@POSIX
@pytest.mark.parametrize(
    ("mode", "access"),
    [
        (0o700, Access.NONE),
        (0o711, Access.NONE),
        (0o750, Access.LIST),
        (0o755, Access.LIST),
        (0o770, Access.WRITE),
        (0o1777, Access.WRITE),
    ],
)
def test_what_others_may_do_is_known(tmp_path: Path, mode: int, access: Access) -> None:
    tmp_path.chmod(mode)
    assert access_of_others(str(tmp_path)) is access
    tmp_path.chmod(0o700)
    assert access_of_others(str(tmp_path / "missing")) is Access.NONE


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="gives a directory away: for root only"
)
def test_the_owner_of_a_directory_may_do_everything_in_it(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    assert access_of_others(str(tmp_path)) is Access.WRITE


@POSIX
def test_nothing_is_kept_where_all_directories_are_open_to_others(
    states: States, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a USB stick. A state there could not be used again, since other users may have changed it."""
    mkdir = os.mkdir

    def as_on_a_stick(path: str, mode: int) -> None:
        mkdir(path, mode)
        os.chmod(path, 0o777)

    monkeypatch.setattr(os, "mkdir", as_on_a_stick)
    for make in (lambda: states.id_of(b"transfer"), lambda: states.create(ID, FACTS)):
        with pytest.raises(PermissionError, match="other users may write"):
            make()
        assert not directory.exists()


def test_listing_and_opening_create_nothing(states: States, directory: Path) -> None:
    assert states.all() == []
    assert states.open(ID) is None
    assert not directory.exists()
    write(states, OTHER)
    assert states.open(ID) is None
    assert {path.stem for path in directory.iterdir()} == {OTHER}


# What is remembered


def test_a_state_can_be_opened_again(states: States) -> None:
    with states.create(ID, FACTS) as state:
        assert state.id == ID
        assert state.facts == FACTS
        assert state.journal.empty
        state.journal.set_done(key_of("file"), DONE)
    with again(states) as state:
        assert state.id == ID
        assert state.facts == FACTS
        assert state.journal.done(key_of("file")) == DONE


def test_facts_change_when_they_are_saved(states: States) -> None:
    with states.create(ID, Facts(began=1)) as state:
        state.facts = Facts(began=2)
    with again(states) as state:
        assert state.facts == Facts(began=1)
        state.facts = Facts(began=3)
        state.save()
    assert states.all() == [(ID, Facts(began=3), False)]


def test_a_new_state_replaces_an_old_one_with_its_journal(states: States) -> None:
    with states.create(ID, Facts(began=1)) as state:
        state.journal.set_done(key_of("file"), DONE)
    with states.create(ID, Facts(began=2)) as state:
        assert state.journal.empty
    assert states.all() == [(ID, Facts(began=2), False)]


def test_removing_leaves_nothing(states: States, directory: Path) -> None:
    state = states.create(ID, FACTS)
    state.journal.set_done(key_of("file"), DONE)
    state.journal.commit()
    state.remove()
    state.remove()
    state.close()
    state.save()
    assert list(directory.iterdir()) == []
    assert states.open(ID) is None


def test_a_closed_state_is_not_written(states: States) -> None:
    state = states.create(ID, FACTS)
    state.close()
    state.close()
    state.facts = Facts()
    state.save()
    state.remove()
    assert states.all() == [(ID, FACTS, False)]


def test_all_come_newest_first(states: States, directory: Path) -> None:
    ids = [f"{number:032x}" for number in range(4)]
    for number, id in enumerate(ids):  # noqa: A001
        write(states, id, Facts(began=number))
    for number, id in zip((5, 7, 6, 8), ids, strict=True):  # noqa: A001
        os.utime(directory / f"{id}.json", (number, number))
    with again(states, ids[0]) as state:
        state.journal.set_done(key_of("file"), DONE)
        state.journal.commit()
        assert [each.facts.began for each in states.all()] == [0, 3, 1, 2]
        assert [each.busy for each in states.all()] == [True, False, False, False]


# Damaged


DAMAGED = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"began": 1}' + b" " * limits.STATE_FACTS,
]


@pytest.mark.fault(68, "state edited")
@pytest.mark.parametrize("data", DAMAGED, ids=range(len(DAMAGED)))
def test_damaged_facts_are_removed(states: States, directory: Path, data: bytes) -> None:
    with states.create(ID, FACTS) as state:
        state.journal.set_done(key_of("file"), DONE)
    (directory / f"{ID}.json").write_bytes(data)
    assert states.all() == []
    assert (directory / f"{ID}.json").exists(), "listing removes nothing"
    assert states.open(ID) is None
    assert list(directory.iterdir()) == []


def test_a_damaged_journal_leaves_the_facts(states: States, directory: Path) -> None:
    write(states)
    (directory / f"{ID}.journal").write_bytes(b"no database" * 100)
    with again(states) as state:
        assert state.facts == FACTS
        assert state.journal.empty
        state.journal.set_done(key_of("file"), DONE)
        state.journal.commit()
        assert state.journal.failed is None


@pytest.mark.fault(68, "state a link")
@POSIX
def test_a_link_in_the_place_of_facts_is_not_followed(
    states: States, directory: Path, tmp_path: Path
) -> None:
    write(states)
    elsewhere = tmp_path / "elsewhere"
    (directory / f"{ID}.json").rename(elsewhere)
    (directory / f"{ID}.json").symlink_to(elsewhere)
    (directory / f"{ID}.json.new").symlink_to(tmp_path / "never")
    assert states.all() == []
    assert states.open(ID) is None
    write(states)
    assert elsewhere.exists()
    assert not (tmp_path / "never").exists()


def test_other_files_are_left_alone(states: States, directory: Path) -> None:
    write(states)
    for name in ("notes.json", ID.upper() + ".json", OTHER + ".txt", OTHER):
        (directory / name).write_text("{}")
    (directory / f"{OTHER}.json").mkdir()
    assert states.all() == [(ID, FACTS, False)]


def test_what_a_killed_process_left_half_written_is_replaced(states: States, directory: Path) -> None:
    write(states)
    (directory / f"{ID}.json.new").write_bytes(b"{")
    with again(states) as state:
        state.facts = Facts(began=1)
        state.save()
    assert states.all() == [(ID, Facts(began=1), False)]
    assert not (directory / f"{ID}.json.new").exists()


# When the system cannot


def test_a_file_in_the_place_of_the_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for place in (tmp_path / "file", tmp_path / "file" / "inner"):
        states = States(str(place))
        assert states.all() == []
        assert states.open(ID) is None
        with pytest.raises(OSError, match=os.strerror(errno.ENOTDIR)):
            states.create(ID, FACTS)


FULL = """
import resource, sys
from p2p_copy.files.state.facts import Facts
from p2p_copy.files.state.store import States
state = States(sys.argv[1]).create("0" * 32, Facts(began=1))
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
state.facts = Facts(code="x" * 2000)
try:
    state.save()
except OSError as error:
    print(error.errno)
state.close()
"""


@POSIX
def test_facts_that_cannot_be_saved_leave_the_old_ones(states: States, directory: Path) -> None:
    with child(FULL, str(directory)) as process:
        process.wait()
    assert states.all() == [("0" * 32, Facts(began=1), False)]
    assert not (directory / f"{'0' * 32}.json.new").exists()


def test_facts_that_are_too_long_leave_the_old_ones(states: States) -> None:
    write(states)
    long = Facts(code="hush" * limits.STATE_FACTS)
    with pytest.raises(ValueError, match="too long") as caught:
        states.create(ID, long)
    assert "hush" not in str(caught.value)
    with again(states) as state:
        state.facts = long
        with pytest.raises(ValueError, match="too long"):
            state.save()
    assert states.all() == [(ID, FACTS, False)]


def test_secrets_are_not_shown(states: States, directory: Path) -> None:
    with states.create(ID, FACTS) as state:
        shown = repr(state) + str(state) + repr(states) + repr(FACTS) + repr(states.all())
        assert "never" not in shown
        assert "5ec4e7" not in shown
        with pytest.raises(StateBusy) as caught:
            states.open(ID)
        assert "never" not in str(caught.value)


# Locks


HOLD = """
import sys
from p2p_copy.files.state.store import States
state = States(sys.argv[1]).open(sys.argv[2])
print("held", flush=True)
sys.stdin.read()
"""


def test_two_processes_cannot_have_the_same_state(states: States, directory: Path) -> None:
    write(states)
    write(states, OTHER)
    with child(HOLD, str(directory), ID):
        for ask in (states.open, lambda name: states.create(name, Facts())):
            with pytest.raises(StateBusy):
                ask(ID)
        assert {(each.id, each.busy) for each in states.all()} == {(ID, True), (OTHER, False)}
        again(states, OTHER).close()
    assert not any(each.busy for each in states.all())
    with again(states) as state:
        assert state.facts == FACTS


def test_a_killed_process_holds_no_lock(states: States, directory: Path) -> None:
    write(states)
    with child(HOLD, str(directory), ID) as process:
        process.send_signal(signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
        process.wait()
        again(states).close()


def test_one_process_cannot_have_a_state_twice(states: States) -> None:
    with states.create(ID, FACTS) as state:
        with pytest.raises(StateBusy):
            states.open(ID)
        with pytest.raises(StateBusy):
            states.create(ID, Facts())
        assert states.all() == [(ID, FACTS, True)]
        state.facts = Facts()
        state.save()
    again(states).close()


LIST_STATES = """
import sys
from p2p_copy.files.state.store import States
print("looking", flush=True)
while True:
    States(sys.argv[1]).all()
"""


def test_listing_makes_no_state_busy(states: States, directory: Path) -> None:
    write(states)
    with child(LIST_STATES, str(directory)):
        for _ in range(200):
            again(states).close()


COME_AND_GO = """
import os, sys
from p2p_copy.files.state.facts import Facts
from p2p_copy.files.state.store import States, StateBusy
states = States(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
inside = os.path.join(sys.argv[1], "inside")
for _ in range(100):
    try:
        state = states.create("0" * 32, Facts())
    except StateBusy:
        continue
    os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
    os.unlink(inside)
    state.remove()
print("done", flush=True)
"""


def test_a_lock_that_is_removed_still_locks(directory: Path) -> None:
    directory.mkdir(parents=True)
    with child(COME_AND_GO, str(directory)) as one, child(COME_AND_GO, str(directory)) as other:
        for process in (one, other):
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in (one, other):
            assert process.stdout is not None
            assert process.stdout.readline() == "done\n", "both were inside at once"
    assert list(directory.iterdir()) == []


@POSIX
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_states_work_where_there_are_no_locks(
    states: States, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def flock(_fd: int, _operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    with states.create(ID, FACTS):
        assert states.all() == [(ID, FACTS, False)]
    again(states).close()


@POSIX
def test_no_handle_is_left_open(states: States, directory: Path) -> None:
    write(states)
    before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        again(states).close()
        with states.create(OTHER, FACTS) as state, pytest.raises(StateBusy):
            states.open(OTHER)
        states.all()
        state.remove()
        (directory / f"{OTHER}.json").write_bytes(b"{")
        assert states.open(OTHER) is None
    assert len(os.listdir("/dev/fd")) == before


# Killed


SAVE = """
import sys
from p2p_copy.files.state.facts import Facts
from p2p_copy.files.state.store import States
state = States(sys.argv[1]).open(sys.argv[2])
print("saving", flush=True)
while True:
    length = len(state.facts.code)
    state.facts = Facts(code=chr(97 + length % 26) * ((length * 7 + 1) % 50_000))
    state.save()
"""


@pytest.mark.parametrize("after", [0.01, 0.05, 0.2])
def test_facts_are_whole_at_any_time(states: States, directory: Path, after: float) -> None:
    write(states, facts=Facts(code=""))
    with child(SAVE, str(directory), ID) as process, pytest.raises(subprocess.TimeoutExpired):
        process.wait(after)
    (found,) = states.all()
    assert found.facts.code is not None
    assert len(set(found.facts.code)) <= 1
    assert not found.busy
    again(states).close()


def test_importing_does_not_load_the_database() -> None:
    script = "import sys, p2p_copy.files.state.store; print('sqlite3' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.check_output([sys.executable, "-c", script], text=True, timeout=60, env=environment)
    assert said == "False\n"


def test_a_state_whose_facts_are_wrong_is_passed_over(states: States, directory: Path) -> None:
    write(states)
    write(states, OTHER)
    (directory / f"{OTHER}.json").write_text('{"began": "yesterday"}')
    assert [each.id for each in states.all()] == [ID]
    assert states.unreadable == [OTHER]
    assert states.open(OTHER) is None
    states.all()
    assert states.unreadable == []
