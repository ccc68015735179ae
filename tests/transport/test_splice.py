"""Ducts between real sockets."""

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

from p2p_copy.transport import limits, splice as module
from p2p_copy.transport.splice import DUCTS, SplicedBytes, SplicePipe
from tests.transport.test_tcp import pair

if TYPE_CHECKING:
    from collections.abc import Iterator

    from p2p_copy.transport.tcp import TCPStream

pytestmark = pytest.mark.skipif(not DUCTS, reason="this system has no ducts")

LEAST = limits.RELAY_PIECE


@pytest.fixture
def duct() -> Iterator[SplicePipe]:
    with closing(SplicePipe()) as one:
        yield one


async def received(stream: TCPStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await stream.receive_some(size - len(data))
    return data


async def parcel_of(source: TCPStream, duct: SplicePipe, most: int, least: int = LEAST) -> SplicedBytes:
    parcel = await source.receive_parcel(duct, most, least)
    assert parcel is not None
    return parcel


async def test_bytes_pass_by_in_order_behind_what_is_sent_before_them(duct: SplicePipe) -> None:
    data = os.urandom(5_000_000)
    ours, source = await pair()
    target, theirs = await pair()
    arrived = bytearray()

    async def pass_by() -> None:
        left = len(data)
        while left:
            parcel = await parcel_of(source, duct, min(left, limits.DUCT), min(left, LEAST))
            left -= len(parcel)
            assert duct.held == len(parcel)
            await target.send_buffers([b"<", memoryview(b">"), parcel])
            assert len(parcel) == duct.held == 0
        await target.send_eof()

    with trio.fail_after(20):
        async with ours, source, target, theirs, trio.open_nursery() as nursery:
            nursery.start_soon(ours.send_all, data)
            nursery.start_soon(pass_by)
            async for some in theirs:
                arrived += some
    pieces = arrived.split(b"<>")
    assert len(pieces) >= len(data) // limits.DUCT
    assert b"".join(pieces) == data.replace(b"<>", b"")


async def test_it_takes_no_more_before_its_parcel_is_out(duct: SplicePipe) -> None:
    ours, source = await pair()
    target, theirs = await pair()
    async with ours, source, target, theirs, trio.open_nursery() as nursery:
        await ours.send_all(bytes(2 * LEAST))
        first = await parcel_of(source, duct, LEAST)
        nursery.start_soon(parcel_of, source, duct, LEAST)
        await trio.testing.wait_all_tasks_blocked()
        assert duct.held == LEAST
        await target.send_buffers([first])
        assert await received(theirs, LEAST) == bytes(LEAST)
    assert duct.held == LEAST, "the second one"


async def test_a_parcel_has_what_it_must_have_or_comes_before_the_end(duct: SplicePipe) -> None:
    ours, source = await pair()
    async with ours, source:
        parcels: list[SplicedBytes] = []

        async def receive() -> None:
            parcels.append(await parcel_of(source, duct, limits.DUCT))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            for _ in range(2):
                await ours.send_all(bytes(LEAST // 2 - 1))
                await trio.testing.wait_all_tasks_blocked()
                assert not parcels
            await ours.send_all(b"12")
        assert parcels[0].size == LEAST
        duct.held = 0  # as if it were out
        await ours.send_all(b"tail")
        await ours.send_eof()
        assert len(await parcel_of(source, duct, limits.DUCT)) == 4
        duct.held = 0
        assert await source.receive_parcel(duct, limits.DUCT, LEAST) is None
        assert await source.receive_some() == b""
        assert not duct.stopped


async def test_many_small_packets_fill_it_and_are_passed_on(
    duct: SplicePipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DUCT", 4096)  # one packet at a time
    ours, source = socket.socketpair()
    with ours, source:
        source.setblocking(False)
        for _ in range(10):
            ours.send(bytes(100))
        assert duct.take(source, LEAST) > 0
        with pytest.raises(BlockingIOError):
            duct.take(source, LEAST)

    ours_stream, source_stream = await pair()
    with closing(SplicePipe()) as another, trio.fail_after(10):
        async with ours_stream, source_stream:
            await ours_stream.send_all(bytes(LEAST))
            assert 0 < len(await parcel_of(source_stream, another, LEAST)) < LEAST


async def test_when_it_is_stopped_it_takes_no_more_and_gives_what_it_holds(duct: SplicePipe) -> None:
    ours, source = await pair()
    target, theirs = await pair()
    async with ours, source, target, theirs:
        await ours.send_all(bytes(LEAST) + b"later")
        parcel = await parcel_of(source, duct, LEAST)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(duct.empty)
            await trio.testing.wait_all_tasks_blocked()
            duct.stop()
        assert await source.receive_parcel(duct, LEAST, LEAST) is None
        assert await source.receive_some() == b"later"
        await target.send_buffers([parcel])
        assert await received(theirs, LEAST) == bytes(LEAST)


async def test_closing_throws_away_what_is_in_it_and_wakes_who_waits(duct: SplicePipe) -> None:
    ours, source = await pair()
    target, theirs = await pair()
    before = len(os.listdir("/proc/self/fd"))
    async with ours, source, target, theirs:
        await ours.send_all(bytes(LEAST))
        parcel = await parcel_of(source, duct, LEAST)
        assert len(os.listdir("/proc/self/fd")) == before + 2
        async with trio.open_nursery() as nursery:
            nursery.start_soon(duct.empty)
            await trio.testing.wait_all_tasks_blocked()
            duct.close()
        duct.close()
        assert len(os.listdir("/proc/self/fd")) == before
        with pytest.raises(trio.BrokenResourceError):
            await target.send_buffers([b"x", parcel])
        await ours.send_all(b"later")
        assert await source.receive_parcel(duct, LEAST, LEAST) is None
        assert await source.receive_some() == b"later"


async def test_what_was_taken_is_told_of_although_the_duct_closes_before_it_is_enough(
    duct: SplicePipe,
) -> None:
    ours, source = await pair()
    async with ours, source:
        parcels: list[SplicedBytes] = []

        async def receive() -> None:
            parcels.append(await parcel_of(source, duct, LEAST))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await ours.send_all(b"some")
            await trio.testing.wait_all_tasks_blocked()
            duct.close()
            await ours.send_all(b"more")
        assert [len(parcel) for parcel in parcels] == [4]
        assert await source.receive_some() == b"more"


@pytest.mark.parametrize("call", ["pipe2", "fcntl", "splice"])
async def test_where_there_is_no_pipe_to_be_had_nothing_is_lost(
    duct: SplicePipe, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no")

    monkeypatch.setattr(module, call, refuse)
    before = len(os.listdir("/proc/self/fd"))
    ours, source = await pair()
    async with ours, source:
        await ours.send_all(b"all of it")
        assert await source.receive_parcel(duct, LEAST, LEAST) is None
        assert duct.stopped
        assert await source.receive_some() == b"all of it"
    duct.close()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_there_are_so_many_and_no_more(duct: SplicePipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_DUCTS", 1)
    ours, source = await pair()
    async with ours, source:
        await ours.send_all(bytes(LEAST))
        await parcel_of(source, duct, LEAST)
        await ours.send_all(bytes(LEAST))
        with closing(SplicePipe()) as another:
            assert await source.receive_parcel(another, LEAST, LEAST) is None
            assert another.stopped
            another.rest(idle=False)
            assert await source.receive_parcel(another, LEAST, LEAST) is None, "there is none yet"
            duct.close()
            assert await source.receive_parcel(another, LEAST, LEAST) is None, "it was not told to try again"
            another.rest(idle=False)
            assert len(await parcel_of(source, another, LEAST)) == LEAST


async def test_nothing_is_spliced_across_an_urgent_byte_and_a_plain_read_goes_on(duct: SplicePipe) -> None:
    ours, source = await pair()
    async with ours, source:
        with trio.fail_after(10):
            await ours.send_all(b"abc")
            ours.socket.send(b"d", socket.MSG_OOB)
            await ours.send_all(b"e")
            assert len(await parcel_of(source, duct, LEAST)) == 3
            duct.held = 0  # as if it were out
            assert await source.receive_parcel(duct, LEAST, LEAST) is None
            assert not duct.stopped
            assert await source.receive_some() == b"de"
            await ours.send_all(bytes(LEAST))
            assert len(await parcel_of(source, duct, LEAST)) == LEAST


async def test_what_comes_byte_by_byte_is_put_off_and_gathers(duct: SplicePipe) -> None:
    paces: list[int] = []

    def pace(size: int) -> float:
        paces.append(size)
        return 0.05

    ours, source = await pair()
    async with ours, source, trio.open_nursery() as nursery:
        source.pace = pace

        async def drip() -> None:
            for _ in range(100):
                await ours.send_all(b"x")
                await trio.lowlevel.checkpoint()

        nursery.start_soon(drip)
        with trio.fail_after(10):
            assert len(await parcel_of(source, duct, LEAST, 100)) == 100
    assert len(paces) < 50


async def test_while_it_is_idle_it_holds_no_pipe(duct: SplicePipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_DUCTS", 1)
    ours, source = await pair()
    target, theirs = await pair()
    with closing(SplicePipe()) as another:
        async with ours, source, target, theirs:
            await ours.send_all(bytes(3 * LEAST))
            parcel = await parcel_of(source, duct, LEAST)
            duct.rest(idle=True)
            assert await source.receive_parcel(another, LEAST, LEAST) is None, "something is in the pipe"
            await target.send_buffers([parcel])
            duct.rest(idle=True)
            another.rest(idle=False)
            await target.send_buffers([await parcel_of(source, another, LEAST)])
            another.rest(idle=True)
            await target.send_buffers([await parcel_of(source, duct, LEAST)])
            assert await received(theirs, 3 * LEAST) == bytes(3 * LEAST)


async def test_a_broken_connection_is_broken_at_both_ends_of_a_duct(duct: SplicePipe) -> None:
    ours, source = await pair()
    target, theirs = await pair()
    async with ours, source, target, theirs:
        await ours.send_all(bytes(LEAST))
        parcel = await parcel_of(source, duct, LEAST)
        for stream in (theirs, ours):
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            await stream.aclose()
        with suppress(trio.BrokenResourceError), trio.fail_after(10):
            while not parcel.size:  # never: the loop is for the reset that has not come yet
                await trio.lowlevel.checkpoint()
            await target.send_buffers([parcel])
            raise AssertionError("sent to nobody")
        duct.held = 0
        with pytest.raises(trio.BrokenResourceError):
            await source.receive_parcel(duct, LEAST, LEAST)
