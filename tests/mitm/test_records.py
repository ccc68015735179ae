"""Whatever a malicious relay does to the records, it never looks like a success, and no wrong file gets its name."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from p2p_copy.errors import (
    P2PCopyError,
    PeerLost,
    PeerMisbehaved,
    PeerTimeout,
    RelayLost,
    WrongCode,
)
from p2p_copy.observer import Report
from p2p_copy.protocol.rendezvous import CloseCode, Role
from tests.mitm.relay import ends, middle, through

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.mitm.relay import Passed

pytestmark = pytest.mark.once

SENDER, RECEIVER = Role.SENDER, Role.RECEIVER


def flipped(at: int) -> Callable[[bytes], Passed]:
    return lambda record: [record[:at] + bytes([record[at] ^ 1]) + record[at:][1:]]


CHANGES: dict[str, Callable[[bytes], Passed]] = {
    "type": flipped(0),
    "flags": flipped(1),
    "number": flipped(15),
    "content": flipped(16),
    "tag": flipped(-1),
    "shorter": lambda record: [record[:-1]],
    "longer": lambda record: [record + b"\0"],
    "twice": lambda record: [record, record],
    "text": lambda record: [record.hex()],
    "nothing": lambda record: [b"", record],
    "not confirmed": lambda record: [b"\x8f\x01", record],
    "eof of 0.1": lambda record: ['{"type":"eof"}', record],
    "final": lambda record: [record[:1] + bytes([record[1] | 1]) + record[2:]],
}


@pytest.mark.fault(49, "flip", "duplicate")
@pytest.mark.fault(50, "forged end")
@pytest.mark.parametrize(("role", "number"), [(SENDER, 2), (SENDER, 5), (RECEIVER, 3)])
@pytest.mark.parametrize("how", CHANGES.values(), ids=CHANGES)
async def test_a_record_that_was_changed_ends_the_transfer(
    source: Path, tmp_path: Path, role: Role, number: int, how: Callable[[bytes], Passed]
) -> None:
    def change(speaker: Role, at: int, message: bytes) -> Passed:
        return how(message) if (speaker, at) == (role, number) else [message]

    async with middle(change) as at:
        both = await through(at, source, tmp_path / "out")
    hurt = both.received if role is SENDER else both.sent
    assert isinstance(hurt, PeerMisbehaved)


@pytest.mark.fault(49, "drop", "reorder", "other file", "other direction", "other session")
@pytest.mark.parametrize("how", ["drop", "reorder", "other file", "other direction", "other session"])
async def test_a_record_in_another_place_ends_the_transfer(source: Path, tmp_path: Path, how: str) -> None:
    async with middle() as at:
        await through(at, source, tmp_path / "before")
    old = at.said[SENDER]
    held: list[bytes] = []

    def change(speaker: Role, number: int, message: bytes) -> Passed:
        if speaker is RECEIVER or number < 4:
            return [message]
        match how:
            case "drop":
                return [] if number == 4 else [message]
            case "reorder":
                held.append(message)
                return [message, held[0]] if number == 5 else [] if number == 4 else [message]
            case "other file":  # the same place in the next file, under the number of this one
                return [message[:8] + old[4][8:16] + message[16:]] if number == 7 else [message]
            case "other direction":
                return [at.said[RECEIVER][-1]] if number == 4 else [message]
            case _:
                return [old[number]]

    async with middle(change) as at:
        both = await through(at, source, tmp_path / "out")
    assert isinstance(both.received, PeerMisbehaved)
    assert isinstance(both.sent, P2PCopyError)


@pytest.mark.fault(50, "cut at every record", "close 1000")
@pytest.mark.fault(79, "only after the receipt")
@pytest.mark.parametrize("role", Role)
async def test_wherever_the_conversation_is_closed_it_is_no_success(
    source: Path, tmp_path: Path, role: Role
) -> None:
    """With a polite close code, and after every message; the sender succeeds only after the receiver's last one.

    If the cut comes before a secret could be tried, both meet once more. A sender that does not get the receiver's
    proof goes on waiting, too.
    """
    for number in itertools.count():
        cut = False

        def close(speaker: Role, at: int, message: bytes, number: int = number) -> Passed:
            nonlocal cut
            is_it = (speaker, at) == (role, number)
            cut = cut or is_it
            return [1000] if is_it else [message]

        waits_on = (role, number) == (RECEIVER, 1)
        async with middle(close) as at:
            both = await through(at, source, tmp_path / f"{number}", wait=0.5 if waits_on else 60)
        if not cut:
            break
        if number == 0:
            assert ends(both) == (Report, Report)
        elif waits_on:
            assert ends(both) == (PeerTimeout, WrongCode)
        elif role is RECEIVER:
            assert isinstance(both.sent, P2PCopyError)
    assert ends(both) == (Report, Report)
    assert number >= {SENDER: 9, RECEIVER: 4}[role]


@pytest.mark.fault(50, "cut at every record")
@pytest.mark.parametrize("code", [CloseCode.PEER_LOST, CloseCode.STOPPING, 1011])
async def test_after_a_whole_file_any_other_end_is_no_success_either(
    source: Path, tmp_path: Path, code: int
) -> None:
    def close(speaker: Role, at: int, message: bytes) -> Passed:
        return [message, int(code)] if (speaker, at) == (SENDER, 6) else [message]

    async with middle(close) as at:
        both = await through(at, source, tmp_path / "out")
    assert set(ends(both)) <= {PeerLost, RelayLost}


@pytest.mark.fault(51, "after the last record", "two last records")
@pytest.mark.parametrize("role", Role)
async def test_what_comes_after_the_last_record_changes_nothing(
    source: Path, tmp_path: Path, role: Role
) -> None:
    """Both sides are done then; records that are repeated or made up are not opened."""

    def change(speaker: Role, _number: int, message: bytes) -> Passed:
        is_last = speaker is role and message[:1] == b"\x01" and message[1] & 1
        return [message, message, bytes(100)] if is_last else [message]

    async with middle(change) as at:
        assert ends(await through(at, source, tmp_path / "out")) == (Report, Report)


@pytest.mark.fault(73, "endless pings")
async def test_endless_pings_are_answered_and_hold_nothing_up(source: Path, tmp_path: Path) -> None:
    async with middle() as at:
        at.pinging = True
        assert ends(await through(at, source, tmp_path / "out")) == (Report, Report)
