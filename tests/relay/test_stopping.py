from __future__ import annotations

import logging
import re
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

from p2p_copy.cli import limits as cli_limits
from p2p_copy.errors import RelayUnreachable
from p2p_copy.protocol.rendezvous import LEGACY_PATH, Paired, Refusal, Refused, Role, room_path
from p2p_copy.relay import limits
from p2p_copy.relay.config import RelayConfig
from p2p_copy.relay.server import Relay
from p2p_copy.transport.link import Link, LinkBroken
from tests.contrib.programs import free_port
from tests.relay import clients
from tests.relay.clients import answer, exchange, hello, room
from tests.support import processes
from tests.support.processes import QUICK, Running, environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

LONG = 3600.0
"""Seconds of a drain that no test waits for."""


class Stoppable:
    """A running relay, clients for it, and an event for its end."""

    def __init__(self, relay: Relay, ca_file: str | None) -> None:
        self.relay = relay
        self.clients = clients.Relay(int(relay.urls[0].rpartition(":")[2]), ca_file)
        self.ended = trio.Event()

    async def ends(self) -> None:
        with trio.fail_after(QUICK):
            await self.ended.wait()


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[Stoppable]:
    ca_file = settings.pop("ca_file", None)
    relay = Relay(RelayConfig("127.0.0.1", 0, **settings))
    async with trio.open_nursery() as nursery:

        async def run(task_status: trio.TaskStatus[Stoppable]) -> None:
            async with trio.open_nursery() as inner:
                await inner.start(relay.run)
                stoppable = Stoppable(relay, ca_file)
                task_status.started(stoppable)
            stoppable.ended.set()

        yield await nursery.start(run)
        relay.stop(1)


async def is_told_to_reconnect(link: Link) -> None:
    message = await answer(link)
    assert isinstance(message, Refused)
    assert (message.code, message.retry_after) == (Refusal.STOPPING, 5)
    assert await close_code(link) == 1012


async def close_code(link: Link) -> int:
    with pytest.raises(LinkBroken) as caught:
        await link.receive()
    return caught.value.close_code


# Draining


async def test_waiting_clients_are_told_and_pairs_come_to_their_end(settings: dict[str, Any]) -> None:
    async with running(**settings) as server, server.clients.pair("a") as (sender, receiver):
        async with server.clients.waiting(Role.SENDER, "b") as waiter:
            server.relay.drain(LONG)
            await is_told_to_reconnect(waiter)
        for _ in range(3):
            await exchange(sender, receiver)
        assert not server.ended.is_set()
        await sender.aclose()
        await server.ends()


async def test_no_new_client_comes_in(settings: dict[str, Any]) -> None:
    async with running(**settings) as server, server.clients.pair("a"):
        server.relay.drain(LONG)
        await trio.testing.wait_all_tasks_blocked(0.01)
        with pytest.raises(RelayUnreachable):
            async with server.clients.client("/"):
                raise AssertionError("no program listens")


@pytest.mark.parametrize("path", [room_path(room("b")), LEGACY_PATH])
async def test_a_client_that_is_about_to_come_in_is_told_to_reconnect(path: str) -> None:
    async with (
        running() as server,
        server.clients.pair("a") as (sender, receiver),
        server.clients.client(path) as newcomer,
    ):
        server.relay.drain(LONG)
        if path == LEGACY_PATH:
            await newcomer.send(f'{{"type":"hello","code_hash_hex":"{room("b")}","role":"sender"}}')
            assert await close_code(newcomer) == 1012
        else:
            await newcomer.send(hello(Role.SENDER))
            await is_told_to_reconnect(newcomer)
        await exchange(sender, receiver)


@pytest.mark.parametrize("steps", range(0, 24, 3))
async def test_two_that_meet_at_that_moment_are_both_paired_or_both_told_to_reconnect(steps: int) -> None:
    async with (
        running() as server,
        server.clients.waiting(Role.SENDER, "a") as sender,
        server.clients.waiting(Role.RECEIVER, "a") as receiver,
    ):
        for _ in range(steps):
            await trio.lowlevel.checkpoint()
        server.relay.drain(LONG)
        answers = [await answer(link) for link in (sender, receiver)]
        if Paired() in answers:
            assert answers == [Paired(), Paired()]
            await exchange(sender, receiver)
        else:
            assert [message.code for message in answers if isinstance(message, Refused)] == 2 * [
                Refusal.STOPPING
            ]


async def test_a_relay_without_pairs_ends_at_once(settings: dict[str, Any]) -> None:
    async with running(**settings) as server, await server.clients.tcp():
        server.relay.drain(LONG)
        await server.ends()


@pytest.mark.parametrize("orders", [[0.05], [LONG, 0.05], [0.05, LONG]])
async def test_pairs_that_are_not_over_in_time_are_ended(orders: list[float]) -> None:
    async with running() as server, server.clients.pair("a") as (sender, receiver):
        for seconds in orders:
            server.relay.drain(seconds)
        for link in (sender, receiver):
            assert await close_code(link) == 1012
        await server.ends()


async def test_a_relay_that_is_to_end_before_it_runs_frees_its_place() -> None:
    relay = Relay(RelayConfig("localhost", 0))
    relay.drain(LONG)
    with trio.fail_after(QUICK):
        await relay.run()
    port = int(relay.urls[0].rpartition(":")[2])
    with pytest.raises(OSError, match="failed"):
        await trio.open_tcp_stream("127.0.0.1", port)


async def test_counts_tell_how_many_are_there() -> None:
    async with running() as server:
        relay = server.relay
        assert (relay.counts, relay.draining) == ((0, 0, 0, 0), False)
        async with server.clients.pair("a") as (sender, receiver):
            async with server.clients.waiting(Role.SENDER, "b"):
                assert relay.counts == (1, 1, 0, 0)
            await exchange(sender, receiver)
            relay.drain(LONG)
            assert relay.draining
        await server.ends()
        assert relay.counts == (0, 0, 1, 8)


# Stopping


async def test_a_stop_overrides_a_drain(settings: dict[str, Any]) -> None:
    async with running(**settings) as server, server.clients.pair("a") as (sender, receiver):
        server.relay.drain(LONG)
        server.relay.stop(LONG)
        for link in (sender, receiver):
            assert await close_code(link) == 1012
        await server.ends()


async def test_a_stop_cuts_clients_that_do_not_listen() -> None:
    async with running() as server, server.clients.raw(room_path(room("a"))) as deaf:
        await deaf.send(hello(Role.SENDER))
        await deaf.message()
        server.relay.stop(0.05)
        await server.ends()


async def test_the_end_is_one_line_without_exact_numbers(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="p2p_copy.relay")
    async with running() as server:
        async with server.clients.pair("a") as (sender, receiver):
            await sender.send(bytes(123_456))
            await receiver.receive()
            await sender.aclose()
        server.relay.drain(LONG)
        await server.ends()
    lines = [record.getMessage() for record in caplog.records]
    (line,) = [line for line in lines if line.startswith("stopped")]
    assert re.fullmatch(r"stopped: pairs served: 1, 100 kB copied, up for \d s", line)


# Signals to real processes


@pytest.fixture
def process() -> Iterator[Running]:
    """A relay that ends by itself when the test has told it to."""
    running = Running("run-relay-server", "127.0.0.1", "0", "--no-tls")
    yield running
    running.kill()


def clients_of(process: Running) -> clients.Relay:
    assert process.process.stdout is not None
    line = process.process.stdout.readline()
    return clients.Relay(int(line.rpartition(":")[2]), None)


async def result(process: Running) -> str:
    """Return what it has logged, once it has ended with success."""
    code, out, errors = await trio.to_thread.run_sync(process.wait, QUICK)
    assert (code, errors) == (0, "")
    return out


async def test_sigterm_lets_pairs_come_to_their_end(process: Running) -> None:
    relay = clients_of(process)
    async with relay.pair("a") as (sender, receiver):
        async with relay.waiting(Role.RECEIVER, "b") as waiter:
            process.process.send_signal(signal.SIGTERM)
            await is_told_to_reconnect(waiter)
        await exchange(sender, receiver)
        await receiver.aclose()
        out = await result(process)
    assert f"stopping in {limits.DRAIN:.0f} s at most, pairs running: 1" in out
    assert "stopped: pairs served: 1, 8 B copied" in out.splitlines()[-1]


async def test_ctrl_c_does_the_same_in_less_time_and_twice_at_once(process: Running) -> None:
    relay = clients_of(process)
    async with relay.pair("a") as (sender, receiver):
        async with relay.waiting(Role.RECEIVER, "b") as waiter:
            process.process.send_signal(signal.SIGINT)
            await is_told_to_reconnect(waiter)
        await exchange(sender, receiver)
        process.process.send_signal(signal.SIGINT)
        for link in (sender, receiver):
            assert await close_code(link) == 1012
        out = await result(process)
    assert f"stopping in {cli_limits.RELAY_DRAIN_SHORT:.0f} s at most, pairs running: 1" in out


def test_a_second_sigterm_that_comes_late_is_no_failure(process: Running) -> None:
    assert process.process.stdout is not None
    process.process.stdout.readline()
    process.process.send_signal(signal.SIGTERM)
    while "stopped" not in process.process.stdout.readline():
        pass
    process.process.send_signal(signal.SIGTERM)
    assert process.wait(QUICK)[0] == 0


async def test_the_time_to_drain_is_an_option() -> None:
    process = Running("run-relay-server", "127.0.0.1", "0", "--no-tls", "--drain", "0")
    try:
        async with clients_of(process).pair("a") as links:
            process.process.send_signal(signal.SIGTERM)
            for link in links:
                assert await close_code(link) == 1012
            await result(process)
    finally:
        process.kill()


async def test_after_a_kill_the_same_port_serves_again() -> None:
    port = free_port()
    with processes.relay(port=port) as (_, server):
        async with clients.Relay(port, None).pair("a") as links:
            server.kill()
            for link in links:
                assert await close_code(link) == 1006
        with processes.relay("--no-tls", port=port):
            await clients.Relay(port, None).works("a")


STUBBORN = """
import trio
from p2p_copy.cli.relay_service import run_service
from p2p_copy.relay.admin.systemd import Notifier
class Stubborn:
    urls = []
    def drain(self, seconds):
        print("drain", flush=True)
    def stop(self, within):
        print("stop", flush=True)
    async def run(self, task_status):
        task_status.started()
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()
async def main():
    await run_service(Stubborn(), Notifier({}), drain=1, announce=lambda urls: print("here", flush=True))
trio.run(main)
"""


def test_a_third_signal_ends_even_a_relay_that_does_not_obey() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, text=True, env=environment()
    )
    assert process.stdout is not None
    for line in ("here\n", "drain\n", "stop\n"):
        assert process.stdout.readline() == line
        process.send_signal(signal.SIGTERM)
    assert process.wait(QUICK) == 128 + signal.SIGTERM
    process.stdout.close()
