"""This side's place in a room at one relay, even if the relay is restarted or its address changes.

A waiting client dials again now and then, under the same claim. Otherwise two sides might never meet: behind a
balancer, or after a restart or a change of DNS, the other side may come to another relay than this side.

Rules:
1. The new connection is open before the old one is closed, so the other side never finds the room empty. Either may be
   paired meanwhile. A relay that knows the old connection replaces it; another relay may refuse the new one.
2. The connection that is paired first is used. A relay does not replace a connection that is paired already.
3. A new connection that fails changes nothing, and the observer is not told.
"""

from __future__ import annotations

import math
import random
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio
import trio

from p2p_copy.errors import NotARelay, P2PCopyError, PeerLost, PeerTimeout, RelayLost, RelayRefused
from p2p_copy.peer import limits
from p2p_copy.peer.backoff import backoff
from p2p_copy.peer.failures import STOPPING
from p2p_copy.peer.retry import HINT
from p2p_copy.protocol import limits as protocol_limits, rendezvous
from p2p_copy.protocol.rendezvous import (
    STILL_WAITING,
    CloseCode,
    Hello,
    Paired,
    Refusal,
    Refused,
    Role,
    Welcome,
)
from p2p_copy.transport import limits as transport_limits
from p2p_copy.transport.dial import connect
from p2p_copy.transport.link import LINK_ERRORS, LinkBroken
from p2p_copy.transport.timeouts import within
from p2p_copy.value import replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from p2p_copy.transport.address import RelayAddress
    from p2p_copy.transport.link import Link
    from p2p_copy.transport.pacer import Pacer
    from p2p_copy.transport.proxy_address import ProxyAddress

_TRANSIENT: Final = frozenset({Refusal.ROOM_TAKEN, Refusal.BUSY, Refusal.UNKNOWN_ROOM})
"""Refusals that may not come again. A room is unknown until its sender comes, and a restarted sender may come."""

End: TypeAlias = "P2PCopyError | LinkBroken | anyio.EndOfStream"


class Connection:
    """One connection that waits in the room, from its first packet to its last use.

    Attributes:
        scope: the cancel scope of its task.
        link: set once this side is connected.
        welcome: the relay's terms, set once the relay has accepted this side.
        since: when the relay has accepted it.
        paired: the other side has come.
        end: the error that has ended it.
        over: set when it is no longer used.

    """

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.link: Link | None = None
        self.welcome: Welcome | None = None
        self.since = math.inf
        self.paired = False
        self.end: End | None = None
        self.over = trio.Event()

    def cut(self) -> None:
        """Cut the connection in any state."""
        if self.link is not None:
            self.link.abort()  # does nothing if it was closed
        self.over.set()
        self.scope.cancel()

    @property
    def replaced(self) -> bool:
        """Whether the relay has replaced it by another connection of this client."""
        return isinstance(self.end, LinkBroken) and self.end.close_code == CloseCode.REPLACED


class Place:
    """This side's place in a room at one relay. It can be taken again after it was lost.

    Attributes:
        address: the relay's.
        proxy: the proxy on the way; None for none.
        hello: what this side says to the relay first.
        due: Trio's time when to take the place next; infinite while it is taken, and if it is not to be taken again.
        is_put_off: it is not to be taken before it is due.
        in_vain: how many pairings there have led to nothing.
        welcome: the relay's terms, from when it has accepted this side until the place is taken again.
        ready: the connection on which the other side has come; None before.
        end: the error with which the place was lost, or was not to be had; None before.

    """

    def __init__(
        self,
        address: RelayAddress,
        hello: Hello,
        *,
        proxy: ProxyAddress | None = None,
        ca_file: str | None = None,
        pin: bytes | None = None,
        pacer: Pacer | None = None,
    ) -> None:
        """Prepare to wait in the room of `hello`, with its role and claim; `pacer` keeps its data to a rate."""
        self.address = address
        self.proxy = proxy
        self.hello = hello
        self._ca_file = ca_file
        self._pin = pin
        self._pacer = pacer
        self._pauses = backoff()
        self.due = -math.inf
        self.is_put_off = False
        self.in_vain = 0
        self.welcome: Welcome | None = None
        self.ready: Connection | None = None
        self.end: End | None = None
        self._connections: list[Connection] = []  # the older one first
        self._scope = trio.CancelScope()
        self._changed = trio.lowlevel.ParkingLot()  # for a change of any connection

    @property
    def is_untried(self) -> bool:
        """Whether it is to be taken for the first time, and the earlier the better."""
        return self.due < math.inf and not self.is_put_off

    @property
    def replaced(self) -> bool:
        """Whether the relay has replaced its connection by another one of this client."""
        return isinstance(self.end, LinkBroken) and self.end.close_code == CloseCode.REPLACED

    def put_off(self) -> None:
        """Let some time pass before the place is taken again, each time more."""
        self.is_put_off = True
        self.due = trio.current_time() + next(self._pauses)

    def clear(self) -> None:
        """Forget what was the last time that it was taken."""
        self.welcome = self.ready = self.end = None
        self._connections = []

    def take(self, nursery: trio.Nursery, tell: Callable[[], object], *, hears_first: bool) -> None:
        """Begin to wait there, in tasks of `nursery`; for the arguments see `_hold`."""
        self.clear()
        self.due, self._scope = math.inf, trio.CancelScope()
        nursery.start_soon(partial(self._hold, nursery, tell, hears_first=hears_first))

    def leave(self) -> None:
        """Cut all connections, in any state."""
        self._scope.cancel()
        for each in self._connections:
            each.cut()  # one may have been paired just now, which shields its task from cancellation

    async def _hold(self, nursery: trio.Nursery, tell: Callable[[], object], *, hears_first: bool) -> None:
        """Wait for the other side, and `tell` when there is a welcome, or the place is ready or lost.

        With `hears_first` it is ready when the other side has said something, else when it has come.
        """
        with self._scope:
            try:
                connection = await self._paired(nursery, tell)
                assert connection.link is not None, "it is paired"
                # All other messages come from the other side from now on.
                connection.link.sets_aside = _is_relays
                if hears_first:
                    with within(limits.HANDSHAKE_TIMEOUT) as deadline:
                        await connection.link.wait_for_message()
                    if deadline.is_over:
                        raise PeerLost("The other side is connected but does not answer.")
                self.ready = connection
            except (P2PCopyError, *LINK_ERRORS) as error:
                self.end = error
                self.leave()
            except anyio.ClosedResourceError:
                pass  # this side has left the place just now, and its task has closed the link
        tell()

    async def _paired(self, nursery: trio.Nursery, tell: Callable[[], object]) -> Connection:
        """Return the connection on which the other side has come; cut all others."""
        connection = self._dial(nursery, self.hello)
        while connection.welcome is None and connection.end is None:
            await self._changed.park()
        if connection.welcome is None:
            assert connection.end is not None, "it is one or the other"
            raise connection.end
        self.welcome = connection.welcome
        tell()
        again = _next_redial(connection.welcome)
        while True:
            if paired := next((connection for connection in self._connections if connection.paired), None):
                for other in self._connections:
                    if other is not paired:
                        other.cut()
                return paired
            now = trio.current_time()
            connection = self._drop_spare(now)
            alone = len(self._connections) == 1
            if alone and now >= again and connection.welcome is not None:
                features = (*self.hello.features, STILL_WAITING)
                self._dial(nursery, replace(self.hello, features=features))
                again = _next_redial(connection.welcome)
                continue
            redial = again if alone else self._connections[-1].since + limits.REDIAL_SETTLED
            with trio.move_on_at(redial):
                await self._changed.park()

    def _drop_spare(self, now: float) -> Connection:
        """Cut the old or the new connection, if it is clear which is not needed; return the first of the rest."""
        old, new = self._connections[0], self._connections[-1]
        if old.end is not None and new.end is not None:
            raise new.end if old.replaced else old.end
        if new.end is not None:
            self._connections.remove(new)
        elif new is not old and (new.since if old.end else new.since + limits.REDIAL_SETTLED) <= now:
            old.cut()
            self._connections.remove(old)
        return self._connections[0]

    def _dial(self, nursery: trio.Nursery, hello: Hello) -> Connection:
        connection = Connection()
        self._connections.append(connection)
        nursery.start_soon(self._keep, connection, hello)
        return connection

    async def _keep(self, connection: Connection, hello: Hello) -> None:
        """Connect to the relay, wait in the room, and keep the connection until it is `over`."""
        path = rendezvous.room_path(hello.room)
        with connection.scope:
            try:
                most = protocol_limits.MAX_RECORD
                async with connect(
                    self.address,
                    path,
                    max_message=most,
                    proxy=self.proxy,
                    ca_file=self._ca_file,
                    pin=self._pin,
                    hint=rendezvous.room_hint(hello.room),
                ) as link:
                    connection.link = link
                    connection.welcome = await introduce(link, hello, self.address)
                    connection.since = trio.current_time()
                    self._changed.unpark()
                    if not isinstance(await _hear_relay(link), Paired):
                        raise NotARelay(f"{self.address} does not speak like a p2p-copy relay.")
                    connection.paired = True
                    self._changed.unpark()
                    if self._pacer is not None:
                        link.limit_rate(self._pacer, sends=hello.role is Role.SENDER)
                    with trio.CancelScope(shield=True):  # the goodbye needs a link
                        await connection.over.wait()
            except (P2PCopyError, *LINK_ERRORS) as error:
                connection.end = error
        self._changed.unpark()


async def introduce(link: Link, hello: Hello, address: RelayAddress) -> Welcome:
    """Send the hello, and return the welcome of the relay at this address. Both have the time of one connection
    attempt.

    Raises:
        RelayRefused, RelayLost, NotARelay: there is none.
        LinkBroken, EndOfStream: the connection was lost.

    """
    with within(transport_limits.CONNECT_TIMEOUT):
        await link.send(rendezvous.encode(hello))
        answer = await _hear_relay(link)
        if isinstance(answer, Welcome):
            return answer
    raise NotARelay(f"{address} accepts connections, but does not welcome us as a p2p-copy relay would.")


def _next_redial(welcome: Welcome) -> float:
    """Return when to dial again: at another time than other clients that came together with this one."""
    seconds = max(
        protocol_limits.REDIAL_AFTER if welcome.again is None else welcome.again,
        protocol_limits.LEAST_REDIAL,
    )
    return trio.current_time() + seconds * random.uniform(0.5, 1.5)  # noqa: S311 - nothing secret


def _is_relays(text: str) -> bool:
    return rendezvous.decode_flow_report(text) is not None


async def _hear_relay(link: Link) -> Welcome | Paired:
    text = await link.receive()
    message = rendezvous.decode_answer(text)
    if isinstance(message, Refused):
        if message.code == Refusal.WAIT_OVER:
            raise PeerTimeout(f"The other side did not connect within the time that the relay allows. {HINT}")
        if message.code == Refusal.STOPPING:
            raise RelayLost(STOPPING)
        later = f" Try again in {message.retry_after} s." if message.retry_after else ""
        transient = message.code in _TRANSIENT
        raise RelayRefused(f"The relay refused: {message.reason}{later}", transient=transient)
    return message
