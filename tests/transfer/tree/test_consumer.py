"""The outcome of one entry at the receiver does not affect another one, whatever is refused and however late."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from p2p_copy.errors import PeerMisbehaved
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
    Kept,
    Kind,
    Message,
    Offer,
    Page,
    Preserved,
    Reason,
    Reject,
    SameSegments,
    SegmentDigests,
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


# An old file in the place of the new one


def leaves_of(data: bytes) -> bytes:
    one = FileDigest(len(data))
    one.update(data)
    one.digest()
    return bytes(one.leaves)


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of four segments and a bit, which is to be replaced."""
    monkeypatch.setattr(limits, "SEGMENT", 1000)
    (tmp_path / "file").write_bytes(LARGE[:4444])
    return tmp_path / "file"


def compared(old: Path, new: bytes) -> tuple[Receiving, list[Message]]:
    one = Receiving(old.parent, conflict=Conflict.OVERWRITE)
    answers = one.hear(Page((file("file", len(new)),)))
    assert Holds(1, (), (), (0,)) in answers
    return one, one.hear(SegmentDigests(0, 0, leaves_of(new)))


def test_a_sender_learns_only_which_of_its_own_segments_are_there(old: Path) -> None:
    new = LARGE[:1000] + bytes(1000) + LARGE[2000:4444]
    one, answers = compared(old, new)
    said = [answer for answer in answers if isinstance(answer, SameSegments)]
    assert said == [SameSegments(0, 0, (True, False, True, True, True), whole=False)]
    answers = one.hear(
        Kept(0, 0, 1000),
        Data(0, 1000, new[1000:2000]),
        Kept(0, 2000, 1000),
        Kept(0, 3000, 1000),
        Kept(0, 4000, 444),
        FileEnd(0, digest(new)),
    )
    assert not [answer for answer in answers if isinstance(answer, Reject)]
    assert old.read_bytes() == new
    assert one.consumer.outcomes.spared == 3444
    one.target.close()


def test_a_sender_cannot_guess_a_file_byte_by_byte(old: Path) -> None:
    for new in LARGE[:2001], LARGE[:4443], LARGE[:4444] + b"x":
        one, answers = compared(old, new)
        whole = len(new) // 1000
        assert SameSegments(0, 0, (True,) * min(whole, 4) + (False,), whole=False) in answers
        abandon(one.target)


@pytest.mark.parametrize(
    "kept", [Kept(0, 0, 999), Kept(0, 0, 1001), Kept(0, 0, 2000), Kept(0, 1000, 1000), Kept(0, 0, 4444)]
)
def test_what_the_old_file_does_not_have_cannot_be_left_out(old: Path, kept: Kept) -> None:
    one, _ = compared(old, LARGE[:1000] + bytes(1000) + LARGE[2000:4444])
    with pytest.raises(PeerMisbehaved):
        one.hear(kept)
    abandon(one.target)
    assert old.read_bytes() == LARGE[:4444]


@pytest.mark.parametrize(
    "message",
    [
        SegmentDigests(0, 1, bytes(32)),
        SegmentDigests(0, 0, bytes(32) * 6),
        SegmentDigests(1, 0, bytes(32)),
        Kept(0, 0, 1000),
    ],
    ids=["not the first", "too many", "of no file", "not compared"],
)
def test_digests_that_make_no_sense_end_it(old: Path, message: Message) -> None:
    one = Receiving(old.parent, conflict=Conflict.OVERWRITE)
    one.hear(Page((file("file", 4444),)))
    with pytest.raises(PeerMisbehaved):
        one.hear(message)
    abandon(one.target)


def test_an_old_file_that_changes_after_it_was_compared_is_not_taken_for_the_new_one(old: Path) -> None:
    new = LARGE[:4000] + b"x"
    one, _ = compared(old, new)
    changed = b"!" + LARGE[1:4444]
    status = old.stat()
    with old.open("r+b") as there:  # in place, and without a new time
        there.write(changed)
    os.utime(old, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert Reject(0, Reason.CHANGED, "file") in one.hear(Kept(0, 0, 1000))
    assert old.read_bytes() == changed
    assert not leftovers(old.parent)
    one.target.close()


def test_the_segments_that_one_record_names_are_bounded(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_RECORD_HOLES", 3999)
    one = Receiving(old.parent, conflict=Conflict.OVERWRITE)
    one.hear(Page((file("file", 4444),)))
    half = leaves_of(LARGE[:4444])
    one.hear(SegmentDigests(0, 0, half[:64]))
    with pytest.raises(PeerMisbehaved, match="more segments than a record may have"):
        one.hear(
            SegmentDigests(0, 2, half[64:96]), SegmentDigests(0, 3, half[96:]), SegmentDigests(0, 5, half)
        )
    abandon(one.target)
