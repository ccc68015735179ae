from __future__ import annotations

import json
import logging
from contextlib import AsyncExitStack, suppress
from typing import Any

import anyio
import pytest
import trio

from p2p_copy.errors import CannotListen, NotARelay, RelayExpectsTLS, RelayWithoutTLS
from p2p_copy.protocol import limits as protocol_limits, rendezvous
from p2p_copy.protocol.rendezvous import (
    LEGACY_PATH,
    LoadTerms,
    Paired,
    Refusal,
    Refused,
    Role,
    Welcome,
    room_path,
)
from p2p_copy.relay import limits
from p2p_copy.relay.config import RelayConfig
from p2p_copy.relay.log.abuse import Abuse
from p2p_copy.relay.server import Relay as Server, prepared
from p2p_copy.transport import limits as transport_limits
from p2p_copy.transport.address import RelayAddress
from p2p_copy.transport.link import Link, LinkBroken
from p2p_copy.version import PROGRAM
from tests.relay.clients import Relay, answer, exchange, hello, relay_running, room
from tests.support.links import connect
from tests.support.websocket import UPGRADE

AT_ONCE = 4.0
"""Seconds: less than any patience of the relay, and enough for a busy machine."""


async def refused(link: Link) -> tuple[str, int]:
    """Receive a refusal and the end; return the refusal's code and the close code."""
    message = await answer(link)
    assert isinstance(message, Refused)
    with pytest.raises(LinkBroken) as caught:
        await link.receive()
    return message.code, caught.value.close_code


# Pairing


@pytest.mark.parametrize("first", Role)
async def test_sender_and_receiver_meet_in_either_order(settings: dict[str, Any], first: Role) -> None:
    async with relay_running(**settings) as relay, relay.pair("a", first) as (sender, receiver):
        await exchange(sender, receiver)


async def test_the_welcome_tells_the_terms() -> None:
    async with relay_running(wait=60, max_message=12345) as relay, relay.client(room_path(room("a"))) as link:
        await link.send(hello(Role.SENDER))
        assert await answer(link) == Welcome(
            PROGRAM, max_message=12345, wait=60, again=round(protocol_limits.REDIAL_AFTER)
        )


async def test_a_relay_that_may_be_loaded_says_so_with_the_limits_that_meet_this_client() -> None:
    """A client of this machine has no source, and so none of its limits."""
    settings: dict[str, Any] = {"max_connections": 9, "max_pending": 8, "max_waiting": 7, "max_per_source": 6}
    async with relay_running(allow_load_test=True, **settings) as relay:
        async with relay.client(room_path(room("a"))) as link:
            await link.send(hello(Role.SENDER))
            welcome = await answer(link)
        assert isinstance(welcome, Welcome)
        assert welcome.load_test == LoadTerms(9, 8, 7, 0, 0, 0, 0)


async def test_rooms_are_apart() -> None:
    async with relay_running() as relay, AsyncExitStack() as stack:
        pairs = [await stack.enter_async_context(relay.pair(name)) for name in "abc"]
        for number, (sender, _) in enumerate(pairs):
            await sender.send(b"%d" % number)
        for number, (_, receiver) in enumerate(pairs):
            assert await receiver.receive() == b"%d" % number


async def test_a_large_message_passes(settings: dict[str, Any]) -> None:
    message = bytes(range(256)) * (protocol_limits.MAX_RECORD // 256)
    async with (
        relay_running(**settings) as relay,
        relay.pair("a") as (sender, receiver),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(sender.send, message)
        assert await receiver.receive() == message


async def test_a_room_can_be_used_again_as_soon_as_one_side_has_closed() -> None:
    async with relay_running() as relay, relay.pair("a") as (sender, receiver):
        await sender.aclose()
        await relay.works("a")
        with pytest.raises(anyio.EndOfStream):
            await receiver.receive()


@pytest.mark.parametrize("role", Role)
async def test_a_third_client_is_refused_and_disturbs_no_other(role: Role) -> None:
    async with relay_running() as relay, relay.pair("a") as (sender, receiver):
        async with relay.waiting(role, "a") as third:
            assert await refused(third) == (Refusal.ROOM_TAKEN, 1013)
        await exchange(sender, receiver)


@pytest.mark.fault(78, "wrong role")
@pytest.mark.parametrize("role", Role)
async def test_a_second_client_of_a_role_is_refused_and_the_first_one_still_waits(role: Role) -> None:
    other = Role.RECEIVER if role is Role.SENDER else Role.SENDER
    async with relay_running() as relay, relay.waiting(role, "a") as first:
        async with relay.waiting(role, "a") as second:
            assert await refused(second) == (Refusal.ROOM_TAKEN, 1013)
        async with relay.waiting(other, "a") as partner:
            assert await answer(first) == Paired()
            assert await answer(partner) == Paired()


async def test_a_waiting_client_that_is_dead_does_not_block_its_own_retry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transport_limits, "KEEPALIVE_TIMEOUT", 0.1)
    async with relay_running() as relay, relay.raw(room_path(room("a"))) as dead:
        await dead.send(hello(Role.SENDER))
        await dead.message()
        await relay.works("a")


async def test_a_waiting_client_that_leaves_frees_its_place_at_once() -> None:
    async with relay_running() as relay:
        for leave in (Link.abort, Link.aclose):
            async with relay.waiting(Role.SENDER, "a") as link:
                if (leaving := leave(link)) is not None:
                    await leaving
            with trio.fail_after(5):
                await relay.works("a")


async def test_a_client_that_speaks_before_it_is_paired_is_refused() -> None:
    async with relay_running() as relay, relay.waiting(Role.SENDER, "a") as link:
        await link.send(b"impatient")
        assert await refused(link) == (Refusal.BAD_HELLO, 1002)
        await relay.works("a")


async def test_a_client_that_waits_too_long_is_told_so() -> None:
    async with relay_running(wait=0.1) as relay, relay.waiting(Role.SENDER, "a") as link:
        assert await refused(link) == (Refusal.WAIT_OVER, 1013)
        async with relay.waiting(Role.SENDER, "a"):
            pass  # a pair might not meet in that short time


# Refusals


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", Refusal.BAD_HELLO),
        (b"\x00", Refusal.BAD_HELLO),
        ("[" * 1000, Refusal.BAD_HELLO),
        ('{"type":"hello","version":1,"role":"both"}', Refusal.BAD_HELLO),
        (hello(Role.SENDER).replace('"version":1', '"version":99'), Refusal.VERSION),
    ],
)
async def test_a_bad_hello_is_refused(settings: dict[str, Any], text: str | bytes, code: Refusal) -> None:
    async with relay_running(**settings) as relay:
        async with relay.client(room_path(room("a"))) as link:
            await link.send(text)
            assert await refused(link) == (code, 1002)
        await relay.works("a")


async def test_a_long_hello_is_not_even_read() -> None:
    async with relay_running() as relay, relay.client(room_path(room("a"))) as link:
        await link.send(bytes(protocol_limits.MAX_HELLO + 1))
        with pytest.raises(LinkBroken):
            await link.receive()


async def test_there_is_nothing_at_other_paths() -> None:
    async with relay_running() as relay:
        for path in ("/v2/" + room("a"), "/v1/" + room("a").upper(), "/v1/", "/index.html"):
            with pytest.raises(NotARelay, match="HTTP status 404"):
                async with relay.client(path):
                    raise AssertionError("nothing is there")


async def test_a_full_relay_says_so_and_serves_again_when_a_client_has_left() -> None:
    async with relay_running(max_connections=2) as relay:
        async with relay.pair("a") as (sender, receiver):
            async with relay.client(room_path(room("b"))) as link:
                await link.send(hello(Role.SENDER))
                message = await answer(link)
                assert isinstance(message, Refused)
                assert (message.code, message.retry_after) == (Refusal.BUSY, 60)
            await exchange(sender, receiver)
        await relay.works("c")


@pytest.mark.parametrize("phase", ["TCP", "HTTP", "WebSocket", "TLS"])
async def test_when_too_many_say_nothing_the_oldest_one_is_closed_in_any_phase(
    phase: str, tls_settings: dict[str, Any]
) -> None:
    tls = tls_settings if phase == "TLS" else {}
    first = {"HTTP": UPGRADE[:-2], "WebSocket": UPGRADE, "TLS": b"\x16\x03\x01\x02\x00\x01"}.get(phase, b"")
    async with (
        relay_running(max_pending=3, accept_budget=60, **tls) as relay,
        relay.waiting(Role.SENDER, "a") as waiting,
        AsyncExitStack() as stack,
    ):
        silent = []
        for _ in range(4):
            stream = await stack.enter_async_context(await relay.tcp())
            await stream.send_all(first)
            if phase == "WebSocket":
                await stream.receive_some(1000)
            await trio.testing.wait_all_tasks_blocked(0.01)
            silent.append(stream)
        with trio.fail_after(5), suppress(trio.BrokenResourceError):
            assert await silent[0].receive_some(100) == b""
        assert relay.abuse(Abuse.EVICTED) == 1
        async with relay.waiting(Role.RECEIVER, "a") as partner:
            assert await answer(waiting) == await answer(partner) == Paired()
            await exchange(waiting, partner)
        for stream in silent[2:]:
            with trio.move_on_after(0.05) as still_here:
                await stream.receive_some(100)
            assert still_here.cancelled_caught


# Stopping


async def test_a_stop_tells_waiters_and_pairs_and_takes_no_time(settings: dict[str, Any]) -> None:
    settings = dict(settings)
    ca_file = settings.pop("ca_file", None)
    server = await prepared(RelayConfig("127.0.0.1", 0, **settings))
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def run(task_status: trio.TaskStatus[Any]) -> None:
            with scope:
                await server.run(task_status=task_status)
            stopped.set()

        stopped = trio.Event()
        bound = await nursery.start(run)
        relay = Relay(bound[0][1], ca_file)
        async with (
            relay.waiting(Role.SENDER, "a") as waiter,
            relay.pair("b") as (sender, receiver),
            await relay.tcp(),
        ):
            scope.cancel()
            assert await refused(waiter) == (Refusal.STOPPING, 1012)
            for link in (sender, receiver):
                with pytest.raises(LinkBroken) as caught:
                    await link.receive()
                assert caught.value.close_code == 1012
            with trio.fail_after(AT_ONCE):
                await stopped.wait()


async def test_a_stop_does_not_wait_for_a_client_that_does_not_listen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "STOP_TIMEOUT", 0.1)
    async with AsyncExitStack() as stack:
        with trio.fail_after(AT_ONCE):
            async with relay_running() as relay:
                deaf = await stack.enter_async_context(relay.raw(room_path(room("a"))))
                await deaf.send(hello(Role.SENDER))
                await deaf.message()


# Listening


async def test_a_port_in_use_is_said_to_be() -> None:
    async with relay_running() as relay:
        with pytest.raises(CannotListen, match=f"Port {relay.address.port} of 127.0.0.1 is in use"):
            await Server(RelayConfig("127.0.0.1", relay.address.port)).run()


@pytest.mark.parametrize(
    ("host", "words"), [("relay.invalid", "has no address"), ("192.0.2.1", "no address 192.0.2.1")]
)
async def test_an_address_that_is_not_here_is_said_to_be(host: str, words: str) -> None:
    with pytest.raises(CannotListen, match=words):
        await Server(RelayConfig(host, 0)).run()


async def test_localhost_is_every_loopback_address_that_works() -> None:
    async with trio.open_nursery() as nursery:
        bound = await nursery.start(Server(RelayConfig("localhost", 0)).run)
        assert bound
        for host, port in bound:
            async with connect(RelayAddress(False, host, port), "/"):
                pass
        nursery.cancel_scope.cancel()


# The wrong scheme


async def test_ws_to_a_relay_with_tls_is_told_so(tls_settings: dict[str, Any]) -> None:
    async with relay_running(**tls_settings) as relay:
        plain = RelayAddress(False, "127.0.0.1", relay.address.port)
        with pytest.raises(RelayExpectsTLS, match="Use wss://"):
            async with connect(plain, "/"):
                raise AssertionError("no plain text is there")


async def test_wss_to_a_relay_without_tls_is_told_so() -> None:
    async with relay_running() as relay:
        secure = RelayAddress(True, "127.0.0.1", relay.address.port)
        with pytest.raises(RelayWithoutTLS, match="Use ws://"):
            async with connect(secure, "/"):
                raise AssertionError("no TLS is there")


# The legacy form


def legacy_hello(role: Role, name: str | None = None) -> str:
    return json.dumps({"type": "hello", "code_hash_hex": name or room("a"), "role": role.value})


async def test_legacy_clients_meet_and_only_the_sender_is_told(settings: dict[str, Any]) -> None:
    async with (
        relay_running(**settings) as relay,
        relay.client(LEGACY_PATH) as sender,
        relay.client(LEGACY_PATH) as receiver,
    ):
        await receiver.send(legacy_hello(Role.RECEIVER))
        await sender.send(legacy_hello(Role.SENDER))
        assert await sender.receive() == rendezvous.READY
        await sender.send("manifest")
        await sender.send(b"chunk")
        await sender.aclose()
        assert [await receiver.receive(), await receiver.receive()] == ["manifest", b"chunk"]
        with pytest.raises(anyio.EndOfStream):
            await receiver.receive()


async def test_legacy_rooms_are_apart_from_the_others() -> None:
    async with relay_running() as relay, relay.client(LEGACY_PATH) as old:
        await old.send(legacy_hello(Role.SENDER))
        await relay.works("a")


async def test_legacy_clients_meet_in_a_room_of_any_name_and_no_log_line_has_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, logger="p2p_copy.relay")
    name = "same-role %s \xfc"
    async with (
        relay_running() as relay,
        relay.client(LEGACY_PATH) as sender,
        relay.client(LEGACY_PATH) as receiver,
    ):
        await receiver.send(legacy_hello(Role.RECEIVER, name))
        await sender.send(legacy_hello(Role.SENDER, name))
        assert await sender.receive() == rendezvous.READY
        await exchange(sender, receiver)
    assert caplog.messages
    assert "same-role" not in caplog.text


@pytest.mark.parametrize(
    ("text", "code"),
    [("no JSON", 1002), (b"binary", 1002), ("[]", 1002), (legacy_hello(Role.SENDER), 1013)],
)
async def test_legacy_clients_are_refused_by_a_code_that_they_know_as_failure(
    text: str | bytes, code: int
) -> None:
    async with relay_running() as relay, relay.client(LEGACY_PATH) as first:
        await first.send(legacy_hello(Role.SENDER))
        async with relay.client(LEGACY_PATH) as second:
            await trio.testing.wait_all_tasks_blocked(0.01)
            await second.send(text)
            with pytest.raises(LinkBroken) as caught:
                await second.receive()
            assert caught.value.close_code == code


async def test_a_legacy_client_that_waits_too_long_sees_a_failure() -> None:
    async with relay_running(wait=0.1) as relay, relay.client(LEGACY_PATH) as link:
        await link.send(legacy_hello(Role.RECEIVER))
        with pytest.raises(LinkBroken) as caught:
            await link.receive()
        assert caught.value.close_code == 1013


# The log


async def test_the_log_has_a_line_for_every_pair_and_tells_no_secrets(
    caplog: pytest.LogCaptureFixture, settings: dict[str, Any]
) -> None:
    caplog.set_level(logging.DEBUG, logger="p2p_copy.relay")
    async with relay_running(accept_budget=1.5, **settings) as relay:
        async with relay.pair("canary") as (sender, receiver):
            await sender.send(bytes(123_456))
            await receiver.receive()
        for bad in (b"\x16\x03\x01garbage", b"canary\r\n\r\n", b""):
            async with await relay.tcp() as stream:
                await stream.send_all(bad)
                await stream.send_eof()
                while await stream.receive_some(1000):
                    pass
    lines = [record.getMessage() for record in caplog.records if record.name == "p2p_copy.relay"]
    assert [record.levelname for record in caplog.records if " ended: " in record.getMessage()] == ["INFO"]
    assert any("100 kB from the sender, 0 B from the receiver" in line for line in lines)
    for canary in ("canary", room("canary"), "127.0.0.1", str(relay.address.port), "123456"):
        assert not [line for line in lines if canary in line]
    assert not [record for record in caplog.records if record.exc_info]


async def test_two_relays_in_one_process_count_apart() -> None:
    async with relay_running(rooms=set()) as one, relay_running(rooms=set()) as other:
        async with one.client(room_path(room("a"))) as link:
            await link.send(hello(Role.SENDER))
            assert isinstance(await answer(link), Refused)
        assert (one.abuse(Abuse.FOREIGN_ROOM), other.abuse(Abuse.FOREIGN_ROOM)) == (1, 0)
