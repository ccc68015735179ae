"""Faults 96 to 100: strangers who want a relay for themselves, and what its operator sees of them.

Sources are told by the PROXY protocol: this machine's own address is no source, or all of this would be for nothing.
"""

from __future__ import annotations

import itertools
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
import trio
from wsproto.events import Ping

from p2p_copy.protocol import rendezvous
from p2p_copy.protocol.rendezvous import Paired, Refused, Role
from p2p_copy.relay import limits
from p2p_copy.relay.log.abuse import Abuse
from tests.faults.arena import CANARY, PAIR_WITHIN
from tests.faults.attackers import LATER, closed_within, connected, crowd, over_both, over_tcp, waiting
from tests.faults.fault_resources import pair_from
from tests.faults.fault_transport import HELLO
from tests.relay.access.test_proxies import proxy_header
from tests.relay.test_packets_of_death import say, until_closed
from tests.support.websocket import UPGRADE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from tests.faults.arena import Arena
    from tests.relay.clients import Relay

MAX_PENDING = 64

OPTIONS = ("--trusted-proxy", "127.0.0.1", "--max-pending", str(MAX_PENDING))


def line_at_home() -> Iterator[str]:
    """Yield addresses of all the networks of one /56."""
    for number in itertools.count():
        yield f"2001:db8:96:{number % 256:x}::{number:x}"


def many_networks() -> Iterator[str]:
    """Yield addresses of a provider's /32, ten of each of its /48 one after the other."""
    for number in itertools.count():
        yield f"2001:db8:{number // 10 % 65536:x}:{number % 10:x}00::1"


@asynccontextmanager
async def besieged(relay: Relay, addresses: Iterator[str]) -> AsyncIterator[None]:
    """Hold twice `MAX_PENDING` connections without a hello, in every phase; replace each one that is closed."""
    phases = itertools.cycle(
        (b"", HELLO[:100], UPGRADE[:-2]) if relay.ca_file else (b"", UPGRADE[:-2], UPGRADE)
    )

    async def besiege() -> None:
        while True:
            with suppress(trio.BrokenResourceError, OSError):
                async with await relay.tcp() as stream:
                    await stream.send_all(proxy_header(next(addresses)) + next(phases))
                    while await stream.receive_some(1000):
                        pass
            await trio.sleep(0.3)

    async with trio.open_nursery() as nursery:
        for _ in range(2 * MAX_PENDING):
            nursery.start_soon(besiege)
        await trio.sleep(1)
        yield
        nursery.cancel_scope.cancel()


def is_summed_up(arena: Arena, said: str) -> bool:
    """Tell whether the log says so, and in few lines: the first one, and one for each minute that has passed."""
    return 1 <= arena.server.log.count(said) <= 3


@pytest.mark.fault(96, "one line at home", "many networks")
@pytest.mark.parametrize(
    ("addresses", "said"),
    [
        pytest.param(line_at_home, "one IPv6 network (/56 or /48)", id="a line at home"),
        pytest.param(many_networks, "closed: the oldest connection", id="many networks"),
    ],
)
@over_both
async def test_fault_96_silent_connections_from_many_networks(
    arena: Arena, addresses: Callable[[], Iterator[str]], said: str
) -> None:
    """Clients come in all the while; the log says what goes on, in a few lines, and a metric counts it."""
    async with arena.attacked() as relay:
        async with besieged(relay, addresses()):
            for number in range(10):
                took = await pair_from(relay, f"198.51.100.{number}", f"2001:db8:ffff:{number}::1")
                assert took < PAIR_WITHIN
        assert is_summed_up(arena, said)


@pytest.mark.fault(97, "same role", "other role")
@pytest.mark.parametrize("role", Role, ids=lambda role: role.value)
@over_both
async def test_fault_97_strangers_who_want_the_place_of_a_slow_client(arena: Arena, role: Role) -> None:
    """The slow client answers, but after twice `PROBE_TIMEOUT`. Strangers gain nothing by leaving, either."""
    name = f"{CANARY} slow {role.value}"
    async with arena.attacked() as relay, waiting(relay, name, Role.SENDER) as slow:
        async with waiting(relay, name, role):
            pass
        async with waiting(relay, name, role) as stranger:
            await trio.sleep(2 * limits.PROBE_TIMEOUT)
            for _ in range(2):
                await slow.send((await slow.expect(Ping)).response())
            said = rendezvous.decode_answer(await stranger.message())
            if role is Role.SENDER:
                assert isinstance(said, Refused)
                async with waiting(relay, name, Role.RECEIVER) as partner:
                    await slow.send((await slow.expect(Ping)).response())
                    assert rendezvous.decode_answer(await partner.message()) == Paired()
                    assert rendezvous.decode_answer(await slow.message()) == Paired()
            else:
                assert said == rendezvous.decode_answer(await slow.message()) == Paired()
        assert is_summed_up(arena, "a waiting client answers late")


@pytest.mark.fault(98, "relay")
@over_both
async def test_fault_98_a_web_page_that_wants_to_use_the_relay(arena: Arena) -> None:
    async with arena.attacked() as relay:
        for origin in ("https://evil.example", "null", f"http://{relay.address.where}"):
            async with connected(relay) as (_, stream):
                header = f"Host: x\r\nOrigin: {origin}".encode()
                await stream.send_all(UPGRADE.replace(b"Host: x", header))
                assert (await closed_within(stream, LATER)).startswith(b"HTTP/1.1 403 ")
        assert is_summed_up(arena, "refused: the request of a web page")


@pytest.mark.fault(98, "admin address")
@over_tcp
async def test_fault_98_a_web_page_that_wants_to_give_orders(arena: Arena) -> None:
    """By a form, by a script, by a name of its own for this machine, and by one that only begins like this machine."""
    browsers = (
        "Host: 127.0.0.1:9765\r\nContent-Type: application/x-www-form-urlencoded",
        "Host: 127.0.0.1:9765\r\nContent-Type: text/plain\r\nSec-Fetch-Site: cross-site",
        "Host: 127.0.0.1:9765\r\nOrigin: https://evil.example",
        "Host: rebound.evil.example:9765",
        "Host: [::1]evil.example",
    )
    async with arena.attacked():
        for headers in browsers:
            for path in ("/drain", "/reload", "/status"):
                method = "GET" if path == "/status" else "POST"
                request = f"{method} {path} HTTP/1.1\r\n{headers}\r\nContent-Length: 0\r\n\r\n"
                async with await trio.open_unix_socket(arena.server.admin) as stream:
                    await stream.send_all(request.encode())
                    assert (await until_closed(stream)).startswith((b"HTTP/1.1 403 ", b"HTTP/1.1 415 "))
        assert arena.server.status["state"] == "serving"
        assert is_summed_up(arena, "refused at the admin address")


@pytest.mark.fault(99, "head")
@over_both
async def test_fault_99_a_head_that_is_a_byte_too_long(arena: Arena) -> None:
    async with arena.attacked() as relay:
        for more, status in ((0, b"101"), (1, b"431"), (900, b"431"), (10_000, b"431")):
            async with connected(relay) as (_, stream):
                size = limits.MAX_HTTP_HEAD - len(UPGRADE) - len(b"X: \r\n") + more
                head = UPGRADE.replace(b"Host: x\r\n", b"Host: x\r\nX: " + b"x" * size + b"\r\n")
                await say(stream, head)
                assert bytes(await stream.receive_some(1000)).startswith(b"HTTP/1.1 " + status + b" ")
        assert is_summed_up(arena, "refused: the head of an HTTP request is too long")


@pytest.mark.fault(100, "log and metric")
@over_tcp
async def test_fault_100_what_the_operator_sees_of_an_attack(arena: Arena) -> None:
    """A thousand cases are one line, and one more for each minute; the metric has them all."""
    many = 1000
    request = UPGRADE.replace(b"Host: x", b"Host: x\r\nOrigin: https://evil.example")

    async with arena.attacked() as relay:
        before = arena.server.abuse(Abuse.ORIGIN)

        async def one(_number: int) -> None:
            async with connected(relay) as (_, stream):
                await say(stream, request)
                await until_closed(stream)

        await crowd(many, one)
        assert arena.server.abuse(Abuse.ORIGIN) - before == many
        assert is_summed_up(arena, "refused: the request of a web page")
