"""Conversations for tests: two sides in one process, over channels in memory."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, cast

import anyio
import trio

from p2p_copy.protocol.rendezvous import Role
from p2p_copy.transfer.conversation import Conversation
from p2p_copy.transport.link import LinkBroken
from tests.support.keys import both_sessions

if TYPE_CHECKING:
    from p2p_copy.peer.channel import Channel


class MemoryChannel:
    """One end of a channel, as far as a conversation knows of it.

    Attributes:
        may_send: not set as long as the other end takes nothing.

    """

    aside = ""
    under_way = 0
    heard_at = 0.0
    width = 1

    def __init__(
        self, outgoing: trio.MemorySendChannel[bytes], incoming: trio.MemoryReceiveChannel[bytes]
    ) -> None:
        self._outgoing = outgoing
        self._incoming = incoming
        self.may_send = trio.Event()
        self.may_send.set()

    def acked_bytes(self) -> tuple[int, bool]:
        return 0, False

    async def send(self, *records: bytes) -> None:
        """As a channel does: records are handed over first, whatever becomes of the wait for room."""
        try:
            for record in records:
                self._outgoing.send_nowait(record)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise LinkBroken from None
        await self.may_send.wait()

    async def receive(self) -> bytes:
        (record,) = await self.receive_some(1)
        return record

    async def receive_some(self, most: int) -> list[bytes]:
        try:
            records = [await self._incoming.receive()]
        except trio.EndOfChannel:
            raise anyio.EndOfStream from None
        with suppress(trio.WouldBlock, trio.EndOfChannel):
            while len(records) < most:
                records.append(self._incoming.receive_nowait())
        return records

    async def give_up(self) -> bool:
        await trio.lowlevel.checkpoint()
        self.close()
        return True

    def close(self) -> None:
        """End both ways, at once; what was sent before is still received."""
        self._outgoing.close()


def conversations() -> tuple[Conversation, Conversation]:
    """Return a sender's and a receiver's end of a conversation that has just begun."""
    there = trio.open_memory_channel[bytes](math.inf)
    back = trio.open_memory_channel[bytes](math.inf)
    at_sender, at_receiver = MemoryChannel(there[0], back[1]), MemoryChannel(back[0], there[1])
    sender, receiver = both_sessions()
    return (
        Conversation(cast("Channel", at_sender), sender, Role.SENDER),
        Conversation(cast("Channel", at_receiver), receiver, Role.RECEIVER),
    )


def channel(conversation: Conversation) -> MemoryChannel:
    """Return what carries a conversation of these."""
    return cast("MemoryChannel", conversation.channel)
