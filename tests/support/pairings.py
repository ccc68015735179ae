"""Two clients that a relay's `Pairing` connects: over real sockets, or over streams in memory that a test controls."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import pytest
import trio
import trio.lowlevel
from trio.testing import lockstep_stream_pair

from p2p_copy.protocol import rendezvous
from p2p_copy.protocol.rendezvous import Paired
from p2p_copy.relay.pairing import Outcome, Pairing, Usage
from p2p_copy.transport import limits as transport_limits
from p2p_copy.transport.endpoints import accept
from p2p_copy.transport.link import Link, LinkBroken
from p2p_copy.transport.splicer import Splicer
from p2p_copy.transport.tcp import TCPStream
from tests.support.links import connect, serving
from tests.support.websocket import RawClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from p2p_copy.relay.access.rates import Limits

PAIRED = rendezvous.encode(Paired())

BIG = 1_000_000


class Pair:
    """A pairing between two real sockets, and the clients' ends of them."""

    def __init__(self) -> None:
        self.clients: list[Link] = []
        self.pairing: Pairing | None = None
        self.usage: Usage | None = None
        self.ended_early = trio.Event()
        self.over = trio.Event()

    @property
    def sender(self) -> Link:
        return self.clients[0]

    @property
    def receiver(self) -> Link:
        return self.clients[1]

    @property
    def outcome(self) -> Outcome:
        assert self.usage is not None
        return self.usage.outcome


@asynccontextmanager
async def paired(
    *, legacy: bool = False, greeted: bool = True, stop_first: bool = False
) -> AsyncIterator[Pair]:
    pair = Pair()
    to_pair, arrived = trio.open_memory_channel[Link](2)

    async def handle(stream: TCPStream) -> None:
        async with accept(stream, max_message=BIG, piece=transport_limits.RELAY_PIECE) as (_, link):
            await to_pair.send(link)
            await pair.over.wait()

    async def run(pairing: Pairing) -> None:
        pair.usage = await pairing.run()
        pair.over.set()

    with trio.fail_after(30):
        async with serving(handle) as address, connect(address, "/") as sender:
            at_sender = await arrived.receive()
            async with connect(address, "/") as receiver:
                at_receiver = await arrived.receive()
                pair.clients = [sender, receiver]
                pair.pairing = Pairing(at_sender, at_receiver, legacy=legacy, on_end=pair.ended_early.set)
                if stop_first:
                    pair.pairing.stop()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(run, pair.pairing)
                    if greeted:
                        assert await sender.receive() == PAIRED
                        assert await receiver.receive() == PAIRED
                    yield pair
                    for client in pair.clients:
                        client.abort()


async def broken(link: Link) -> int:
    """Receive until the link breaks; return the close code."""
    with pytest.raises(LinkBroken) as caught:
        await drain(link)
    return caught.value.close_code


async def drain(link: Link) -> None:
    while True:
        await link.receive()


async def ended(link: Link) -> list[bytes | str]:
    """Return all messages until the proper end."""
    messages = []
    while True:
        try:
            messages.append(await link.receive())
        except anyio.EndOfStream:
            return messages


@asynccontextmanager
async def raw_clients(
    streams: Callable[[], tuple[trio.abc.Stream, trio.abc.Stream]] = lockstep_stream_pair,
    made: Callable[[Pairing], None] = lambda pairing: None,
    reports: tuple[bool, bool] = (False, False),
    pairing_limits: Limits | None = None,
) -> AsyncIterator[tuple[RawClient, RawClient, list[Usage]]]:
    """Yield a sender and a receiver, paired, over streams that hold no byte in between unless told otherwise."""
    sender_stream, at_sender_stream = streams()
    receiver_stream, at_receiver_stream = streams()
    sender, receiver = RawClient(sender_stream), RawClient(receiver_stream)
    usage: list[Usage] = []

    async def run() -> None:
        async with (
            accept(at_sender_stream, max_message=BIG, piece=transport_limits.RELAY_PIECE) as (_, at_sender),
            accept(at_receiver_stream, max_message=BIG) as (_, at_receiver),
        ):
            pairing = Pairing(
                at_sender,
                at_receiver,
                legacy=False,
                on_end=lambda: None,
                reports=reports,
                pairing_limits=pairing_limits,
            )
            made(pairing)
            usage.append(await pairing.run())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await sender.upgrade()
        await receiver.upgrade()
        assert await sender.message() == PAIRED
        assert await receiver.message() == PAIRED
        yield sender, receiver, usage


def loopback_pair() -> tuple[TCPStream, TCPStream]:
    """Return both ends of a connection over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    ours_, theirs_ = (
        TCPStream(trio.SocketStream(trio.socket.from_stdlib_socket(one))) for one in (ours, theirs)
    )
    return ours_, theirs_


def watch_splicers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the size of each part that is spliced from now on, and 0 for each end of that."""
    sizes: list[int] = []
    take, take_now = Splicer.take, Splicer.take_now

    async def watched(splicer: Splicer) -> int:
        sizes.append(size := await take(splicer))
        return size

    def watched_now(splicer: Splicer) -> int:
        if size := take_now(splicer):
            sizes.append(size)
        return size

    monkeypatch.setattr(Splicer, "take", watched)
    monkeypatch.setattr(Splicer, "take_now", watched_now)
    return sizes
