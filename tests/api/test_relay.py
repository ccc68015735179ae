"""A relay in a program, under Trio and under asyncio, and in a plain program."""

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import sniffio
import trio
import trustme

from p2p_copy.api.bridge import InThread
from p2p_copy.api.relay import Relay, RelayCounts, host_elsewhere
from p2p_copy.errors import CannotListen, UsageError
from p2p_copy.protocol.rendezvous import Refusal, Refused, Role, room_path
from p2p_copy.relay import limits
from tests.api.support import nothing_stays
from tests.relay import clients
from tests.relay.clients import answer, exchange, hello, room
from tests.support.processes import QUICK, environment
from tests.support.websocket import TEXT, UPGRADE, frame

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from p2p_copy.transport.link import Link

AT_ONCE = 4.0
"""Seconds: less than a relay's patience with clients as it stops, and enough for a busy machine."""

LONG = 3600.0
"""Seconds of a drain that no test waits for."""


@pytest.fixture(scope="module", params=["trio", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(autouse=True)
def leaks() -> Iterator[None]:
    """Nothing of a relay is left."""
    with nothing_stays():
        yield


def client_of(relay: Relay, ca_file: str | None = None) -> clients.Relay:
    return clients.Relay(int(relay.urls[0].rpartition(":")[2]), ca_file)


def held(context: AbstractAsyncContextManager[Any]) -> AbstractAsyncContextManager[Any]:
    """Hold clients, which run under Trio, in this event loop or in one of their own."""
    return context if sniffio.current_async_library() == "trio" else InThread(context)


async def until(is_true: Callable[[], bool]) -> None:
    with anyio.fail_after(QUICK):
        while not is_true():  # noqa: ASYNC110
            await anyio.sleep(0.01)


def tasks() -> set[int]:
    """Return the tasks that are here, without the one that looks at deadlines once a second while there are any."""
    return {task.id for task in anyio.get_running_tasks() if "_Ticker" not in (task.name or "")}


async def works(relay: Relay, ca_file: str | None = None) -> None:
    async with held(client_of(relay, ca_file).pair("works")):
        pass


# While it runs


async def test_it_serves_and_counts() -> None:
    relay = Relay(rate=10_000_000)
    assert (repr(relay), relay.counts) == ("<p2p_copy.Relay: not listening>", RelayCounts())
    async with relay:
        assert relay.urls == (f"ws://127.0.0.1:{client_of(relay).address.port}",)
        async with held(client_of(relay).pair("a")), held(client_of(relay).waiting(Role.SENDER, "b")):
            await until(lambda: relay.counts == RelayCounts(connections=3, waiting=1, pairings=1))
        await until(lambda: relay.counts == RelayCounts(served=1))
    assert relay.counts == RelayCounts(served=1)
    assert "ws://127.0.0.1" in repr(relay)


async def test_bytes_count_while_they_move() -> None:
    async with Relay() as relay:

        @asynccontextmanager
        async def moved() -> AsyncIterator[None]:
            async with client_of(relay).pair("a") as (sender, receiver):
                await exchange(sender, receiver)
                yield

        async with held(moved()):
            await until(lambda: relay.counts.received == 8)
        await until(lambda: relay.counts.served == 1)
        assert relay.counts.received == 8


async def test_refusals_are_counted() -> None:
    async with Relay(rooms=()) as relay:
        with pytest.raises(AssertionError):
            async with held(client_of(relay).waiting(Role.SENDER, "a")):
                pass
        assert relay.counts.refused == 1


async def test_no_task_is_left() -> None:
    before = tasks()
    async with Relay() as relay:
        await works(relay)
        await relay.drain()
    assert tasks() == before


async def test_two_at_once() -> None:
    async with Relay() as one, Relay() as other:
        await works(one)
        await works(other)
        assert one.urls != other.urls
        await until(lambda: (one.counts.served, other.counts.served) == (1, 1))


async def test_a_certificate_makes_it_wss(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    async with Relay(certfile=tmp_path / "both.pem") as relay:
        assert relay.urls[0].startswith("wss://127.0.0.1:")
        await works(relay, str(tmp_path / "ca.pem"))


async def test_it_listens_at_all_addresses_and_names_one_of_them() -> None:
    async with Relay("0.0.0.0") as relay:
        assert relay.urls[0].startswith("ws://127.0.0.1:")
        assert not relay.urls[-1].startswith(("ws://127.", "ws://0."))
        await works(relay)


# Its end


async def test_a_drain_ends_when_the_last_pairing_does() -> None:
    async with Relay() as relay:
        async with held(client_of(relay).pair("a")), anyio.create_task_group() as tasks:
            tasks.start_soon(relay.drain, LONG)
            with anyio.fail_after(QUICK), suppress(OSError):  # until it takes no more clients
                while True:
                    await (await anyio.connect_tcp("127.0.0.1", client_of(relay).address.port)).aclose()
            assert relay.counts.pairings == 1
            tasks.cancel_scope.cancel()  # the wait, and not the drain
        with anyio.fail_after(QUICK):
            await relay.drain(LONG)
        assert relay.counts == RelayCounts(served=1)
        await relay.drain()


async def test_a_drain_cuts_what_takes_too_long() -> None:
    async with Relay() as relay, held(client_of(relay).pair("a")):
        with anyio.fail_after(QUICK):
            await relay.drain(0.05)
        assert relay.counts.pairings == 0


async def test_only_a_relay_that_runs_drains() -> None:
    with pytest.raises(RuntimeError, match="does not run"):
        await Relay().drain()


async def told(link: Link) -> str:
    message = await answer(link)
    assert isinstance(message, Refused)
    return message.code


@pytest.mark.parametrize("anyio_backend", ["trio"])  # the client is
async def test_leaving_the_block_tells_clients() -> None:
    """A client that answers delays nothing."""
    async with trio.open_nursery() as nursery:
        async with Relay() as relay:

            async def client(task_status: trio.TaskStatus[None]) -> None:
                async with client_of(relay).waiting(Role.SENDER, "a") as link:
                    task_status.started()
                    assert await told(link) == Refusal.STOPPING

            await nursery.start(client)
            began = time.monotonic()
        assert time.monotonic() - began < AT_ONCE


async def test_a_client_that_does_not_listen_delays_the_end_for_a_bounded_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "STOP_TIMEOUT", 0.2)
    with anyio.fail_after(QUICK):
        async with Relay() as relay:
            deaf = await anyio.connect_tcp("127.0.0.1", client_of(relay).address.port)
            await deaf.send(UPGRADE.replace(b"/", room_path(room("a")).encode(), 1))
            await deaf.receive()
            await deaf.send(frame(TEXT, hello(Role.SENDER).encode()))
            await until(lambda: relay.counts.waiting == 1)
        await deaf.aclose()


async def test_an_exception_of_the_block_leaves_unchanged() -> None:
    mine = KeyError("of the block")
    with pytest.raises(KeyError) as caught:
        async with Relay():
            raise mine
    assert caught.value is mine


async def test_a_cancelled_block_ends_the_relay() -> None:
    with anyio.CancelScope() as scope:
        async with Relay() as relay, held(client_of(relay).waiting(Role.SENDER, "a")):
            scope.cancel()
            await anyio.sleep(LONG)
    assert scope.cancelled_caught
    assert relay.counts.connections == 0


def test_a_closed_event_loop_ends_the_relay() -> None:
    serves = asyncio.Event()

    async def forget() -> None:
        async with Relay():
            serves.set()
            await asyncio.sleep(LONG)

    loop = asyncio.new_event_loop()
    task = loop.create_task(forget())
    loop.run_until_complete(serves.wait())
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # the program's mistake is this test's purpose
    loop.close()


# What cannot begin


async def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(CannotListen, match="in use"):
        async with Relay(*taken.getsockname()):
            raise AssertionError("it began")


async def test_a_proxy_that_is_none() -> None:
    with pytest.raises(UsageError, match="no network"):
        async with Relay(trusted_proxies="proxy"):
            raise AssertionError("it began")


async def test_a_relay_runs_once() -> None:
    async with Relay() as relay:
        with pytest.raises(RuntimeError, match="once"):
            async with relay:
                raise AssertionError("it began")
        await works(relay)


@pytest.mark.parametrize(
    "settings",
    [
        {"port": -1},
        {"port": 65536},
        {"rate": 0},
        {"rate_total": limits.LEAST_RATE - 1},
        {"max_memory": limits.LEAST_MEMORY - 1},
        {"max_connections": 0},
        {"max_per_source": -1},
        {"wait": 0},
        {"joins_per_minute": -1},
    ],
)
def test_a_number_out_of_range_is_refused_before_anything_is_opened(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        Relay(**settings)


@pytest.mark.parametrize("host", ["192.0.2.7", "2001:db8::7", "relay.example"])
def test_a_place_with_a_name_is_called_by_it(host: str) -> None:
    assert host_elsewhere(host) == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_everywhere_is_called_by_an_address_or_name_that_means_this_machine_elsewhere(host: str) -> None:
    assert host_elsewhere(host) not in {"", "0.0.0.0", "::", "127.0.0.1", "::1"}


# A plain program


def test_a_plain_block() -> None:
    with Relay() as relay, InThread(client_of(relay).pair("a")):
        assert relay.counts.pairings == 1
    assert relay.counts.served == 1


def test_a_plain_block_leaves_its_exceptions_unchanged() -> None:
    with pytest.raises(KeyError), Relay():
        raise KeyError


def test_it_says_nothing_and_sets_up_no_log() -> None:
    program = "import logging, p2p_copy.api.relay as api\nwith api.Relay(): print(logging.root.handlers)"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=QUICK,
        check=True,
    )
    assert (ended.stdout, ended.stderr) == ("[]\n", "")


def test_its_log_reaches_a_program_that_wants_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="p2p_copy")
    with Relay():
        pass
    assert "stopped" in caplog.text
