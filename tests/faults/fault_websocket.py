"""Faults 17 to 24: a proper upgrade, and then what no client should say."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import trio
from wsproto.events import CloseConnection

from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.relay import limits as relay_limits
from p2p_copy.transport import limits as transport_limits
from tests.faults.arena import CANARY
from tests.faults.attackers import (
    LATER,
    SLOW,
    closed_within,
    half_a_pair,
    over_both,
    slowest_of,
    tcp_below,
    upgraded,
    waiting,
)
from tests.faults.server import BUDGET
from tests.relay.clients import hello, reset
from tests.relay.test_packets_of_death import say
from tests.support.websocket import BINARY, CLOSE, PING, PONG, TEXT, RawClient, frame
from tests.transport.test_link_hostile import DEADLY

if TYPE_CHECKING:
    from tests.faults.arena import Arena

GOOD = json.loads(hello(Role.SENDER))

HELLOS = {
    "not JSON": CANARY,
    "a list": "[]",
    "a number": "7",
    "deep": "[" * 2000,
    "a huge number": json.dumps(GOOD).replace('"version": 1', '"version": ' + "1" * 1900),
    "no number": json.dumps(GOOD).replace('"version": 1', '"version": NaN'),
    "a key twice": json.dumps(GOOD)[:-1] + ',"role":"receiver"}',
    "types": json.dumps(GOOD | {"features": {}}),
    "true": json.dumps(GOOD | {"version": True}),
    "a role": json.dumps(GOOD | {"role": CANARY}),
    "a version": json.dumps(GOOD | {"version": 999}),
    "half a character": json.dumps(GOOD | {"program": "\ud800" * 400, "role": "\ud800"}),
    "binary": json.dumps(GOOD).encode(),
    "too long": json.dumps(GOOD | {"more": "x" * protocol_limits.MAX_HELLO}),
    "nothing": "",
}

TOO_LONG = relay_limits.MAX_MESSAGE + 1


async def ends(client: RawClient, seconds: float = LATER) -> int:
    """Return the close code; 1006 for none."""
    with trio.fail_after(seconds):
        return await client.ending()


@over_both
async def test_fault_17_upgrade_but_no_hello(arena: Arena) -> None:
    async with arena.attacked() as relay, upgraded(relay) as client:
        began = trio.current_time()
        await ends(client)
        assert trio.current_time() - began > BUDGET - 0.5


@pytest.mark.parametrize("text", HELLOS.values(), ids=HELLOS)
@over_both
async def test_fault_18_a_hello_that_is_none(arena: Arena, text: str | bytes) -> None:
    """One that is too long ends without an answer: it comes from no client."""
    async with arena.attacked() as relay, upgraded(relay) as client:
        await client.send(text)
        expected = (1006, 1009) if len(text) > protocol_limits.MAX_HELLO else (1002, 1008)
        with trio.fail_after(LATER):
            while not isinstance(event := await client.next(), CloseConnection | None):
                pass
        assert (int(event.code) if event else 1006) in expected


@pytest.mark.parametrize("when", ["before", "waiting", "paired"])
@over_both
async def test_fault_19_frames_against_the_rules(arena: Arena, when: str) -> None:
    async def one(name: str, data: bytes) -> None:
        room_name = f"{CANARY} {name}"
        if when == "before":
            async with upgraded(relay) as client:
                await say(client.stream, data)
                await ends(client)
        elif when == "waiting":
            async with waiting(relay, room_name) as client:
                await say(client.stream, data)
                await ends(client)
        elif not name.startswith("oversize"):
            async with half_a_pair(relay, room_name) as (client, _):
                await say(client.stream, data)
                code = await ends(client)
                if "close" not in name and "pong" not in name:
                    assert code in (1002, 1007, 1009), name

    async with arena.attacked() as relay, trio.open_nursery() as nursery:
        for name, data in DEADLY.items():
            nursery.start_soon(one, name, data)


@pytest.mark.parametrize(
    "tail",
    [
        pytest.param(frame(PING, b"x"), id="ping"),
        pytest.param(frame(BINARY, bytes(TOO_LONG)), id="twice"),
        pytest.param(frame(CLOSE, b"\x03\xe8"), id="close"),
    ],
)
@over_both
async def test_fault_20_a_message_that_is_too_long_and_more(arena: Arena, tail: bytes) -> None:
    async with arena.attacked() as relay:
        async with half_a_pair(relay) as (client, _):
            await say(client.stream, frame(BINARY, bytes(TOO_LONG)) + tail)
            assert await ends(client) == 1009
        async with upgraded(relay) as client:
            await say(client.stream, frame(BINARY, bytes(TOO_LONG)) + tail)
            await ends(client)


@pytest.mark.parametrize("kind", [PING, PONG], ids=["ping", "pong"])
@over_both
async def test_fault_21_a_flood_of_pings_or_pongs(arena: Arena, kind: int) -> None:
    async with arena.attacked() as relay, waiting(relay) as client:
        began = arena.server.cpu
        with trio.move_on_after(4):
            while True:
                await say(client.stream, frame(kind, bytes(125)) * 1000)
        assert arena.server.cpu - began < 2, "it is slowed down"
        reset(tcp_below(client.stream))  # what comes before a proper end is passed on, however slowly


@over_both
async def test_fault_21_pings_while_the_relay_says_goodbye(arena: Arena) -> None:
    async with arena.attacked() as relay, upgraded(relay) as client:
        await client.send(CANARY)
        with trio.fail_after(LATER):
            while not isinstance(await client.next(), CloseConnection):
                pass
        await say(client.stream, frame(PING, b"x") * 3)
        await closed_within(client.stream, transport_limits.GOODBYE_TIMEOUT + 3)


@pytest.mark.parametrize("piece", [b"", b"x"], ids=["empty", "one-byte"])
@over_both
async def test_fault_22_a_message_in_endless_pieces(arena: Arena, piece: bytes) -> None:
    async with arena.attacked() as relay, half_a_pair(relay) as (client, _):
        await say(client.stream, frame(BINARY, piece, final=False) + frame(0, piece, final=False) * 10_000)
        assert await ends(client) in (1002, 1008, 1009)


@over_both
async def test_fault_23_a_flood_of_tiny_messages(arena: Arena) -> None:
    """They are slowed down to `limits.FRAMES_PER_SECOND`; others hardly notice."""
    seconds, heard = 5.0, 0
    async with (
        arena.attacked() as relay,
        half_a_pair(relay) as (client, link),
        relay.pair(f"{CANARY} others") as others,
        trio.open_nursery() as nursery,
    ):

        async def flood() -> None:
            while True:
                await say(client.stream, frame(BINARY, b"x") * 1000)

        async def hear() -> None:
            nonlocal heard
            while True:
                await link.receive()
                heard += 1

        nursery.start_soon(flood)
        nursery.start_soon(hear)
        assert await slowest_of(others, seconds) < SLOW
        nursery.cancel_scope.cancel()
        reset(tcp_below(client.stream))  # what comes before a proper end is passed on, however slowly
    assert 0 < heard < relay_limits.FRAMES_PER_SECOND * (seconds + relay_limits.FRAME_BURST + 3)


@over_both
async def test_fault_24_data_before_the_pair_and_text_in_it(arena: Arena) -> None:
    async with arena.attacked() as relay:
        for data in (b"x", "x"):
            async with waiting(relay) as client:
                await client.send(data)
                assert "refused" in str(await client.message())
                assert await ends(client) == 1002
        async with half_a_pair(relay) as (client, _):
            await say(client.stream, frame(TEXT, b"x"))
            assert await ends(client) == 1003
