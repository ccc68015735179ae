"""Faults 31, 32, 35 to 37, and 12 for a pair: rooms, races, and partners who stall, vanish or do not say goodbye.

Beside 31: a client that reconnects again and again under its own claim, and one that uses the claim of another.

The relay's long timeouts are shortened, so that no test waits for ten minutes.
"""

from __future__ import annotations

import os
import random
import signal
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

import anyio
import pytest
import trio

from p2p_copy.protocol.rendezvous import Paired, Refused, Role, Welcome, room_path
from p2p_copy.transport.link import LinkBroken
from tests.faults.arena import CANARY, CODE, MIB
from tests.faults.attackers import (
    ATTACKED,
    closed_within,
    crowd,
    half_a_pair,
    is_told_of_the_loss,
    over_both,
    over_tcp,
    over_tls,
    tcp_below,
    upgraded,
)
from tests.relay.clients import Relay, answer, exchange, hello, reset, room
from tests.support import processes
from tests.support.processes import PATIENCE
from tests.support.trees import unfinished_size
from tests.support.websocket import BINARY, CLOSE, frame

if TYPE_CHECKING:
    from pathlib import Path

    from p2p_copy.transport.link import Link
    from tests.faults.arena import Arena
    from tests.support.websocket import RawClient

SHORTENED = {"PAIRED_SEND_TIMEOUT": 8.0, "TAIL_TIMEOUT": 4.0}
"""Seconds; ten minutes and one minute otherwise."""

BOTH_ROLES = pytest.mark.parametrize("role", Role, ids=lambda role: role.value)


async def is_refused(relay: Relay, role: Role, name: str, claim: str | None = None) -> None:
    async with relay.client(room_path(room(name))) as link:
        await link.send(hello(role, claim))
        assert isinstance(await answer(link), Welcome)
        refused = await answer(link)
        assert isinstance(refused, Refused)
        assert refused.code == "room-taken"
        link.abort()


@over_tcp
async def test_fault_12_a_receiver_that_reads_nothing(arena: Arena) -> None:
    """The watchdog of writes ends it, and the sender is told."""
    async with (
        arena.attacked() as relay,
        half_a_pair(relay, role=Role.RECEIVER) as (deaf, sender),
    ):
        began = trio.current_time()
        code = 0
        with trio.fail_after(PATIENCE):
            while not code:
                try:
                    await sender.send(bytes(MIB // 16))
                except LinkBroken as error:
                    code = error.close_code
        assert trio.current_time() - began < SHORTENED["PAIRED_SEND_TIMEOUT"] + 5
        reset(tcp_below(deaf.stream))


@BOTH_ROLES
@over_both
async def test_fault_31_two_of_a_role_and_a_third_one(arena: Arena, role: Role) -> None:
    name = f"{CANARY} full"
    async with arena.attacked() as relay:
        other = Role.RECEIVER if role is Role.SENDER else Role.SENDER
        async with relay.waiting(role, name) as first:
            await is_refused(relay, role, name)
            async with relay.waiting(other, name) as second:
                assert await answer(first) == await answer(second) == Paired()
                await is_refused(relay, role, name)
                await is_refused(relay, other, name)
                pair = (first, second) if role is Role.SENDER else (second, first)
                await exchange(*pair)


@over_both
async def test_fault_31_a_client_that_reconnects_again_and_again(arena: Arena) -> None:
    """A hundred times, and no old connection answers the relay's close frame. No limit of a source slows this down."""
    name, claim = f"{CANARY} again", "5e" * 16

    async def is_paired(client: RawClient, partner: Link) -> None:
        await client.message()  # and until then the probe is answered
        assert await answer(partner) == Paired()

    async with arena.attacked() as relay, AsyncExitStack() as stack:
        for number in range(100):
            client = await stack.enter_async_context(upgraded(relay, room_path(room(name))))
            await client.send(hello(Role.SENDER, claim))
            await client.message()
            if number % 2 == 0:
                partner = await stack.enter_async_context(relay.waiting(Role.RECEIVER, name))
                await is_paired(client, partner)
        async with relay.waiting(Role.RECEIVER, name) as partner:
            await is_paired(client, partner)


@BOTH_ROLES
@over_both
async def test_fault_31_strangers_who_claim_a_place(arena: Arena, role: Role) -> None:
    """Many of them try out claims, and the pair goes on."""
    name, claims = f"{CANARY} claimed", {Role.SENDER: "5e" * 16, Role.RECEIVER: "ec" * 32}

    async def one(number: int) -> None:
        await is_refused(relay, role, name, f"{number:064x}" if number else None)

    async with (
        arena.attacked() as relay,
        relay.waiting(Role.SENDER, name, claims[Role.SENDER]) as sender,
        relay.waiting(Role.RECEIVER, name, claims[Role.RECEIVER]) as receiver,
    ):
        assert await answer(sender) == await answer(receiver) == Paired()
        await is_refused(relay, role, name, claims[Role.SENDER if role is Role.RECEIVER else Role.RECEIVER])
        await crowd(200, one, at_once=10)  # of fifty, some would say no hello in time on a busy machine
        await exchange(sender, receiver)


@over_both
async def test_fault_32_races_for_one_room(arena: Arena) -> None:
    """Many come and go at once. A paired client hears exactly one other client, which hears only this one."""
    name, seconds = f"{CANARY} race", 6.0
    dice = random.Random(32)
    partners: list[tuple[str, str]] = []

    async def play(relay: Relay, me: str) -> None:
        async with relay.client(room_path(room(name))) as link:
            await link.send(hello(dice.choice(list(Role))))
            await answer(link)
            paired = None
            with trio.move_on_after(dice.uniform(0, 1)):
                paired = await answer(link)
            if paired == Paired():
                await link.send(me.encode())
                heard = await link.receive()
                assert isinstance(heard, bytes)
                partners.append((me, heard.decode()))
                await trio.sleep(dice.uniform(0, 0.05))
            if dice.random() < 0.5:
                link.abort()

    async def player(relay: Relay, number: int) -> None:
        rounds, end = 0, trio.current_time() + seconds
        while trio.current_time() < end:
            rounds += 1
            with suppress(LinkBroken, anyio.EndOfStream, anyio.ClosedResourceError):
                await play(relay, f"{number}/{rounds}")
            await trio.sleep(dice.uniform(0, 0.05))

    async with arena.attacked() as relay:
        async with trio.open_nursery() as nursery:
            for number in range(12):
                nursery.start_soon(player, relay, number)
        assert partners, "no clients were paired"
        known = dict(partners)
        assert len(known) == len(partners)
        for me, partner in partners:
            assert known.get(partner, me) == me, "no third one"


@over_both
async def test_fault_35_a_receiver_that_pauses_and_a_sender_that_pushes(arena: Arena) -> None:
    pushed = 0

    async with arena.attacked() as relay, half_a_pair(relay) as (client, _paused):
        memory = arena.server.memory

        async def push() -> None:
            nonlocal pushed
            piece = frame(BINARY, bytes(MIB))
            with suppress(trio.BrokenResourceError):
                while pushed < 3000:
                    await client.raw(piece)
                    pushed += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(push)
            await trio.sleep(2)
            before = pushed
            await trio.sleep(3)
            assert pushed == before < 40, (
                "the sender waits; what it sent lies in the buffers of three kernels"
            )
            assert arena.server.memory - memory < 10 * MIB
            nursery.cancel_scope.cancel()
        reset(tcp_below(client.stream))


ENDS = {"close": b"", "reset": b"", "half-close": b"", "in a record": frame(BINARY, bytes(MIB))[: MIB // 2]}


@pytest.mark.parametrize("end", ENDS)
@BOTH_ROLES
@over_both
async def test_fault_36_one_side_ends(arena: Arena, role: Role, end: str) -> None:
    async with arena.attacked() as relay, half_a_pair(relay, role=role) as (client, survivor):
        below = tcp_below(client.stream)
        await client.raw(ENDS[end])
        if end == "reset":
            reset(below)
        elif end == "half-close":
            await below.send_eof()
        else:
            below.socket.close()
        await is_told_of_the_loss(survivor)


@BOTH_ROLES
@over_both
async def test_fault_36_one_side_is_killed(arena: Arena, role: Role, tmp_path: Path) -> None:
    """With the real programs: the survivor says so within two seconds, and nothing is left that looks complete."""
    source, out = tmp_path / f"{CANARY} big", tmp_path / "out"
    source.write_bytes(os.urandom(MIB) * 300)
    url, ca_file = arena.server.url, arena.server.clients.ca_file
    options = ("--quiet", "--patience", "0", *(("--ca-file", ca_file) if ca_file else ()))
    async with arena.attacked():
        code = CODE.replace("7", "8")
        ends = (
            processes.sender(url, source, code=code, options=options),
            processes.receiver(url, out, code=code, options=options),
        )
        victim, survivor = ends if role is Role.SENDER else ends[::-1]
        with trio.fail_after(PATIENCE):
            while not unfinished_size(out):  # noqa: ASYNC110
                await trio.sleep(0.01)
        victim.process.send_signal(signal.SIGKILL)
        began = trio.current_time()
        result = await trio.to_thread.run_sync(survivor.wait)
        assert result[0] == 12
        assert trio.current_time() - began < 4, "two, and the time in which a process ends"
        victim.kill()
        assert not (out / source.name).exists()


@over_tls
async def test_fault_37_a_close_that_is_not_answered(arena: Arena) -> None:
    """One who was refused, and one whose partner closed: both are cut when the relay has waited long enough."""
    async with arena.attacked() as relay:
        async with half_a_pair(relay) as (client, other):
            await other.aclose()
            await closed_within(client.stream, SHORTENED["TAIL_TIMEOUT"] + 3)
        async with half_a_pair(relay) as (client, other):
            await client.raw(frame(CLOSE, b"\x03\xe8") * 2)
            with trio.fail_after(3), suppress(anyio.EndOfStream):
                await other.receive()
            await closed_within(client.stream, SHORTENED["TAIL_TIMEOUT"] + 3)
        async with relay.client(ATTACKED) as link:
            await link.send(CANARY)
            assert isinstance(await answer(link), Refused)
            link.abort()
