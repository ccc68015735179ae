"""Whatever a malicious relay does to the key exchange, the two sides do not meet, and no name or content is sent."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import pytest
import trio

from p2p_copy.errors import (
    IncompatiblePeer,
    P2PCopyError,
    PeerLost,
    PeerMisbehaved,
    PeerTimeout,
    RelayLost,
    WrongCode,
)
from p2p_copy.files.state.facts import Facts
from p2p_copy.files.state.store import States
from p2p_copy.observer import Report
from p2p_copy.protocol import cpace, keys
from p2p_copy.protocol.code import Code
from p2p_copy.protocol.key_exchange import HandshakeFailed, SenderHandshake
from p2p_copy.protocol.rendezvous import Role, room_path
from p2p_copy.transport.link import LinkBroken
from tests.mitm.relay import OTHER, ends, middle, through
from tests.relay.clients import answer, hello, relay_running
from tests.support.transfers import CODE, Both, copy, receive, send

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from p2p_copy.protocol.rendezvous import Hello
    from p2p_copy.transport.link import Link
    from tests.mitm.relay import Change, Middle, Passed

pytestmark = pytest.mark.once

SENDER, RECEIVER = Role.SENDER, Role.RECEIVER
ROOM = keys.room_id(CODE.room)
ID = "0" * 32
GUESS = Code(CODE.room, "another passphrase")


@pytest.mark.fault(43, "wrong secret", "no metadata")
async def test_a_wrong_secret_ends_both_sides_and_nothing_is_told(source: Path, tmp_path: Path) -> None:
    async with middle() as at:
        both = await through(at, source, tmp_path / "out", GUESS)
    assert ends(both) == (WrongCode, WrongCode)
    share, farewell = at.said[SENDER]
    assert (share[:1], farewell) == (b"\x82", b"\x8f\x01")
    assert [message[:1] for message in at.said[RECEIVER]] == [b"\x81", b"\x83"]
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.fault(43, "wrong secret")
@pytest.mark.fault(44, "second guess")
async def test_there_is_one_guess(source: Path, tmp_path: Path) -> None:
    """Both sides leave, however patient they are. The next client, with the right code, meets no other side."""
    lasting = {"patience": 60.0}
    with trio.fail_after(20):
        async with relay_running() as relay:
            url = str(relay.address)
            both = await copy(
                [source],
                tmp_path / "out",
                relay=url,
                receiver_code=GUESS,
                sending=lasting,
                receiving=lasting,
            )
            assert ends(both) == (WrongCode, WrongCode)
            with pytest.raises(PeerTimeout):
                await receive(str(tmp_path / "out"), relay=url, code=CODE, wait=0.2)
            with pytest.raises(PeerTimeout):
                await send([str(source)], relay=url, code=CODE, wait=0.2)
            await relay.works("another room")


@pytest.mark.fault(44, "second guess after a restart")
async def test_a_code_that_was_guessed_at_is_not_used_again_by_the_same_command(
    source: Path, tmp_path: Path
) -> None:
    states = States(str(tmp_path / "states"))
    async with middle() as at:
        both = await copy(
            [source],
            tmp_path / "out",
            relay=at.address,
            receiver_code=GUESS,
            sending={"state": states.create(ID, Facts(code=CODE.text))},
        )
    assert ends(both) == (WrongCode, WrongCode)
    with states.open(ID) or pytest.fail("it is not remembered") as state:
        assert state.facts.spent
        with pytest.raises(WrongCode, match="used up"):
            await send([str(source)], relay=at.address, code=CODE, state=state)


async def as_attacker(link: Link, role: Role) -> None:
    await link.send(hello(role))
    for _ in range(2):
        await answer(link)


@pytest.mark.fault(45, "reflection")
@pytest.mark.parametrize("role", Role)
async def test_a_client_that_sends_everything_back_gets_nowhere(
    source: Path, tmp_path: Path, role: Role
) -> None:
    """Through a real relay: the other client is an echo."""
    async with relay_running() as relay, trio.open_nursery() as nursery:

        async def echo() -> None:
            async with relay.client(room_path(ROOM)) as link:
                await as_attacker(link, OTHER[role])
                if role is SENDER:  # it waits until the other side begins
                    await link.send(b"\x82\x01" + bytes(64) + b"\x00\x00")
                with suppress(anyio.EndOfStream, LinkBroken):
                    while True:
                        await link.send(await link.receive())
                await trio.sleep_forever()

        nursery.start_soon(echo)
        work = (
            send([str(source)], relay=str(relay.address), code=CODE)
            if role is SENDER
            else receive(str(tmp_path / "out"), relay=str(relay.address), code=CODE)
        )
        with pytest.raises(PeerMisbehaved), trio.fail_after(20):
            await work
        nursery.cancel_scope.cancel()


@pytest.mark.fault(45, "role swap")
async def test_a_client_with_the_code_that_plays_the_other_role_gets_nowhere(source: Path) -> None:
    """Through a real relay: it came as a receiver, and speaks as a sender."""
    async with relay_running() as relay, trio.open_nursery() as nursery:

        async def sender_again() -> None:
            async with relay.client(room_path(ROOM)) as link:
                await as_attacker(link, RECEIVER)
                machine = SenderHandshake(CODE.secret, ROOM, bytes(32), bytes(range(32)), frozenset())
                await link.send(b"\x81\x01" + bytes(32) + b"\x00\x00")
                message = await link.receive()
                assert isinstance(message, bytes)
                with pytest.raises(HandshakeFailed):
                    machine.receive(message)
                await link.send(b"\x83" + cpace.share(bytes(range(32)), bytes(31) + b"\x09") + bytes(32))
                await trio.sleep_forever()

        nursery.start_soon(sender_again)
        with pytest.raises(WrongCode), trio.fail_after(20):
            await send([str(source)], relay=str(relay.address), code=CODE)
        nursery.cancel_scope.cancel()


WAIT = 5.0
"""Seconds that a side waits for another one, where it may be that none comes."""


@pytest.mark.fault(45, "role swap")
@pytest.mark.parametrize("role", Role)
async def test_two_of_one_role_get_nowhere(source: Path, tmp_path: Path, role: Role) -> None:
    outcomes: list[type] = []

    async def one(at: Middle, number: int) -> None:
        try:
            if role is SENDER:
                await send([str(source)], relay=at.address, code=CODE, wait=WAIT, patience=0)
            else:
                await receive(str(tmp_path / f"{number}"), relay=at.address, code=CODE, wait=WAIT, patience=0)
        except P2PCopyError as error:
            outcomes.append(type(error))

    async with middle(meets=lambda one, other: one.role is other.role) as at:
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one, at, 1)
                nursery.start_soon(one, at, 2)
    assert len(outcomes) == 2
    # The one that leaves first may cut the other off before it has read that they were paired: then it waits on.
    assert set(outcomes) <= {PeerMisbehaved, PeerLost, RelayLost, PeerTimeout}


def replace(role: Role, number: int, start: int, data: bytes) -> Change:
    def change(speaker: Role, at: int, message: bytes) -> Passed:
        if (speaker, at) != (role, number):
            return [message]
        return [message[:start] + data + message[start + len(data) :]]

    return change


SHARE = cpace.share(b"m" * 32, (9).to_bytes(32, "little"))


@pytest.mark.parametrize(
    ("change", "end"),
    [
        pytest.param(replace(RECEIVER, 0, 2, b"n" * 32), WrongCode, marks=pytest.mark.fault(47, "nonces")),
        pytest.param(replace(SENDER, 0, 2, b"n" * 32), WrongCode, marks=pytest.mark.fault(47, "nonces")),
        pytest.param(replace(SENDER, 0, 34, SHARE), WrongCode, marks=pytest.mark.fault(47, "shares")),
        pytest.param(replace(RECEIVER, 1, 1, SHARE), WrongCode, marks=pytest.mark.fault(47, "shares")),
        pytest.param(replace(RECEIVER, 0, 36, b"zst0"), WrongCode, marks=pytest.mark.fault(47, "capabilities")),
        pytest.param(replace(SENDER, 0, 68, b"zst0"), WrongCode, marks=pytest.mark.fault(53, "suite")),
        pytest.param(replace(RECEIVER, 0, 1, b"\0"), IncompatiblePeer, marks=pytest.mark.fault(53, "version")),
        pytest.param(replace(SENDER, 0, 1, b"\2"), IncompatiblePeer, marks=pytest.mark.fault(53, "version")),
    ],
)  # fmt: skip
async def test_whatever_is_replaced_in_the_key_exchange_both_sides_end(
    source: Path, tmp_path: Path, change: Change, end: type[P2PCopyError]
) -> None:
    async with middle(change) as at:
        assert ends(await through(at, source, tmp_path / "out")) == (end, end)
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.fault(47, "old session")
@pytest.mark.parametrize("role", Role)
async def test_an_old_session_cannot_be_replayed(source: Path, tmp_path: Path, role: Role) -> None:
    async with middle() as at:
        both = await through(at, source, tmp_path / "out")
    assert ends(both) == (Report, Report)
    old = at.said[role]

    def replay(speaker: Role, number: int, message: bytes) -> Passed:
        return [old[number]] if speaker is role else [message]

    async with middle(replay) as at:
        assert ends(await through(at, source, tmp_path / "again")) == (WrongCode, WrongCode)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize(
    "tricked",
    [
        pytest.param(lambda _tag, _record: [], marks=pytest.mark.fault(48, "tag missing"), id="missing"),
        pytest.param(lambda tag, _record: [tag, tag], marks=pytest.mark.fault(48, "tag twice"), id="twice"),
        pytest.param(
            lambda tag, record: [record, tag], marks=pytest.mark.fault(48, "data before the tag"), id="late"
        ),
    ],
)
async def test_the_proof_comes_once_and_before_anything_else(
    source: Path, tmp_path: Path, role: Role, tricked: Callable[[bytes, bytes], Passed]
) -> None:
    async with middle() as at:
        await through(at, source, tmp_path / "before")
    record = at.said[role][2]

    def change(speaker: Role, number: int, message: bytes) -> Passed:
        return tricked(message, record) if (speaker, number) == (role, 1) else [message]

    async with middle(change) as at:
        both = await through(at, source, tmp_path / "out")
    assert isinstance(both.sent, P2PCopyError)
    assert isinstance(both.received, P2PCopyError)
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.fault(48, "tag early")
async def test_a_proof_that_comes_before_the_share_is_none(source: Path, tmp_path: Path) -> None:
    def early(speaker: Role, number: int, message: bytes) -> Passed:
        return [b"\x84" + bytes(32), message] if (speaker, number) == (SENDER, 0) else [message]

    async with middle(early) as at:
        both = await through(at, source, tmp_path / "out")
    assert isinstance(both.received, PeerMisbehaved)
    assert isinstance(both.sent, P2PCopyError)


@pytest.mark.fault(54, "swapped pairs")
async def test_pairs_that_are_swapped_get_nowhere_even_with_the_same_secret(
    source: Path, tmp_path: Path
) -> None:
    def crosswise(one: Hello, other: Hello) -> bool:
        return one.role is not other.role and one.room != other.room

    found: list[Both] = []

    async def one(at: Middle, room: str) -> None:
        found.append(await copy([source], tmp_path / room, relay=at.address, code=Code(room, CODE.secret)))

    async with middle(meets=crosswise) as at, trio.open_nursery() as nursery:
        nursery.start_soon(one, at, "room 1")
        nursery.start_soon(one, at, "room 2")
    assert [ends(both) for both in found] == [(WrongCode, WrongCode)] * 2
