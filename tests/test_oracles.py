"""A receiver that goes on with a transfer says what it holds of it, and nothing of what else lies there."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from p2p_copy.errors import PeerMisbehaved
from p2p_copy.files.journal import Journal
from p2p_copy.files.kept import Kept
from p2p_copy.files.target import Target
from p2p_copy.incoming import Incoming
from p2p_copy.options import Conflict
from p2p_copy.protocol.manifest import Manifest
from p2p_copy.protocol.messages import Accept, Entry, Holds, Kind, Message, Offer, Page
from tests.keys import both_sessions
from tests.test_malicious_sender import BAD_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MINE = b"what the user keeps here"


class GoingOn:
    """A receiver that was killed and is started again, and a sender that means harm."""

    def __init__(self, out: Path, since: float) -> None:
        self.sender, receiver = both_sessions()
        self.sender.say(Offer("attacker/1"))
        receiver.hear(self.sender.record())
        receiver.say(Accept("r", True, True))
        self.sender.hear(receiver.record())
        kept = Kept(Journal(None), restarted=True, since=since)
        self.target = Target(str(out), conflict=Conflict.REFUSE, kept=kept)
        manifest = Manifest(portable=True, key=bytes(16))
        self.incoming = Incoming(self.target, receiver, manifest, max_size=None)

    def asked(self, *entries: Entry) -> list[Message]:
        """Return what the receiver answers when these are named."""
        self.sender.say(Page(entries))
        records = self.incoming.take([self.sender.record()], 1.0)
        return [message for record in records for message in self.sender.hear(record)]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An output directory with a file of the user's, beside others."""
    out = tmp_path / "out"
    out.mkdir()
    for file in (out / "mine", tmp_path / "secret"):
        file.write_bytes(MINE)
    return out


@pytest.fixture
def going_on(out: Path) -> Iterator[GoingOn]:
    one = GoingOn(out, since=time.time() + 86_400)  # all that lies there is a day old when it begins
    yield one
    one.target.close()


def named(name: str, file: Path) -> Entry:
    status = file.stat()
    return Entry(Kind.FILE, 0, name, 0o644, status.st_mtime_ns, status.st_size)


@pytest.mark.fault(67, "file of the user's")
def test_nothing_is_told_of_a_file_that_was_there_before(going_on: GoingOn, out: Path) -> None:
    """Although the sender knows its name, its size and its time."""
    answers = going_on.asked(named("mine", out / "mine"))
    assert [answer for answer in answers if isinstance(answer, Holds)] == [Holds(1, ())]
    assert (out / "mine").read_bytes() == MINE


def test_what_was_made_since_then_is_held_although_it_was_not_noted(out: Path) -> None:
    one = GoingOn(out, since=time.time())
    (holds,) = (answer for answer in one.asked(named("mine", out / "mine")) if isinstance(answer, Holds))
    assert [held.size for held in holds.files] == [len(MINE)]
    one.target.close()


@pytest.mark.fault(56, "in a transfer that goes on")
@pytest.mark.fault(67, "path outside")
@pytest.mark.parametrize(
    "name", [*BAD_NAMES.values(), "../secret", "../../../../../../etc/passwd", "mine/../../secret"]
)
def test_no_other_path_is_looked_at(going_on: GoingOn, tmp_path: Path, name: str) -> None:
    before = (tmp_path / "secret").stat().st_atime_ns
    with pytest.raises(PeerMisbehaved):
        going_on.asked(named(name, tmp_path / "secret"))
    assert (tmp_path / "secret").stat().st_atime_ns == before
    assert os.listdir(tmp_path / "out") == ["mine"]
