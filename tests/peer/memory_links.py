"""Links in memory, for channels: they can be stuck, cut, or made to take their time."""

from __future__ import annotations

import struct
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, cast

import anyio
import trio

from p2p_copy.observer import Observer
from p2p_copy.peer.multipath import LinkPlan
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.multipath import AckCodec
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.transport.link import LinkBroken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from p2p_copy.transport.link import Link
    from p2p_copy.transport.pacer import Pacer

SECRET = bytes(32)
CODECS = {role: AckCodec(role, SECRET) for role in Role}


def record(number: int) -> bytes:
    return struct.pack(">BBHIQ", 1, 0, 0, 8, number) + bytes(8 + protocol_limits.RECORD_TAG)


RECORDS = [record(number) for number in range(200)]


class MemoryLink:
    """One end of a link that holds two messages each way."""

    aside = ""
    under_way = 0
    heard_at = 0.0

    def __init__(self) -> None:
        self.out, self._theirs = trio.open_memory_channel[bytes | str](2)
        self.other: MemoryLink
        self.stuck = False
        self.pace: Callable[[], Awaitable[object]] = trio.lowlevel.checkpoint
        self.sent: list[bytes | str] = []
        self.together: list[int] = []  # how many messages each call of `send_all` had
        self.unsent: list[int] = []  # the limits that were set
        self.broken = False
        self.code: int | None = None

    async def send(self, message: bytes | str) -> None:
        """As a link does: a send that is cancelled ends it."""
        if self.broken:
            raise LinkBroken
        self.sent.append(message)
        try:
            await self.pace()
            if self.stuck:
                await trio.sleep_forever()
            await self.out.send(message)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise LinkBroken from None
        except trio.Cancelled:
            self.abort()
            raise

    async def send_all(self, messages: Sequence[bytes | str]) -> None:
        self.together.append(len(messages))
        for message in messages:
            await self.send(message)

    async def receive(self) -> bytes | str:
        try:
            return await self.other._theirs.receive()
        except trio.EndOfChannel:
            raise anyio.EndOfStream from None
        except trio.ClosedResourceError:
            raise LinkBroken from None

    async def receive_some(self, most: int) -> list[bytes | str]:
        return [await self.receive()]

    def read_ahead(self, size: int, messages: int) -> None:
        """A link in memory holds two messages."""

    def limit_unsent(self, most: int) -> None:
        self.unsent.append(most)

    def acked_bytes(self) -> tuple[int, bool]:
        return 0, False

    async def aclose(self) -> None:
        await self.close()

    async def close(self, code: int = 1000) -> None:
        if self.code is None and not self.broken:
            self.code = code
        self.out.close()

    def abort(self) -> None:
        self.broken = True
        self.cut()

    def cut(self) -> None:
        for end in (self, self.other):
            end._theirs.close()  # first: a task that waits for a message has to see a broken link, not a proper end
            end.out.close()


class Pairs:
    """Links by number, for both sides; each pair is made when the first side comes for it."""

    def __init__(self) -> None:
        self.ends: dict[int, dict[Role, MemoryLink]] = {}

    def pair(self, number: int) -> dict[Role, MemoryLink]:
        ends = {role: MemoryLink() for role in Role}
        ends[Role.SENDER].other, ends[Role.RECEIVER].other = ends[Role.RECEIVER], ends[Role.SENDER]
        self.ends[number] = ends
        return ends

    @asynccontextmanager
    async def open(self, role: Role, number: int, connected: Callable[[], None]) -> AsyncIterator[Link]:
        link = (self.ends.get(number) or self.pair(number))[role]
        yield cast("Link", link)
        await link.aclose()

    def plan(self, role: Role, links: int, *, far: bool = False, pacer: Pacer | None = None) -> LinkPlan:
        return LinkPlan(links, far, partial(self.open, role), CODECS[role], Observer(), pacer)
