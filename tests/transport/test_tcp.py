"""TCP streams: trio's own conformance checks, buffers sent as one, all kinds of ends, and what the kernel tells."""

from __future__ import annotations

import os
import socket
import struct
import sys
from contextlib import suppress
from itertools import pairwise

import pytest
import trio
import trio.testing

from p2p_copy.transport import limits
from p2p_copy.transport.tcp import Joining, TCPStream, gathering, silence_in
from tests.support.links import serving, tcp_pair


async def clogged() -> tuple[TCPStream, TCPStream]:
    """Return a connection that takes not one byte more before the other end reads."""
    both = await tcp_pair()
    pauses = 0
    while pauses < 3:  # the kernel's buffers grow while they are filled, and a busy kernel is late
        pauses += 1
        for size in (1_000_000, 1000, 1):
            for end in both:
                with suppress(BlockingIOError):
                    while end.socket.send(bytes(size)):
                        pauses = 0
        await trio.sleep(0.05)
    return both


async def test_trio_s_conformance_checks_pass() -> None:
    await trio.testing.check_half_closeable_stream(tcp_pair, clogged)


async def everything(stream: trio.abc.Stream) -> bytes:
    return b"".join([data async for data in stream])


@pytest.mark.parametrize("count", [1, 2, 3, 513, 3000])
async def test_any_number_of_buffers_arrives_as_one_stream_of_bytes(count: int) -> None:
    data = os.urandom(8_000_000)
    edges = [len(data) * number // count for number in range(count + 1)]
    buffers = [memoryview(data)[start:end] for start, end in pairwise(edges)]
    ours, theirs = await tcp_pair()
    received = bytearray()

    async def receive() -> None:
        received.extend(await everything(theirs))

    async with ours, theirs, trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await ours.send_buffers(buffers)
        await ours.send_eof()
    assert received == data


async def test_a_stream_that_cannot_gather_gets_one_buffer() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await Joining(ours).send_buffers([b"one ", bytearray(b"two "), memoryview(b"three")])
    assert await theirs.receive_some() == b"one two three"


async def test_bytes_are_received_into_one_buffer_after_the_other() -> None:
    one, other = await tcp_pair()
    first, second = bytearray(3), bytearray(10)
    async with one, other:
        await one.send_all(b"abcdefg")
        while await other.peek(7) != b"abcdefg":
            pass
        assert await other.receive_into(memoryview(first), memoryview(second)) == 7
        assert first == b"abc"
        assert second == b"defg" + bytes(6)
        with trio.move_on_after(0.01) as scope:
            await other.receive_into(memoryview(first))
        assert scope.cancelled_caught
        await one.send_eof()
        assert await other.receive_into(memoryview(first)) == 0


async def test_a_stream_of_trio_s_receives_into_buffers_as_well() -> None:
    one, other = trio.testing.memory_stream_pair()
    first, second = bytearray(3), bytearray(10)
    await one.send_all(b"abcdefg")
    assert await gathering(other).receive_into(memoryview(first), memoryview(second)) == 7
    assert first == b"abc"
    assert second == b"defg" + bytes(6)


async def test_a_byte_that_was_peeked_at_can_be_received() -> None:
    ours, theirs = await tcp_pair()
    async with ours, theirs:
        await ours.send_all(b"abc")
        assert await theirs.peek() == b"a"
        assert await theirs.receive_some() == b"abc"
        await ours.send_eof()
        assert await theirs.peek() == b""


async def test_an_urgent_byte_stays_among_the_others() -> None:
    ours, theirs = await tcp_pair()
    async with ours, theirs:
        await ours.send_all(b"abc")
        ours.socket.send(b"d", socket.MSG_OOB)
        await ours.send_all(b"e")
        ours.socket.send(b"f", socket.MSG_OOB)
        await ours.send_eof()
        with trio.fail_after(10):
            assert await everything(theirs) == b"abcdef"


async def test_a_read_brings_no_more_than_is_allowed() -> None:
    ours, theirs = await tcp_pair()
    async with ours, theirs:
        await ours.send_all(bytes(100))
        theirs.most = 40
        assert [len(await theirs.receive_some(size)) for size in (None, 50, 10)] == [40, 40, 10]


async def test_the_pace_puts_off_reads() -> None:
    sizes: list[int] = []
    seconds = 0.05

    def pace(size: int) -> float:
        sizes.append(size)
        return seconds if len(sizes) == 1 else 0

    ours, theirs = await tcp_pair()
    async with ours, theirs:
        theirs.pace = pace
        await ours.send_all(b"a")
        assert await theirs.peek() == b"a"  # takes nothing, and costs nothing
        assert await theirs.receive_some() == b"a"
        began = trio.current_time()
        await ours.send_all(b"bc")
        assert await theirs.receive_some() == b"bc"
        assert trio.current_time() - began >= seconds
        await ours.send_all(b"d")
        assert await theirs.receive_some() == b"d"
    assert sizes == [1, 2, 1]


async def test_a_reset_breaks_both_directions() -> None:
    ours, theirs = await tcp_pair()
    async with ours, theirs:
        ours.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await ours.aclose()
        with pytest.raises(trio.BrokenResourceError):
            await theirs.receive_some()
        with pytest.raises(trio.BrokenResourceError):
            await theirs.send_all(bytes(10_000_000))


async def test_trio_s_stream_no_longer_owns_the_socket() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        old = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
        async with TCPStream(old) as ours, TCPStream(await listener.accept()) as theirs:
            await old.aclose()
            await ours.send_all(b"still here")
            assert await theirs.receive_some() == b"still here"


@pytest.mark.skipif(sys.platform == "win32", reason="no unix sockets in Python there")
async def test_a_unix_socket_works_as_well() -> None:
    ours, theirs = (TCPStream(trio.SocketStream(end)) for end in trio.socket.socketpair())
    async with ours, theirs:
        await ours.send_all(b"hello")
        assert await theirs.receive_some() == b"hello"


# What the kernel tells of the machine at the other end


def tcp_info(retransmits: int, probes: int, silent: int) -> bytes:
    return struct.pack("Bx2B52xI", 1, retransmits, probes, silent) + bytes(100)


@pytest.mark.parametrize(
    ("info", "seconds"),
    [
        (tcp_info(0, 0, 99_000), 0),
        (tcp_info(1, 1, 99_000), 0),
        (tcp_info(limits.TCP_UNANSWERED, 0, 61_000), 61),
        (tcp_info(0, limits.TCP_UNANSWERED, 61_000), 61),
        (b"", 0),
    ],
)
def test_a_machine_is_silent_when_the_kernel_has_asked_several_times_in_vain(
    info: bytes, seconds: float
) -> None:
    assert silence_in(info) == seconds


async def test_a_machine_whose_program_does_not_read_is_not_silent() -> None:
    async def ignore(_stream: TCPStream) -> None:
        await trio.sleep_forever()

    async with (
        serving(ignore) as address,
        TCPStream(await trio.open_tcp_stream(address.host, address.port)) as client,
    ):
        with trio.move_on_after(1.5):  # the kernel asks after 0.2 seconds, 0.6 and 1.4
            while True:
                await client.send_all(bytes(100_000))
        assert client.silent_for() == 0
        acked, waits = client.acked_bytes()
        assert waits is (sys.platform == "linux")
        assert acked < 100_000_000


async def test_nothing_is_known_of_other_sockets() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        async with TCPStream(trio.SocketStream(trio.socket.from_stdlib_socket(ours))) as stream:
            assert stream.silent_for() == 0
            assert stream.acked_bytes() == (0, False)
