"""Two sides with the same code meet, also if one has forgotten the other; a side that gives up tells the other one."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import lockstep_stream_pair

from p2p_copy.errors import PeerFailed, PeerLost, PeerMisbehaved, PeerTimeout, RelayRefused
from p2p_copy.files import limits as files_limits
from p2p_copy.files.state.store import States
from p2p_copy.observer import Observer
from p2p_copy.options import RelayAccess
from p2p_copy.peer import limits
from p2p_copy.peer.connect import _agree
from p2p_copy.peer.meeting import ConnectOptions, Meeting
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.transfer import limits as transfer_limits
from p2p_copy.transfer.resumption import _FORGOTTEN
from p2p_copy.transport import limits as transport_limits
from p2p_copy.transport.endpoints import accept
from p2p_copy.units import MIB
from tests.mitm.relay import middle
from tests.support.lossy_relay import lossy_relay
from tests.support.transfers import Both, Told, copy
from tests.support.two_sides import TwoSides
from tests.support.websocket import RawClient, virtual_time

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.mitm.relay import Passed

SENDER, RECEIVER = Role.SENDER, Role.RECEIVER


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything happens sooner, and a few MB are enough for a long transfer."""
    monkeypatch.setattr(protocol_limits, "SEGMENT", 1 * MIB)
    monkeypatch.setattr(limits, "RETURN_AFTER", (0.02, 0.1))
    monkeypatch.setattr(files_limits, "JOURNAL_INTERVAL", 0.01)
    monkeypatch.setattr(limits, "ROOM_TURN", 0.2)
    monkeypatch.setattr(transfer_limits, "RECEIPT_LINGER", 2.0)
    monkeypatch.setattr(transfer_limits, "GOODBYE_LINGER", 1.0)


async def start_again(again: TwoSides, role: str) -> Any:
    """Start a side that does not know the claim of its earlier process; first the relay must notice the end of that."""
    while True:
        try:
            return await again.start(role)
        except RelayRefused:
            await trio.sleep(0.01)


# One code, two rooms


@pytest.mark.parametrize("role", ["sender", "receiver"])
@pytest.mark.parametrize("how", ["state gone", "other state"])
async def test_a_side_that_remembers_nothing_meets_one_that_does(tmp_path: Path, role: str, how: str) -> None:
    (tmp_path / "file").write_bytes(data := os.urandom(12_000_000))
    other = {"sender": "receiver", "receiver": "sender"}[role]
    async with lossy_relay() as it:
        again = TwoSides(tmp_path, it, tmp_path / "file")
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(again.start, other)
                await again.until_sent(role, 6_000_000)
                if how == "state gone":
                    shutil.rmtree(tmp_path / role)
                else:
                    again._memories[role] = States(str(tmp_path / f"another {role}"))
                if role == "receiver":
                    again.out = tmp_path / "another out"
                await start_again(again, role)
    assert again.told[other].notices == [_FORGOTTEN[Role(other)]]
    assert (again.out / "file").read_bytes() == data


async def test_a_side_that_looks_into_two_rooms_in_turn_waits_as_long_as_its_whole_search(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_bytes(os.urandom(12_000_000))
    async with lossy_relay() as it:
        again = TwoSides(tmp_path, it, tmp_path / "file")
        again.options["receiver"] = {"patience": 1000.0}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(again.start, "receiver")
            await again.until_sent("sender", 6_000_000)
            first = len(again.told["receiver"].waits)
            with trio.fail_after(20):
                while True:
                    await trio.sleep(0.01)
                    if len(again.told["receiver"].waits) > first:
                        break
            nursery.cancel_scope.cancel()
    assert 500 < again.told["receiver"].waits[-1] <= 1000, "a turn in one room lasts less than a second"


async def test_the_terms_of_a_relay_are_told_once_however_often_two_rooms_are_looked_into(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_bytes(os.urandom(12_000_000))
    async with lossy_relay(rate=1 << 30) as it:
        again = TwoSides(tmp_path, it, tmp_path / "file")
        again.options["receiver"] = {"patience": 1.5}
        async with trio.open_nursery() as nursery:

            async def wait_in_vain() -> None:
                with pytest.raises(PeerTimeout):
                    await again.start("receiver")

            nursery.start_soon(wait_in_vain)
            await again.until_sent("sender", 6_000_000)
    told = again.told["receiver"]
    assert told.states.count("waiting") <= 2
    assert told.notices == ["Relay limit: at most 1.0 GiB/s."]


# The last word


def in_the_end(
    role: Role, number: int, how: Callable[[bytes], Passed]
) -> Callable[[Role, int, bytes], Passed]:
    """Change one message, once: that with this number of what `role` says."""
    todo = [True]

    def change(speaker: Role, at: int, message: bytes) -> Passed:
        if todo and (speaker, at) == (role, number):
            todo.clear()
            return how(message)
        return [message]

    return change


@pytest.mark.parametrize(
    ("speaker", "number", "how"),
    [
        (RECEIVER, 2, "flipped"),
        (RECEIVER, 2, "dropped"),
        (RECEIVER, 3, "flipped"),
        (SENDER, 2, "flipped"),
        (SENDER, 3, "flipped"),
        (SENDER, 3, "dropped"),
        (SENDER, 5, "dropped"),
    ],
)
async def test_a_violation_that_one_side_notices_ends_both(
    tmp_path: Path, speaker: Role, number: int, how: str
) -> None:
    (tmp_path / "file").write_bytes(os.urandom(1_000_000) * 60)  # more than can be under way

    def changed(message: bytes) -> Passed:
        return [] if how == "dropped" else [message[:-1] + bytes([message[-1] ^ 1])]

    async with middle(in_the_end(speaker, number, changed)) as at:
        with trio.fail_after(20):
            lasting = {"patience": 3600.0}
            both = await copy(
                [tmp_path / "file"], tmp_path / "out", relay=at.address, sending=lasting, receiving=lasting
            )
    noticed, told = (both.sent, both.received) if speaker is RECEIVER else (both.received, both.sent)
    assert isinstance(noticed, PeerMisbehaved)
    assert isinstance(told, PeerFailed)


class Broken(Told):
    """Fails when it is told something for the nth time."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._left = at

    def progress(self, files: int, size: int, path: str = "") -> None:
        self._left -= 1
        if self._left == 0:
            raise ZeroDivisionError


@pytest.mark.parametrize("role", ["sender", "receiver"])
@pytest.mark.parametrize("at", [1, 3])
async def test_a_bug_on_one_side_is_told_to_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: str, at: int
) -> None:
    (tmp_path / "file").write_bytes(os.urandom(30_000_000))
    monkeypatch.setattr(transfer_limits, "PROGRESS_INTERVAL", 0.0)
    monkeypatch.setattr(transfer_limits, "OBSERVER_INTERVAL", 0.0)  # three reports, of a quick transfer, too
    both = Both()
    setattr(both, role, Broken(at))
    lasting = {"patience": 3600.0}
    await copy([tmp_path / "file"], tmp_path / "out", both=both, sending=lasting, receiving=lasting)
    broken, told = (both.sent, both.received) if role == "sender" else (both.received, both.sent)
    assert not isinstance(broken, PeerFailed | PeerMisbehaved)
    assert isinstance(told, PeerFailed)
    assert "unexpected error" in str(told)


class BrokenWhenMet(Told):
    """Fails when both sides have met, before the first message of the transfer."""

    def paired(self, words: tuple[str, str], peer_verifies: bool) -> None:
        raise ZeroDivisionError


@pytest.mark.parametrize("role", ["sender", "receiver"])
async def test_a_bug_in_the_moment_of_meeting_is_told_to_the_other(tmp_path: Path, role: str) -> None:
    (tmp_path / "file").write_bytes(b"data")
    both = Both()
    setattr(both, role, BrokenWhenMet())
    lasting = {"patience": 3600.0, "wait": 3600.0}
    with trio.fail_after(20):
        await copy([tmp_path / "file"], tmp_path / "out", both=both, sending=lasting, receiving=lasting)
    broken, told = (both.sent, both.received) if role == "sender" else (both.received, both.sent)
    assert not isinstance(broken, PeerFailed | PeerMisbehaved)
    assert isinstance(told, PeerFailed)
    assert "unexpected error" in str(told)


# A relay that takes nothing


@virtual_time()
async def test_a_relay_that_takes_nothing_of_the_key_exchange_is_not_waited_for_without_end() -> None:
    ours, theirs = lockstep_stream_pair()
    client = RawClient(theirs)
    meeting = Meeting("0" * 64, "a secret", "0" * 32)
    options = ConnectOptions(RECEIVER, [RelayAccess("")], None, 1, Observer())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.upgrade)
        async with accept(ours, max_message=protocol_limits.MAX_RECORD) as (_, link):
            began = trio.current_time()
            with trio.fail_after(2 * limits.HANDSHAKE_TIMEOUT), pytest.raises(PeerLost):
                await _agree(link, options, meeting)
            assert trio.current_time() - began == pytest.approx(
                limits.HANDSHAKE_TIMEOUT, abs=transport_limits.TICK
            )
