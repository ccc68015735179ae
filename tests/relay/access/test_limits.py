"""Limits, tokens, rates and proxies at a relay that really runs; time is virtual where time matters."""

from __future__ import annotations

import json
import socket
import sys
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import lockstep_stream_pair, memory_stream_pair
from wsproto.events import AcceptConnection, CloseConnection, Ping, Pong, RejectConnection, Request

from p2p_copy.errors import CannotListen, UsageError
from p2p_copy.protocol import rendezvous
from p2p_copy.protocol.rendezvous import (
    LEGACY_PATH,
    CloseCode,
    Hello,
    Paired,
    Refusal,
    Refused,
    Role,
    Welcome,
    room_path,
)
from p2p_copy.relay import limits
from p2p_copy.relay.access.rates import FairQueue, PairingLimits
from p2p_copy.relay.access.throttle import Newcomers, Throttle
from p2p_copy.relay.access.tokens import line_for
from p2p_copy.relay.config import RelayConfig, Unix
from p2p_copy.relay.pairing import Outcome, Pairing, Usage
from p2p_copy.relay.server import Relay as Server
from p2p_copy.transport.endpoints import accept
from p2p_copy.transport.link import Link, LinkBroken
from p2p_copy.units import MIB
from tests.relay.access.test_proxies import proxy_header
from tests.relay.clients import Relay, answer, exchange, hello, relay_running, reset, room
from tests.support.websocket import BINARY, PING, PONG, RawClient, frame, virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

TOKEN = "a token for tests"
PROXY: dict[str, Any] = {"trusted_proxies": ("127.0.0.1",)}


@asynccontextmanager
async def through_proxy(relay: Relay, client: str) -> AsyncIterator[RawClient]:
    """Yield a client that a proxy speaks for, by the PROXY protocol, before anything else is said."""
    async with await relay.tcp() as stream:
        await stream.send_all(proxy_header(client))
        yield RawClient(stream)


async def wants(client: RawClient, name: str, role: Role = Role.SENDER) -> Welcome | Refused | Paired:
    """Upgrade and say hello; return the answer."""
    await client.upgrade(room_path(room(name)))
    await client.send(hello(role))
    return rendezvous.decode_answer(await client.message())


def hello_with(token: str | None, role: Role = Role.SENDER) -> str:
    return rendezvous.encode(Hello(role=role, program="tests", token=token))


# Sources


async def test_a_source_with_too_many_connections_is_closed_unread_and_others_come_in() -> None:
    async with relay_running(max_per_source=2, **PROXY) as relay, AsyncExitStack() as stack:
        for name in "ab":
            client = await stack.enter_async_context(through_proxy(relay, "192.0.2.1"))
            assert isinstance(await wants(client, name), Welcome)
        third = await stack.enter_async_context(through_proxy(relay, "192.0.2.1"))
        assert await third.next() is None
        other = await stack.enter_async_context(through_proxy(relay, "192.0.2.2"))
        assert isinstance(await wants(other, "c"), Welcome)
        await relay.works("d")


async def test_a_client_that_may_load_the_relay_is_told_the_limits_of_its_source() -> None:
    limits: dict[str, Any] = {
        "max_per_source": 6,
        "max_pending_per_source": 5,
        "arrivals_per_minute": 4,
        "joins_per_minute": 3,
    }
    async with (
        relay_running(allow_load_test=True, **limits, **PROXY) as relay,
        through_proxy(relay, "192.0.2.1") as client,
    ):
        welcome = await wants(client, "a")
        assert isinstance(welcome, Welcome)
        assert welcome.load_test is not None
        assert welcome.load_test[-4:] == (6, 5, 4, 3)


async def test_a_place_of_a_source_is_free_again_when_its_client_has_left() -> None:
    async with relay_running(max_per_source=1, **PROXY) as relay:
        for _ in range(3):
            async with through_proxy(relay, "2001:db8::1") as client:
                assert isinstance(await wants(client, "a"), Welcome)
                await client.send(CloseConnection(code=1000))
                await client.ending()


async def test_a_client_named_in_x_forwarded_for_counts_and_is_refused_if_it_is_one_too_many() -> None:
    async with relay_running(max_per_source=1, **PROXY) as relay, AsyncExitStack() as stack:

        async def come(forwarded: str) -> Any:
            stream = await stack.enter_async_context(await relay.tcp())
            client = RawClient(stream)
            headers = [(b"X-Forwarded-For", forwarded.encode())]
            path = room_path(room(forwarded))
            await client.send(Request(host="localhost", target=path, extra_headers=headers))
            return await client.next()

        assert isinstance(await come("203.0.113.1, 192.0.2.1"), AcceptConnection)
        refused = await come("203.0.113.2, 192.0.2.1")
        assert isinstance(refused, RejectConnection)
        assert refused.status_code == 429
        assert (b"retry-after", b"60") in [(key.lower(), value) for key, value in refused.headers]
        assert isinstance(await come("192.0.2.1, 192.0.2.2"), AcceptConnection)


async def test_a_client_that_is_no_trusted_proxy_is_not_believed() -> None:
    async with relay_running(max_per_source=1) as relay:
        async with through_proxy(relay, "192.0.2.1") as client:
            assert isinstance(await client.next(), RejectConnection)
        await relay.works("a")


async def test_a_trusted_proxy_that_says_nonsense_is_closed_and_the_relay_lives() -> None:
    async with relay_running(**PROXY) as relay:
        async with await relay.tcp() as stream:
            await stream.send_all(b"\r\n\r\nnonsense" * 10)
            with suppress(trio.BrokenResourceError):  # closed with bytes unread
                assert await stream.receive_some() == b""
        await relay.works("a")


async def test_a_proxy_header_comes_before_tls(tls_settings: dict[str, Any]) -> None:
    async with relay_running(**tls_settings, **PROXY) as relay, await relay.tcp() as stream:
        await stream.send_all(proxy_header("192.0.2.1") + b"GET / HTTP/1.1\r\n\r\n")
        assert b"This port speaks TLS" in bytes(await stream.receive_some())


async def test_too_many_rooms_in_a_minute_are_refused_with_the_time_to_retry() -> None:
    async with relay_running(joins_per_minute=2, **PROXY) as relay:
        for _ in range(2):
            async with through_proxy(relay, "192.0.2.1") as client:
                assert isinstance(await wants(client, "a"), Welcome)
        async with through_proxy(relay, "192.0.2.1") as client:
            refused = await wants(client, "b")
            assert isinstance(refused, Refused)
            assert refused.code == Refusal.BUSY
            assert refused.retry_after is not None
            assert 1 <= refused.retry_after <= 30
            assert await client.ending() == 1013
        async with through_proxy(relay, "192.0.2.2") as client:
            assert isinstance(await wants(client, "b"), Welcome)


async def test_when_enough_clients_wait_only_their_partners_come_in() -> None:
    async with relay_running(max_waiting=1) as relay, relay.waiting(Role.SENDER, "a") as sender:
        async with relay.client(room_path(room("b"))) as second:
            await second.send(hello(Role.SENDER))
            refused = await answer(second)
            assert isinstance(refused, Refused)
            assert (refused.code, refused.retry_after) == (Refusal.BUSY, limits.BUSY_RETRY_AFTER)
        async with relay.waiting(Role.RECEIVER, "a") as receiver:
            assert await answer(sender) == await answer(receiver) == Paired()
            await exchange(sender, receiver)


async def test_changed_limits_hold_for_newcomers_and_evict_no_client() -> None:
    config = RelayConfig("127.0.0.1", 0)
    server = Server(config)
    async with trio.open_nursery() as nursery:
        relay = Relay((await nursery.start(server.run))[0][1], None)
        async with relay.pair("a") as (sender, receiver):
            server.gatekeeper.change(replace(config, max_connections=2, rate=123_456))
            async with relay.client(room_path(room("b"))) as link:
                await link.send(hello(Role.SENDER))
                assert isinstance(await answer(link), Refused)
            await exchange(sender, receiver)
        async with relay.client(room_path(room("b"))) as link:
            await link.send(hello(Role.SENDER))
            welcome = await answer(link)
            assert isinstance(welcome, Welcome)
            assert welcome.rate == 123_456
        nursery.cancel_scope.cancel()


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no unix sockets here")
async def test_a_unix_socket_is_no_source_until_its_proxy_names_one(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    server = Server(RelayConfig(None, more=(Unix(path),), max_per_source=1, max_pending_per_source=1))
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        async with AsyncExitStack() as stack:
            for name, header, let_in in (
                ("a", b"", True),
                ("b", b"", True),
                ("c", proxy_header("192.0.2.1"), True),
                ("d", proxy_header("192.0.2.1"), False),
                ("e", proxy_header("192.0.2.2"), True),
            ):
                stream = await stack.enter_async_context(await trio.open_unix_socket(path))
                await stream.send_all(header)
                client = RawClient(stream)
                if let_in:
                    assert isinstance(await wants(client, name), Welcome)
                else:
                    assert await client.next() is None
        nursery.cancel_scope.cancel()


def test_a_relay_with_a_wrong_proxy_does_not_start() -> None:
    with pytest.raises(UsageError, match="no network"):
        Server(RelayConfig("127.0.0.1", 0, trusted_proxies=("proxy",)))


# Tokens


@pytest.fixture
def tokens_file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text(f"{line_for('tests', TOKEN)} rate=1M/s quota=1000\n")
    return path


def rewrite(path: Path, text: str) -> None:
    path.write_text(text)


def test_a_relay_whose_tokens_cannot_be_read_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(CannotListen, match="tokens file"):
        Server(RelayConfig("127.0.0.1", 0, tokens_file=str(tmp_path / "missing")))


@pytest.mark.parametrize(("token", "words"), [(None, "wants an access token"), ("guessed", "not known")])
async def test_without_the_right_token_no_client_comes_in(
    tokens_file: Path, token: str | None, words: str
) -> None:
    async with (
        relay_running(tokens_file=str(tokens_file)) as relay,
        relay.client(room_path(room("a"))) as link,
    ):
        await link.send(hello_with(token))
        refused = await answer(link)
        assert isinstance(refused, Refused)
        assert refused.code == Refusal.TOKEN
        assert words in refused.reason
        with pytest.raises(LinkBroken) as caught:
            await link.receive()
        assert caught.value.close_code == 1008


async def test_a_legacy_client_knows_no_token_and_sees_a_failure(tokens_file: Path) -> None:
    async with relay_running(tokens_file=str(tokens_file)) as relay, relay.client(LEGACY_PATH) as link:
        await link.send(json.dumps({"type": "hello", "code_hash_hex": room("a"), "role": "sender"}))
        with pytest.raises(LinkBroken) as caught:
            await link.receive()
        assert caught.value.close_code == 1008


@asynccontextmanager
async def with_token(relay: Relay, role: Role) -> AsyncIterator[tuple[Link, Welcome | Refused | Paired]]:
    async with relay.client(room_path(room("a"))) as link:
        await link.send(hello_with(TOKEN, role))
        yield link, await answer(link)
        link.abort()


async def test_a_token_brings_terms_and_its_quota_ends_the_pair(tokens_file: Path) -> None:
    async with relay_running(tokens_file=str(tokens_file)) as relay:
        async with (
            with_token(relay, Role.SENDER) as (sender, terms),
            with_token(relay, Role.RECEIVER) as (receiver, _),
        ):
            assert isinstance(terms, Welcome)
            assert (terms.rate, terms.quota) == (MIB, 1000)
            assert await answer(sender) == await answer(receiver) == Paired()
            await sender.send(bytes(900))
            assert await receiver.receive() == bytes(900)
            await receiver.send(bytes(101))
            for link in (sender, receiver):
                with pytest.raises(LinkBroken) as caught:
                    await link.receive()
                assert caught.value.close_code == CloseCode.QUOTA_USED
        async with with_token(relay, Role.SENDER) as (_, terms):
            assert isinstance(terms, Welcome)
            assert terms.quota == 100


async def test_a_quota_that_is_used_up_is_refused_with_a_sentence(tokens_file: Path) -> None:
    rewrite(tokens_file, f"{line_for('tests', TOKEN)} quota=0\n")
    async with (
        relay_running(tokens_file=str(tokens_file)) as relay,
        with_token(relay, Role.SENDER) as (_, terms),
    ):
        assert isinstance(terms, Refused)
        assert terms.code == Refusal.QUOTA
        assert "quota" in terms.reason


async def test_tokens_are_read_again_and_a_mistake_changes_nothing(
    tokens_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(RelayConfig("127.0.0.1", 0, tokens_file=str(tokens_file)))
    async with trio.open_nursery() as nursery:
        bound = await nursery.start(server.run)
        relay = Relay(bound[0][1], None)
        rewrite(tokens_file, "a mistake")
        await server.reload()
        assert "tokens not reloaded" in caplog.text
        async with with_token(relay, Role.SENDER) as (_, terms):
            assert isinstance(terms, Welcome)
        rewrite(tokens_file, f"{line_for('other', 'another one')}\n")
        await server.reload()
        async with with_token(relay, Role.SENDER) as (_, terms):
            assert isinstance(terms, Refused)
        nursery.cancel_scope.cancel()


async def test_the_terms_of_the_relay_are_in_the_welcome() -> None:
    async with relay_running(rate=300_000, rate_total=200_000) as relay:
        async with relay.client(room_path(room("a"))) as link:
            await link.send(hello(Role.SENDER))
            welcome = await answer(link)
            assert isinstance(welcome, Welcome)
            assert (welcome.rate, welcome.quota) == (200_000, None)
        await relay.works("b")


# Rates of a pairing, frames of a connection, and stuck clients; in virtual time


@asynccontextmanager
async def pairing(
    pairing_limits: PairingLimits | None = None,
) -> AsyncIterator[tuple[RawClient, RawClient, list[Usage]]]:
    """Yield sender and receiver over streams that hold no byte, and what their pairing was in the end."""
    sender_stream, at_sender = lockstep_stream_pair()
    receiver_stream, at_receiver = lockstep_stream_pair()
    sender, receiver = RawClient(sender_stream), RawClient(receiver_stream)
    usage: list[Usage] = []

    async def run() -> None:
        async with (
            accept(at_sender, max_message=10**7) as (_, one),
            accept(at_receiver, max_message=10**7) as (_, other),
        ):
            pair = Pairing(one, other, legacy=False, on_end=lambda: None, pairing_limits=pairing_limits)
            usage.append(await pair.run())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        for client in (sender, receiver):
            await client.upgrade()
        for client in (sender, receiver):
            assert await client.message() == rendezvous.encode(Paired())
        yield sender, receiver, usage
        nursery.cancel_scope.cancel()


@virtual_time()
async def test_a_pairing_keeps_its_rate_by_reading_later() -> None:
    rate, size = 1_000_000, 100_000
    async with pairing(PairingLimits([FairQueue(rate)])) as (sender, receiver, _):
        taken = arrived = 0

        async def push() -> None:
            nonlocal taken
            while True:
                await sender.send(bytes(size))
                taken += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(push)
            with trio.move_on_after(20):
                while True:
                    await receiver.message()
                    arrived += 1
            nursery.cancel_scope.cancel()
    assert arrived * size == pytest.approx(20 * rate, rel=0.1)
    assert taken - arrived <= 2, "nothing piles up: one in the sender's link, one on its way"


@asynccontextmanager
async def paced(frames_per_second: int) -> AsyncIterator[tuple[Link, RawClient]]:
    """Yield a relay's link to a client with this limit, over a stream with room for everything; and the client."""
    ours, theirs = memory_stream_pair()
    client = RawClient(theirs)
    throttle = Throttle(Newcomers(), frames_per_second)
    throttle.pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.upgrade)
        async with accept(ours, max_message=1000, pace=throttle.frames) as (_, link):
            await trio.testing.wait_all_tasks_blocked()
            yield link, client
            link.abort()


@virtual_time()
async def test_a_flood_of_tiny_messages_is_slowed_down_and_not_cut() -> None:
    async with paced(100) as (link, client):

        async def flood() -> None:
            for number in range(2000):
                await client.raw(frame(BINARY, b"%d" % number))
                await trio.lowlevel.checkpoint()

        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood)
            assert [await link.receive() for _ in range(2000)] == [b"%d" % number for number in range(2000)]
            await client.raw(frame(BINARY, b"afterwards"))
            assert await link.receive() == b"afterwards"
    assert trio.current_time() - began == pytest.approx(2000 / 100 - limits.FRAME_BURST, abs=1)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of a reset before the rest is read")
async def test_a_flood_that_ends_with_a_reset_is_noticed_before_all_of_it_is_read() -> None:
    seconds = 5
    async with relay_running() as relay, relay.raw(room_path(room("a"))) as client:
        await client.send(hello(Role.SENDER))
        await client.message()
        async with relay.waiting(Role.RECEIVER, "a") as receiver:
            await client.message()
            flood = frame(PONG) * 10_000
            with trio.move_on_after(2):
                while True:
                    await client.raw(flood)
            reset(client.stream)  # type: ignore[arg-type]
            await answer(receiver)
            with trio.fail_after(seconds), pytest.raises(LinkBroken):
                await receiver.receive()


@virtual_time()
async def test_a_flood_of_pings_is_slowed_down_as_well() -> None:
    async with paced(100) as (link, client):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.receive)
            began = trio.current_time()
            for _ in range(1000):
                await client.raw(frame(PING, b"flood"))
                assert isinstance(await client.next(), Pong)
            nursery.cancel_scope.cancel()
        assert trio.current_time() - began == pytest.approx(1000 / 100 - limits.FRAME_BURST, abs=1)


@virtual_time()
async def test_a_client_within_the_limit_is_not_slowed_down() -> None:
    async with paced(100) as (link, client):
        for _ in range(50):
            await trio.sleep(0.01)
            began = trio.current_time()
            await client.raw(frame(BINARY, b"x"))
            await link.receive()
            assert trio.current_time() == began


@virtual_time()
async def test_a_receiver_that_takes_too_little_frees_the_pairing() -> None:
    async with pairing() as (sender, receiver, usage):
        began = trio.current_time()

        async def trickle() -> None:
            while True:
                await trio.sleep(10)
                await receiver.stream.receive_some(1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trickle)
            await sender.send(bytes(1000))
            while not isinstance(event := await sender.next(), CloseConnection):
                assert isinstance(event, Ping)
                await sender.send(event.response())
            nursery.cancel_scope.cancel()
        await sender.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
    assert trio.current_time() - began == pytest.approx(limits.PAIRED_SEND_TIMEOUT, abs=1)
    assert usage[0].outcome is Outcome.RECEIVER_LOST


@virtual_time()
async def test_a_side_that_answers_no_ping_frees_the_pairing() -> None:
    async with pairing() as (sender, receiver, usage):
        began = trio.current_time()

        async def read_and_say_nothing() -> None:
            async for _ in receiver.stream:
                pass

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_and_say_nothing)
            while not isinstance(event := await sender.next(), CloseConnection):
                assert isinstance(event, Ping)
                await sender.send(event.response())
            nursery.cancel_scope.cancel()
        await sender.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
    assert trio.current_time() - began <= 90
    assert usage[0].outcome is Outcome.RECEIVER_LOST
