"""What the trees campaign draws from its seed, and whether it sees what is wrong with a transfer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from p2p_copy.options import Conflict
from tests.campaigns.trees_plan import Action, Moment, plan
from tests.campaigns.trees_transfer import End, judge, judge_ends
from tests.support.random_trees import Asked, Case, Kind, Node, grow
from tests.support.tree_oracle import expect

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.once

HOLE = 600_000


def test_a_seed_and_a_number_are_a_transfer() -> None:
    assert plan(1, 7) == plan(1, 7)
    assert plan(1, 7).case != plan(1, 8).case
    assert plan(1, 7).case != plan(2, 7).case


def test_two_hundred_transfers_have_everything() -> None:
    plans = [plan(3, number) for number in range(200)]
    accidents = [accident for each in plans for accident in each.accidents]
    assert {accident.action for accident in accidents} == set(Action)
    assert {accident.since for accident in accidents} == set(Moment)
    assert {each.case.asked.conflict for each in plans} == set(Conflict) - {Conflict.ASK}
    assert {each.several_links for each in plans} == {True, False}
    assert sum(each.programs for each in plans) > 100
    assert {expect(each.case).exit_code for each in plans} == {0, 3}


TREE = {
    "tree": Node(Kind.DIRECTORY, 0o755, 10**18),
    "tree/a": Node(Kind.FILE, 0o644, 10**18, 5000, 1, xattrs=(("user.a", b"1"),)),
    "tree/b": Node(Kind.FILE, 0o644, 10**18, 5000, 1, twin="tree/a", xattrs=(("user.a", b"1"),)),
    "tree/hole": Node(Kind.FILE, 0o644, 10**18, HOLE, 2, hole=True),
    "tree/link": Node(Kind.SYMLINK, 0o777, 10**18, target="a"),
}
MINE = {"tree": Node(Kind.DIRECTORY, 0o700, 10**9), "tree/mine": Node(Kind.FILE, 0o640, 10**9, 7, 3)}
CASE = Case(TREE, MINE, Asked(hard_links=True))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A source, and what must come of it beside what was there."""
    grow(tmp_path / "source", TREE)
    grow(tmp_path / "out", expect(CASE).tree)
    return tmp_path


def with_its_time(path: Path, change: Callable[[Path], object]) -> None:
    status = path.lstat()
    change(path)
    os.utime(path, ns=(status.st_mtime_ns,) * 2, follow_symlinks=False)


def another_byte(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def as_two_files(path: Path) -> None:
    data, mode = path.read_bytes(), path.stat().st_mode
    path.unlink()
    path.write_bytes(data)
    path.chmod(mode)


def elsewhere(path: Path) -> None:
    path.unlink()
    path.symlink_to("mine")


DAMAGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "'tree/hole': other contents": ("hole", another_byte),
    "'tree/mine': other contents": ("mine", another_byte),
    "'tree/hole' is missing": ("hole", lambda path: path.unlink()),
    "'tree/.p2p-copy-1' should not be there": ("hole", lambda path: (path.parent / ".p2p-copy-1").touch()),
    "'tree/hole': mode": ("hole", lambda path: path.chmod(0o600)),
    "'tree/hole': time": ("hole", lambda path: os.utime(path, ns=(1, 1))),
    "'tree/link': leads to": ("link", elsewhere),
    "are 2 files": ("b", as_two_files),
    "bytes on the disk": ("hole", lambda path: path.write_bytes(path.read_bytes())),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_what_arrived_otherwise_is_seen(folder: Path, what: str) -> None:
    expected = expect(CASE)
    assert judge(CASE, expected, folder) == []
    name, damage = DAMAGES[what]
    path = folder / "out" / "tree" / name
    if "missing" in what or "time" in what:
        damage(path)
    else:
        with_its_time(path, damage)
    assert what in "\n".join(judge(CASE, expected, folder))


SENT = "Sent 3 files, 605.0 kB in 0.1 s, digest 0123456789abcdef."
RECEIVED = SENT.replace("Sent", "Received")
SENDER, RECEIVER = End("sender", 0, False, ["", SENT]), End("receiver", 0, False, [RECEIVED])


@pytest.mark.parametrize(
    ("wrong", "sender", "receiver"),
    [
        ("the sender ended with 3, not 0", SENDER._replace(code=3), RECEIVER),
        ("the receiver ended with None, not 0", SENDER, RECEIVER._replace(code=None)),
        ("the receiver still remembers it", SENDER, RECEIVER._replace(remembers=True)),
        ("the sender says 'Traceback'", SENDER._replace(logs=["Traceback", SENT]), RECEIVER),
        ("the sender tells no sums", SENDER._replace(logs=[""]), RECEIVER),
        ("two digests", SENDER, RECEIVER._replace(logs=[RECEIVED.replace("abc", "bca")])),
        ("tells of 2 files, not 3", SENDER, RECEIVER._replace(logs=[RECEIVED.replace("3 files", "2 files")])),
    ],
)
def test_an_end_that_is_not_right_is_seen(wrong: str, sender: End, receiver: End) -> None:
    expected = expect(CASE)
    assert judge_ends([SENDER, RECEIVER], expected) == []
    assert wrong in "\n".join(judge_ends([sender, receiver], expected))
