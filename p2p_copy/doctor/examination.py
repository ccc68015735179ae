"""The order of the checks, and which of them depend on which.

Each check is bounded in time by itself. One that fails leaves out those that depend on it, and no others.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from p2p_copy.doctor import limits
from p2p_copy.doctor.finding import Check, Finding, Verdict, good, wrong
from p2p_copy.doctor.look import about_certificate, about_clock, look_at
from p2p_copy.doctor.machine import about_authorities, about_program, try_disk, try_state
from p2p_copy.doctor.pair import measure_round_trip, measure_speed, not_met, paired, stay_idle
from p2p_copy.doctor.proof import ask_for_proof
from p2p_copy.doctor.way import Way, reach, resolve, walk
from p2p_copy.errors import P2PCopyError, PeerTimeout
from p2p_copy.peer.failures import plain_errors
from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from p2p_copy.options import RelayAccess
    from p2p_copy.protocol.rendezvous import Welcome

_WITHOUT_RELAY: Final = (Check.NAME, Check.TCP, Check.UPGRADE, Check.WELCOME, Check.CLOCK, Check.PAIRING)
"""What is said to be left out if there is no relay."""

_OF_A_PAIR: Final = (Check.ROUND_TRIP, Check.IDLE, Check.SPEED_THERE, Check.SPEED_BACK)


class Subject(NamedTuple):
    """What is examined.

    Attributes:
        relays: how to reach each relay, or the error that says why there is none to examine.
        idle: for how many seconds a connection is left idle; 0 for not at all.
        out: the directory that a receiver would write into.
        state_dir: where transfers are saved; empty if there is no such place.

    """

    relays: Sequence[RelayAccess] | P2PCopyError
    idle: float
    out: str
    state_dir: str


async def examine(
    subject: Subject, report: Callable[[Finding], None], begin: Callable[[Check], None] = lambda check: None
) -> None:
    """Make all checks, in order; `report` each finding, and tell `begin` which check comes now. It fails in no case.

    Those that have to do with a relay are made for each relay in turn.
    """
    examination = _Examination(report, begin)
    await examination.make(Check.PROGRAM, about_program)
    if isinstance(subject.relays, P2PCopyError):
        examination.report(wrong(Check.RELAY, subject.relays))
        examination.leave_out(_WITHOUT_RELAY, Check.RELAY)
    else:
        for access in subject.relays:
            await _examine_relay(access, subject.idle, _Examination(_about(access.url, report), begin))
    await examination.make(Check.DISK, lambda: try_disk(subject.out))
    await examination.make(Check.STATE, lambda: try_state(subject.state_dir))


def _about(relay: str, report: Callable[[Finding], None]) -> Callable[[Finding], None]:
    return lambda finding: report(replace(finding, relay=relay))


class _Examination:
    """Makes checks, and tells of them."""

    def __init__(self, report: Callable[[Finding], None], begin: Callable[[Check], None]) -> None:
        self.report = report
        self.begin = begin

    async def make(self, check: Check, work: Callable[[], Awaitable[Finding]]) -> bool:
        """Make one check; return whether it is not wrong."""
        self.begin(check)
        try:
            with plain_errors():
                self.report(await work())
        except P2PCopyError as error:
            self.report(wrong(check, error))
            return False
        return True

    def leave_out(self, checks: Iterable[Check], because: Check) -> None:
        """Say that checks are not made because of one that went wrong."""
        for check in checks:
            self.report(Finding(check, Verdict.NOT_TRIED, f"since {label(because)} is wrong"))


def label(check: Check) -> str:
    """Return how a check is called before people."""
    return check.value.replace("_", " ")


async def _examine_relay(access: RelayAccess, idle: float, examination: _Examination) -> None:
    """Examine all that has to do with one relay."""
    of_pair = [check for check in _OF_A_PAIR if check is not Check.IDLE or idle]
    try:
        way = Way.of(access)
    except P2PCopyError as error:
        examination.report(wrong(Check.RELAY, error))
        examination.leave_out((*_WITHOUT_RELAY, *of_pair), Check.RELAY)
        return
    plain = (
        ""
        if way.address.tls
        else ", without TLS: the network can see which room is used, and how much is sent"
    )
    examination.report(good(Check.RELAY, f"{way.address}{plain}"))
    through = "none" if way.proxy is None else f"{way.proxy}, from {way.proxy.source}"
    examination.report(good(Check.PROXY, through))
    if way.address.tls:
        pinned = way.pin is not None
        await examination.make(Check.AUTHORITIES, lambda: about_authorities(way.ca_file, pinned=pinned))
    seen = [Check.CERTIFICATE, Check.CLOCK] if way.address.tls else [Check.CLOCK]
    await _Approach(way, examination, idle, of_pair, seen).make()


class _Approach(NamedTuple):
    """The checks that go to the relay, each of which needs those before it."""

    way: Way
    examination: _Examination
    idle: float
    of_pair: list[Check]
    seen: list[Check]

    async def make(self) -> None:
        """Go as far as possible."""
        way, examination = self.way, self.examination
        rest = [*way.stages, *self.seen, Check.PAIRING, *self.of_pair]
        addresses: list[str] = []

        async def resolve_name() -> Finding:
            finding, found = await resolve(way)
            addresses.extend(found)
            return finding

        if not await examination.make(Check.NAME, resolve_name):
            examination.leave_out([Check.TCP, *rest], Check.NAME)
            return
        if not await examination.make(Check.TCP, lambda: reach(way, addresses)):
            examination.leave_out(rest, Check.TCP)
            return
        welcome, passed = await self._walk()
        failed = way.stages[len(passed)] if welcome is None else None
        if failed is Check.TUNNEL:
            examination.leave_out(self.seen, failed)
        else:
            await self._look(failed, trusted=Check.TLS in passed)
        if welcome is None:
            assert failed is not None, "a walk that did not end in a welcome has failed somewhere"
            examination.leave_out([Check.PAIRING, *self.of_pair], failed)
        else:
            await self._pair(welcome)

    async def _walk(self) -> tuple[Welcome | None, list[Check]]:
        """Connect, and report each stage; return the welcome, if there is one, and which stages were passed."""
        stages, passed = self.way.stages, list[Check]()

        def report(finding: Finding) -> None:
            self.examination.report(finding)
            passed.append(finding.check)
            if len(passed) < len(stages):
                self.examination.begin(stages[len(passed)])

        self.examination.begin(stages[0])
        try:
            with plain_errors():
                return await walk(self.way, report), passed
        except P2PCopyError as error:
            failed, *rest = stages[len(passed) :]
            self.examination.report(wrong(failed, error))
            self.examination.leave_out(rest, failed)
        return None, passed

    async def _look(self, failed: Check | None, *, trusted: bool) -> None:
        """Look at what answers, whatever of the walk has `failed`."""
        chain = await self._look_at(failed, trusted=trusted)
        without = failed is Check.TLS  # a certificate, or an accepted one
        # An authority does not connect through this machine's proxy. Without TLS there is no name to prove. And without
        # the certificate that clients see, an answer at port 443 could not be compared with it.
        if self.way.address.tls and self.way.proxy is None and (chain or without):
            self.examination.begin(Check.ACME)
            shown = chain[0] if chain else b""
            self.examination.report(await ask_for_proof(self.way.address.host, shown, needed=without))

    async def _look_at(self, failed: Check | None, *, trusted: bool) -> tuple[bytes, ...]:
        """Report what answers; return its certificates."""
        self.examination.begin(self.seen[0])
        try:
            with plain_errors():
                look = await look_at(self.way)
        except P2PCopyError as error:
            why = f"since {label(failed)} is wrong" if failed else f"since it did not work again: {error}"
            for check in self.seen:
                self.examination.report(Finding(check, Verdict.NOT_TRIED, why))
            return ()
        if Check.CERTIFICATE in self.seen:
            self.examination.report(about_certificate(self.way, look, trusted=trusted))
        self.examination.report(about_clock(self.way, look))
        return look.chain

    async def _pair(self, welcome: Welcome) -> None:
        examination = self.examination
        most = limits.SPEED_BYTES
        if welcome.quota is not None:
            most = min(most, welcome.quota // limits.SPEED_OF_QUOTA)
        left = [Check.PAIRING, *self.of_pair]
        examination.begin(Check.PAIRING)
        try:
            with plain_errors():
                async with paired(self.way.access) as pair:
                    there = lambda: measure_speed(Check.SPEED_THERE, pair.sender, pair.receiver, most)  # noqa: E731
                    back = lambda: measure_speed(Check.SPEED_BACK, pair.receiver, pair.sender, most)  # noqa: E731
                    work: dict[Check, Callable[[], Awaitable[Finding]]] = {
                        Check.ROUND_TRIP: lambda: measure_round_trip(pair),
                        Check.IDLE: lambda: stay_idle(pair, self.idle),
                        Check.SPEED_THERE: there,
                        Check.SPEED_BACK: back,
                    }
                    said = "two sides, both here, have met at the relay and have agreed on keys"
                    examination.report(good(left.pop(0), said))
                    while left:
                        check = left.pop(0)
                        if not await examination.make(check, work[check]):
                            examination.leave_out(left, check)
                            left.clear()
        except P2PCopyError as error:
            if left:
                examination.report(wrong(left[0], not_met() if isinstance(error, PeerTimeout) else error))
                examination.leave_out(left[1:], left[0])
