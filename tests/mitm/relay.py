"""A malicious relay: it pairs any two clients, and passes on, changes or makes up any message."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import anyio
import trio

from p2p_copy.errors import P2PCopyError
from p2p_copy.observer import Report
from p2p_copy.options import PEER_WAIT
from p2p_copy.protocol.rendezvous import CloseCode, Hello, Paired, Role, Welcome, decode_hello, encode
from p2p_copy.relay import limits as relay_limits
from p2p_copy.transport.endpoints import accept
from p2p_copy.transport.link import Link, LinkBroken
from tests.support.links import serving
from tests.support.transfers import CODE, Both, copy
from tests.support.trees import leftovers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from p2p_copy.protocol.code import Code
    from p2p_copy.transport.tcp import TCPStream

Passed: TypeAlias = "Sequence[bytes | str | int]"
"""What goes to the other side in place of a message; a number closes both sides with that code."""

Change: TypeAlias = "Callable[[Role, int, bytes], Passed]"
"""Returns what becomes of a message: by its sender, how many messages that one had sent before, and its bytes. M1 and
M3 are the receiver's first two, M2 and M4 the sender's; then come records."""

OTHER = {Role.SENDER: Role.RECEIVER, Role.RECEIVER: Role.SENDER}


def honest(_role: Role, _number: int, message: bytes) -> Passed:
    """Pass everything on."""
    return [message]


def a_pair(one: Hello, other: Hello) -> bool:
    """Tell whether an honest relay would pair these two."""
    return one.room == other.room and one.role is not other.role


class _Seat(NamedTuple):
    hello: Hello
    link: Link
    over: trio.Event


class Middle:
    """The malicious relay.

    Attributes:
        address: where clients find it.
        said: every message that either side has sent after pairing, by role.
        pinging: it pings both clients without end.

    """

    def __init__(self, change: Change, meets: Callable[[Hello, Hello], bool]) -> None:
        self.address = ""
        self.pinging = False
        self.said: dict[Role, list[bytes]] = {role: [] for role in Role}
        self._change = change
        self._meets = meets
        self._waiting: list[_Seat] = []

    async def serve(self, stream: TCPStream) -> None:
        try:
            async with accept(stream, max_message=relay_limits.MAX_MESSAGE) as (path, link):
                hello = decode_hello(await link.receive(), path)
                assert isinstance(hello, Hello)
                await link.send(encode(Welcome("middle", relay_limits.MAX_MESSAGE, 3600)))
                await self._seat(_Seat(hello, link, trio.Event()))
        except (LinkBroken, anyio.EndOfStream, anyio.ClosedResourceError):
            pass

    async def _seat(self, comer: _Seat) -> None:
        other = next((seat for seat in self._waiting if self._meets(seat.hello, comer.hello)), None)
        if other is None:
            self._waiting.append(comer)
            await comer.over.wait()
            return
        self._waiting.remove(other)
        try:
            for seat in (other, comer):
                await seat.link.send(encode(Paired()))
            async with trio.open_nursery() as nursery:
                for seat in (comer, other) if self.pinging else ():
                    nursery.start_soon(_ping, seat.link)
                nursery.start_soon(self._pass_on, comer, other, nursery.cancel_scope)
                nursery.start_soon(self._pass_on, other, comer, nursery.cancel_scope)
        finally:
            other.over.set()

    async def _pass_on(self, speaker: _Seat, listener: _Seat, both: trio.CancelScope) -> None:
        code: int = CloseCode.PEER_LOST
        try:
            while True:
                message = await speaker.link.receive()
                said = self.said[speaker.hello.role]
                said.append(message if isinstance(message, bytes) else message.encode())
                for passed in self._change(speaker.hello.role, len(said) - 1, said[-1]):
                    if isinstance(passed, int):
                        code = passed
                        await speaker.link.close(code)
                        raise anyio.ClosedResourceError
                    try:
                        await listener.link.send(passed)
                    except (LinkBroken, anyio.ClosedResourceError):
                        return  # it is leaving; what it has said before still goes to the other side
        except anyio.EndOfStream:
            code = 1000
        except (LinkBroken, anyio.ClosedResourceError):
            pass
        await listener.link.close(code)
        both.cancel()


async def _ping(link: Link) -> None:
    with suppress(LinkBroken, anyio.ClosedResourceError):
        while True:
            await link.ping()


@asynccontextmanager
async def middle(
    change: Change = honest, meets: Callable[[Hello, Hello], bool] = a_pair
) -> AsyncIterator[Middle]:
    """Run a malicious relay."""
    it = Middle(change, meets)
    async with serving(it.serve) as address:
        it.address = str(address)
        yield it


async def through(
    at: Middle,
    source: Path,
    out: Path,
    receiver_code: Code = CODE,
    *,
    wait: float = PEER_WAIT,
) -> Both:
    """Run a transfer. Neither side may report a success that is none, and no wrong file may have its final name."""
    options = {"wait": wait}
    both = await copy(
        [source], out, relay=at.address, receiver_code=receiver_code, sending=options, receiving=options
    )
    sent, there = contents(source), contents(out / source.name)
    assert there.items() <= sent.items()
    assert not leftovers(out)
    for outcome in (both.sent, both.received):
        if isinstance(outcome, Report):
            assert there == sent
        else:
            assert isinstance(outcome, P2PCopyError)
            assert outcome.exit_code > 1
    if isinstance(both.received, Exception):
        assert isinstance(both.sent, Exception), (
            "the sender reports a success that the receiver has not confirmed"
        )
    return both


def ends(both: Both) -> tuple[type, type]:
    return type(both.sent), type(both.received)


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.glob("*")}
