"""A receiver that resumes tells what it holds of this transfer, and nothing of other files in its directory."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from p2p_copy.errors import PeerMisbehaved
from p2p_copy.files.state.journal import Journal
from p2p_copy.files.target.resume import ResumeIndex
from p2p_copy.files.target.target import Target
from p2p_copy.options import Conflict
from p2p_copy.protocol.digest import file_digest
from p2p_copy.protocol.manifest import Manifest
from p2p_copy.protocol.messages import (
    Accept,
    Entry,
    Holds,
    Kind,
    Message,
    Offer,
    Page,
    Progress,
    Reason,
    Reject,
    WholeFile,
)
from p2p_copy.transfer.tree.consumer import TreeConsumer
from tests.support.keys import both_sessions
from tests.support.malicious_sender import BAD_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MINE = b"what the user keeps here"


class GoingOn:
    """A receiver that was killed and is started again, and a sender that means harm."""

    def __init__(self, out: Path) -> None:
        self.sender, receiver = both_sessions()
        self.sender.say(Offer("attacker/1"))
        receiver.hear(self.sender.record())
        receiver.say(Accept("r", True, True))
        self.sender.hear(receiver.record())
        kept = ResumeIndex(Journal(None), restarted=True)
        self.target = Target(str(out), conflict=Conflict.REFUSE, resume=kept)
        manifest = Manifest(portable=True, key=bytes(16))
        self.incoming = TreeConsumer(self.target, receiver, manifest, max_size=None)

    def asked(self, *entries: Entry) -> list[Message]:
        """Return what the receiver answers when these are named."""
        self.sender.say(Page(entries))
        records = self.incoming.consume([self.sender.record()], 1.0)
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
    one = GoingOn(out)
    yield one
    one.target.close()


def named(name: str, file: Path) -> Entry:
    status = file.stat()
    return Entry(Kind.FILE, 0, name, 0o644, status.st_mtime_ns, status.st_size)


@pytest.mark.fault(67, "file of the user's")
@pytest.mark.fault(101, "digest")
def test_nothing_is_told_of_a_file_that_was_there_before(going_on: GoingOn, out: Path) -> None:
    """Although the sender knows its name, its size and its time, and it may be as new as the transfer."""
    answers = going_on.asked(named("mine", out / "mine"))
    assert [answer for answer in answers if isinstance(answer, Holds)] == [Holds(1, ())]
    assert (out / "mine").read_bytes() == MINE


@pytest.mark.fault(101, "same content")
@pytest.mark.parametrize("data", [MINE, MINE[::-1]], ids=["right", "wrong"])
def test_a_guess_at_the_contents_of_a_file_is_answered_like_any_other(
    going_on: GoingOn, out: Path, data: bytes
) -> None:
    going_on.asked(named("mine", out / "mine"))
    going_on.sender.say(WholeFile(0, data, file_digest(data)))
    records = going_on.incoming.consume([going_on.sender.record()], 2.0)
    answers = [message for record in records for message in going_on.sender.hear(record)]
    said = [message for message in answers if not isinstance(message, Progress)]
    assert said == [Reject(0, Reason.EXISTS, "mine")]
    assert (out / "mine").read_bytes() == MINE


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
@pytest.mark.fault(101, "link")
@pytest.mark.parametrize("target", ["mine", "other"], ids=["right", "wrong"])
def test_a_guess_at_the_target_of_a_link_is_answered_like_any_other(tmp_path: Path, target: str) -> None:
    (tmp_path / "out" / "top").mkdir(parents=True)
    (tmp_path / "out" / "top" / "link").symlink_to("mine")
    one = GoingOn(tmp_path / "out")
    link = Entry(Kind.SYMLINK, 1, "link", 0o777, 0, target=target)
    answers = one.asked(Entry(Kind.DIRECTORY, 0, "top", 0o755, 0), link)
    assert [(answer.index, answer.reason) for answer in answers if isinstance(answer, Reject)] == [
        (1, Reason.EXISTS)
    ]
    assert os.readlink(tmp_path / "out" / "top" / "link") == "mine"
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
