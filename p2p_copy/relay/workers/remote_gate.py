"""The gatekeeper of a worker: what holds for the whole relay is asked of the supervisor, the rest is decided here.

    admit             the supervisor has admitted the connection, and read the PROXY header if there was one
    read_forwarded    asked, since the client then counts for another source
    pass_on           a client whose room another worker has: see below
    answer_hello      asked
    pairing_limits    rates and quotas that other pairings share are asked for in slices

A client without a hint, or with a wrong one, may come to a worker that has not its room. TLS has state in this process,
so its descriptor cannot be passed on. The worker that has the room gets one end of a pair of sockets instead, with the
request, and this one copies between the other end and the client.
"""

from __future__ import annotations

import math
import re
import select
import socket
import sys
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import trio

from p2p_copy.protocol.rendezvous import MOVEMENT, Paired, Welcome, decode_answer
from p2p_copy.relay import limits
from p2p_copy.relay.access.deadline import ArrivalDeadlines
from p2p_copy.relay.access.gatekeeper import Gate
from p2p_copy.relay.access.rates import Limits, Rates
from p2p_copy.relay.access.throttle import Newcomers, Throttle
from p2p_copy.relay.log.abuse import Abuse
from p2p_copy.relay.log.redact import ADDRESS
from p2p_copy.transport import limits as transport_limits
from p2p_copy.transport.tcp import TCPStream, gathering

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from p2p_copy.protocol.rendezvous import Hello, Refused
    from p2p_copy.relay.access.admission import Client
    from p2p_copy.relay.config import RelayConfig
    from p2p_copy.relay.entry.http_upgrade import UpgradeRequest
    from p2p_copy.relay.log.abuse import AbuseCounter
    from p2p_copy.relay.workers.channel import Channel

_ROOM: Final = re.compile(r"/v1/([0-9a-f]{2})")


class PassedStream(TCPStream):
    """A connection that the supervisor has passed on to this worker.

    Attributes:
        client: what the supervisor knows of the client.

    """

    client: Client

    def silent_for(self) -> float:
        """See `GatheringStream`. A client for which another worker copies is gone when that has closed its whole end.

        What such a client has sent before is not read to its end then, as the kernel drops it after a reset.
        """
        if self.client.is_decrypted and _has_hung_up(self.socket):
            return math.inf
        return super().silent_for()


def _has_hung_up(sock: socket.socket) -> bool:
    if sys.platform != "linux":
        return False
    ends = select.poll()
    ends.register(sock, 0)
    return any(event & select.POLLHUP for _, event in ends.poll(0))


class RemoteGate(Gate):
    """The gatekeeper of one worker."""

    def __init__(
        self, config: RelayConfig, channel: Channel, place: int, workers: int, abuse: AbuseCounter
    ) -> None:
        """Ask the supervisor over `channel`; this is the worker at `place` of `workers`."""
        self.arrivals = ArrivalDeadlines(abuse)
        self._config = config
        self._abuse = abuse
        self._channel = channel
        self._place, self._workers = place, workers
        self._rates = Rates(_own(config))
        self._newcomers = Newcomers()
        self._clients: dict[int, Client] = {}
        self._shared: dict[Client, _SharedLimits] = {}
        self._has_account: set[Client] = set()
        self._copies: dict[int, _Copy] = {}

    @property
    def config(self) -> RelayConfig:
        """The limits."""
        return self._config

    @property
    def places(self) -> int:
        """How many connections of this worker are open."""
        return len(self._clients)

    def change(self, config: RelayConfig) -> None:
        """Use the limits of another configuration from now on."""
        self._config = config
        self._rates.change(_own(config))

    async def reload(self) -> bool:
        """Return True: the tokens are the supervisor's."""
        return True

    def expect(self, client: Client) -> None:
        """Count a client from now on, whose connection `admit` takes over in a moment; it may be evicted before."""
        assert client.number is not None
        self._clients[client.number] = client

    def admit(self, stream: TCPStream) -> Client | None:
        """Take over a connection that the supervisor has admitted."""
        assert isinstance(stream, PassedStream), "a worker has no listener of its own"
        client = stream.client
        if client.address is not None:
            ADDRESS.set(client.address)
        client.throttle = Throttle(self._newcomers, self.config.frames_per_second)
        client.throttle.limit(stream)
        stream.on_urgent = lambda: self._abuse.count(Abuse.URGENT_DATA)
        return client

    def evict(self, number: int) -> None:
        """End the connection of a client that has not said hello, to make room for another one."""
        if (client := self._clients.get(number)) is not None:
            client.gone = True
            self.arrivals.evict(client)

    def leave(self, client: Client) -> None:
        """Free a client's place, unless another worker has it now."""
        client.throttle.close()
        self._has_account.discard(client)
        if (shared := self._shared.pop(client, None)) is not None:
            shared.give_back()
        assert client.number is not None
        if self._clients.pop(client.number, None) is not None:
            self._channel.tell("left", number=client.number)

    async def read_proxy(self, client: Client, stream: TCPStream) -> bool:
        """Return True: the supervisor has read it."""
        return True

    async def read_forwarded(self, client: Client, values: Sequence[str]) -> bool:
        """Have the client counted for the address that a trusted proxy has told. Return False if that has too many."""
        if not client.is_proxy:
            return True
        answer = await self._channel.ask("forwarded", number=client.number, values=list(values))
        client.address = answer["address"]
        if client.address is not None:
            ADDRESS.set(client.address)
        return bool(answer["admitted"])

    async def pass_on(
        self, client: Client, stream: trio.abc.Stream, request: UpgradeRequest, arrived: Callable[[], None]
    ) -> bool:
        """Copy between the client and the worker that has its room, until one of them ends."""
        room = _ROOM.match(request.path)
        place = int(room[1], 16) % self._workers if room else 0
        if place == self._place:
            return False
        assert client.number is not None
        ours, theirs = socket.socketpair()
        copy = self._copies[client.number] = _Copy()
        try:
            async with TCPStream(trio.SocketStream(trio.socket.from_stdlib_socket(ours))) as behind:
                await behind.send_all(request.head)
                self._clients.pop(client.number, None)  # it is the other worker's now
                client.has_spoken = True
                self._channel.tell("pass", descriptor=theirs.detach(), number=client.number, place=place)
                arrived()
                client.throttle.pair()  # the other worker slows it down as long as it waits
                gathering(stream).limit_reads(lambda most: min(most, limits.PASS_ON_READ))
                with copy.scope:
                    await _copy(stream, behind)
        finally:
            theirs.close()
            copy.over.set()
            del self._copies[client.number]
        return True

    def stop_copying(self, number: int) -> None:
        """Give a client some seconds to take what is left for it: the worker that had it has ended its connection.

        It is not counted any more, so it must not keep its descriptors for as long as it likes.
        """
        if (copy := self._copies.get(number)) is not None:
            copy.scope.deadline = trio.current_time() + transport_limits.GOODBYE_TIMEOUT

    async def wait_until_empty(self) -> None:
        """Return when no client is passed on any more that is passed on now."""
        for copy in tuple(self._copies.values()):
            await copy.over.wait()

    async def answer_hello(
        self, client: Client, hello: Hello, *, waiting: int, is_first: bool, dials_again: bool
    ) -> Welcome | Refused:
        """Have the supervisor answer a hello."""
        self._channel.tell("waiting", count=waiting)
        said = await self._channel.ask(
            "hello",
            number=client.number,
            token=hello.token,
            features=hello.features,
            claim=hello.claim,
            is_first=is_first,
            dials_again=dials_again,
        )
        answer = decode_answer(said["answer"])
        assert not isinstance(answer, Paired), "no answer to a hello"
        if isinstance(answer, Welcome):
            client.wants_reports = MOVEMENT in hello.features
            if said["has_account"]:
                self._has_account.add(client)
        return answer

    def pairing_limits(self, one: Client, other: Client) -> Limits | None:
        """Return the limits of a pairing: its own rate is kept here, and what it shares is asked for."""
        own = self._rates.pairing_limits((), ())
        clients = one, other
        has_account = any(client in self._has_account for client in clients)
        if not (has_account or self.config.rate_per_source or self.config.rate_total):
            return own
        shared = _SharedLimits(self._channel, clients, own, has_quota=has_account)
        self._shared[one] = shared
        return shared


def _own(config: RelayConfig) -> RelayConfig:
    """Return the configuration without rates that pairings share."""
    return replace(config, rate_per_source=None, rate_total=None)


class _SharedLimits(Limits):
    """Rates and quotas that pairings of several workers share."""

    def __init__(
        self, channel: Channel, clients: tuple[Client, Client], own: Limits | None, *, has_quota: bool
    ) -> None:
        self._channel = channel
        self._pair = [client.number for client in clients]
        self._own = own
        self._has_quota = has_quota
        self._granted = 0  # bytes of quotas that may pass without a question
        self._owed = 0
        self._grain: float = limits.RATE_GRAIN
        self._asking = trio.Lock()  # the two directions of a pairing

    async def spend(self, size: int) -> bool:
        if not self._has_quota:
            return True
        async with self._asking:
            if self._granted < size:
                self._granted += await self._channel.ask("spend", pair=self._pair, size=size - self._granted)
            if self._granted < size:
                return False
            self._granted -= size
            return True

    async def pay(self, size: int) -> None:
        if self._own is not None:
            await self._own.pay(size)
        self._owed += size
        if self._owed >= self._grain:
            owed, self._owed = self._owed, 0
            grain = await self._channel.ask("pay", pair=self._pair, size=owed)
            self._grain = math.inf if grain is None else grain

    def give_back(self) -> None:
        """Give back what was granted and not used."""
        self._channel.tell("unspent", pair=self._pair, size=self._granted)
        self._granted = 0


class _Copy:
    """A client whose bytes this worker copies to the worker that has its room."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.over = trio.Event()


async def _copy(client: trio.abc.Stream, behind: TCPStream) -> None:
    """Copy until the worker behind has ended, which says goodbye to the client if that is still there.

    That worker has the client's deadlines, but what it has written lies here: a client that does not read any more is
    given up here as well.
    """

    async def copy_from_client() -> None:
        try:
            while data := await client.receive_some(limits.PASS_ON_READ):
                await behind.send_all(data)
            await behind.send_eof()
        except trio.BrokenResourceError:  # reset: nobody waits for what is left
            nursery.cancel_scope.cancel()

    async def watch_client() -> None:
        """Notice a reset also while the worker behind reads nothing, because the client has sent too much."""
        while gathering(client).silent_for() != math.inf:  # noqa: ASYNC110 - the kernel tells only who asks
            await trio.sleep(transport_limits.PACE_CHECK)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(copy_from_client)
        nursery.start_soon(watch_client)
        with suppress(trio.BrokenResourceError, trio.TooSlowError):
            while data := await behind.receive_some(limits.PASS_ON_READ):
                with trio.fail_after(limits.PAIRED_SEND_TIMEOUT):
                    await client.send_all(data)
        nursery.cancel_scope.cancel()
