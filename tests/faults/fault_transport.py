"""Faults 1 to 9: TCP and TLS, before a byte of HTTP has come."""

from __future__ import annotations

import shutil
import socket
import ssl
import warnings
from typing import TYPE_CHECKING

import pytest
import trio

from p2p_copy.protocol.rendezvous import Role
from tests.faults.arena import CANARY
from tests.faults.attackers import (
    ATTACKED,
    LATER,
    SLOW,
    closed_within,
    connected,
    crowd,
    half_a_pair,
    is_told_of_the_loss,
    over_both,
    over_tls,
    slowest_of,
    tcp_below,
)
from tests.faults.server import BUDGET
from tests.relay.clients import hello, reset
from tests.relay.test_packets_of_death import say
from tests.support.key_updates import Updater
from tests.support.websocket import TEXT, UPGRADE, frame

if TYPE_CHECKING:
    from tests.faults.arena import Arena

MANY = 1000


def client_hello(**versions: ssl.TLSVersion) -> bytes:
    """Return the first message of a TLS client."""
    context = ssl.create_default_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"):  # of old versions
        for name, version in versions.items():
            setattr(context, name, version)
    inbox, outbox = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(inbox, outbox, server_hostname="localhost").do_handshake()
    return outbox.read()


HELLO = client_hello()


@over_both
async def test_fault_01_a_silent_connection(arena: Arena) -> None:
    async with arena.attacked() as relay, await relay.tcp() as stream:
        assert await closed_within(stream, LATER, not_before=BUDGET - 0.5) == b""


@over_both
async def test_fault_02_a_thousand_connections_that_end_at_once(arena: Arena) -> None:
    async with arena.attacked() as relay:

        async def one(number: int) -> None:
            stream = await relay.tcp()
            if number % 2:
                reset(stream)
            else:
                await stream.aclose()

        await crowd(2 * MANY, one)


@over_tls
async def test_fault_03_plain_http_where_tls_belongs(arena: Arena) -> None:
    async with arena.attacked() as relay, await relay.tcp() as stream:
        arena.server.new_log()
        await say(stream, f"GET /{CANARY} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        answer = await closed_within(stream, LATER)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"speaks TLS" in answer
        await stream.aclose()
        await trio.sleep(0.2)
        assert len(arena.check_log().splitlines()) == 1


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x16\x03\x01\x02\x00" + b"garbage" * 100, id="garbage"),
        pytest.param(HELLO[:50], id="truncated"),
        pytest.param(b"\x16\x03\x01\xff\xff" + bytes(65535), id="oversized-record"),
        pytest.param(b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + bytes(16380), id="oversized-hello"),
        pytest.param(b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + bytes(40), id="ssl-2"),
        pytest.param(
            client_hello(minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1),
            id="tls-1.0",
        ),
        pytest.param(HELLO.replace(b"\x03\x03", b"\x7f\x7f"), id="versions-of-the-future"),
    ],
)
@over_tls
async def test_fault_04_a_client_hello_that_is_none(arena: Arena, data: bytes) -> None:
    async with arena.attacked() as relay, await relay.tcp() as stream:
        await say(stream, data)
        heard = await closed_within(stream, LATER)
        assert heard[:1] in (b"", b"\x15", b"\x16", b"H"), "silence, an alert, a handshake, or a sentence"


@over_tls
async def test_fault_05_a_client_hello_drop_by_drop(arena: Arena) -> None:
    async with arena.attacked() as relay, await relay.tcp() as stream:

        async def drip() -> None:
            for byte in HELLO:
                await say(stream, bytes([byte]))
                await trio.sleep(0.2)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(drip)
            assert await closed_within(stream, LATER, not_before=BUDGET - 0.5) == b""
            nursery.cancel_scope.cancel()


@over_tls
async def test_fault_06_half_a_handshake_and_a_reset(arena: Arena) -> None:
    async with arena.attacked() as relay:

        async def one(number: int) -> None:
            stream = await relay.tcp()
            await stream.send_all(HELLO)
            assert await stream.receive_some(10_000)
            reset(stream)

        await crowd(100, one, at_once=10)


@over_tls
async def test_fault_07_tls_and_then_silence(arena: Arena) -> None:
    async with arena.attacked() as relay, connected(relay) as (_, stream):
        await closed_within(stream, LATER, not_before=BUDGET - 0.5)


@over_tls
async def test_fault_08_tls_and_then_a_broken_record(arena: Arena) -> None:
    broken = b"\x17\x03\x03\x00\x40" + bytes(64)
    async with arena.attacked() as relay:
        async with connected(relay) as (below, stream):
            await stream.send_all(UPGRADE)
            await stream.receive_some(1000)
            await below.send_all(broken)
            await closed_within(below, LATER)
        async with half_a_pair(relay) as (client, other):
            below = tcp_below(client.stream)
            await below.send_all(broken)
            await closed_within(below, LATER)
            await is_told_of_the_loss(other)


@over_tls
async def test_fault_09_renegotiation(arena: Arena) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed here")
    async with arena.attacked() as relay:
        words = [openssl, "s_client", "-connect", f"127.0.0.1:{relay.address.port}", "-tls1_2", "-msg"]
        with trio.fail_after(LATER):
            # Its input stays open, or it would leave by itself.
            ours, its = socket.socketpair()
            with ours, its:
                ours.send(b"R\n")
                done = await trio.run_process(
                    words, stdin=its, capture_stdout=True, capture_stderr=True, check=False
                )
        assert b"RENEGOTIATING" in done.stderr
        assert done.stdout.count(b"ServerHello\n") == 1, "there was no second one"


@over_tls
async def test_fault_09_a_flood_of_key_updates(arena: Arena) -> None:
    """It ends the one who floods, even a client that was welcomed, and others do not notice."""
    seconds = 4.0
    async with arena.attacked() as relay:
        updater = Updater(relay.address.port)
        updater.say(UPGRADE.replace(b"GET / ", f"GET {ATTACKED} ".encode()))
        assert updater.hear().startswith(b"HTTP/1.1 101 ")
        updater.say(frame(TEXT, hello(Role.SENDER).encode()))
        assert b"welcome" in updater.hear()
        began = arena.server.cpu
        async with relay.pair(f"{CANARY} others") as pair, trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, updater.flood, seconds)
            assert await slowest_of(pair, seconds) < SLOW
        assert arena.server.cpu - began < seconds / 2
        updater.close()
