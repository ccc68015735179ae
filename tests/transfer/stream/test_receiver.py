"""The receiver of a stream, over a fake channel that can end one way before all is received."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, cast

import pytest
import trio

from p2p_copy.errors import PipeFailed
from p2p_copy.files.selection import EVERYTHING
from p2p_copy.observer import Observer
from p2p_copy.options import ReceiveOptions
from p2p_copy.peer.failures import plain_errors
from p2p_copy.protocol.messages import Abort, Accept, Data, Entry, Kind, Message, Offer, Page, Reason
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.transfer import limits
from p2p_copy.transfer.conversation import Conversation
from p2p_copy.transfer.stream.receiver import StreamReceiver
from p2p_copy.transport.link import LinkBroken
from tests.support.keys import both_sessions

if TYPE_CHECKING:
    from p2p_copy.peer.channel import Channel


class Taking:
    """A sink that takes everything."""

    may_wait_forever = False
    stalled = "slow"

    def begin(self, entry: Entry) -> None:
        pass

    def write(self, data: bytes | memoryview) -> None:
        pass

    def finish(self, entry: Entry, digest: bytes) -> None:
        raise AssertionError("nothing is complete")

    def close(self) -> None:
        pass


class Parted:
    """A channel whose other side has sent its last words and closed before this side could send anything."""

    aside = ""
    under_way = 0
    heard_at = 0.0
    width = 1

    def __init__(self) -> None:
        sender, self.receiver = both_sessions()
        sender.say(Offer("test/1", pipe=True))
        self.receiver.hear(sender.record())
        self.receiver.say(Accept("test/1", True, pipe=True))
        sender.hear(self.receiver.record())
        said: list[Message] = [Page((Entry(Kind.FILE, 0, "stream", 0o600),))]
        said += [Data(0, at, bytes(1000)) for at in range(0, 20_000, 1000)]
        self._records: deque[bytes] = deque()
        for message in [*said, Abort(Reason.PIPE, "last words")]:
            sender.say(message)
            self._records.append(sender.record())
        self._sends = 0

    def acked_bytes(self) -> tuple[int, bool]:
        return 0, False

    async def send(self, *records: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self._sends += 1
        if self._sends > 1:  # the first record says how much is here
            raise LinkBroken

    async def receive_some(self, most: int) -> list[bytes]:
        await trio.sleep(0.01)
        if not self._records:
            raise LinkBroken
        return [self._records.popleft()]


async def test_last_words_are_heard_though_nothing_can_be_said_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "PROGRESS_INTERVAL", 0.001)
    stream = StreamReceiver(Taking(), ReceiveOptions(), EVERYTHING)

    async def confirm() -> None:
        raise AssertionError("nothing is complete")

    async def take() -> None:
        link = Parted()
        with plain_errors():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.write)
                talk = Conversation(cast("Channel", link), link.receiver, Role.RECEIVER)
                await stream.receive(talk, Observer(), confirm)

    with trio.fail_after(30), pytest.raises(PipeFailed, match="last words"):
        await take()
