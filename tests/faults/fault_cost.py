"""Faults 86 to 90: what is short to send, and would take a relay long."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import trio

from p2p_copy.protocol.rendezvous import Paired, Role
from p2p_copy.relay.log.abuse import Abuse
from tests.faults.arena import CANARY
from tests.faults.attackers import (
    ATTACKED,
    LATER,
    SLOW,
    closed_within,
    connected,
    half_a_pair,
    over_both,
    over_tcp,
    over_tls,
    slowest_of,
    tcp_below,
)
from tests.faults.fault_transport import client_hello
from tests.faults.server import BUDGET
from tests.relay.clients import answer, hello
from tests.relay.test_packets_of_death import say
from tests.support.key_updates import Updater
from tests.support.websocket import BINARY, PONG, TEXT, UPGRADE, frame

if TYPE_CHECKING:
    from tests.faults.arena import Arena

SOON = BUDGET / 2
"""Seconds: before the time for a hello is over."""


def updater(port: int, role: Role | None) -> Updater:
    """Return a client that can change keys; with a role it has said hello."""
    client = Updater(port)
    if role is not None:
        client.say(UPGRADE.replace(b"GET / ", f"GET {ATTACKED} ".encode()))
        assert client.hear().startswith(b"HTTP/1.1 101 ")
        client.say(frame(TEXT, hello(role).encode()))
        assert b"welcome" in client.hear()
    return client


def ended_after(client: Updater, records: bytes, seconds: float) -> bool:
    """Send records; return whether the relay ends the connection in this time."""
    with client.socket() as raw:
        raw.settimeout(seconds)
        try:
            raw.sendall(records)
            while raw.recv(1000):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass
    return True


@pytest.mark.fault(86, "before a hello", "waiting")
@pytest.mark.parametrize("waits", [False, True], ids=["before a hello", "waiting"])
@over_tls
async def test_fault_86_changes_of_keys_and_now_and_then_a_byte(arena: Arena, waits: bool) -> None:
    def attack() -> None:
        client = updater(arena.server.clients.address.port, Role.SENDER if waits else None)
        words = frame(PONG) if waits else b"GET / "
        assert ended_after(client, client.made((words[at : at + 1] for at in range(6)), 500), SOON)
        client.close()

    async with arena.attacked() as relay, relay.pair(f"{CANARY} others") as pair:
        with trio.fail_after(LATER):
            async with trio.open_nursery() as nursery:
                for _ in range(1 if waits else 4):
                    nursery.start_soon(trio.to_thread.run_sync, attack)
                assert await slowest_of(pair, SOON) < SLOW
        assert arena.server.abuse(Abuse.TLS_WASTE)


@pytest.mark.fault(87, "paired")
@over_tls
async def test_fault_87_records_of_one_byte(arena: Arena) -> None:
    """They are read as slowly as frames: a hundred messages of two hundred bytes take longer than a flood of bytes."""
    seconds, count, size = 3.0, 250, 200
    async with (
        arena.attacked() as relay,
        relay.waiting(Role.SENDER, f"{CANARY} attacked") as link,
        relay.pair(f"{CANARY} others") as pair,
    ):
        client = await trio.to_thread.run_sync(updater, relay.address.port, Role.RECEIVER)
        assert await answer(link) == Paired()
        data = frame(BINARY, bytes(size)) * count
        records = await trio.to_thread.run_sync(client.made, (data[at : at + 1] for at in range(len(data))))
        arrived = 0

        async def receive() -> None:
            nonlocal arrived
            while True:
                await link.receive()
                arrived += 1

        def send() -> None:
            with client.socket() as raw, suppress(OSError):
                raw.settimeout(seconds)
                raw.sendall(records)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            nursery.start_soon(trio.to_thread.run_sync, send)
            assert await slowest_of(pair, seconds) < SLOW
            nursery.cancel_scope.cancel()
        assert 0 < arrived < count
        client.close()


@pytest.mark.fault(88, "inside a payload")
@over_tcp
async def test_fault_88_an_urgent_byte_inside_a_payload(arena: Arena) -> None:
    seconds, size = 2.0, 1 << 20
    data = os.urandom(size)
    async with arena.attacked() as relay, half_a_pair(relay, role=Role.RECEIVER) as (client, link):
        await say(client.stream, frame(BINARY, data)[:200_000])
        await trio.sleep(0.2)
        left = len(frame(BINARY, data)) - 200_000
        raw = tcp_below(client.stream).socket
        await raw.send(data[-left:][:1], socket.MSG_OOB)
        await say(client.stream, data[-left:][1:10])
        began = arena.server.cpu
        await trio.sleep(seconds)
        assert arena.server.cpu - began < seconds / 2, "it does not try in vain"
        assert arena.server.abuse(Abuse.URGENT_DATA)
        await say(client.stream, data[-left:][10:])
        with trio.fail_after(LATER):
            assert await link.receive() == data


@pytest.mark.fault(89, "request")
@over_both
async def test_fault_89_requests_byte_by_byte(arena: Arena) -> None:
    async with arena.attacked() as relay, relay.pair(f"{CANARY} others") as pair:

        async def drip() -> None:
            with suppress(trio.BrokenResourceError, OSError):
                while True:
                    async with connected(relay) as (_, stream):
                        await stream.send_all(b"GET / HTTP/1.1\r\nX: ")
                        with trio.move_on_after(SOON):
                            while True:
                                await stream.send_all(b"x")
                                await trio.sleep(0.001)

        seconds = 2 * SOON
        began = arena.server.cpu
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(drip)
            assert await slowest_of(pair, seconds) < SLOW
            nursery.cancel_scope.cancel()
        assert arena.server.cpu - began < seconds / 2


@pytest.mark.fault(90, "byte by byte")
@over_tls
async def test_fault_90_a_client_hello_in_records_of_one_byte(arena: Arena) -> None:
    first = client_hello()
    records = b"".join(first[:3] + b"\0\1" + first[at : at + 1] for at in range(5, len(first)))
    async with arena.attacked() as relay, await relay.tcp() as stream:
        await say(stream, records)
        assert not (await closed_within(stream, SOON)).startswith(b"\x16"), "no answer to a hello"
