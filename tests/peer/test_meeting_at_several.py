"""Whatever relays do, two sides meet in bounded time once one relay of both works for both: a model in virtual time.

Relays here are a few lines that seat and pair clients. Each is in or out of reach of each side at any time, refuses or
drops packets then, and some pair both sides and pass nothing on. The sides run the product's own code.
"""

from __future__ import annotations

import math
from collections import deque
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

import anyio
import pytest
import trio
from hypothesis import example, given, settings, strategies as st
from trio.testing import MockClock

from p2p_copy.errors import P2PCopyError, RelayUnreachable
from p2p_copy.observer import Observer
from p2p_copy.options import RelayAccess
from p2p_copy.peer import limits, place
from p2p_copy.peer.backoff import backoff
from p2p_copy.peer.connect import _met, _waiting
from p2p_copy.peer.meeting import ConnectOptions, Meeting
from p2p_copy.protocol import limits as protocol_limits, rendezvous
from p2p_copy.protocol.ranking import ranked
from p2p_copy.protocol.rendezvous import CloseCode, Hello, Paired, Refusal, Refused, Role, Welcome
from p2p_copy.transport import limits as transport_limits
from p2p_copy.transport.link import LinkBroken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from p2p_copy.transport.address import RelayAddress
    from p2p_copy.transport.link import Link

ROOM = "ab" * 32
CHANGING = 120.0
"""Seconds until which relays come and go."""

FOREVER = 10**5
"""Seconds."""

BOUND = 100.0
"""Seconds in which both meet: the longest pause before a relay is tried again (45), two exchanges over relays that pass
nothing on (15 each), a connection attempt that is not answered (15), and less for what works."""


@dataclass(frozen=True)
class Plan:
    """What becomes of one relay.

    Attributes:
        changes: for each role, when its reach changes; out of reach at first.
        drops: packets from clients that cannot reach it are lost, rather than refused.
        is_mute: it passes nothing on.
        delays: seconds of a connection attempt that succeeds or is refused, and of a message to the client.

    """

    changes: dict[Role, tuple[float, ...]]
    drops: bool = False
    is_mute: bool = False
    delays: Mapping[Role, float] = field(default_factory=lambda: dict.fromkeys(Role, 0.05))

    def reaches(self, role: Role, now: float) -> bool:
        return sum(1 for each in self.changes[role] if each <= now) % 2 == 1


class FakeLink:
    """A client's link to a relay of the model."""

    def __init__(self, relay: FakeRelay, role: Role) -> None:
        self.relay = relay
        self.role = role
        self.hello: Hello | None = None
        self.other: FakeLink | None = None
        self.sets_aside: object = None
        self._inbox: deque[tuple[float, bytes | str]] = deque()
        self._end: int | None = None
        self._changed = trio.lowlevel.ParkingLot()

    def deliver(self, message: bytes | str) -> None:
        self._inbox.append((trio.current_time() + self.relay.plan.delays[self.role], message))
        self._changed.unpark_all()

    def end(self, code: int) -> None:
        if self._end is None:
            self._end = code
            self._changed.unpark_all()
            self.relay.left(self)

    async def send(self, message: bytes | str) -> None:
        await trio.lowlevel.checkpoint()
        if self._end is not None:
            raise LinkBroken(close_code=self._end)
        if self.hello is None:
            assert isinstance(message, str)
            said = rendezvous.decode_hello(message, rendezvous.room_path(ROOM))
            assert isinstance(said, Hello)
            self.hello = said
            self.relay.seat(self)
        elif self.other is not None and not self.relay.plan.is_mute:
            self.other.deliver(message)

    async def wait_for_message(self) -> None:
        while True:
            await trio.lowlevel.checkpoint()
            now = trio.current_time()
            if self._inbox and self._inbox[0][0] <= now:
                return
            if not self._inbox and self._end is not None:
                if self._end in {1000, CloseCode.GIVEN_UP}:
                    raise anyio.EndOfStream
                raise LinkBroken(close_code=self._end)
            with trio.move_on_at(self._inbox[0][0] if self._inbox else math.inf):
                await self._changed.park()

    async def receive(self) -> bytes | str:
        await self.wait_for_message()
        return self._inbox.popleft()[1]

    def abort(self) -> None:
        self.end(1006)

    async def close(self, code: int) -> None:
        await trio.lowlevel.checkpoint()
        self.end(code)

    async def aclose(self) -> None:
        await self.close(1000)


class FakeRelay:
    """Seats one client of each role, and pairs them."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.links: set[FakeLink] = set()
        self.visits = 0
        self._seats: dict[Role, FakeLink] = {}

    def seat(self, link: FakeLink) -> None:
        hello = link.hello
        assert hello is not None
        before = self._seats.get(link.role)
        if before is not None:
            assert before.hello is not None
            still = rendezvous.STILL_WAITING in hello.features
            if before.hello.claim != hello.claim or (still and before.other is not None):
                link.deliver(rendezvous.encode(Refused(Refusal.ROOM_TAKEN, "taken", None)))
                return
            before.end(CloseCode.REPLACED)
        self._seats[link.role] = link
        link.deliver(rendezvous.encode(Welcome("model", protocol_limits.MAX_RECORD, 10**6)))
        if len(self._seats) == 2:
            one, two = self._seats.values()
            one.other, two.other = two, one
            for each in (one, two):
                each.deliver(rendezvous.encode(Paired()))

    def left(self, link: FakeLink) -> None:
        if self._seats.get(link.role) is link:
            del self._seats[link.role]
        self.links.discard(link)
        if link.other is not None:
            link.other.end(CloseCode.PEER_LOST)


ROLE: ContextVar[Role] = ContextVar("ROLE")
"""Whose tasks these are."""


class World:
    """All relays of the model, by address, the best first, and what has become of both sides."""

    def __init__(self, plans: list[Plan]) -> None:
        urls = [f"ws://relay{number}:80" for number in range(len(plans))]
        self.relays = {url: FakeRelay(plan) for url, plan in zip(ranked(ROOM, urls), plans, strict=True)}
        self._met: dict[Role, FakeLink] = {}
        self._done = trio.Event()

    @property
    def met_at(self) -> int:
        """The number of the relay where both sides have met."""
        (relay,) = {link.relay for link in self._met.values()}
        return list(self.relays.values()).index(relay)

    @asynccontextmanager
    async def connect(self, address: RelayAddress, _path: str, **_options: object) -> AsyncIterator[FakeLink]:
        relay, role = self.relays[str(address)], ROLE.get()
        relay.visits += 1
        reaches = relay.plan.reaches(role, trio.current_time())
        await trio.sleep(
            transport_limits.CONNECT_TIMEOUT if relay.plan.drops and not reaches else relay.plan.delays[role]
        )
        if not reaches:
            raise RelayUnreachable
        link = FakeLink(relay, role)
        relay.links.add(link)
        try:
            yield link
            await link.aclose()
        finally:
            link.abort()

    async def change(self, relay: FakeRelay) -> None:
        """Cut the links of clients that no longer reach a relay."""
        for now in sorted({each for changes in relay.plan.changes.values() for each in changes}):
            await trio.sleep_until(now)
            for link in list(relay.links):
                if not relay.plan.reaches(link.role, now):
                    link.end(1006)

    async def side(self, role: Role, urls: list[str], start: float) -> None:
        """Look for the other side, by a ticket, until both have heard each other over one link."""
        ROLE.set(role)
        await trio.sleep_until(start)
        options = ConnectOptions(role, [RelayAccess(url) for url in urls], None, FOREVER, Observer())
        meeting = Meeting(ROOM, "secret", ("5e" if role is Role.SENDER else "ec") * 16)
        pauses = backoff()
        while not self._done.is_set():
            with suppress(P2PCopyError, LinkBroken, anyio.EndOfStream):
                async with AsyncExitStack() as stack:
                    waiting = _waiting(options, ROOM, meeting.claim, FOREVER)
                    link, *_ = await _met(waiting, stack, options, meeting)
                    await link.send(b"hello")
                    assert await link.receive() == b"hello"
                    self._met[role] = cast("FakeLink", link)
                    if len(self._met) == 2:
                        self._done.set()
                    await self._until_done_or_lost(link)
            if not self._done.is_set():
                self._met.pop(role, None)
                await trio.sleep(next(pauses))

    async def _until_done_or_lost(self, link: Link) -> None:
        async with trio.open_nursery() as nursery:

            async def stop() -> None:
                await self._done.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(stop)
            with suppress(LinkBroken, anyio.EndOfStream):
                await link.receive()
            nursery.cancel_scope.cancel()


def run(plans: list[Plan], lists: dict[Role, list[int]], starts: dict[Role, float]) -> tuple[float, World]:
    """Let both sides meet; return when they have, and the world. Relays have the numbers of their `plans`."""

    async def main() -> tuple[float, World]:
        world = World(plans)
        urls = list(world.relays)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(place, "connect", world.connect)
            async with trio.open_nursery() as changes:
                for relay in world.relays.values():
                    changes.start_soon(world.change, relay)
                with trio.fail_after(FOREVER):
                    async with trio.open_nursery() as sides:
                        for role in Role:
                            listed = [urls[number] for number in lists[role]]
                            sides.start_soon(world.side, role, listed, starts[role])
                changes.cancel_scope.cancel()
        return trio.current_time(), world

    return trio.run(main, clock=MockClock(autojump_threshold=0))


WELL = Plan(dict.fromkeys(Role, (0.0,)))


times = st.lists(st.floats(0, CHANGING), max_size=4, unique=True).map(sorted).map(tuple)
plans = st.builds(
    Plan, st.fixed_dictionaries(dict.fromkeys(Role, times)), drops=st.booleans(), is_mute=st.booleans()
)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Plan], dict[Role, list[int]], dict[Role, float], float]:
    """Return plans, lists, starts, and when one relay of both lists begins to work for good."""
    found = draw(st.lists(plans, min_size=1, max_size=4))
    good = draw(st.integers(0, len(found) - 1))
    works = draw(st.fixed_dictionaries(dict.fromkeys(Role, st.floats(0, CHANGING))))
    found[good] = replace(found[good], changes={role: (works[role],) for role in Role}, is_mute=False)
    others = [number for number in range(len(found)) if number != good]
    lists = {
        role: draw(st.permutations([good, *(number for number in others if draw(st.booleans()))]))
        for role in Role
    }
    starts = draw(st.fixed_dictionaries(dict.fromkeys(Role, st.floats(0, CHANGING))))
    return found, lists, starts, max(*works.values(), *starts.values())


@settings(max_examples=60)
@given(worlds())
@example(  # two relays that pass nothing on come again and again
    (
        [
            Plan({Role.SENDER: (39.3,), Role.RECEIVER: (46.9,)}, drops=True, is_mute=True),
            Plan({Role.SENDER: (0.0, 47.4, 50.0), Role.RECEIVER: (49.0,)}, drops=True, is_mute=True),
            Plan({Role.SENDER: (85.0,), Role.RECEIVER: (96.0,)}),
        ],
        {role: [2, 0, 1] for role in Role},
        {Role.SENDER: 0.0, Role.RECEIVER: 47.0},
        96.0,
    )
)
def test_both_meet_in_bounded_time_once_one_relay_works_for_both(
    world: tuple[list[Plan], dict[Role, list[int]], dict[Role, float], float],
) -> None:
    found, lists, starts, since = world
    ended, there = run(found, lists, starts)
    assert ended <= since + BOUND
    for relay in there.relays.values():
        assert relay.visits <= 2 * (10 + (ended - min(starts.values())) / 3), "cheap for relays"


delays = st.fixed_dictionaries(dict.fromkeys(Role, st.floats(0.001, 0.2)))


@settings(max_examples=60)
@given(st.lists(delays, min_size=2, max_size=4))
def test_however_the_news_of_pairings_come_both_take_the_same_one(found: list[dict[Role, float]]) -> None:
    """Both come to all relays at the same moment, and are paired at all; there is no second try."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "NEXT_RELAY_AFTER", 0.0)
        numbers = list(range(len(found)))
        lists, starts = dict.fromkeys(Role, numbers), dict.fromkeys(Role, 0.0)
        ended, world = run([replace(WELL, delays=each) for each in found], lists, starts)
    assert ended < 3
    assert all(relay.visits <= 2 for relay in world.relays.values())


@pytest.mark.parametrize("first", Role)
def test_the_better_relay_is_taken_if_both_work(first: Role) -> None:
    starts = dict.fromkeys(Role, 0.0) | {first: 30.0}
    for lists in ({role: [0, 1, 2] for role in Role}, {Role.SENDER: [2, 1, 0], Role.RECEIVER: [0, 1, 2]}):
        ended, world = run([WELL] * 3, lists, starts)
        assert world.met_at == 0
        assert ended < 31


@pytest.mark.parametrize("first", Role)
@pytest.mark.parametrize("drops", [True, False])
def test_a_relay_out_of_reach_of_one_side_costs_a_second(first: Role, drops: bool) -> None:
    """Even if it is the best one, and the other side waits there."""
    one_sided = Plan(
        {first: (0.0,), Role.SENDER if first is Role.RECEIVER else Role.RECEIVER: ()}, drops=drops
    )
    starts = dict.fromkeys(Role, 60.0) | {first: 0.0}
    ended, world = run([one_sided, WELL], {role: [0, 1] for role in Role}, starts)
    assert world.met_at == 1
    assert ended < 60 + limits.NEXT_RELAY_AFTER + 1
