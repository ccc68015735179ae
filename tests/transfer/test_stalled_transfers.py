"""Which party each side of a whole transfer names when nothing moves."""

from __future__ import annotations

import itertools
import math
import os
import time
from typing import TYPE_CHECKING

import pytest
import trio

from p2p_copy.errors import PeerLost
from p2p_copy.transfer import limits
from p2p_copy.transfer.tree.consumer import TreeConsumer
from p2p_copy.transfer.tree.producer import TreeProducer
from tests.support.lossy_relay import lossy_relay
from tests.support.numbers import home_of
from tests.support.transfers import Both, copy, running_relay

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


pytestmark = pytest.mark.usefixtures("small_segments")


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stalls are detected at once, by the relay first."""
    for name, seconds in {
        "STALL": 0.6,
        "HEARTBEAT": 0.1,
        "PROGRESS_INTERVAL": 0.05,
        "REPORT_STALL_AFTER": 0.3,
        "PAIRING_CHECK_INTERVAL": 0.1,
    }.items():
        monkeypatch.setattr(home_of(name), name, seconds)


def moves_after(stalls: list[str], part: str) -> bool:
    """Return whether it was said that all moves again, after this; a slow disk may have stalled once more."""
    (first, *_) = (at for at, said in enumerate(stalls) if part in said)
    return "moving" in stalls[first:]


@pytest.mark.usefixtures("soon")
async def test_each_side_says_on_whom_it_is_when_nothing_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(os.urandom(80_000_000))
    consume = TreeConsumer.consume
    both = Both()
    expected = (
        (both.receiver.stalls, "disk here has taken nothing"),
        (both.sender.stalls, "receiver's disk, or its network, is not accepting data"),
    )

    def told() -> bool:
        return all(any(part in said for said in stalls) for stalls, part in expected)

    def slowly(self: TreeConsumer, records: Sequence[bytes | str], now: float) -> list[bytes]:
        until = time.monotonic() + 30
        while self.outcomes.size > 10_000_000 and not told() and time.monotonic() < until:
            time.sleep(0.01)
        return consume(self, records, now)

    monkeypatch.setattr(TreeConsumer, "consume", slowly)
    async with running_relay() as relay:
        await copy([tmp_path / "file"], tmp_path / "out", relay=relay, both=both)
    assert both.reports[0].files == 1
    assert told()
    for stalls, part in expected:
        assert moves_after(stalls, part)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(
    ("dam", "sender_says", "receiver_says"),
    [
        ("dam", "the connection to the relay is not accepting data", "the connection from"),
        ("down_dam", "its connection is not accepting data from the relay", "the connection from"),
    ],
)
async def test_a_way_that_takes_nothing_is_named(
    tmp_path: Path, dam: str, sender_says: str, receiver_says: str
) -> None:
    # More than all buffers between the two sides hold.
    (tmp_path / "file").write_bytes(os.urandom(80_000_000))
    both = Both()
    expected = (both.sender.stalls, sender_says), (both.receiver.stalls, receiver_says)
    async with lossy_relay() as it:
        setattr(it, dam, 6_000_000)

        async def open_when_told() -> None:
            while not all(any(part in said for said in stalls) for stalls, part in expected):  # noqa: ASYNC110
                await trio.sleep(0.01)
            setattr(it, dam, math.inf)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(open_when_told)
            await copy([tmp_path / "file"], tmp_path / "out", relay=it.address, both=both)
            assert both.reports[0].files == 1
            nursery.cancel_scope.cancel()
    for stalls, part in expected:
        assert moves_after(stalls, part)


@pytest.mark.usefixtures("soon")
async def test_what_has_left_the_sender_is_watched_until_the_receiver_confirms_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fits into the buffers of the sockets, so all is sent long before anything has arrived."""
    (tmp_path / "file").write_bytes(os.urandom(100_000))
    consume = TreeConsumer.consume
    both = Both()
    early: list[str] = []
    expected = "everything was sent, but the receiver's disk"

    def slowly(self: TreeConsumer, records: Sequence[bytes | str], now: float) -> list[bytes]:
        until = time.monotonic() + 30
        while not (self.outcomes.files or any(expected in said for said in both.sender.stalls)):
            assert time.monotonic() < until
            time.sleep(0.01)
        early.extend(both.sender.states[-1:])
        return consume(self, records, now)

    monkeypatch.setattr(TreeConsumer, "consume", slowly)
    await copy([tmp_path / "file"], tmp_path / "out", both=both)
    assert both.reports[0].files == 1
    assert early[0] == "paired", "it is not verified before it is there"
    assert both.sender.states[-1] == "verifying"
    assert moves_after(both.sender.stalls, expected)


async def test_a_sender_that_gives_up_on_the_receipt_says_what_the_receiver_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RECEIPT_TIMEOUT", 0.3)
    (tmp_path / "file").write_bytes(os.urandom(100_000))
    consume = TreeConsumer.consume
    both = Both()

    def slowly(self: TreeConsumer, records: Sequence[bytes | str], now: float) -> list[bytes]:
        until = time.monotonic() + 30
        while both.sent is None and time.monotonic() < until:
            time.sleep(0.01)
        return consume(self, records, now)

    monkeypatch.setattr(TreeConsumer, "consume", slowly)
    await copy([tmp_path / "file"], tmp_path / "out", both=both)
    assert isinstance(both.sent, PeerLost)
    assert "nothing more of it has reached the receiver" in str(both.sent)


@pytest.mark.usefixtures("soon")
async def test_a_sender_whose_disk_gives_nothing_is_told_from_a_way_that_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(os.urandom(10_000_000))
    both = Both()
    here = "Nothing moves: the disk here has delivered no data"
    there = "Nothing moves: the sender's disk, or the connection from it, delivers no data to the relay"
    make = TreeProducer.next_records
    trips = itertools.count()

    def slowly(self: TreeProducer, most: int) -> list[bytes]:
        give_up = time.monotonic() + 20
        stuck = next(trips) == 1
        while stuck and not (here in both.sender.stalls and there in both.receiver.stalls):
            assert time.monotonic() < give_up
            time.sleep(0.01)
        return make(self, most)

    monkeypatch.setattr(TreeProducer, "next_records", slowly)
    await copy([tmp_path / "file"], tmp_path / "out", both=both)
    assert both.reports[0].files == 1
    assert moves_after(both.sender.stalls, here)
    assert moves_after(both.receiver.stalls, there)
