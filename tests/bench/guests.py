"""Cheap clients, so that many can run at once. They speak the rendezvous of our relay or of that of 0.1.2."""

from __future__ import annotations

import hashlib
import json
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import trio
from wsproto.events import Ping

from p2p_copy.protocol import rendezvous
from p2p_copy.protocol.rendezvous import LEGACY_PATH, Hello, Paired, Role, Welcome, room_path
from tests.support.websocket import BINARY, RawClient, frame

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "127.0.0.1"


class Place(NamedTuple):
    """Where a relay is, and which rendezvous it speaks."""

    port: int
    ca_file: str
    legacy: bool


class Guests:
    """Makes clients of one relay. They read, and answer pings, only when asked to."""

    def __init__(self, place: Place) -> None:
        self._place = place
        # One for all: it takes the most memory.
        self._context = ssl.create_default_context(cafile=place.ca_file)

    async def secure(
        self, plain: trio.SocketStream, name: str | None = None
    ) -> trio.SSLStream[trio.SocketStream]:
        """Return TLS over a connection, with the hint that `name`'s room has, as our clients give it."""
        hints = [] if name is None or self._place.legacy else [rendezvous.room_hint(_room(name))]
        self._context.set_alpn_protocols(["http/1.1", *hints])  # each connection begins with a copy
        secure = trio.SSLStream(plain, self._context, server_hostname=HOST, https_compatible=True)
        await secure.do_handshake()
        return secure

    async def connect(self, name: str) -> RawClient:
        """Return a client that has not said hello yet; `name` names its room."""
        plain = await trio.open_tcp_stream(HOST, self._place.port)
        with _closed_on_failure(plain):
            client = RawClient(await self.secure(plain, name))
            await client.upgrade(LEGACY_PATH if self._place.legacy else room_path(_room(name)))
        return client

    async def look(self, role: Role, name: str, *, again: bool) -> tuple[RawClient, float]:
        """Return a client that waits at our relay, and the seconds after which it may dial `again`."""
        client = await self.connect(name)
        with _closed_on_failure(tcp_below(client)):
            features = (rendezvous.STILL_WAITING,) if again else ()
            hello = Hello(role, program="guest", claim=_room(f"claim {name}"), features=features)
            await client.send(rendezvous.encode(hello))
            welcome = rendezvous.decode_answer(await client.message())
            assert isinstance(welcome, Welcome)
            assert welcome.again is not None
        return client, welcome.again

    async def say_hello(self, client: RawClient, role: Role, name: str) -> None:
        if self._place.legacy:
            hello = {"type": "hello", "code_hash_hex": _room(name), "role": role.value}
            await client.send(json.dumps(hello))
        else:
            await client.send(rendezvous.encode(Hello(role, program="guest")))

    async def hear_welcome(self, client: RawClient) -> None:
        """Wait until the relay has accepted the client. That of 0.1.2 does not say so."""
        if not self._place.legacy:
            assert isinstance(rendezvous.decode_answer(await client.message()), Welcome)

    async def hear_paired(self, client: RawClient, role: Role) -> None:
        """Wait until the client is told that it is paired. A receiver of 0.1.2 is not told."""
        if not self._place.legacy:
            assert rendezvous.decode_answer(await client.message()) == Paired()
        elif role is Role.SENDER:
            assert await client.message() == rendezvous.READY

    async def come(self, role: Role, name: str) -> RawClient:
        """Return a client that waits, or that is about to be paired."""
        client = await self.connect(name)
        with _closed_on_failure(tcp_below(client)):
            await self.say_hello(client, role, name)
            await self.hear_welcome(client)
        return client

    async def pair(self, name: str) -> tuple[RawClient, RawClient]:
        """Return a sender and a receiver that were told that they are paired; the receiver was the first."""
        receiver = await self.come(Role.RECEIVER, name)
        with _closed_on_failure(tcp_below(receiver)):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._wait, receiver)
                sender = await self.come(Role.SENDER, name)
                with _closed_on_failure(tcp_below(sender)):
                    await self.hear_paired(sender, Role.SENDER)
                if self._place.legacy:
                    nursery.cancel_scope.cancel()
        return sender, receiver

    async def _wait(self, receiver: RawClient) -> None:
        """Read until paired: the relay asks waiting clients whether they are alive."""
        await self.hear_paired(receiver, Role.RECEIVER)
        while self._place.legacy:
            event = await receiver.next()
            assert isinstance(event, Ping), event
            await receiver.send(event.response())


async def pass_on(sender: RawClient, receiver: RawClient, message: bytes) -> None:
    """Move one message, which may be larger than what the sockets between hold."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.raw, frame(BINARY, message))
        received = await receiver.message()
    assert received == message


def tcp_below(client: RawClient) -> trio.SocketStream:
    """Return the connection below TLS."""
    assert isinstance(client.stream, trio.SSLStream)
    below = client.stream.transport_stream
    assert isinstance(below, trio.SocketStream)
    return below


@contextmanager
def _closed_on_failure(stream: trio.SocketStream) -> Iterator[None]:
    try:
        yield
    except BaseException:
        stream.socket.close()
        raise


def leave(client: RawClient) -> None:
    """Close the connection as if the process were killed."""
    tcp_below(client).socket.close()


def _room(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
