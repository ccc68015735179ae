"""A malicious receiver that speaks the protocol: the sender believes nothing, and sends only what its user named."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import trio

from p2p_copy.errors import P2PCopyError, PeerLost, PeerMisbehaved
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.digest import FileDigest
from p2p_copy.protocol.messages import (
    FileEnd,
    Finish,
    Held,
    Holds,
    Page,
    Progress,
    Reason,
    Receipt,
    Reject,
    SameSegments,
)
from p2p_copy.transfer import limits
from p2p_copy.transfer.tree.producer import TreeProducer
from p2p_copy.units import KIB, MIB
from tests.support.malicious_receiver import Attack, Attacker, attack
from tests.support.transfers import Told, running_relay

if TYPE_CHECKING:
    from pathlib import Path


SEGMENT = 64 * KIB
SIZE = 5 * SEGMENT + 1


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol_limits, "SEGMENT", SEGMENT)
    monkeypatch.setattr(limits, "CHUNK", SEGMENT)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory with one large file, beside another file that is not to be sent."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "large").write_bytes(os.urandom(SIZE))
    (tmp_path / "other").write_bytes(b"nobody's business")
    return source


# What it confirms


@pytest.mark.fault(73, "false receipt", "other files")
async def test_a_receipt_before_the_end_is_none(source: Path) -> None:
    async def early(attacker: Attacker) -> None:
        await attacker.lie(Receipt(1, SIZE, 0, 0, bytes(32)))

    one = await attack(source, early)
    assert isinstance(one.outcome, PeerMisbehaved)


@pytest.mark.fault(73, "false receipt")
@pytest.mark.fault(79, "only after the receipt")
@pytest.mark.parametrize(
    "wrong", [{"files": 0}, {"size": 0}, {"rejected": 1}, {"skipped": 1}, {"root": bytes(32)}, {"files": 2}]
)
async def test_a_receipt_for_something_else_is_none(source: Path, wrong: dict[str, int | bytes]) -> None:
    async def confirm(attacker: Attacker) -> None:
        finish = await attacker.hear(Finish)
        assert isinstance(finish, Finish)
        true = {"files": 1, "size": SIZE, "rejected": 0, "skipped": 0, "root": finish.root}
        await attacker.say(Receipt(**{**true, **wrong}))  # type: ignore[arg-type]

    one = await attack(source, confirm)
    assert isinstance(one.outcome, PeerMisbehaved)
    assert "confirmed something else" in str(one.outcome)


@pytest.mark.fault(73, "offsets")
async def test_what_was_never_named_cannot_be_refused(source: Path) -> None:
    async def reject(attacker: Attacker) -> None:
        await attacker.say(Reject(2**32 - 1, Reason.EXISTS, "../../etc/\x1b[2Jshadow"))

    one = await attack(source, reject)
    assert isinstance(one.outcome, PeerMisbehaved)
    assert all(path.isprintable() for path in one.told.problems)


# What it says that it holds


def digest(data: bytes, size: int) -> bytes:
    one = FileDigest(size)
    one.update(data)
    return one.digest()


@pytest.mark.parametrize(
    "held",
    [
        pytest.param((2 * SEGMENT, bytes(32)), marks=pytest.mark.fault(73, "wrong prefix digest")),
        pytest.param((2 * SEGMENT + 7, bytes(32)), marks=pytest.mark.fault(73, "wrong prefix digest")),
        pytest.param((SIZE, bytes(32)), marks=pytest.mark.fault(73, "wrong prefix digest")),
        pytest.param((SIZE + SEGMENT, bytes(32)), marks=pytest.mark.fault(73, "holds more than there is")),
        pytest.param((2**64 - 1, bytes(32)), marks=pytest.mark.fault(73, "holds more than there is")),
        pytest.param((0, bytes(32)), marks=pytest.mark.fault(73, "offsets")),
    ],
)
async def test_what_it_does_not_hold_is_sent_from_the_beginning(
    source: Path, held: tuple[int, bytes]
) -> None:
    """A right digest does not help if it is of more than the file has."""

    async def hold(attacker: Attacker) -> None:
        await attacker.hear(Page)
        await attacker.say(Holds(2, (Held(1, *held),)))
        await attacker.hear(FileEnd)
        await attacker.link.aclose()

    one = await attack(source, hold, holds=True)
    assert isinstance(one.outcome, PeerLost)
    data = b"".join(bytes(message.data) for message in one.data)
    assert data == (source / "large").read_bytes()


@pytest.mark.fault(73, "offsets", "other files")
@pytest.mark.parametrize(
    "said",
    [
        [Holds(3, ())],
        [Holds(2**32 - 1, ())],
        [Holds(0, ())],
        [Holds(2, (Held(2, 1, bytes(32)),))],
        [Holds(2, (Held(2**32 - 1, 1, bytes(32)),))],
        [Holds(1, ()), Holds(1, ())],
        [Holds(1, ()), Holds(2, (Held(0, 1, bytes(32)),))],
        [Holds(2, (), ((1, 2),))],
        [Holds(2, (), ((1, 2**32 - 1),))],
        [Holds(2, (), ((1, 1), (1, 1)))],
        [Holds(2, (), ((1, 0),))],
        [Holds(1, ()), Holds(2, (), ((0, 1),))],
        [Holds(2, (), (), (2,))],
        [Holds(1, ()), Holds(2, (), (), (0,))],
        [Holds(1, ()), SameSegments(1, 0, (True,), whole=True)],
        [Holds(1, ()), SameSegments(1, 0, (), whole=False)],
        [Holds(2, (), (), (1,)), SameSegments(1, 0, (True,) * 99, whole=False)],
        [Holds(2, (), (), (1,)), SameSegments(1, 1, (True,), whole=False)],
    ],
    ids=[
        "beyond",
        "far beyond",
        "nothing",
        "of the next",
        "of none",
        "twice",
        "of what was settled",
        "up to date beyond",
        "up to date far beyond",
        "up to date twice",
        "up to date of nothing",
        "up to date of what was settled",
        "to compare beyond",
        "to compare what was settled",
        "segments that were not asked for",
        "no segments of what was not asked for",
        "too many segments",
        "segments in another place",
    ],
)
async def test_what_it_says_of_entries_that_are_not_in_question_ends_it(
    source: Path, said: list[Holds | SameSegments]
) -> None:
    async def hold(attacker: Attacker) -> None:
        await attacker.hear(Page)
        await attacker.say(*said)

    one = await attack(source, hold, holds=True)
    assert isinstance(one.outcome, PeerMisbehaved)
    assert not one.data


@pytest.mark.fault(73, "offsets")
async def test_a_receiver_that_was_not_asked_may_not_say_what_it_holds(source: Path) -> None:
    async def hold(attacker: Attacker) -> None:
        await attacker.hear(Page)
        await attacker.say(Holds(2, ()))

    one = await attack(source, hold)
    assert isinstance(one.outcome, PeerMisbehaved)


@pytest.mark.fault(73, "other files")
async def test_nothing_is_ever_sent_but_what_was_named(source: Path) -> None:
    """A receiver cannot ask for a path: whatever it says, it gets only what the sender's user has named."""

    async def ask(attacker: Attacker) -> None:
        await attacker.say(Reject(0, Reason.SKIPPED, "../other"), Progress(2**64 - 1, 2**64 - 1, 2**64 - 1))
        await attacker.hear(Finish)
        await attacker.link.aclose()

    one = await attack(source, ask)
    assert isinstance(one.outcome, P2PCopyError)
    named = [entry.name for page in one.heard if isinstance(page, Page) for entry in page.entries]
    assert set(named) <= {"source", "large"}
    assert b"nobody's business" not in b"".join(bytes(message.data) for message in one.data)


# What it does not do


@pytest.mark.fault(73, "never reads")
async def test_a_receiver_that_never_reads_costs_no_memory_and_is_named(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STALL", 0.2)
    monkeypatch.setattr(limits, "CHUNK", 256 * KIB)
    size = 160 * MIB  # the buffers of the kernels between the two sides hold some 40
    (source / "large").write_bytes(os.urandom(MIB) * 160)
    made = 0
    next_records = TreeProducer.next_records
    stalled = trio.Event()

    def counted(self: TreeProducer, most: int = 1) -> list[bytes]:
        nonlocal made
        records = next_records(self, most)
        made += sum(map(len, records))
        return records

    monkeypatch.setattr(TreeProducer, "next_records", counted)
    one = Attack()

    class Watcher(Told):
        def stalled(self, sentence: str, seconds: float) -> None:
            if "disk here" not in sentence:
                stalled.set()

    one.told = Watcher()

    async def deaf(_attacker: Attacker) -> None:
        await trio.sleep_forever()

    with trio.fail_after(30):
        async with running_relay() as relay, trio.open_nursery() as nursery:

            async def play() -> None:
                await one.receiver(relay, deaf, holds=False)

            nursery.start_soon(play)
            nursery.start_soon(one.sender, relay, source)
            await stalled.wait()
            nursery.cancel_scope.cancel()
    assert 0 < made < size / 2


@pytest.mark.fault(73, "endless pings")
async def test_a_receiver_that_only_sends_heartbeats_is_given_up_on(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RECEIPT_TIMEOUT", 0.3)

    async def ping(attacker: Attacker) -> None:
        await attacker.hear(Finish)
        for number in range(2_000):
            await attacker.say(Progress(number, 2**64 - 1 - number, number))
        await trio.sleep_forever()

    one = await attack(source, ping)
    assert isinstance(one.outcome, PeerLost)
    assert "does not confirm" in str(one.outcome)
