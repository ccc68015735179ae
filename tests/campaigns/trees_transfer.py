"""One transfer of the trees campaign: it is run, with its accidents, and then judged."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from p2p_copy import Code
from p2p_copy.options import Names
from p2p_copy.transfer import limits
from tests.campaigns.trees_parties import (
    BUGS,
    CONNECTING,
    ENDING,
    MET,
    STOPPED,
    WENT_ON,
    Party,
    Relay,
    facts,
    interrupted_early,
    receiver_words,
    relay,
    sender_words,
)
from tests.campaigns.trees_plan import Action, Moment
from tests.support.random_trees import Kind, grow
from tests.support.transfers import receive, send
from tests.support.tree_oracle import Expected, differences, expect

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from p2p_copy.observer import Report
    from tests.campaigns.trees_plan import Accident, Plan
    from tests.support.random_trees import Case

STUCK: Final = limits.RECEIPT_LINGER + 15
"""Seconds without any change on the disk after which a transfer hangs. A receiver that has everything may wait as long
as `limits.RECEIPT_LINGER` for a goodbye that was lost with the relay."""

CHECK_INTERVAL: Final = 1.0
"""Seconds between two looks."""

CODE_SPENT: Final = 11
"""Exit code of WrongCode."""

SPARSE_SLACK: Final = 128 * 1024
"""Bytes that a sparse file may take more at the receiver: file systems have blocks."""

SIGNALS: Final = {Action.KILL: signal.SIGKILL, Action.TERM: signal.SIGTERM, Action.INT: signal.SIGINT}


@dataclass
class Outcome:
    """What became of one transfer.

    Attributes:
        wrong: what was not as it must be.
        counts: of what happened.
        spent: an accident in the key exchange has used up the code, so nothing arrives.
        logs: what both sides have said.

    """

    plan: Plan
    wrong: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    spent: bool = False
    logs: str = ""


async def run(plan: Plan, folder: Path, relays: Mapping[int | None, str]) -> Outcome:
    """Run a transfer in an empty folder through the relay of its rate, or its own, and judge it."""
    outcome = Outcome(plan)
    count = outcome.counts
    count["transfers"] += 1
    count["by programs"] += plan.programs
    count["several links"] += plan.several_links
    await trio.to_thread.run_sync(_prepare, plan, folder)
    before = await trio.to_thread.run_sync(listing, folder / "source")
    if not plan.programs:
        await _by_api(outcome, folder, relays[None])
    elif plan.own_relay:
        async with relay(folder, "relay", "--rate", str(plan.rate), "--drain", "0") as own:
            await _Programs(outcome, folder, own.url, own).run()
    else:
        await _Programs(outcome, folder, relays[plan.rate], None).run()
    expected = Expected(dict(plan.case.existing)) if outcome.spent else expect(plan.case)
    count["code spent"] += outcome.spent
    outcome.wrong += await trio.to_thread.run_sync(judge, plan.case, expected, folder)
    if await trio.to_thread.run_sync(listing, folder / "source") != before:
        outcome.wrong.append("what was sent is not as it was")
    count["refusals"] += expect(plan.case).exit_code == 3
    return outcome


def _prepare(plan: Plan, folder: Path) -> None:
    grow(folder / "source", plan.case.source)
    if plan.out_is_there:
        grow(folder / "out", plan.case.existing)
    (folder / "code").write_text(f"{plan.code}\n", encoding="utf-8")


def listing(top: Path) -> dict[str, tuple[int, ...]]:
    """Return what lies below a directory, as far as it can be seen without reading files."""
    found: dict[str, tuple[int, ...]] = {}
    for where, directories, files in os.walk(top):
        for name in (*directories, *files):
            path = os.path.join(where, name)
            try:
                status = os.lstat(path)
            except FileNotFoundError:
                continue
            found[path] = (
                status.st_mode,
                status.st_size,
                status.st_mtime_ns,
                status.st_ino,
                status.st_blocks,
            )
    return found


def judge(case: Case, expected: Expected, folder: Path) -> list[str]:
    """Return what lies in the output directory otherwise than the documentation says, a line each."""
    source, out = folder / "source", folder / "out"
    wrong = differences(out, case, expected)
    if wrong:
        return wrong
    for path, place in expected.places.items():
        node = case.source[path]
        if node.kind is Kind.FILE and node.hole:
            there, here = (os.stat(where).st_blocks * 512 for where in (source / path, out / place))
            if here > there + SPARSE_SLACK:
                wrong.append(f"{place!r} takes {here} bytes on the disk, not {there}")
    return wrong


class End(NamedTuple):
    """How a side has ended: its last exit code, whether something is remembered, what each of its runs has said."""

    name: str
    code: int | None
    remembers: bool
    logs: Sequence[str]


def judge_ends(ends: Sequence[End], expected: Expected) -> list[str]:
    """Return what both sides' ends have that the documentation does not say, a line each."""
    wrong = []
    digests = {}
    for end in ends:
        if end.code != expected.exit_code:
            wrong.append(f"the {end.name} ended with {end.code}, not {expected.exit_code}")
        if end.remembers:
            wrong.append(f"the {end.name} still remembers it")
        told = [said for said in end.logs if not interrupted_early(said)]
        wrong += [f"the {end.name} says {bug!r}" for bug in BUGS if any(bug in said for said in told)]
        if match := re.search(r"(?:Sent|Received) ([\d,]+) files?,.* digest ([0-9a-f]{16})", end.logs[-1]):
            digests[end.name] = match[2]
            if int(match[1].replace(",", "")) != expected.files:
                wrong.append(f"the {end.name} tells of {match[1]} files, not {expected.files}")
        elif end.code == expected.exit_code:
            wrong.append(f"the {end.name} tells no sums")
    if len(set(digests.values())) > 1:
        wrong.append(f"two digests: {digests}")
    return wrong


async def _by_api(outcome: Outcome, folder: Path, url: str) -> None:
    """Let both sides run in this process."""
    plan = outcome.plan
    asked, expected = plan.case.asked, expect(plan.case)
    reports: dict[str, Report] = {}
    room, _, secret = plan.code.partition("-")

    async def sending() -> None:
        await trio.sleep(max(-plan.lag, 0))
        reports["sender"] = await send(
            [folder / "source" / top for top in plan.case.tops],
            relay=url,
            code=Code(room, secret),
            symlinks=asked.links,
            preserve=plan.preserve[0],
            only=asked.sender_only,
            exclude=asked.sender_exclude,
            links=plan.links[0],
        )

    async def receiving() -> None:
        await trio.sleep(max(plan.lag, 0))
        reports["receiver"] = await receive(
            folder / "out",
            relay=url,
            code=Code(room, secret),
            conflict=asked.conflict,
            names=Names.PORTABLE if asked.portable else Names.SYSTEM,
            preserve=plan.preserve[1],
            only=asked.receiver_only,
            exclude=asked.receiver_exclude,
            links=plan.links[1],
        )

    try:
        with trio.move_on_after(STUCK) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sending)
                nursery.start_soon(receiving)
    except Exception as error:
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        outcome.wrong.append(f"{type(error).__name__}: {error}")
        return
    if scope.cancelled_caught:
        outcome.wrong.append(f"nothing ended it within {STUCK:g} s; ended: {', '.join(reports) or 'nobody'}")
        return
    one, other = reports["sender"], reports["receiver"]
    if one.root != other.root:
        outcome.wrong.append(f"the sender's digest is {one.root}, the receiver's {other.root}")
    for side, report in reports.items():
        said, right = (
            (report.files, report.size, report.skipped),
            (expected.files, expected.size, expected.skipped),
        )
        if said != right:
            outcome.wrong.append(f"the {side} counts {said} files, bytes and skipped, not {right}")
        if not expected.failures <= report.failures <= expected.failures + expected.more:
            outcome.wrong.append(f"the {side} counts {report.failures} failures, not {expected.failures}")


class _Programs:
    """Both sides as processes."""

    def __init__(self, outcome: Outcome, folder: Path, url: str, own: Relay | None) -> None:
        plan = outcome.plan
        codes = [None if in_file else plan.code for in_file in plan.code_in_file]
        self._outcome = outcome
        self._folder = folder
        self._relay = own
        self._right = expect(plan.case).exit_code
        self._sender = Party("sender", sender_words(plan, folder, url), folder, codes[0])
        self._receiver = Party("receiver", receiver_words(plan, folder, url), folder, codes[1])
        self._parties = {party.name: party for party in (self._sender, self._receiver)}
        self._hit: set[str] = set()

    async def run(self) -> None:
        """Start both, let accidents happen, wait for both ends."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, nursery.cancel_scope)
                await self._story()
                nursery.cancel_scope.cancel()
            self._judge()
        finally:
            for party in self._parties.values():
                party.end()
            self._outcome.logs = self._told()
            self._outcome.counts["resumes"] += self._outcome.logs.count(WENT_ON)

    async def _story(self) -> None:
        first, second = self._sender, self._receiver
        if self._outcome.plan.lag < 0:
            first, second = second, first
        await first.start()
        await trio.sleep(abs(self._outcome.plan.lag))
        await second.start()
        for accident in self._outcome.plan.accidents:
            if self._receiver.code != CODE_SPENT:
                await self._accident(accident)
        if await self._receiver.ended() == CODE_SPENT and self._code_may_be_used_up():
            self._outcome.spent = True
            return
        await self._sender.ended()

    def _code_may_be_used_up(self) -> bool:
        """Return whether an accident may have met the key exchange after the receiver's proof.

        A stranger who has that proof may have tried one guess on it, so the code is spent then, also for the next try.
        """
        return bool(self._hit) and not any(MET in said for said in self._receiver.logs)

    async def _watch(self, scope: trio.CancelScope) -> None:
        """End all when nothing moves any more."""
        last, since = None, trio.current_time()
        while True:
            await trio.sleep(CHECK_INTERVAL)
            seen = await trio.to_thread.run_sync(listing, self._folder / "out")
            now = (seen, [(party.runs, party.code) for party in self._parties.values()])
            if now != last:
                last, since = now, trio.current_time()
            elif trio.current_time() - since > STUCK:
                running = [party.name for party in self._parties.values() if party.code is None]
                self._outcome.wrong.append(
                    f"nothing moved for {STUCK:g} s; still running: {', '.join(running)}"
                )
                scope.cancel()

    async def _accident(self, accident: Accident) -> None:
        """Let it happen, if a party is left to which it can happen."""
        victims = [self._parties[name] for name in accident.to] or list(self._parties.values())
        if accident.since is Moment.START:
            await victims[-1].run_for(accident.delay)
        else:
            for victim in victims:
                words = MET if accident.since is Moment.MEETING else CONNECTING
                await victim.said(words, unless=lambda: self._receiver.code == CODE_SPENT)
            await trio.sleep(accident.delay)
        victims = [victim for victim in victims if victim.code is None]
        if not victims:
            self._outcome.counts["too late"] += 1
            return
        if accident.action.of_relay:
            await self._restart_relay(accident)
            return
        self._outcome.counts[
            f"{accident.action.value} {' and '.join(victim.name for victim in victims)}"
        ] += 1
        for victim in victims:
            self._hit.add(victim.name)
            victim.signal(SIGNALS[accident.action])
        again = [victim for victim in victims if await self._must_go_on(victim, accident.action)]
        await trio.sleep(accident.pause)
        for victim in again:
            await victim.start()

    async def _restart_relay(self, accident: Accident) -> None:
        assert self._relay is not None
        self._hit.add("relay")
        self._outcome.counts[accident.action.value] += 1
        killed = accident.action is Action.RELAY_KILLED
        await self._relay.stop(signal.SIGKILL if killed else signal.SIGTERM)
        await trio.sleep(accident.pause)
        await self._relay.start()

    async def _must_go_on(self, victim: Party, action: Action) -> bool:
        """Wait for the end of a party that was told to end; return whether there is something left to do."""
        with trio.move_on_after(ENDING) as scope:
            code = await victim.ended()
        if scope.cancelled_caught:
            self._outcome.wrong.append(f"the {victim.name} did not end within {ENDING:g} s of {action.value}")
            victim.signal(signal.SIGKILL)
            return True
        if code == self._right:
            return False
        if action is Action.KILL:
            if code != -signal.SIGKILL:
                self._outcome.wrong.append(f"the {victim.name} ended with {code}, not {self._right}")
            victim.killed_when_done = victim.says(MET) and not victim.remembers()
            return not victim.killed_when_done
        early = action is Action.INT and interrupted_early(victim.logs[-1])
        if code not in STOPPED[SIGNALS[action]] and not early:
            self._outcome.wrong.append(f"the {victim.name} ended with {code} on {action.value}")
        return True

    def _judge(self) -> None:
        if self._outcome.spent:
            return
        self._outcome.counts["killed when all was done"] += sum(
            party.killed_when_done for party in self._parties.values()
        )
        ends = [
            End(party.name, party.code, party.remembers(), party.logs)
            for party in self._parties.values()
            if not party.killed_when_done
        ]
        self._outcome.wrong += judge_ends(ends, expect(self._outcome.plan.case))

    def _told(self) -> str:
        told = []
        for party in self._parties.values():
            told.append(f"--- the {party.name}, last exit code {party.code}, remembers {facts(party)}:")
            told.append(" ".join(party.words))
            told += [f"- run {number}\n{said}" for number, said in enumerate(party.logs, 1)]
        return "\n".join(told)
