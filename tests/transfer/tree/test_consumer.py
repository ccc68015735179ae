"""The outcome of one entry at the receiver does not affect another one, whatever is refused and however late."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from p2p_copy.files.state.journal import Journal
from p2p_copy.files.target.resume import ResumeIndex
from p2p_copy.files.target.target import Target
from p2p_copy.options import Conflict
from p2p_copy.protocol import limits
from p2p_copy.protocol.digest import FileDigest
from p2p_copy.protocol.manifest import Manifest
from p2p_copy.protocol.messages import (
    Accept,
    Data,
    Entry,
    Extra,
    FileEnd,
    FileFail,
    Holds,
    Kind,
    Message,
    Offer,
    Page,
    Preserved,
    Reason,
    Reject,
)
from p2p_copy.transfer.tree.consumer import TreeConsumer
from tests.stateful.sides import abandon
from tests.support.keys import both_sessions
from tests.support.transfers import copy
from tests.support.trees import leftovers

if TYPE_CHECKING:
    from pathlib import Path

LARGE = bytes(range(256)) * 2048


class Receiving:
    """A receiver, to which a test sends messages, record by record."""

    def __init__(
        self,
        out: Path,
        journal: Journal | None = None,
        *,
        restarted: bool = False,
        conflict: Conflict = Conflict.REFUSE,
    ) -> None:
        self._sender, receiver = both_sessions()
        preserve = Preserved.HARD_LINKS
        self._sender.say(Offer("s", preserve=preserve))
        receiver.hear(self._sender.record())
        kept = ResumeIndex(journal or Journal(None), restarted=restarted)
        self.target = Target(str(out), conflict=conflict, resume=kept)
        self.consumer = TreeConsumer(
            self.target, receiver, Manifest(portable=True, key=bytes(16), preserve=preserve), max_size=None
        )
        receiver.say(Accept("r", True, self.consumer.holds, preserve=preserve))
        self._sender.hear(receiver.record())

    def hear(self, *messages: Message) -> list[Message]:
        """Send a record with these messages; return the answers."""
        for message in messages:
            self._sender.say(message)
        records = self.consumer.consume([self._sender.record()], 1.0)
        return [message for record in records for message in self._sender.hear(record)]


def file(name: str, size: int) -> Entry:
    return Entry(Kind.FILE, 0, name, 0o644, 10**18, size)


def digest(data: bytes) -> bytes:
    one = FileDigest(len(data))
    one.update(data)
    return one.digest()


@pytest.mark.parametrize("conflict", [Conflict.REFUSE, Conflict.SKIP])
async def test_a_small_file_that_is_refused_does_not_affect_the_large_one_behind_it(
    tmp_path: Path, conflict: Conflict
) -> None:
    source, out = tmp_path / "s", tmp_path / "o"
    source.mkdir()
    out.mkdir()
    (source / "a").write_bytes(b"hi")
    (source / "big").write_bytes(LARGE)
    (out / "a").write_bytes(b"mine")
    both = await copy([source / "a", source / "big"], out, receiving={"conflict": conflict})
    for report in both.reports:
        assert (report.files, report.failures) == (1, conflict is Conflict.REFUSE)
    assert (out / "a").read_bytes() == b"mine"
    assert (out / "big").read_bytes() == LARGE
    assert not leftovers(out)


def test_an_entry_that_is_refused_in_the_middle_of_a_file_does_not_affect_it(tmp_path: Path) -> None:
    (tmp_path / "taken").write_bytes(b"mine")
    receiving = Receiving(tmp_path)
    half = len(LARGE) // 2
    receiving.hear(Page((file("large", len(LARGE)),)), Data(0, 0, LARGE[:half]))
    answers = receiving.hear(Page((file("taken", len(LARGE)),)), Data(0, half, LARGE[half:]))
    assert [message.index for message in answers if isinstance(message, Reject)] == [1]
    receiving.hear(FileEnd(0, digest(LARGE)))
    receiving.target.close()
    assert (tmp_path / "large").read_bytes() == LARGE
    assert (tmp_path / "taken").read_bytes() == b"mine"
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("taken", [False, True], ids=["free", "taken"])
def test_a_part_that_is_complete_but_for_its_name_gets_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, taken: bool
) -> None:
    """The link was lost between the last byte of a file of whole segments and its end."""
    monkeypatch.setattr(limits, "SEGMENT", len(LARGE) // 2)
    journal, page = Journal(None), Page((file("large", len(LARGE)),))
    first = Receiving(tmp_path, journal)
    first.hear(page, Data(0, 0, LARGE))
    first.target.close(keep=True)
    if taken:
        (tmp_path / "large").write_bytes(b"mine")
    again = Receiving(tmp_path, journal)
    (holds,) = (message for message in again.hear(page) if isinstance(message, Holds))
    assert [held.size for held in holds.files] == [len(LARGE)]
    answers = again.hear(FileEnd(0, digest(LARGE)))
    assert [message.reason for message in answers if isinstance(message, Reject)] == [Reason.EXISTS] * taken
    assert again.consumer.outcomes.files == (not taken)
    again.target.remove_orphans()
    again.target.close()
    assert (tmp_path / "large").read_bytes() == (b"mine" if taken else LARGE)
    assert not leftovers(tmp_path)


def test_another_name_that_brought_the_contents_is_recognised_after_a_kill(tmp_path: Path) -> None:
    """Its first name was refused. If it were not recognised, it would be received again, under one more name."""
    (tmp_path / "first").write_bytes(b"mine")
    memory = str(tmp_path.parent / f"{tmp_path.name}.journal")
    first = file("first", len(LARGE))._replace(extra=Extra(named_again=True))
    again = file("again", len(LARGE))._replace(extra=Extra(original=0))
    journal = Journal(memory)
    receiving = Receiving(tmp_path, journal, conflict=Conflict.SKIP)
    answers = receiving.hear(Page((first, again)))
    assert [message.index for message in answers if isinstance(message, Reject)] == [0]
    receiving.hear(FileFail(0, Reason.NOT_WANTED), Data(1, 0, LARGE), FileEnd(1, digest(LARGE)))
    abandon(receiving.target)
    assert journal._db is not None
    journal._db.close()
    journal = Journal(memory)
    receiving = Receiving(tmp_path, journal, restarted=True, conflict=Conflict.SKIP)
    answers = receiving.hear(Page((first, again)))
    assert [message.index for message in answers if isinstance(message, Reject)] == [0]
    (holds,) = (message for message in answers if isinstance(message, Holds))
    assert [(held.index, held.size) for held in holds.files] == [(1, len(LARGE))]
    receiving.hear(FileFail(0, Reason.NOT_WANTED), FileEnd(1, digest(LARGE)))
    receiving.target.close()
    journal.close()
    assert (receiving.consumer.outcomes.files, receiving.consumer.outcomes.skipped) == (1, 1)
    assert sorted(os.listdir(tmp_path)) == ["again", "first"]
