"""Faults 10, 25, 26, 30, 33 and 34: more of everything than there may be, from one source or from many.

A PROXY header names the source of each client: the limits do not apply to this machine's own address.
"""

from __future__ import annotations

import os
import resource
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from p2p_copy.protocol import rendezvous
from p2p_copy.protocol.rendezvous import Paired, Refused, Role, Welcome, room_path
from p2p_copy.relay import limits
from tests.faults.arena import CANARY, MIB, PAIR_WITHIN, STALL, arena as running
from tests.faults.attackers import connected, crowd, half_a_pair, over_both, over_tcp, over_tls, tcp_below
from tests.faults.fault_transport import HELLO
from tests.relay.access.test_proxies import proxy_header
from tests.relay.clients import Relay, hello, reset, room
from tests.relay.test_packets_of_death import say, until_closed
from tests.support.websocket import BINARY, RawClient, frame

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.faults.arena import Arena

PER_SOURCE = 20
DESCRIPTORS = 256
PLACES = int(DESCRIPTORS * limits.DESCRIPTORS_SHARE)

OPTIONS = ("--trusted-proxy", "127.0.0.1", "--max-per-source", str(PER_SOURCE))

PREFIX = ("sh", "-c", f'ulimit -n {DESCRIPTORS}; exec "$0" "$@"')


@asynccontextmanager
async def client_of(relay: Relay, source: str, name: str) -> AsyncIterator[RawClient]:
    """Yield an upgraded client from another address."""
    async with connected(relay, proxy_header(source)) as (_, stream):
        client = RawClient(stream)
        await client.upgrade(room_path(room(name)))
        yield client


async def wants(client: RawClient, role: Role = Role.SENDER) -> Welcome | Refused | Paired:
    await client.send(hello(role))
    return rendezvous.decode_answer(await client.message())


async def pair_from(relay: Relay, one: str, other: str) -> float:
    """Return the seconds that a pair took, from these addresses."""
    began, name = trio.current_time(), f"{CANARY} {one} {other}"
    async with client_of(relay, one, name) as sender, client_of(relay, other, name) as receiver:
        await wants(sender)
        await wants(receiver, Role.RECEIVER)
        for client in (sender, receiver):
            assert rendezvous.decode_answer(await client.message()) == Paired()
        await sender.send(b"x")
        assert await receiver.message() == b"x"
        return trio.current_time() - began


@over_tls
async def test_fault_10_a_flood_of_handshakes_from_one_source(arena: Arena) -> None:
    """Most are closed before TLS begins, and others come in meanwhile."""
    began_tls = tried = 0

    async def one(_number: int) -> None:
        nonlocal began_tls, tried
        async with await relay.tcp() as stream:
            tried += 1
            await say(stream, proxy_header("198.51.100.10") + HELLO)
            with suppress(trio.BrokenResourceError):
                began_tls += bool(await stream.receive_some(100))

    async with arena.attacked() as relay, trio.open_nursery() as nursery:
        nursery.start_soon(crowd, 3000, one)
        await trio.sleep(0.3)
        assert await pair_from(relay, "198.51.100.11", "203.0.113.12") < PAIR_WITHIN
    assert tried == 3000
    assert began_tls <= limits.ARRIVALS_PER_MINUTE + 5, "those of a minute, and a few that trickle in"


@over_both
async def test_fault_25_more_connections_than_descriptors(arena: Arena) -> None:
    refused = 0

    async def one(number: int) -> None:
        nonlocal refused
        async with await relay.tcp() as stream:
            began = trio.current_time()
            await until_closed(stream)
            refused += trio.current_time() - began < 1

    async with arena.attacked() as relay:
        await crowd(2 * DESCRIPTORS, one, at_once=2 * DESCRIPTORS)
        assert refused >= DESCRIPTORS


@over_both
async def test_fault_25_no_descriptor_is_left_at_all(arena: Arena) -> None:
    """What the limits do not foresee: accept fails. It is tried again, and nothing is written into the log for it."""
    process = arena.server.process.pid
    async with arena.attacked() as relay:
        allowed = resource.prlimit(process, resource.RLIMIT_NOFILE)
        held = len(os.listdir(f"/proc/{process}/fd"))
        try:
            resource.prlimit(process, resource.RLIMIT_NOFILE, (held + 2, allowed[1]))
            async with AsyncExitStack() as stack:
                for _ in range(20):
                    await stack.enter_async_context(await relay.tcp())
                await trio.sleep(1.5)
        finally:
            resource.prlimit(process, resource.RLIMIT_NOFILE, allowed)


@pytest.mark.parametrize(
    ("ours", "others"),
    [
        pytest.param(["198.51.100.26"] * (PER_SOURCE + 5), "198.51.100.27", id="IPv4"),
        pytest.param(
            [f"2001:db8:0:26::{n:x}" for n in range(1, PER_SOURCE + 6)], "2001:db8:0:27::1", id="IPv6"
        ),
    ],
)
@over_both
async def test_fault_26_more_connections_than_a_source_may_have(
    arena: Arena, ours: list[str], others: str
) -> None:
    inside = 0
    async with arena.attacked() as relay, AsyncExitStack() as stack:
        for number, source in enumerate(ours):
            source = source.replace("26", "26" if relay.ca_file else "28", 1) if "." in source else source
            with suppress(trio.BrokenResourceError, AssertionError):
                client = await stack.enter_async_context(client_of(relay, source, f"{CANARY} {number}"))
                inside += isinstance(await wants(client), Welcome)
        assert inside == PER_SOURCE
        assert await pair_from(relay, others, others) < PAIR_WITHIN


@pytest.mark.parametrize(
    ("role", "source"),
    [
        pytest.param(Role.SENDER, "198.51.100.33", id="33 rooms that nobody needs"),
        pytest.param(Role.RECEIVER, "198.51.100.34", id="34 trying out rooms"),
    ],
)
@over_tcp
async def test_fault_33_and_34_thousands_of_rooms_from_one_source(
    arena: Arena, role: Role, source: str
) -> None:
    """A few a minute are served, the rest is refused, and those who wait in rooms of their own stay there."""
    answers: list[Welcome | Refused | Paired] = []

    async def one(number: int) -> None:
        with suppress(AssertionError, trio.BrokenResourceError):
            async with client_of(relay, source, f"{CANARY} {role.value} {number}") as client:
                answers.append(await wants(client, role))

    async with arena.attacked() as relay, AsyncExitStack() as stack:
        strangers = []
        for number in range(5):
            client = await stack.enter_async_context(
                client_of(relay, f"203.0.113.{number}", f"{CANARY} {number}")
            )
            await wants(client)
            strangers.append(client)
        await crowd(10_000, one, at_once=8)
        welcome = sum(isinstance(each, Welcome) for each in answers)
        assert 0 < welcome <= limits.JOINS_PER_MINUTE + 15, "those of a minute, and a few that trickle in"
        for refused in answers:
            assert isinstance(refused, Welcome) or (isinstance(refused, Refused) and refused.retry_after)
        for number, client in enumerate(strangers):
            other = await stack.enter_async_context(
                client_of(relay, f"192.0.2.{number}", f"{CANARY} {number}")
            )
            await wants(other, Role.RECEIVER)
            assert rendezvous.decode_answer(await client.message()) == Paired()


CROWDED = 20
"""Pairs that stall; what they may hold together is a part of the limit (`limits.MEMORY_SHARE`)."""

LEAST = 128 * MIB
"""Bytes of memory for a relay with so many pairs."""


@pytest.fixture
def little_memory() -> Iterator[tuple[str, ...]]:
    """What a command begins with that gets `LEAST` bytes of memory, and is killed if it wants more."""
    old, new = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    group = (old if old.is_dir() else new) / f"p2p-copy-faults-{os.getpid()}"
    limit = "memory.limit_in_bytes" if old.is_dir() else "memory.max"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error.strerror}")
    try:
        try:
            (group / limit).write_text(str(LEAST))
        except OSError as error:
            pytest.skip(f"no control group can limit memory here: {error.strerror}")
        yield ("sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$0" "$@"')
    finally:
        group.rmdir()


async def test_fault_30_little_memory(tmp_path: Path, little_memory: tuple[str, ...]) -> None:
    """As many pairs as the limits allow stall with their hands full, and the relay has enough."""
    message = frame(BINARY, bytes(limits.MAX_MESSAGE - 100))

    async def push(client: RawClient) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while True:
                await client.raw(message)

    async def crowded(relay: Relay) -> None:
        async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
            for number in range(CROWDED):
                client, _ = await stack.enter_async_context(half_a_pair(relay, f"{CANARY} {number}"))
                nursery.start_soon(push, client)
                stack.callback(reset, tcp_below(client.stream))
            held, before = arena.server.memory, 0
            while held > before + MIB:
                await trio.sleep(2)
                held, before = arena.server.memory, held
            assert held < LEAST
            assert arena.server.status["limits"]["max-memory"] == LEAST // limits.MEMORY_SHARE

    most = str(2 * CROWDED + 4)  # and the arena's two pairs
    with running(tmp_path, "--max-connections", most, prefix=little_memory) as arena:
        await crowded(arena.server.clients)  # the allocator keeps some of it, once
        await trio.sleep(3)
        async with arena.attacked(stall=2 * STALL) as relay:  # the kernel looks for memory first
            await crowded(relay)
