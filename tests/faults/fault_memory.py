"""Faults 81 to 83: clients that make a relay hold as much as they can."""

from __future__ import annotations

import itertools
import json
import os
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

import pytest
import trio
from wsproto.events import CloseConnection

from p2p_copy.protocol import rendezvous
from p2p_copy.protocol.rendezvous import LEGACY_PATH, CloseCode, Refusal, Refused, Role, room_path
from p2p_copy.relay import limits
from p2p_copy.relay.log.abuse import Abuse
from p2p_copy.transport import codec
from p2p_copy.transport.codec import Opcode
from p2p_copy.units import KIB
from tests.faults.arena import CANARY, MIB, arena as running
from tests.faults.attackers import tcp_below, upgraded
from tests.relay.clients import Relay, hello, reset, room
from tests.support.websocket import BINARY, RawClient, frame

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.arena import Arena

MASK = b"mask"
"""Of the messages that are pushed. Messages with a mask are not spliced, so they take memory of the relay."""

LONGEST = limits.MAX_MESSAGE - 100

TEXT_PAIRS = 25
"""All that one source may have."""

PER_PAIR = 512 * KIB
"""Bytes of a relay's memory for a pair that reads nothing: two connections of 50 KiB, two windows of 64 KiB and what
they have opened by what the kernel took, records of TLS, and what the allocator keeps."""

PAIRS = 150


async def push(client: RawClient, data: bytes) -> None:
    """Send without end."""
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while True:
            await client.raw(data)


async def legacy_pair(relay: Relay, name: str, stack: AsyncExitStack) -> tuple[RawClient, RawClient]:
    """Return two clients of p2p-copy 0.1.x who are paired."""
    clients = []
    for role in Role:
        client = await stack.enter_async_context(upgraded(relay, LEGACY_PATH))
        said = {"type": "hello", "code_hash_hex": room(name), "role": role.value}
        await client.send(json.dumps(said))
        clients.append(client)
    assert await clients[list(Role).index(Role.SENDER)].message() == rendezvous.READY
    return clients[0], clients[1]


async def pair_unless_refused(
    relay: Relay, name: str, stack: AsyncExitStack
) -> tuple[RawClient, RawClient] | Refused:
    """Return two clients who are paired, or the refusal of the first one that the relay refuses."""
    clients = []
    for role in (Role.SENDER, Role.RECEIVER):
        client = await stack.enter_async_context(upgraded(relay, room_path(room(name))))
        await client.send(hello(role))
        found = rendezvous.decode_answer(await client.message())
        if isinstance(found, Refused):
            return found
        clients.append(client)
    for client in clients:
        await client.message()
    return clients[0], clients[1]


async def pair(relay: Relay, name: str, stack: AsyncExitStack) -> tuple[RawClient, RawClient]:
    """Return two clients who are paired."""
    found = await pair_unless_refused(relay, name, stack)
    assert not isinstance(found, Refused), found
    return found


async def still(arena: Arena) -> int:
    """Return the relay's memory once it does not grow any more."""
    held, before = arena.server.memory, 0
    while held > before + MIB:
        await trio.sleep(2)
        held, before = arena.server.memory, held
    return held


async def hoarded(arena: Arena, relay: Relay, count: int, data: bytes, *, legacy: bool) -> int:
    """Let `count` pairs push `data` from both sides and read nothing; return by how much the relay's memory grows."""
    before = arena.server.memory
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        for number in range(count):
            clients = await (legacy_pair if legacy else pair)(relay, f"{CANARY} {number}", stack)
            for client in clients:
                nursery.start_soon(push, client, data)
                stack.callback(reset, tcp_below(client.stream))
        return await still(arena) - before


@pytest.mark.fault(81, "text")
async def test_fault_81_text_of_which_one_character_is_large(tmp_path: Path) -> None:
    """As `str` it would be four times as large as what was sent, and be held whole: 50 MiB a pair."""
    text = "😀".encode() + b"x" * (LONGEST - 4)
    data = codec.encode(Opcode.TEXT, text, MASK)
    with running(tmp_path) as arena:
        # The allocator keeps some of it.
        await hoarded(arena, arena.server.clients, TEXT_PAIRS, data, legacy=True)
        async with arena.attacked() as relay:
            held = await hoarded(arena, relay, TEXT_PAIRS, data, legacy=True)
            assert held < TEXT_PAIRS * PER_PAIR


@pytest.mark.fault(82, "pairs that do not read")
@pytest.mark.parametrize("legacy", [False, True], ids=["v1", "legacy"])
async def test_fault_82_many_pairs_that_do_not_read(tmp_path: Path, legacy: bool) -> None:
    data = codec.encode(Opcode.BINARY, bytes(LONGEST), MASK)
    with running(tmp_path, "--max-memory", "64M") as arena:
        assert await hoarded(arena, arena.server.clients, PAIRS, data, legacy=legacy) < PAIRS * PER_PAIR
        async with arena.attacked() as relay:
            assert await hoarded(arena, relay, PAIRS, data, legacy=legacy) < PAIRS * PER_PAIR
            assert arena.server.status["limits"]["max-memory"] == 64 * MIB


@pytest.mark.fault(82, "memory is short")
async def test_fault_82_pairs_that_stand_still_give_way(tmp_path: Path) -> None:
    """Newcomers are told that the relay is busy, until those who have stood still for long are ended."""
    data = codec.encode(Opcode.BINARY, bytes(LONGEST), MASK)
    shortened = {"MEMORY_STALL": 8.0}
    with running(tmp_path, "--max-memory", str(limits.LEAST_MEMORY), shortened=shortened) as arena:
        await hoarded(arena, arena.server.clients, PAIRS // 2, data, legacy=False)  # as above
        async with arena.attacked() as relay, trio.open_nursery() as nursery, AsyncExitStack() as stack:
            senders: list[RawClient] = []
            refused = False
            with trio.fail_after(90):
                for number in itertools.count():  # a refused receiver leaves its sender waiting in the room
                    ended = arena.server.abuse(Abuse.MEMORY)
                    found = await pair_unless_refused(relay, f"{CANARY} {number}", stack)
                    if isinstance(found, Refused):
                        assert found.code == Refusal.BUSY
                        refused = True
                        await trio.sleep(0.5)
                        continue
                    for client in found:
                        stack.callback(reset, tcp_below(client.stream))
                    sender, receiver = found
                    if ended:
                        break
                    nursery.start_soon(push, sender, data)
                    senders.append(sender)
                await sender.send(b"served")
                assert await receiver.message() == b"served"
            assert refused, "it was never busy"
            assert len(arena.server.status["pairings"]) > 1, "no more were ended than had to be"
            with trio.fail_after(10):
                while not isinstance(event := await senders[0].next(), CloseConnection):
                    assert event is not None, "it was not told"
            assert event.code == CloseCode.MEMORY_NEEDED
            nursery.cancel_scope.cancel()


@pytest.mark.fault(83, "idle pairs")
@pytest.mark.skipif(not hasattr(os, "splice"), reason="there are no pipes")
async def test_fault_83_idle_pairs_do_not_keep_pipes(tmp_path: Path) -> None:
    def pipes(arena: Arena) -> int:
        folder = f"/proc/{arena.server.process.pid}/fd"
        links = (os.path.join(folder, name) for name in os.listdir(folder))
        return sum(os.path.lexists(link) and os.readlink(link).startswith("pipe:") for link in links)

    message = frame(BINARY, bytes(LONGEST))
    count = 20
    with running(tmp_path) as arena:
        async with arena.attacked() as relay, AsyncExitStack() as stack:
            before = pipes(arena)
            for number in range(count):
                sender, receiver = await pair(relay, f"{CANARY} {number}", stack)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(sender.raw, message)
                    await receiver.message()
            assert pipes(arena) - before == 2 * count, "both ends of one each"
            with trio.fail_after(limits.REPORT_STALL_AFTER + 4 * limits.PAIRING_CHECK_INTERVAL):
                while pipes(arena) > before:  # noqa: ASYNC110
                    await trio.sleep(0.2)
