"""Each TLS connection of a client offers the first 8 bits of its own room, and relays that know nothing of it work."""

from __future__ import annotations

import re
import socket
import ssl
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

from p2p_copy.errors import CertificateNotTrusted
from p2p_copy.protocol.rendezvous import room_hint, room_path
from p2p_copy.transport.address import RelayAddress
from p2p_copy.transport.tls import TLSStream
from tests.relay.clients import relay_running, room
from tests.support.certificates import Certificates
from tests.support.links import connect, serving
from tests.support.transfers import Both, copy, running_relay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from p2p_copy.transport.tcp import TCPStream

HTTP = "http/1.1"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


def server_context(certificates: Certificates, *protocols: str) -> ssl.SSLContext:
    """Return the context of a server that chooses among `protocols`, in this order; without any it knows no ALPN."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate, certificates.key)
    context.num_tickets = 0
    if protocols:
        context.set_alpn_protocols([*protocols])
    return context


async def offered(stream: TCPStream) -> list[str]:
    """Return the protocols that the ClientHello offers, which stays unread (RFC 8446 section 4.1.2, RFC 7301)."""
    await trio.lowlevel.wait_readable(stream.socket)
    data = stream.socket.recv(65536, socket.MSG_PEEK)
    assert data[0] == 22
    assert data[5] == 1
    at = 5 + 4 + 2 + 32
    at += 1 + data[at]
    at += 2 + int.from_bytes(data[at : at + 2])
    at += 1 + data[at]
    end = at + 2 + int.from_bytes(data[at : at + 2])
    at += 2
    names = []
    while at < end:
        kind, size = int.from_bytes(data[at : at + 2]), int.from_bytes(data[at + 2 : at + 4])
        if kind == 16:
            names_at = at + 4 + 2
            while names_at < at + 4 + size:
                names.append(data[names_at + 1 : names_at + 1 + data[names_at]].decode())
                names_at += 1 + data[names_at]
        at += 4 + size
    return names


class Front:
    """Ends TLS in front of a relay without TLS, and notes each connection's offer and room."""

    def __init__(self, context: ssl.SSLContext, relay: str) -> None:
        self.context = context
        self.port = int(relay.rpartition(":")[2])
        self.seen: list[tuple[list[str], str]] = []
        self.connections: list[trio.SocketStream] = []

    async def handle(self, stream: TCPStream) -> None:
        names = await offered(stream)
        tls = TLSStream(stream, self.context, server_side=True)
        await tls.handshake()
        head = bytes(await tls.receive_some(65536))
        asked = re.match(rb"GET /v1/([0-9a-f]{64}) ", head)
        assert asked is not None
        self.seen.append((names, asked[1].decode()))
        async with await trio.open_tcp_stream("127.0.0.1", self.port) as behind:
            self.connections.append(behind)
            await behind.send_all(head)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pass_on, tls, behind, nursery.cancel_scope)
                nursery.start_soon(pass_on, behind, tls, nursery.cancel_scope)


async def pass_on(source: trio.abc.Stream, target: trio.abc.Stream, scope: trio.CancelScope) -> None:
    try:
        while data := await source.receive_some(65536):
            await target.send_all(data)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    scope.cancel()


@asynccontextmanager
async def front_of_a_relay(context: ssl.SSLContext) -> AsyncIterator[tuple[Front, str]]:
    async with running_relay() as relay:
        front = Front(context, relay)
        async with serving(front.handle) as address:
            yield front, f"wss://127.0.0.1:{address.port}"


@pytest.mark.parametrize("protocols", [(), (HTTP,)], ids=["no ALPN", "http/1.1"])
async def test_each_link_and_each_meeting_offers_its_own_room(
    certificates: Certificates, tmp_path: Path, protocols: tuple[str, ...]
) -> None:
    """A transfer over three links is cut in the middle, so the two sides meet again in a room of their own."""
    (tmp_path / "big").write_bytes(bytes(range(256)) * 80_000)
    async with front_of_a_relay(server_context(certificates, *protocols)) as (front, relay):
        both = Both()

        def cut(_files: int, size: int) -> None:
            if size > 2_000_000 and len(front.connections) >= 6:
                both.receiver.on_progress = lambda files, size: None
                for connection in front.connections:
                    connection.socket.shutdown(socket.SHUT_RDWR)

        both.receiver.on_progress = cut
        common = {"ca_file": certificates.authority, "patience": 30, "links": 3, "limit_rate": 10_000_000}
        out = tmp_path / "out"
        await copy([tmp_path / "big"], out, relay=relay, both=both, sending=common, receiving=common)
        assert both.reports
        assert both.receiver.on_progress is not cut, "it was never cut"
    assert (out / "big").stat().st_size == 20_480_000
    assert all(names == [HTTP, f"p2p-copy-{room[:2]}"] for names, room in front.seen)
    assert len({room for _, room in front.seen}) >= 4, "the code's, two further links', and the ticket's"


async def test_the_relay_goes_on_to_choose_http(certificates: Certificates) -> None:
    """Even if it is offered nothing but a hint it does not choose that."""
    tls = {"certfile": certificates.certificate, "keyfile": certificates.key}
    async with relay_running(ca_file=certificates.authority, **tls) as relay:
        for names, chosen in (
            ([HTTP, "p2p-copy-ab"], HTTP),
            (["p2p-copy-ab", HTTP], HTTP),
            (["p2p-copy-ab"], None),
        ):
            context = ssl.create_default_context(cafile=certificates.authority)
            context.set_alpn_protocols(names)
            stream = trio.SSLStream(await relay.tcp(), context, server_hostname="127.0.0.1")
            await stream.do_handshake()
            assert stream.selected_alpn_protocol() == chosen
            await trio.aclose_forcefully(stream)
        await relay.works("hinted")


async def test_a_pinned_key_is_asked_with_the_hint_and_a_look_at_a_refused_one_without(
    certificates: Certificates,
) -> None:
    seen: list[list[str]] = []
    context = server_context(certificates, HTTP)

    async def handle(stream: TCPStream) -> None:
        seen.append(await offered(stream))
        with suppress(trio.BrokenResourceError):  # the client goes when it has seen the certificate
            tls = TLSStream(stream, context, server_side=True)
            await tls.handshake()
            await tls.receive_some(1)

    name = room("one")
    hinted = [HTTP, room_hint(name)]
    async with serving(handle) as plain:
        address = RelayAddress(True, "127.0.0.1", plain.port)
        at_room = partial(connect, address, room_path(name), hint=room_hint(name))
        with pytest.raises(CertificateNotTrusted):
            async with at_room(pin=b"0" * 32):
                raise AssertionError("its key is another")
        assert seen == [hinted]
        with pytest.raises(CertificateNotTrusted):
            async with at_room():
                raise AssertionError("its authority is not known")
        assert seen == [hinted, hinted, [HTTP]]
        with pytest.raises(CertificateNotTrusted):
            async with connect(address, "/"):
                raise AssertionError("its authority is not known")
        assert seen[3:] == [[HTTP], [HTTP]]


def test_a_hint_has_the_first_eight_bits_only() -> None:
    assert room_hint("ab" + "0" * 62) == room_hint("ab" + "f" * 62) == "p2p-copy-ab"
