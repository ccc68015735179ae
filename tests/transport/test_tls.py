"""TLS over streams: trio's own conformance checks, trio's own TLS at the other end, and ends of all kinds."""

from __future__ import annotations

import itertools
import os
import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
import trustme

from p2p_copy.transport import limits
from p2p_copy.transport.tls import TLSStream, drop_some
from tests.support.key_updates import Updater
from tests.support.links import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from p2p_copy.transport.tcp import TCPStream

NAME = "relay.example"


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.num_tickets = 0  # they would stay unread in a stream that holds one message at a time
    authority.issue_cert(NAME).configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return client, server


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def either(request: Any, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> Iterator[Any]:
    client, _ = contexts
    client.maximum_version = request.param
    yield contexts
    client.maximum_version = ssl.TLSVersion.MAXIMUM_SUPPORTED


async def pair(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
    below: tuple[trio.abc.Stream, trio.abc.Stream] | None = None,
) -> tuple[TLSStream, TLSStream]:
    """Return the contexts of a client and of a server whose certificate it trusts."""
    ours, theirs = below or trio.testing.memory_stream_pair()
    client = TLSStream(ours, contexts[0], server_hostname=NAME)
    server = TLSStream(theirs, contexts[1], server_side=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.handshake)
        nursery.start_soon(server.handshake)
    return client, server


async def everything(stream: trio.abc.Stream) -> bytes:
    received = bytearray()
    while data := await stream.receive_some():
        received += data
    return bytes(received)


async def test_trio_s_conformance_checks_pass(either: Any) -> None:
    async def clogged() -> tuple[TLSStream, TLSStream]:
        return await pair(either, trio.testing.lockstep_stream_pair())

    async def free() -> tuple[TLSStream, TLSStream]:
        return await pair(either)

    await trio.testing.check_two_way_stream(free, clogged)


@pytest.mark.parametrize("ours", ["client", "server"])
async def test_trio_s_own_tls_understands_ours(either: Any, ours: str) -> None:
    below = trio.testing.memory_stream_pair()
    one: Any
    other: Any
    if ours == "client":
        one = TLSStream(below[0], either[0], server_hostname=NAME)
        other = trio.SSLStream(below[1], either[1], server_side=True, https_compatible=True)
    else:
        one = TLSStream(below[0], either[1], server_side=True)
        other = trio.SSLStream(below[1], either[0], server_hostname=NAME, https_compatible=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.handshake)
        nursery.start_soon(other.do_handshake)
    data = os.urandom(700_000)
    for source, target in ((one, other), (other, one)):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(source.send_all, data)
            received = bytearray()
            while len(received) < len(data):
                received += await target.receive_some()
        assert received == data


class Crumbs(trio.abc.Stream):
    """A stream that never returns more than a few bytes at once."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.sizes = itertools.cycle((1, 2, 3, 5, 8, 13, 1000))

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self.stream.receive_some(min(max_bytes or 1, next(self.sizes)))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self.stream.aclose()


async def test_records_may_come_in_small_parts(either: Any) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    client, server = await pair(either, (Crumbs(ours), Crumbs(theirs)))
    data = os.urandom(50_000)
    await client.send_all(data)
    await ours.send_eof()
    assert await everything(server) == data


async def test_one_receive_takes_many_records(contexts: Any) -> None:
    client, server = await pair(contexts)
    data = os.urandom(10 * 16 * 1024)
    await client.send_all(data)
    assert await server.receive_some() == data


async def test_records_are_decrypted_into_one_buffer_after_the_other(either: Any) -> None:
    one, other = await pair(either)
    async with one, other:
        words = bytes(range(256)) * 1000
        got = b""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.send_all, words)
            while len(got) < len(words):
                first, second = bytearray(100_000), bytearray(10)
                size = await other.receive_into(memoryview(first), memoryview(second))
                got += first[:size] + second[: max(size - len(first), 0)]
        assert got == words


async def test_what_came_before_a_changed_record_is_good(contexts: Any) -> None:
    one, other = await pair(contexts)
    async with one, other:
        for words in (b"first", b"second"):
            await one.send_all(words)
        await one._transport.send_all(b"\x17\x03\x03\x00\x20" + bytes(32))
        first, second = bytearray(11), bytearray(1)
        assert await other.receive_into(memoryview(first), memoryview(second)) == 11
        assert first == b"firstsecond"
        with pytest.raises(trio.BrokenResourceError):
            await other.receive_into(memoryview(first))


class Counted(Crumbs):
    """A stream that counts its receives."""

    count = 0

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        self.count += 1
        return await self.stream.receive_some(max_bytes)


async def test_what_one_trip_brings_is_received_at_once(either: Any) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    below = Counted(theirs)
    client, server = await pair(either, (ours, below))
    data = os.urandom(60 * 16 * 1024 + 76)  # not all records are full
    for _ in range(4):
        await client.send_all(data)
    await ours.send_eof()
    below.count, pieces = 0, []
    while piece := await server.receive_some(limits.RECEIVE_BUFFER):
        pieces.append(piece)
    assert b"".join(pieces) == 4 * data
    assert len(pieces) == below.count - 1  # the last one brought the end


async def test_no_receive_takes_more_than_it_was_told_to(contexts: Any) -> None:
    client, server = await pair(contexts)
    data = os.urandom(40_000)
    await client.send_all(data)
    received = [await server.receive_some(most) for most in (1, 16_385, 23_613, 10)]
    assert [len(each) for each in received] == [1, 16_385, 23_613, 1]
    assert b"".join(received) == data


async def test_the_end_of_the_transport_comes_after_all_that_was_sent(either: Any) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    client, server = await pair(either, (ours, theirs))
    await client.send_all(b"last words")
    await ours.send_eof()
    assert await server.receive_some() == b"last words"
    assert await server.receive_some() == b""
    assert await server.receive_some() == b""


async def test_close_notify_is_an_end_as_well(contexts: Any) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    other = trio.SSLStream(ours, contexts[0], server_hostname=NAME)  # says it
    server = TLSStream(theirs, contexts[1], server_side=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other.do_handshake)
        nursery.start_soon(server.handshake)
    await other.send_all(b"last words")
    with trio.move_on_after(0):
        await other.aclose()
    assert await everything(server) == b"last words"


async def test_a_changed_record_breaks_the_stream_for_good(contexts: Any) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    client, server = await pair(contexts, (ours, theirs))
    await client.send_all(b"good")
    await ours.send_all(b"\x17\x03\x03\x00\x20" + bytes(32))
    assert await server.receive_some(4) == b"good"
    for use in (server.receive_some, server.receive_some, lambda: server.send_all(b"x")):
        with pytest.raises(trio.BrokenResourceError):
            await use()


async def test_a_cancelled_send_breaks_the_stream(contexts: Any) -> None:
    client, _ = await pair(contexts, trio.testing.lockstep_stream_pair())
    with trio.move_on_after(0.01) as scope:
        await client.send_all(b"nobody reads this")
    assert scope.cancelled_caught
    with pytest.raises(trio.BrokenResourceError):
        await client.send_all(b"x")


async def test_the_cause_tells_of_a_certificate_for_another_name(contexts: Any) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    client = TLSStream(ours, contexts[0], server_hostname="other.example")
    server = TLSStream(theirs, contexts[1], server_side=True)
    told: list[BaseException | None] = []

    async def shake(stream: TLSStream) -> None:
        try:
            await stream.handshake()
            await stream.receive_some()  # in TLS 1.3 a server is done before its client has objected
        except trio.BrokenResourceError as error:
            told.append(error.__cause__)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(shake, client)
        nursery.start_soon(shake, server)
    assert any(isinstance(cause, ssl.SSLCertVerificationError) for cause in told)
    assert any("alert" in str(cause).lower() for cause in told)


@pytest.mark.parametrize("words", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01"])
async def test_a_handshake_with_something_else_fails(contexts: Any, words: bytes) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    server = TLSStream(theirs, contexts[1], server_side=True)
    if words:
        await ours.send_all(words)
    await ours.send_eof()
    with pytest.raises(trio.BrokenResourceError) as failure:
        await server.handshake()
    assert isinstance(failure.value.__cause__, ssl.SSLError)


async def test_both_directions_at_once(either: Any) -> None:
    client, server = await pair(either)
    data = {client: os.urandom(3 * limits.TLS_TRIP + 1), server: os.urandom(2 * limits.TLS_TRIP)}
    received: dict[TLSStream, bytes] = {}

    async def take(stream: TLSStream, size: int) -> None:
        got = bytearray()
        while len(got) < size:
            got += await stream.receive_some()
        received[stream] = bytes(got)

    async with trio.open_nursery() as nursery:
        for stream, other in ((client, server), (server, client)):
            nursery.start_soon(stream.send_all, data[stream])
            nursery.start_soon(take, stream, len(data[other]))
    assert received == {client: data[server], server: data[client]}


async def test_endless_changes_of_keys_end_the_connection(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    ended = trio.Event()

    async def handle(transport: TCPStream) -> None:
        server = TLSStream(transport, contexts[1], server_side=True)
        await server.handshake()
        assert await server.receive_some() == b"first"
        with pytest.raises(trio.BrokenResourceError):
            await server.receive_some()
        ended.set()

    async with serving(handle) as address:
        updater = await trio.to_thread.run_sync(Updater, address.port)
        updater.say(b"first")
        with trio.fail_after(10):
            await trio.to_thread.run_sync(updater.flood, 10)
            await ended.wait()
        updater.close()


async def received_from_updater(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], rounds: int, updates: int, content: bytes
) -> bytes:
    """Return the content that a server hears from a client that changes keys before each bit of it."""
    heard = bytearray()
    ended = trio.Event()

    async def handle(transport: TCPStream) -> None:
        server = TLSStream(transport, contexts[1], server_side=True)
        await server.handshake()
        try:
            while data := await server.receive_some():
                heard.extend(data)
        except trio.BrokenResourceError:
            pass
        ended.set()

    def attack() -> Updater:
        updater = Updater(address.port)
        with updater.socket() as raw, suppress(OSError):
            raw.sendall(updater.made([content] * rounds, updates))
            raw.shutdown(socket.SHUT_WR)
        return updater

    async with serving(handle) as address:
        with trio.fail_after(20):
            updater = await trio.to_thread.run_sync(attack)
            await ended.wait()
        updater.close()
    return bytes(heard)


@pytest.mark.parametrize(("rounds", "updates"), [(300, 1), (50, 30), (50, limits.TLS_BARREN + 1), (10, 1000)])
async def test_a_byte_of_content_pays_for_no_change_of_keys(contexts: Any, rounds: int, updates: int) -> None:
    heard = await received_from_updater(contexts, rounds, updates, b"x")
    # What came in the same turn as one too many is heard.
    assert len(heard) <= (limits.TLS_BARREN + limits.TLS_TURN) / updates + 1


async def test_content_pays_for_changes_of_keys(contexts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TLS_PAYS", 1000)
    rounds = 5 * limits.TLS_BARREN
    assert len(await received_from_updater(contexts, rounds, 1, bytes(1000))) == rounds * 1000
    assert len(await received_from_updater(contexts, rounds, 2, bytes(1000))) < rounds * 1000


async def test_the_number_of_records_decrypted_in_one_turn_is_bounded(either: Any) -> None:
    client, server = await pair(either)
    count = 5 * limits.TLS_TURN
    data = os.urandom(count)
    for byte in data:
        await client.send_all(bytes([byte]))
    received: list[bytes] = []
    while sum(map(len, received)) < count:
        received.append(bytes(await server.receive_some()))
    assert b"".join(received) == data
    assert max(map(len, received)) <= limits.TLS_TURN


async def test_records_count_as_work_unless_content_pays_for_them(contexts: Any) -> None:
    client, server = await pair(contexts)
    server.pop_work()
    for _ in range(10):
        await client.send_all(b"x")
    assert await server.receive_some() == b"x" * 10
    assert server.pop_work() == 10
    assert server.pop_work() == 0
    for _ in range(10):
        await client.send_all(bytes(limits.TLS_FREE_RECORD // 2))
    await server.receive_some()
    assert server.pop_work() == 5
    await client.send_all(bytes(100_000))
    await server.receive_some()
    assert server.pop_work() == 0


class Slicing(Crumbs):
    """A stream that cuts the first record that is sent into records with so many bytes of content each."""

    def __init__(self, stream: trio.abc.Stream, size: int) -> None:
        super().__init__(stream)
        self.size = size

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self.stream.receive_some(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        data, size, self.size = bytes(data), self.size, 0
        if size:
            head, content = data[:3], data[5:]
            parts = [content[start : start + size] for start in range(0, len(content), size)]
            data = b"".join(head + len(part).to_bytes(2, "big") + part for part in parts)
        await self.stream.send_all(data)


@pytest.mark.parametrize(("size", "good"), [(20, True), (1, False)])
async def test_the_number_of_records_of_a_handshake_is_bounded(contexts: Any, size: int, good: bool) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    if good:
        client, server = await pair(contexts, (Slicing(ours, size), theirs))
        await client.send_all(b"hello")
        assert await server.receive_some() == b"hello"
        return
    client = TLSStream(Slicing(ours, size), contexts[0], server_hostname=NAME)
    server = TLSStream(theirs, contexts[1], server_side=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.handshake)
        with pytest.raises(trio.BrokenResourceError):
            await server.handshake()
        nursery.cancel_scope.cancel()


async def test_dropped_records_are_not_decrypted(contexts: Any) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    client, server = await pair(contexts, (ours, theirs))
    await client.send_all(b"good")
    await ours.send_all(b"\x17\x03\x03\x00\x20" + bytes(32))
    assert await drop_some(server)
    await ours.send_eof()
    assert not await drop_some(server)
    await ours.aclose()
    assert not await drop_some(theirs)


@pytest.mark.parametrize(
    "sizes", [[10, 300_000], [300_000, 10, 300_000, 10], [0], [], [5, 0, 7], [16_384, 16_384], [100] * 1000]
)
async def test_buffers_become_few_records(contexts: Any, sizes: list[int]) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    client, _ = await pair(contexts, (ours, theirs))
    await client.send_buffers([os.urandom(size) for size in sizes])
    rest = bytes(await theirs.receive_some()) if any(sizes) else b""
    count = 0
    while rest:
        rest = rest[5 + int.from_bytes(rest[3:5], "big") :]
        count += 1
    full, more = divmod(sum(sizes), 16 * 1024)
    assert count == full + bool(more)
