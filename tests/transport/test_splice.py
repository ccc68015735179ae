"""Bytes spliced between real sockets."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest
import trio
import trio.lowlevel
import trio.testing

from p2p_copy.transport import limits
from p2p_copy.transport.splice import CAN_SPLICE, SplicePipe
from tests.support.links import taken, tcp_pair

if TYPE_CHECKING:
    from collections.abc import Iterator

    from p2p_copy.transport.tcp import TCPStream

pytestmark = pytest.mark.skipif(not CAN_SPLICE, reason="this system cannot splice")

LEAST = limits.RELAY_PIECE


@pytest.fixture
def pipe() -> Iterator[SplicePipe]:
    with closing(SplicePipe()) as one:
        yield one


async def received(stream: TCPStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await stream.receive_some(size - len(data))
    return data


async def spliced_from(source: TCPStream, pipe: SplicePipe, most: int, least: int = LEAST) -> int:
    size = await source.receive_spliced(pipe, most, least)
    assert 0 < size == len(pipe)
    return size


async def test_spliced_bytes_arrive_in_order_behind_the_buffers_before_them(pipe: SplicePipe) -> None:
    data = os.urandom(5_000_000)
    ours, source = await tcp_pair()
    target, theirs = await tcp_pair()
    arrived = bytearray()

    async def pass_by() -> None:
        left = len(data)
        while left:
            left -= await spliced_from(source, pipe, min(left, limits.PIPE_SIZE), min(left, LEAST))
            await target.send_buffers([b"<", memoryview(b">"), pipe])
            assert pipe.size == 0
        await target.send_eof()

    with trio.fail_after(20):
        async with ours, source, target, theirs, trio.open_nursery() as nursery:
            nursery.start_soon(ours.send_all, data)
            nursery.start_soon(pass_by)
            async for some in theirs:
                arrived += some
    pieces = arrived.split(b"<>")
    assert len(pieces) >= len(data) // limits.PIPE_SIZE
    assert b"".join(pieces) == data.replace(b"<>", b"")


async def test_no_more_is_taken_than_asked_for(pipe: SplicePipe) -> None:
    ours, source = await tcp_pair()
    target, theirs = await tcp_pair()
    async with ours, source, target, theirs:
        await ours.send_all(bytes(2 * LEAST))
        assert await spliced_from(source, pipe, LEAST) == LEAST
        await target.send_buffers([pipe])
        assert await received(theirs, LEAST) == bytes(LEAST)
        assert await spliced_from(source, pipe, LEAST) == LEAST, "the second one"


async def test_fewer_bytes_than_asked_for_come_only_at_the_end(pipe: SplicePipe) -> None:
    ours, source = await tcp_pair()
    async with ours, source:
        several: list[int] = []

        async def receive() -> None:
            several.append(await spliced_from(source, pipe, limits.PIPE_SIZE))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            for _ in range(2):
                await ours.send_all(bytes(LEAST // 2 - 1))
                await taken(ours)
                assert not several
            await ours.send_all(b"12")
        assert several == [LEAST]
        pipe.size = 0  # as if it were out
        await ours.send_all(b"tail")
        await ours.send_eof()
        assert await spliced_from(source, pipe, limits.PIPE_SIZE) == 4
        pipe.size = 0
        assert await source.receive_spliced(pipe, limits.PIPE_SIZE, LEAST) == 0
        assert await source.receive_some() == b""
        assert not pipe.stopped


async def test_small_packets_fill_a_pipe_early_and_are_passed_on(
    pipe: SplicePipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PIPE_SIZE", 4096)  # one packet at a time
    ours, source = socket.socketpair()
    with ours, source:
        source.setblocking(False)
        for _ in range(10):
            ours.send(bytes(100))
        assert pipe.fill_from(source, LEAST) > 0
        with pytest.raises(BlockingIOError):
            pipe.fill_from(source, LEAST)

    ours_stream, source_stream = await tcp_pair()
    with closing(SplicePipe()) as another, trio.fail_after(10):
        async with ours_stream, source_stream:
            await ours_stream.send_all(bytes(LEAST))
            assert 0 < await spliced_from(source_stream, another, LEAST) < LEAST


async def test_a_stopped_pipe_takes_no_more_and_sends_what_it_has(pipe: SplicePipe) -> None:
    ours, source = await tcp_pair()
    target, theirs = await tcp_pair()
    async with ours, source, target, theirs:
        await ours.send_all(bytes(LEAST) + b"later")
        await spliced_from(source, pipe, LEAST)
        pipe.stop()
        assert await source.receive_spliced(pipe, LEAST, LEAST) == 0
        assert source.splice_now(pipe, LEAST, LEAST) == 0
        assert await source.receive_some() == b"later"
        await target.send_buffers([pipe])
        assert await received(theirs, LEAST) == bytes(LEAST)


async def test_closing_throws_away_the_bytes_and_the_pipe(pipe: SplicePipe) -> None:
    ours, source = await tcp_pair()
    target, theirs = await tcp_pair()
    before = len(os.listdir("/proc/self/fd"))
    async with ours, source, target, theirs:
        await ours.send_all(bytes(LEAST))
        await spliced_from(source, pipe, LEAST)
        assert len(os.listdir("/proc/self/fd")) == before + 2
        pipe.close()
        pipe.close()
        assert len(os.listdir("/proc/self/fd")) == before
        with pytest.raises(trio.BrokenResourceError):
            await target.send_buffers([b"x", pipe])
        await ours.send_all(b"later")
        assert await source.receive_spliced(pipe, LEAST, LEAST) == 0
        assert await source.receive_some() == b"later"


async def test_bytes_are_returned_although_the_pipe_closes_before_they_are_enough(
    pipe: SplicePipe,
) -> None:
    ours, source = await tcp_pair()
    async with ours, source:
        several: list[int] = []

        async def receive() -> None:
            several.append(await source.receive_spliced(pipe, LEAST, LEAST))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await ours.send_all(b"some")
            await taken(ours)
            pipe.close()
            await ours.send_all(b"more")
        assert several == [4]
        assert await source.receive_some() == b"more"


@pytest.mark.parametrize("call", ["os.pipe2", "fcntl.fcntl", "os.splice"])
async def test_nothing_is_lost_where_there_is_no_pipe_to_be_had(
    pipe: SplicePipe, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no")

    monkeypatch.setattr(call, refuse)
    before = len(os.listdir("/proc/self/fd"))
    ours, source = await tcp_pair()
    async with ours, source:
        await ours.send_all(b"all of it")
        assert await source.receive_spliced(pipe, LEAST, LEAST) == 0
        assert pipe.stopped
        assert await source.receive_some() == b"all of it"
    pipe.close()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_the_number_of_pipes_is_bounded(pipe: SplicePipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_PIPES", 1)
    ours, source = await tcp_pair()
    async with ours, source:
        await ours.send_all(bytes(LEAST))
        await spliced_from(source, pipe, LEAST)
        await ours.send_all(bytes(LEAST))
        with closing(SplicePipe()) as another:
            assert await source.receive_spliced(another, LEAST, LEAST) == 0
            assert another.stopped
            another.release(idle=False)
            assert await source.receive_spliced(another, LEAST, LEAST) == 0, "there is none yet"
            pipe.close()
            assert await source.receive_spliced(another, LEAST, LEAST) == 0, "it was not told to try again"
            another.release(idle=False)
            assert await spliced_from(source, another, LEAST) == LEAST


async def test_nothing_is_spliced_across_an_urgent_byte_and_a_plain_read_goes_on(pipe: SplicePipe) -> None:
    ours, source = await tcp_pair()
    async with ours, source:
        with trio.fail_after(10):
            await ours.send_all(b"abc")
            ours.socket.send(b"d", socket.MSG_OOB)
            await ours.send_all(b"e")
            assert await spliced_from(source, pipe, LEAST) == 3
            pipe.size = 0  # as if it were out
            assert await source.receive_spliced(pipe, LEAST, LEAST) == 0
            assert not pipe.stopped
            assert await source.receive_some() == b"de"
            await ours.send_all(bytes(LEAST))
            assert await spliced_from(source, pipe, LEAST) == LEAST


async def test_the_pace_lets_single_bytes_gather(pipe: SplicePipe) -> None:
    paces: list[int] = []

    def pace(size: int) -> float:
        paces.append(size)
        return 0.05

    ours, source = await tcp_pair()
    async with ours, source, trio.open_nursery() as nursery:
        source.pace = pace

        async def drip() -> None:
            for _ in range(100):
                await ours.send_all(b"x")
                await trio.lowlevel.checkpoint()

        nursery.start_soon(drip)
        with trio.fail_after(10):
            assert await spliced_from(source, pipe, LEAST, 100) == 100
    assert len(paces) < 50


async def test_nothing_is_taken_at_once_before_the_pace_allows_it(pipe: SplicePipe) -> None:
    ours, source = await tcp_pair()
    async with ours, source:
        source.pace = lambda size: 0.05 if size < 2 else 0.0
        await ours.send_all(b"1")
        with trio.fail_after(10):
            await trio.lowlevel.wait_readable(source.socket)
        assert source.receive_header_now(2) == b"1"
        await ours.send_all(bytes(LEAST))
        assert source.receive_header_now(2) is None
        assert source.splice_now(pipe, LEAST, LEAST) == 0
        assert await source.receive_spliced(pipe, LEAST, LEAST) == LEAST


async def test_an_idle_link_gives_its_pipe_back(pipe: SplicePipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_PIPES", 1)
    ours, source = await tcp_pair()
    target, theirs = await tcp_pair()
    with closing(SplicePipe()) as another:
        async with ours, source, target, theirs:
            await ours.send_all(bytes(3 * LEAST))
            await spliced_from(source, pipe, LEAST)
            pipe.release(idle=True)
            assert await source.receive_spliced(another, LEAST, LEAST) == 0, "something is in the pipe"
            await target.send_buffers([pipe])
            pipe.release(idle=True)
            another.release(idle=False)
            await spliced_from(source, another, LEAST)
            await target.send_buffers([another])
            another.release(idle=True)
            await spliced_from(source, pipe, LEAST)
            await target.send_buffers([pipe])
            assert await received(theirs, 3 * LEAST) == bytes(3 * LEAST)


async def test_a_broken_connection_breaks_receiving_and_sending(pipe: SplicePipe) -> None:
    ours, source = await tcp_pair()
    target, theirs = await tcp_pair()
    async with ours, source, target, theirs:
        await ours.send_all(bytes(LEAST))
        await spliced_from(source, pipe, LEAST)
        for stream in (theirs, ours):
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            await stream.aclose()
        with suppress(trio.BrokenResourceError), trio.fail_after(10):
            while not pipe.size:  # never: the loop is for the reset that has not come yet
                await trio.lowlevel.checkpoint()
            await target.send_buffers([pipe])
            raise AssertionError("sent to nobody")
        pipe.size = 0
        with pytest.raises(trio.BrokenResourceError):
            await source.receive_spliced(pipe, LEAST, LEAST)
