"""Makes one process' share of the load: clients that wait, and pairings that move bytes.

Clients behave as those of transfers do: they dial again while they wait as often as the relay says, come back after a
failure with longer and longer pauses, and read all the time. What a pairing moves is random bytes in messages as long
as a sender's records; the receiver compares each with what was sent.
"""

from __future__ import annotations

import os
import random
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from p2p_copy.errors import P2PCopyError, leaves
from p2p_copy.load import limits
from p2p_copy.load.client import (
    Changed,
    Clients,
    Late,
    NotAllowed,
    failure_of,
    hear_paired,
    new_room,
    wait_alone,
)
from p2p_copy.load.figures import Failure, Figures
from p2p_copy.peer.backoff import backoff
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.rendezvous import CloseCode, Role
from p2p_copy.transport.codec import Piece
from p2p_copy.transport.link import LINK_ERRORS, LinkBroken
from p2p_copy.transport.pacer import Pacer
from p2p_copy.transport.timeouts import within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from p2p_copy.load.plan import Plan
    from p2p_copy.options import RelayAccess
    from p2p_copy.transport.link import Link

_HEADER: Final = 16
"""Bytes of a message that say which one it is: those of a pairing, and a number."""

_RECEIVED: Final = b"received"

_NOT_COME: Final = Failure("late", "", "A client was still on its way to the relay when the test was over.")


class Generator:
    """The load of one process.

    Attributes:
        figures: what was measured until now.

    """

    def __init__(self, access: RelayAccess, plan: Plan) -> None:
        """Prepare; nothing is opened before `run`."""
        self.figures = Figures()
        self._clients = Clients(access, self.figures)
        self._plan = plan
        self._contents = os.urandom(plan.message - _HEADER)
        self._began: tuple[float, float, int] | None = None

    async def run(self, on_over: Callable[[], None]) -> None:
        """Make the load until its time is over. If it is cancelled, `figures` has what was measured until then.

        `on_over` is called when the time is over, before all clients leave at once.

        Raises:
            NotAllowed: a relay does not say that it may be loaded.
            UsageError: the file with certificates cannot be used.

        """
        plan = self._plan
        await self._clients.prepare()
        try:
            async with trio.open_nursery() as nursery:
                self._begin()
                try:
                    await self._come(nursery, plan.waiters, self._wait)
                    await self._come(nursery, plan.pairings, self._move)
                    self._begin()
                    self.figures.is_whole = True
                    await trio.sleep(plan.duration)
                    self._count_missing()
                finally:
                    self.look()
                on_over()
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            for error in leaves(group):
                if isinstance(error, P2PCopyError):
                    raise error from None
            raise

    def _count_missing(self) -> None:
        """Count the clients that have neither come nor failed by the end of the test: without them it is not whole."""
        figures, plan = self.figures, self._plan
        missing = plan.waiters - figures.most_waiting + (0 if figures.most_paired else plan.pairings)
        if missing and not figures.failures:
            figures.is_whole = False
            figures.failures[_NOT_COME] += missing

    def _begin(self) -> None:
        """Count seconds, bytes and processor time from now on."""
        self._began = trio.current_time(), time.process_time(), self.figures.received
        self.look()

    def look(self) -> None:
        """Bring what is counted since the load is whole up to date."""
        if self._began is not None:
            began, processor, received = self._began
            self.figures.seconds = trio.current_time() - began
            self.figures.processor = time.process_time() - processor
            self.figures.moved = self.figures.received - received

    async def _come(self, nursery: trio.Nursery, count: int, client: Callable[[], Awaitable[None]]) -> None:
        """Start so many clients, spread evenly over the ramp."""
        began = trio.current_time()
        if count:
            for number in range(count):
                await trio.sleep_until(began + self._plan.ramp * number / count)
                nursery.start_soon(self._again_and_again, client)
            await trio.sleep_until(began + self._plan.ramp)

    async def _again_and_again(self, once: Callable[[], Awaitable[None]]) -> None:
        pauses = backoff()
        while True:
            if await self._succeeds(once):
                pauses = backoff()
            else:
                await trio.sleep(next(pauses))

    async def _succeeds(self, once: Callable[[], Awaitable[None]]) -> bool:
        """Count what goes wrong, and return whether nothing did."""
        try:
            await once()
        except NotAllowed:
            raise
        except (P2PCopyError, *LINK_ERRORS) as error:
            self.figures.failures[failure_of(error)] += 1
            return False
        return True

    # Waiting

    async def _wait(self) -> None:
        """Wait alone in a room, on one connection after another, until the relay or the network ends it."""
        hold = partial(self._hold, new_room(), os.urandom(16).hex())
        with _plain_errors():
            async with trio.open_nursery() as nursery:
                scope, again = await nursery.start(partial(hold, again=False))

                async def dial_again() -> None:
                    nonlocal scope, again
                    newer, again = await nursery.start(partial(hold, again=True))
                    scope.cancel()
                    scope = newer
                    self.figures.redials += 1

                with self._counted("waiting"):
                    while True:
                        await trio.sleep(again * random.uniform(0.5, 1.5))  # noqa: S311 - nothing secret
                        await self._succeeds(dial_again)

    async def _hold(
        self,
        room: str,
        claim: str,
        *,
        again: bool,
        task_status: trio.TaskStatus[tuple[trio.CancelScope, float]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Hold one connection of a waiting client until it is replaced or cancelled."""
        with trio.CancelScope() as scope:
            waits = self._clients.welcomed(Role.SENDER, room, claim=claim, again=again)
            async with waits as (link, welcome):
                seconds = protocol_limits.REDIAL_AFTER if welcome.again is None else welcome.again
                task_status.started((scope, max(seconds, protocol_limits.LEAST_REDIAL)))
                try:
                    await wait_alone(link)
                except LinkBroken as error:
                    if error.close_code != CloseCode.REPLACED:
                        raise

    # Moving

    async def _move(self) -> None:
        """Pair two clients in a room of their own, move bytes from one to the other, and end."""
        room = new_room()
        async with self._clients.welcomed(Role.SENDER, room) as (sender, _):
            began = trio.current_time()
            async with self._clients.welcomed(Role.RECEIVER, room) as (receiver, _):
                await hear_paired(receiver)
                await hear_paired(sender)
                self.figures.pair.append(trio.current_time() - began)
                if self._plan.rate is not None:
                    sender.limit_rate(Pacer(self._plan.rate), sends=True)
                with self._counted("paired"), _plain_errors():
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._send, sender, room)
                        with within(limits.TAIL_TIMEOUT, moves=lambda: receiver.heard_at) as deadline:
                            await self._receive(receiver, room)
                        if deadline.is_over:
                            raise Late(f"Nothing has arrived for {limits.TAIL_TIMEOUT:.0f} s.")
                self.figures.completed += 1

    def _messages(self, room: str) -> Iterator[tuple[bytes, bytes]]:
        """Yield header and contents of each message of a pairing."""
        mark = bytes.fromhex(room)[: _HEADER // 2]
        left, number = self._plan.size, 0
        while left > 0:
            size = min(left, self._plan.message)
            header = mark + number.to_bytes(_HEADER - len(mark), "big")
            is_whole = size == self._plan.message  # the only one, as a rule, that need not be copied
            yield header[:size], self._contents if is_whole else self._contents[: max(size - _HEADER, 0)]
            left -= size
            number += 1

    async def _send(self, link: Link, room: str) -> None:
        whole = memoryview(bytearray(_HEADER) + self._contents)  # its header changes once all of it is out
        for header, contents in self._messages(room):
            whole[: len(header)] = header
            await link.send_pieces([Piece(whole[: len(header) + len(contents)])])
        if await link.receive() != _RECEIVED:
            raise Changed("What arrived at a sender is not what its receiver has sent.")

    async def _receive(self, link: Link, room: str) -> None:
        for header, contents in self._messages(room):
            message = await link.receive()
            size = len(header) + len(contents)
            is_same = len(message) == size and message[: len(header)] == header
            if not is_same or not _ends_with(message, contents):
                raise Changed("What arrived at a receiver is not what its sender has sent.")
            self.figures.received += size
        await link.send(_RECEIVED)

    @contextmanager
    def _counted(self, name: str) -> Iterator[None]:
        """Count one more that waits or is paired, as long as the body runs."""
        figures = self.figures
        now = getattr(figures, name) + 1
        setattr(figures, name, now)
        setattr(figures, f"most_{name}", max(now, getattr(figures, f"most_{name}")))
        try:
            yield
        finally:
            setattr(figures, name, getattr(figures, name) - 1)


def _ends_with(message: bytes | str, contents: bytes) -> bool:
    return isinstance(message, bytes | bytearray) and message.endswith(contents)


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Raise one exception in place of a group of them."""
    try:
        yield
    except BaseExceptionGroup as group:
        for error in leaves(group):
            if not isinstance(error, trio.Cancelled):
                raise error from None
        raise
