"""What the first bytes of a connection say, and that looking at them takes nothing and costs little."""

from __future__ import annotations

import random
import ssl
from typing import TYPE_CHECKING

import pytest
import trio

from p2p_copy.protocol.rendezvous import room_hint
from p2p_copy.relay import limits
from p2p_copy.relay.workers.hints import first_byte_of_room, hint_in
from tests.support.links import tcp_pair

if TYPE_CHECKING:
    from p2p_copy.transport.tcp import TCPStream


def client_hello(*protocols: str, name: str | None = "relay.example") -> bytes:
    """Return what OpenSSL sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if protocols:
        context.set_alpn_protocols([*protocols])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


@pytest.mark.parametrize(
    ("protocols", "byte"),
    [
        (("http/1.1", "p2p-copy-00"), 0),
        (("http/1.1", "p2p-copy-a7"), 0xA7),
        (("p2p-copy-ff",), 0xFF),
        (("h2", "p2p-copy-0g", "p2p-copy-123", "xp2p-copy-12", "http/1.1"), None),
        (("h2", "http/1.1"), None),
        ((), None),
    ],
)
@pytest.mark.parametrize("name", [None, "relay.example", "a." * 120 + "example"])
def test_a_client_hello_says_the_first_byte_of_its_room(
    protocols: tuple[str, ...], byte: int | None, name: str | None
) -> None:
    assert hint_in(client_hello(*protocols, name=name)) == byte


def test_a_client_hello_that_is_cut_or_damaged_says_nothing_or_a_byte_and_never_fails() -> None:
    whole = client_hello("http/1.1", "p2p-copy-5c")
    at = whole.index(b"p2p-copy-5c") + len(b"p2p-copy-5c")
    assert all(hint_in(whole[:size]) is None for size in range(at))
    chance = random.Random(7)
    for _ in range(20_000):
        damaged = bytearray(whole)
        for _ in range(chance.randrange(1, 6)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        assert hint_in(bytes(damaged)) in {None, *range(256)}
    for size in range(0, 200, 7):
        assert hint_in(chance.randbytes(size)) is None


REQUEST = "GET /v1/{} HTTP/1.1\r\nHost: relay\r\n\r\n"


@pytest.mark.parametrize(
    ("said", "byte"),
    [
        (REQUEST.format("3f" + "0" * 62).encode(), 0x3F),
        (REQUEST.format("00").encode(), 0),
        (REQUEST.format("3F" + "0" * 62).encode(), None),
        (b"GET / HTTP/1.1\r\nHost: relay\r\n\r\n", None),
        (b"GET /healthz HTTP/1.1\r\n\r\n", None),
        (b"\r\n\r\n\x00\r\nQUIT\n and more", None),
        (b"\x16\x03\x01\x00\x05hello and more", None),
        (client_hello("http/1.1", room_hint("b2" + "0" * 62)), 0xB2),
    ],
)
async def test_what_was_looked_at_is_still_there(said: bytes, byte: int | None) -> None:
    client, server = await tcp_pair()
    async with client, server:
        await client.send_all(said)
        with trio.fail_after(5):
            assert await first_byte_of_room(server) == byte
            assert await received(server, len(said)) == said


async def received(stream: TCPStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await stream.receive_some(size - len(data))
    return data


@pytest.mark.parametrize("said", [REQUEST.format("c4").encode(), client_hello("http/1.1", "p2p-copy-c4")])
async def test_a_client_that_sends_byte_after_byte_wakes_nobody_until_there_is_enough(
    said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, server = await tcp_pair()
    waits = 0
    wait_readable = trio.lowlevel.wait_readable

    async def counting(sock: object) -> None:
        nonlocal waits
        waits += sock is server.socket
        await wait_readable(sock)  # type: ignore[arg-type]  # a socket

    monkeypatch.setattr(trio.lowlevel, "wait_readable", counting)
    found: list[int | None] = []
    known = trio.Event()
    async with client, server, trio.open_nursery() as nursery:

        async def look() -> None:
            found.append(await first_byte_of_room(server))
            known.set()

        nursery.start_soon(look)
        for at in range(len(said)):
            await client.send_all(said[at : at + 1])
            await trio.sleep(0.001 if at % 20 == 0 else 0)
        with trio.fail_after(5):
            await known.wait()
        assert found == [0xC4]
        assert waits <= 2
        assert await received(server, len(said)) == said


@pytest.mark.parametrize("said", [b"", b"GET", b"\x16\x03\x01"])
async def test_a_client_that_ends_early_does_not_wait_for_its_time(said: bytes) -> None:
    client, server = await tcp_pair()
    async with client, server:
        await client.send_all(said)
        await client.send_eof()
        with trio.fail_after(5):
            if said:
                assert await first_byte_of_room(server) is None
                assert await received(server, len(said)) == said
            else:
                with pytest.raises(trio.BrokenResourceError):
                    await first_byte_of_room(server)


async def test_a_record_that_promises_much_is_looked_at_up_to_the_limit() -> None:
    client, server = await tcp_pair()
    async with client, server, trio.open_nursery() as nursery:
        said = b"\x16\x03\x01\xff\xff" + bytes(2 * limits.MAX_CLIENT_HELLO)
        nursery.start_soon(client.send_all, said)
        with trio.fail_after(5):
            assert await first_byte_of_room(server) is None
            assert await received(server, len(said)) == said
