"""What a record costs its receiver, and what all of them may cost, is bounded, however few bytes a record has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import given, strategies as st

from p2p_copy.errors import PeerFailed, PeerMisbehaved, TooMuch
from p2p_copy.protocol import limits, wire
from p2p_copy.protocol.messages import (
    Entry,
    Extra,
    FileEnd,
    FileFail,
    Holds,
    Kept,
    Kind,
    Message,
    Omitted,
    Page,
    Progress,
    Reason,
    Reject,
    SameSegments,
    SegmentDigests,
    Total,
    Unwanted,
    WholeFile,
)
from p2p_copy.transfer.tree.page_planner import _for_patterns
from tests.support.keys import both_sessions
from tests.support.malicious_receiver import Attacker, attack as by_receiver
from tests.support.malicious_sender import attack as by_sender, contents, directory, file, link
from tests.support.transfers import copy
from tests.transfer.tree.test_consumer import Receiving

if TYPE_CHECKING:
    from pathlib import Path

MOST = limits.MAX_RECORD_MESSAGES

LIGHT: dict[str, Message] = {
    "Total": Total(0, 0),
    "Omitted": Omitted("", Reason.OTHER),
    "FileEnd": FileEnd(0, bytes(32)),
    "FileFail": FileFail(0, Reason.OTHER),
    "Reject": Reject(0, Reason.OTHER, ""),
    "Unwanted": Unwanted(0),
    "Progress": Progress(0, 0, 0),
    "WholeFile": WholeFile(0, b"x", bytes(32)),
    "Page": Page((directory(0, "d"),) * 16),
    "Page with attributes": Page((Entry(Kind.FILE, 0, "f", extra=Extra(xattrs=(("user.a", b""),) * 15)),)),
    "Holds": Holds(1, ()),
    "Holds with runs": Holds(1, (), ((0, 1),) * 3),
    "Holds with files to compare": Holds(1, (), (), (0,) * 3),
    "SegmentDigests": SegmentDigests(0, 0, bytes(32)),
    "SameSegments": SameSegments(0, 0, (True,), whole=False),
    "Kept": Kept(0, 0, 1),
}


def content(*messages: Message) -> bytes:
    return b"".join(b"".join(wire.encode(message)) for message in messages)


@pytest.mark.fault(109, "messages of a record")
@pytest.mark.parametrize("message", LIGHT.values(), ids=LIGHT.keys())
def test_a_record_has_a_bounded_number_of_messages(message: Message) -> None:
    most = MOST // wire.weight(message)
    assert len(wire.decode(content(*[message] * most))) == most
    with pytest.raises(PeerMisbehaved, match="more messages than a record may have"):
        wire.decode(content(*[message] * (most + 1)))


def test_what_is_held_counts_as_well() -> None:
    frame = content(Holds(1, ()))[:1]
    file, run = bytes(4 + 8 + 32), bytes(4 + 4)
    for count, runs, old in (
        (MOST, 0, 0),
        (20_000, 0, 0),
        (0, MOST, 0),
        (0, 65_535, 0),
        (0, 0, MOST),
        (0, 0, 65_535),
        (MOST // 3 + 1,) * 3,
    ):
        head = (1).to_bytes(4, "big") + runs.to_bytes(2, "big") + old.to_bytes(2, "big")
        body = head + run * runs + bytes(4) * old + file * count
        with pytest.raises(PeerMisbehaved):
            wire.decode(frame + len(body).to_bytes(4, "big") + body)


@given(st.lists(st.sampled_from(list(LIGHT.values())), max_size=300))
def test_a_session_knows_whether_a_message_fits(messages: list[Message]) -> None:
    sender, _ = both_sessions()
    weight = 0
    for message in messages * 20:
        assert sender.fits(message) == (weight + wire.weight(message) <= MOST)
        if weight + wire.weight(message) > MOST:
            break
        sender._weight = weight = weight + wire.weight(message)


@pytest.mark.fault(109, "messages of a record")
async def test_a_hundred_bytes_of_omitted_things_end_the_transfer_at_once(tmp_path: Path) -> None:
    one = await by_sender(tmp_path / "out", [Omitted("", Reason.OTHER)] * 116_000)
    assert isinstance(one.outcome, PeerMisbehaved)
    assert not one.told.problems


async def test_many_small_things_take_several_records_and_arrive(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for number in range(3 * MOST):
        path = source / f"{number % 7}"
        path.mkdir(parents=True, exist_ok=True)
        (path / f"{number}").write_bytes(b"x" * (number % 2))
    for number in range(MOST):
        (source / "6" / f"odd\\{number}").touch()  # a portable receiver cannot take it
    both = await copy([source], tmp_path / "out", receiving={"only": [f"*{digit}" for digit in range(5)]})
    sent, received = both.reports
    assert received.files == sent.files == sum(path.is_file() for path in (tmp_path / "out").rglob("*"))
    assert received.files > MOST


def test_answers_take_several_records(tmp_path: Path) -> None:
    receiving = Receiving(tmp_path)
    for at in range(3 * MOST):
        receiving.consumer._replies.add(Unwanted(at))
    records = receiving.consumer._replies.take_records()
    heard = [message for record in records for message in receiving._sender.hear(record)]
    assert [message.number for message in heard if isinstance(message, Unwanted)] == list(range(3 * MOST))
    assert len(records) == 3
    receiving.target.close()


@pytest.mark.fault(109, "entries")
@pytest.mark.parametrize("holding", [False, True], ids=["all", "patterns"])
async def test_no_more_than_so_many_files_are_taken(tmp_path: Path, *, holding: bool) -> None:
    """Directories, files, symlinks and what cannot be sent count; what patterns leave out does not."""
    out = tmp_path / "out"
    options = {"exclude": ["*.no"]} if holding else {}
    entries = (directory(0, "d"), file(1, "f"), link(1, "l", "f"))
    one = await by_sender(
        out, [Page(entries), *contents(1, b""), Omitted("gone", Reason.VANISHED)], max_files=3, **options
    )
    assert isinstance(one.outcome, TooMuch)
    assert (
        str(one.outcome)
        == "The sender has more than the 3 files, directories and links that `max_files` allows here."
    )
    more = tmp_path / "more"
    excluded = (*entries, file(0, "x.no"), file(0, "y.no")) if holding else entries
    one = await by_sender(more, [Page((*excluded, file(0, "one more")))], max_files=3, **options)
    assert isinstance(one.outcome, TooMuch)
    assert not (more / "one more").exists()


async def test_as_many_as_allowed_are_taken_and_the_sender_is_told_of_the_limit(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in "abc":
        (source / name).touch()
    both = await copy([source], tmp_path / "one", receiving={"max_files": 4})
    assert both.reports[1].files == 3
    both = await copy([source], tmp_path / "two", receiving={"max_files": 3})
    assert isinstance(both.received, TooMuch)
    assert isinstance(both.sent, PeerFailed)
    assert str(both.sent) == (
        "The receiver gave up: it takes no more than 3 files, directories and links in all (`max_files`), and there is "
        "more."
    )
    both = await copy([source], tmp_path / "three", receiving={"max_files": 3, "exclude": "c"})
    assert both.reports[1].files == 2


@pytest.mark.fault(109, "omitted numbers")
@pytest.mark.parametrize("options", [{}, {"only": "x"}], ids=["wanted", "unwanted"])
async def test_what_is_omitted_is_numbered_no_further_than_entries_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, str]
) -> None:
    monkeypatch.setattr(limits, "MAX_ENTRIES", 50)
    one = await by_sender(tmp_path / "out", *[[Omitted("a", Reason.OTHER)] * 10] * 6, **options)
    assert isinstance(one.outcome, PeerMisbehaved)
    assert "omits more" in str(one.outcome)


def test_a_sender_omits_no_more_than_it_may_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_ENTRIES", 5)
    source = tmp_path / "source"
    source.mkdir()
    for number in range(20):
        (source / f"odd\\{number}").touch()

    async def check() -> None:
        both = await copy([source], tmp_path / "out")
        assert both.reports[1].failures == both.reports[0].failures == 5

    trio.run(check)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_bytes(b"x")
    return source


@pytest.mark.fault(109, "answers of a record")
@pytest.mark.parametrize("name", ["Progress", "Reject", "Unwanted"])
async def test_a_sender_hears_a_bounded_number_of_answers_in_a_record(source: Path, name: str) -> None:
    async def flood(attacker: Attacker) -> None:
        await attacker.hear(Page)
        await attacker.say(*[LIGHT[name]] * (MOST + 1))

    one = await by_receiver(source, flood)
    assert isinstance(one.outcome, PeerMisbehaved)
    assert not one.told.problems


@pytest.mark.fault(109, "answers of a record")
async def test_an_entry_is_rejected_once(source: Path) -> None:
    async def refuse(attacker: Attacker) -> None:
        await attacker.hear(Page)
        for _ in range(3):
            await attacker.say(Reject(1, Reason.NOT_WRITABLE, "file"))

    one = await by_receiver(source, refuse)
    assert isinstance(one.outcome, PeerMisbehaved)
    assert "refuses more entries than were named" in str(one.outcome)


@pytest.mark.fault(109, "patterns")
async def test_of_a_path_that_is_too_long_for_an_entry_only_the_beginning_is_held_against_patterns(
    tmp_path: Path,
) -> None:
    """Three `**` could match anywhere in it. A directory that is left out is left out with all that is in it."""
    assert _for_patterns("no/" + "a/" * 3000) == "/".join(["no", *["a"] * (limits.MAX_DEPTH - 1)])
    assert _for_patterns("a/" + "b" * 5000) == "a/" + "b" * limits.MAX_NAME
    assert _for_patterns("a/b") == "a/b"
    endless = [Omitted("a/" * 4000, Reason.TOO_DEEP)] * 10
    one = await by_sender(
        tmp_path / "out", [*endless, FileEnd(9, bytes(32))], exclude="**/a/**/a/**/a/**/a/**/b"
    )
    assert isinstance(one.outcome, PeerMisbehaved)
