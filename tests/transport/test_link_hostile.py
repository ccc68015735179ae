"""Bytes of an attacker end at most the link on which they come."""

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest
import trio
from hypothesis import given, settings, strategies as st
from trio.testing import memory_stream_pair

from p2p_copy.transport.endpoints import accept
from p2p_copy.transport.link import LinkBroken
from tests.support.links import MAX, accepted
from tests.support.websocket import BINARY, CLOSE, PING, PONG, TEXT, UPGRADE, frame

# Hostile bytes

DEADLY = {
    "garbage": b"\xff" * 100,
    "unmasked": frame(BINARY, b"x", masked=False),
    "reserved bits": b"\xf2\x80\0\0\0\0",
    "reserved opcode": b"\x83\x80\0\0\0\0",
    "continuation of nothing": frame(0, b"x"),
    "two beginnings": frame(BINARY, b"x", final=False) + frame(BINARY, b"y"),
    "no UTF-8": frame(TEXT, b"\xff\xfe"),
    "no UTF-8 in a close": frame(CLOSE, b"\x03\xe8\xff"),
    "close of one byte": frame(CLOSE, b"\x03"),
    "close with a code of its own": frame(CLOSE, b"\x03\xee"),
    "close with a wild code": frame(CLOSE, b"\xff\xff"),
    "long control frame": b"\x89\xfe\x00\x80" + bytes(132),
    "control frame in pieces": frame(PING, b"x", final=False),
    "length with too many bytes": b"\x82\xff" + bytes(12),
    "length beyond all": b"\x82\xff" + b"\xff" * 8 + bytes(4),
    "oversize and a ping": frame(BINARY, bytes(MAX + 1)) + frame(PING, b"x"),
    "oversize twice": frame(BINARY, bytes(MAX + 1)) * 2,
    "oversize and a close": frame(BINARY, bytes(MAX + 1)) + frame(CLOSE, b"\x03\xe8"),
    "a ping after a close": frame(CLOSE, b"\x03\xe8") + frame(PING, b"x"),
    "two closes": frame(CLOSE, b"\x03\xe8") * 2,
    "a message after a close": frame(CLOSE, b"\x03\xe8") + frame(BINARY, b"x"),
    "pong for nothing": frame(PONG, b"x") + frame(8, b"\x0f\xa1"),
}


@pytest.mark.parametrize("data", DEADLY.values(), ids=DEADLY)
async def test_hostile_frames_end_only_the_link(data: bytes) -> None:
    async with accepted() as (link, client):
        await client.raw(data)
        with pytest.raises((LinkBroken, anyio.EndOfStream)):
            await link.receive()


@given(st.lists(st.binary(max_size=40) | st.sampled_from(list(DEADLY.values())), max_size=6), st.booleans())
@settings(max_examples=200)
async def test_no_bytes_after_the_upgrade_raise_anything_else(chunks: list[bytes], closing: bool) -> None:
    async with accepted() as (link, client), trio.open_nursery() as nursery:
        if closing:
            nursery.start_soon(link.close, 1000)
            await trio.testing.wait_all_tasks_blocked()
        with suppress(trio.BrokenResourceError):
            for chunk in chunks:
                await client.raw(chunk)
        await client.stream.aclose()
        with suppress(LinkBroken, anyio.EndOfStream, anyio.ClosedResourceError):
            while True:
                await link.receive()


requests = st.lists(
    st.binary(max_size=60)
    | st.sampled_from(UPGRADE.splitlines(keepends=True))
    | st.sampled_from([b"Host: \xff\r\n", b"Host: xn--0\r\n", b"Connection: \xe9, Upgrade\r\n", b"\r\n"]),
    max_size=12,
).map(b"".join)


@given(requests | st.just(UPGRADE) | requests.map(lambda data: UPGRADE[:-2] + data))
@settings(max_examples=200)
async def test_no_bytes_instead_of_a_request_raise_anything_else(data: bytes) -> None:
    ours, theirs = memory_stream_pair()
    await theirs.send_all(data)
    await theirs.aclose()
    try:
        async with accept(ours, max_message=MAX) as (_, link):
            await link.receive()
    except (LinkBroken, anyio.EndOfStream):
        pass


async def test_a_request_that_breaks_off_is_noticed_at_once() -> None:
    ours, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:

        async def take() -> None:
            with pytest.raises(LinkBroken):
                async with accept(ours, max_message=MAX):
                    raise AssertionError("there was no request")

        nursery.start_soon(take)
        await theirs.send_all(UPGRADE[:50])
        await trio.testing.wait_all_tasks_blocked()
        await theirs.aclose()


async def test_the_deadline_for_the_request_is_the_caller_s() -> None:
    ours, _theirs = memory_stream_pair()
    with trio.move_on_after(0.01) as scope:
        async with accept(ours, max_message=MAX):
            raise AssertionError("there was no request")
    assert scope.cancelled_caught
