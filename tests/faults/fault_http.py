"""Faults 11 to 16: those who speak HTTP slowly, wrongly, or something else altogether."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
import trio

from tests.faults.arena import CANARY
from tests.faults.attackers import LATER, closed_within, connected, crowd, over_both
from tests.relay.clients import reset
from tests.relay.test_packets_of_death import say
from tests.support.other_protocols import HTTP_2, RDP, SSH
from tests.support.websocket import PING, UPGRADE, frame

if TYPE_CHECKING:
    from tests.faults.arena import Arena

CROWD = 50

ODD = {
    "a header of 40 KiB": (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 40_960 + b"\r\n\r\n", b"431"),
    "ten thousand headers": (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 10_000 + b"\r\n", b"431"),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", b"400"),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", b"400"),
    "HTTP/2": (HTTP_2, b"426"),
    "CONNECT": (b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", b"426"),
    "OPTIONS *": (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", b"426"),
    "Expect": (UPGRADE[:-2] + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n", b"400"),
    "SSH": (SSH + b"\r\n", b"400"),
    "RDP": (RDP, b"400"),
    "SMTP": (b"EHLO x\r\nMAIL FROM:<x@x>\r\n\r\n", b"400"),
    "no words at all": (b"\r\n" * 5000, b""),
    "zeros": (bytes(20_000), b"4"),
}

HEADERS = [line for line in UPGRADE.split(b"\r\n")[1:] if line]


@over_both
async def test_fault_11_headers_that_never_end(arena: Arena) -> None:
    async def drip(stream: trio.abc.Stream) -> None:
        await say(stream, UPGRADE[:-2])
        while True:
            await say(stream, b"X: y\r\n")
            await trio.sleep(0.2)

    async with arena.attacked() as relay:

        async def one(_number: int) -> None:
            async with connected(relay) as (_, stream), trio.open_nursery() as nursery:
                nursery.start_soon(drip, stream)
                await closed_within(stream, LATER + 3)
                nursery.cancel_scope.cancel()

        await crowd(CROWD, one)


@over_both
async def test_fault_11_a_body_that_never_ends(arena: Arena) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    async with arena.attacked() as relay:

        async def one(_number: int) -> None:
            async with connected(relay) as (_, stream):
                await say(stream, head)
                answer = await closed_within(stream, LATER)
                assert answer.startswith(b"HTTP/1.1 426 ")

        await crowd(CROWD, one)


@pytest.mark.parametrize("mode", ["-H", "-B", "-X"])
@over_both
async def test_fault_11_and_12_slowhttptest(arena: Arena, mode: str) -> None:
    program = shutil.which("slowhttptest")
    if program is None:
        pytest.skip("slowhttptest is not installed here")
    async with arena.attacked() as relay:
        scheme = "https" if relay.ca_file else "http"
        words = [program, mode, "-c", "150", "-r", "75", "-i", "1", "-l", "6", "-p", "3", "-x", "24"]
        url = f"{scheme}://127.0.0.1:{relay.address.port}/"
        done = await trio.run_process(
            [*words, "-u", url], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        assert done.returncode == 0


@over_both
async def test_fault_12_a_client_that_reads_nothing(arena: Arena) -> None:
    """Without a hello it is the budget that makes an end; the watchdog of writes is tested with the pairs."""
    async with arena.attacked() as relay, connected(relay) as (_, stream):
        await say(stream, UPGRADE)

        async def talk() -> None:
            while True:
                await stream.send_all(frame(PING, bytes(125)) * 100)

        with trio.fail_after(LATER), pytest.raises(trio.BrokenResourceError):
            await talk()


@pytest.mark.parametrize(("data", "status"), ODD.values(), ids=ODD)
@over_both
async def test_fault_13_requests_that_are_none(arena: Arena, data: bytes, status: bytes) -> None:
    async with arena.attacked() as relay, connected(relay) as (_, stream):
        await say(stream, data)
        answer = await closed_within(stream, LATER)
        assert answer.startswith(b"HTTP/1.1 " + status) or not answer
        assert len(answer) < 1000


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: header.partition(b":")[0].decode())
@over_both
async def test_fault_14_headers_that_are_not_ascii(arena: Arena, header: bytes) -> None:
    async with arena.attacked() as relay:
        for wrong in (header + b"\xff", header.replace(b": ", b": \xc3\xa9, "), b"\xe9" + header):
            async with connected(relay) as (_, stream):
                await say(stream, UPGRADE.replace(header, wrong))
                assert (await closed_within(stream, LATER)).startswith(b"HTTP/1.1 4")


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        pytest.param(b"GET / ", f"GET /{CANARY} ".encode(), b"404", id="path"),
        pytest.param(b"Version: 13", b"Version: 8", b"426", id="version"),
        pytest.param(b"Host: x", b"Host: x\r\nSec-WebSocket-Protocol: chat", b"101", id="subprotocol"),
    ],
)
@over_both
async def test_fault_15_a_wrong_path_or_version_and_a_subprotocol(
    arena: Arena, old: bytes, new: bytes, status: bytes
) -> None:
    """A subprotocol is left unanswered, which is how a server says that it has none (RFC 6455 section 4.2.2)."""
    async with arena.attacked() as relay, connected(relay) as (_, stream):
        await say(stream, UPGRADE.replace(old, new))
        answer = await closed_within(stream, LATER)
        assert answer.startswith(b"HTTP/1.1 " + status)
        assert b"Protocol: chat" not in answer


@over_both
async def test_fault_16_garbage_and_a_reset(arena: Arena) -> None:
    async with arena.attacked() as relay:

        async def one(number: int) -> None:
            data = (b"GARBAGE\r\n\r\n", UPGRADE[:40], UPGRADE, b"")[number % 4]
            async with connected(relay) as (below, stream):
                await say(stream, data)
                reset(below)

        await crowd(200, one)
