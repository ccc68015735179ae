"""A running relay for tests, and clients that know its rendezvous."""

from __future__ import annotations

import hashlib
import socket
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from p2p_copy.protocol import rendezvous
from p2p_copy.protocol.rendezvous import Hello, Paired, Refused, Role, Welcome, room_path
from p2p_copy.relay.config import RelayConfig
from p2p_copy.relay.server import Relay as Server, prepared
from p2p_copy.transport.address import RelayAddress
from p2p_copy.transport.link import Link
from tests.support.links import connect
from tests.support.websocket import RawClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from p2p_copy.relay.log.abuse import Abuse
    from p2p_copy.transport.link import Link


def room(name: str) -> str:
    """Return a room as the relay sees it."""
    return hashlib.sha256(name.encode()).hexdigest()


class Relay:
    """Where a running relay is, and how to reach it."""

    def __init__(self, port: int, ca_file: str | None, host: str = "127.0.0.1") -> None:
        self.address = RelayAddress(ca_file is not None, host, port)
        self.ca_file = ca_file

    @asynccontextmanager
    async def client(self, path: str) -> AsyncIterator[Link]:
        async with connect(self.address, path, ca_file=self.ca_file) as link:
            yield link

    @asynccontextmanager
    async def waiting(self, role: Role, name: str, claim: str | None = None) -> AsyncIterator[Link]:
        """Yield a client that was welcomed to a room."""
        async with self.client(room_path(room(name))) as link:
            await link.send(hello(role, claim))
            assert isinstance(await answer(link), Welcome)
            yield link
            link.abort()

    @asynccontextmanager
    async def pair(self, name: str, first: Role = Role.SENDER) -> AsyncIterator[tuple[Link, Link]]:
        """Yield a sender and a receiver that are paired; `first` came first."""
        second = Role.RECEIVER if first is Role.SENDER else Role.SENDER
        async with self.waiting(first, name) as one, self.waiting(second, name) as other:
            assert await answer(one) == Paired()
            assert await answer(other) == Paired()
            yield (one, other) if first is Role.SENDER else (other, one)

    async def works(self, name: str) -> None:
        """Check that a new pair is served."""
        async with self.pair(name) as (sender, receiver):
            await exchange(sender, receiver)

    async def tcp(self) -> trio.SocketStream:
        """Return a bare connection."""
        return await trio.open_tcp_stream(self.address.host, self.address.port)

    @asynccontextmanager
    async def raw(self, path: str = "/") -> AsyncIterator[RawClient]:
        """Yield an upgraded client in the test's hands; without TLS."""
        async with await self.tcp() as stream:
            client = RawClient(stream)
            await client.upgrade(path)
            yield client


class LocalRelay(Relay):
    """A relay that runs in this process."""

    def __init__(self, server: Server, port: int, ca_file: str | None) -> None:
        super().__init__(port, ca_file)
        self.server = server

    def abuse(self, kind: Abuse) -> int:
        """Return how many cases of this kind it has counted."""
        return self.server.tally.abuse.counts[kind.event.name]


@asynccontextmanager
async def relay_running(ca_file: str | None = None, **settings: Any) -> AsyncIterator[LocalRelay]:
    """Run a relay with these settings at a loopback port."""
    server = await prepared(RelayConfig("127.0.0.1", 0, **settings))
    async with trio.open_nursery() as nursery:
        bound = await nursery.start(server.run)
        yield LocalRelay(server, bound[0][1], ca_file)
        nursery.cancel_scope.cancel()


def hello(role: Role, claim: str | None = None) -> str:
    return rendezvous.encode(Hello(role=role, program="tests", claim=claim))


async def answer(link: Link) -> Welcome | Paired | Refused:
    return rendezvous.decode_answer(await link.receive())


async def exchange(sender: Link, receiver: Link) -> None:
    """Check that messages pass, both ways."""
    for source, target in ((sender, receiver), (receiver, sender)):
        await source.send(b"ping")
        assert await target.receive() == b"ping"


def reset(stream: trio.SocketStream) -> None:
    """Close a connection with a TCP reset."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()
