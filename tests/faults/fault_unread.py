"""Fault 91: a client that reads nothing of what the relay says to it, and pings so that there is much to say."""

from __future__ import annotations

import signal
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

import anyio
import pytest
import trio

from p2p_copy.protocol.rendezvous import Role
from p2p_copy.relay import limits as relay_limits
from p2p_copy.relay.log.abuse import Abuse
from p2p_copy.transport import limits as transport_limits
from p2p_copy.transport.link import LinkBroken
from tests.faults.arena import CANARY
from tests.faults.attackers import over_tcp
from tests.faults.server import Server
from tests.relay.clients import answer
from tests.relay.test_unread import UNTHROTTLED, unreading, until_cut

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.arena import Arena
    from tests.relay.clients import Relay

OPTIONS = ("--frames-per-second", "0", "--max-wait", "6")
SHORTENED = UNTHROTTLED

NAME = f"{CANARY} unread"

CUT = relay_limits.CONTROL_TIMEOUT + 3.0
"""Seconds after which a client that reads nothing is gone, whatever else this machine does."""


@pytest.mark.fault(91, "while it waits")
@over_tcp
async def test_fault_91_waiting_clients_that_read_nothing(arena: Arena) -> None:
    async with arena.attacked() as relay, AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(unreading(relay, f"{NAME} {number}")) for number in range(5)
        ]
        with trio.fail_after(CUT):
            for client in clients:
                await until_cut(client.stream)
        assert arena.server.abuse(Abuse.UNREAD) >= len(clients)


@pytest.mark.fault(91, "when it is refused")
@over_tcp
async def test_fault_91_a_wait_that_is_over(arena: Arena) -> None:
    """The refusal meets a connection that has been full for a moment only."""
    async with arena.attacked() as relay, relay.waiting(Role.SENDER, NAME) as waiting:
        began = trio.current_time()
        async with unreading(relay, f"{NAME} other") as client:
            await until_cut(client.stream)
        assert trio.current_time() - began < 6 + CUT + transport_limits.GOODBYE_TIMEOUT
        with trio.fail_after(6):
            await answer(waiting)


@pytest.mark.fault(91, "when it is paired")
@over_tcp
async def test_fault_91_another_client_joins_one_that_reads_nothing(arena: Arena) -> None:
    """Its partner does not wait for it as for a disk that stalls, and then the room is free."""

    async def come(relay: Relay) -> None:
        with suppress(LinkBroken, anyio.EndOfStream):
            async with relay.waiting(Role.RECEIVER, NAME) as honest:
                await answer(honest)
                await honest.receive()

    async with arena.attacked() as relay, unreading(relay, NAME) as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(come, relay)
            with trio.fail_after(CUT):
                await until_cut(client.stream)
            nursery.cancel_scope.cancel()
        await relay.works(NAME)


@pytest.mark.fault(91, "when the relay stops")
async def test_fault_91_sigterm_while_clients_wait_that_read_nothing(tmp_path: Path) -> None:
    """The drain is for pairings, and there is none."""
    server = Server(tmp_path, "--frames-per-second", "0", drain=120, shortened=UNTHROTTLED)
    async with AsyncExitStack() as stack:
        for number in range(3):
            await stack.enter_async_context(unreading(server.clients, f"{NAME} {number}"))
        began = trio.current_time()
        server.process.send_signal(signal.SIGTERM)
        assert await trio.to_thread.run_sync(server.ends) == 0
        assert trio.current_time() - began < relay_limits.STOP_TIMEOUT + 3
