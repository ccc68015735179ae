"""One round: a transfer, the accidents that it meets, and what is expected of it all the same."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from tests.bench.data import MIB
from tests.bench.markdown import say
from tests.campaigns.chaos_data import PREFIX, differences, leftovers
from tests.campaigns.chaos_network import Networks
from tests.campaigns.chaos_parties import Party, RelayParty, client_words, relay_words
from tests.campaigns.chaos_plan import Action, Who

if TYPE_CHECKING:
    from tests.campaigns.chaos_parties import Setting
    from tests.campaigns.chaos_plan import Accident, Kind, Plan

OVERHEAD = 1.05
"""Times the data that may cross without accidents: TLS, records, names."""

REACHED = "Waiting for the "
"""What clients say when they have a place at the relay."""

SOON = 0.01
"""Seconds between two looks at what they have said."""

RESENT = 64 * MIB
"""Bytes that one accident may cost."""

FLOW = 0.005
"""Share of the data after which bytes arrive again, 1 MiB at most."""

CHECK_INTERVAL = 0.1
"""Seconds between two looks at the counter."""

SLOWER = 3
"""Times as long as it should take, on a busy machine."""

RECOVERY = 90.0
"""Seconds within which a transfer must be back after an accident: who vanishes without a word is noticed after 80."""

SPARE = 120.0
"""Seconds more: the greetings, the end, and once more the greetings."""

BUGS = ("Traceback", "a bug ended")
"""What no relay may say. Clients show where errors came from, so that their logs help."""

CLIENTS = (Who.SENDER, Who.RECEIVER)


def deadline(plan: Plan, seconds: float) -> float:
    """Return the seconds after which a round hangs; `seconds` is what it should take without accidents."""
    return SLOWER * seconds + plan.outage + RECOVERY * len(plan.accidents) + SPARE


@dataclass(frozen=True, slots=True)
class Happened:
    """An accident that met the transfer, and the seconds from its end until bytes arrived again, or all was over."""

    kind: Kind
    recovery: float


@dataclass
class Outcome:
    """What became of a round.

    Attributes:
        data: bytes to copy.
        expected: seconds that they take at the relay's rate.
        sent: bytes that crossed.
        wrong: failed expectations.

    """

    plan: Plan
    data: int
    expected: float
    seconds: float = 0.0
    sent: int = 0
    happened: list[Happened] = field(default_factory=list)
    too_late: int = 0
    wrong: list[str] = field(default_factory=list)
    last_words: dict[Who, str] = field(default_factory=dict)

    @property
    def overhead(self) -> float:
        """Bytes that crossed beyond the data, as a share of them."""
        return self.sent / self.data - 1

    @property
    def lost(self) -> float:
        """Seconds that it took longer than it should have."""
        return self.seconds - self.expected

    @property
    def allowed(self) -> float:
        """Bytes that may cross."""
        return OVERHEAD * self.data + RESENT * len(self.happened)


class Round:
    """One round while it runs."""

    def __init__(self, plan: Plan, setting: Setting, outcome: Outcome) -> None:
        self.outcome = outcome
        self._plan = plan
        self._setting = setting
        self._place = setting.place
        self._scope = trio.CancelScope()
        self._began = trio.current_time()
        self._events = setting.logs / "round.log"
        self._links = {who: trio.Lock() for who in Who}
        self._relay = RelayParty(Who.RELAY, relay_words(setting), setting, self._fail)
        self._parties: dict[Who, Party] = {Who.RELAY: self._relay}
        self._arrived = 0
        self._before = self._counted()
        self._took: dict[int, int] = {}

    async def run(self, offered: str) -> None:
        """Run it; `outcome` tells what it was. `offered` is what the clients' help says."""
        self._say(f"{self._plan}")
        for who in CLIENTS:
            self._parties[who] = Party(
                who, client_words(self._setting, who, offered), self._setting, self._fail
            )
        try:
            with self._scope:
                await self._live()
        finally:
            if isinstance(self._place, Networks):
                self._place.join_all()
                self._place.settle()
        self.outcome.seconds = trio.current_time() - self._began
        if not self.outcome.wrong:
            await self._judge()
        self.outcome.last_words = {who: party.last_words for who, party in self._parties.items()}

    async def _live(self) -> None:
        parties = [self._parties[who] for who in (Who.RELAY, *CLIENTS)]
        if self._plan.receiver_first:
            parties[1:] = reversed(parties[1:])
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._limit)
                for party in parties:
                    await party.start()
                    nursery.start_soon(party.live)
                nursery.start_soon(self._watch)
                nursery.start_soon(self._happen)
                for who in CLIENTS:
                    await self._parties[who].ended.wait()
                await self._look()
                nursery.cancel_scope.cancel()
        finally:
            for party in parties:  # also of those that were being started
                await party.remove()

    async def _limit(self) -> None:
        seconds = deadline(self._plan, self.outcome.expected)
        await trio.sleep(seconds)
        running = ", ".join(who for who, party in self._parties.items() if party.running)
        open_ends = ", ".join(who for who in CLIENTS if not self._parties[who].ended.is_set())
        self._fail(f"not done after {seconds:.0f} s; not ended: {open_ends}; running: {running}")

    def _fail(self, why: str) -> None:
        """Note what is wrong. The round is over."""
        self._say(f"FAILED: {why}")
        self.outcome.wrong.append(why)
        self._scope.cancel()

    def _say(self, text: str, *, to_people: bool = False) -> None:
        """Write into all logs of the round, at its time."""
        line = f"{trio.current_time() - self._began:.2f} s: {text}"
        with self._events.open("a", encoding="utf-8") as log:
            log.write(f"{line}\n")
        for party in self._parties.values():
            party.note(line)
        if to_people:
            say(
                f"  seed {self._plan.seed}, {self._arrived / self.outcome.data:.0%}, {line}",
                to_people=True,
            )

    # What crosses

    async def _watch(self) -> None:
        while True:
            await self._look()
            await trio.sleep(CHECK_INTERVAL)

    async def _look(self) -> None:
        """Read the counters. A relay that was killed takes what it counted last with it; networks count it all."""
        if isinstance(self._place, Networks):
            counted = self._counted()
            self.outcome.sent, self._arrived = (
                now - then for now, then in zip(counted, self._before, strict=True)
            )
            return
        run = self._relay.runs
        try:
            took = await self._relay.took()
        except OSError:
            return
        if run == self._relay.runs:
            self._took[run] = took
            self.outcome.sent = self._arrived = sum(self._took.values())

    def _counted(self) -> tuple[int, int]:
        return (self._place.sent(), self._place.arrived()) if isinstance(self._place, Networks) else (0, 0)

    @property
    def _over(self) -> bool:
        return all(self._parties[who].ended.is_set() for who in CLIENTS)

    async def _until_arrived(self, count: float) -> None:
        while self._arrived < count and not self._over:  # noqa: ASYNC110 - other processes change it
            await trio.sleep(CHECK_INTERVAL)

    # Accidents

    async def _until_reached(self) -> None:
        """Wait for both clients: they give up on a relay that they have never reached, as its address may be wrong."""
        while not all(REACHED in self._parties[who].said for who in CLIENTS):  # noqa: ASYNC110
            await trio.sleep(SOON)

    async def _happen(self) -> None:
        """Have all accidents, each when it is due."""
        await self._until_reached()
        async with trio.open_nursery() as nursery:
            for accident in self._plan.accidents:
                await self._until_arrived(accident.at * self.outcome.data)
                await trio.sleep(accident.delay)
                nursery.start_soon(self._have, accident)

    async def _have(self, accident: Accident) -> None:
        self._say(f"{accident}", to_people=True)
        if not await self._do(accident):
            self._say(f"{accident.kind}: too late", to_people=True)
            self.outcome.too_late += 1
            return
        mended = trio.current_time()
        self._say(f"{accident.kind}: mended")
        try:
            await self._until_arrived(self._arrived + min(FLOW * self.outcome.data, MIB))
        finally:  # the end of the round is one of this, too
            recovery = trio.current_time() - mended
            self.outcome.happened.append(Happened(accident.kind, recovery))
        self._say(f"{accident.kind}: bytes arrive again after {recovery:.1f} s", to_people=True)

    async def _do(self, accident: Accident) -> bool:
        """Let it happen and be mended. Return False if there was nothing left to be met by it."""
        action, whom = accident.kind
        match action:
            case Action.KILLED | Action.TOLD:
                assert whom is not None
                number = signal.SIGKILL if action is Action.KILLED else signal.Signals[accident.way]
                return await self._end(whom, number, accident.pause)
            case Action.BOTH_KILLED:
                met: list[bool] = []

                async def one(who: Who) -> None:
                    met.append(await self._end(who, signal.SIGKILL, accident.pause))

                async with trio.open_nursery() as nursery:
                    for who in CLIENTS:
                        nursery.start_soon(one, who)
                return any(met)
            case Action.SHORT | Action.LONG:
                assert whom is not None
                return await self._cut(whom, accident)
            case Action.MOVED:
                return await self._move(accident)

    async def _end(self, who: Who, number: signal.Signals, pause: float) -> bool:
        """End a party and start it again, as its user would do, or its service manager."""
        party = self._parties[who]
        async with party.lock:
            # With one of the two gone in success, the other one has only to end, too: its partner would not come back.
            if any(self._parties[each].ended.is_set() for each in CLIENTS) or not await party.end(number):
                return False
            await trio.sleep(pause)
            await party.start()
        return True

    async def _cut(self, who: Who, accident: Accident) -> bool:
        place = self._networks
        async with self._links[who]:
            if self._over:
                return False
            place.cut(who, accident.way)
            try:
                await trio.sleep(accident.pause)
            finally:
                place.join(who)
        return True

    async def _move(self, accident: Accident) -> bool:
        """Let the relay come back at another address: first it serves there, then its name says so."""
        place, silently = self._networks, accident.way == "silently"
        async with self._relay.lock:
            if any(self._parties[each].ended.is_set() for each in CLIENTS):
                return False
            if silently:
                place.take_address()
            await self._relay.end(signal.SIGKILL if silently else signal.SIGTERM)
            if not silently:
                place.take_address()
            place.give_address()
            await self._relay.start()
            await trio.sleep(accident.pause)
            place.publish_address()
        return True

    @property
    def _networks(self) -> Networks:
        assert isinstance(self._place, Networks)
        return self._place

    # What is expected

    async def _judge(self) -> None:
        setting, outcome = self._setting, self.outcome
        copy = setting.out / setting.source.name
        wrong = await trio.to_thread.run_sync(differences, setting.source, copy)
        wrong += await trio.to_thread.run_sync(leftovers, setting.out, *map(setting.state, CLIENTS))
        others = sorted(each.name for each in setting.out.iterdir() if each != copy)
        if strange := [name for name in others if not name.startswith(PREFIX)]:
            wrong.append(f"there is also {strange}")
        wrong += [f"the relay's log has {word!r}" for word in BUGS if word in self._relay.said]
        if outcome.sent > outcome.allowed:
            sent, allowed = outcome.sent / MIB, outcome.allowed / MIB
            wrong.append(f"{sent:,.0f} MiB crossed, {allowed:,.0f} are allowed")
        if outcome.sent < outcome.data and isinstance(self._place, Networks):
            wrong.append(f"only {outcome.sent:,} bytes of {outcome.data:,} were counted")
        for why in wrong:
            self._fail(why)
