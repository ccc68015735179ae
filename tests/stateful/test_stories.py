"""Real senders and receivers with an adversary between them: they come back, and both succeed or say why not."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

import pytest
import trio
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from p2p_copy.errors import P2PCopyError, WrongCode
from p2p_copy.observer import Report
from p2p_copy.peer import place
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.transfer import limits as transfer_limits
from p2p_copy.transfer.tree import receiver
from p2p_copy.transport import limits as transport_limits
from tests.stateful.oracle import Oracle
from tests.stateful.processes import PATIENCE, Process, Watched, part
from tests.stateful.profiles import STORIES
from tests.stateful.relay import ROLES, STEPS, Relay, Wire
from tests.stateful.stage import ROOM, Network, Stage, at_once
from tests.stateful.world import HOMES, SEGMENT, SIZES, World, shrink

pytestmark = pytest.mark.once

NAMES: Final = st.sampled_from(sorted(SIZES))

TURN: Final = 2.0
"""Seconds that pass in one step while neither side sends."""

SOON: Final = 2 * transfer_limits.RECEIPT_LINGER + 60
"""Seconds after which a side that knows that all was delivered has ended, whatever happens to the other side."""

ROUNDS: Final = 8
"""After so many rounds without interference, with new processes for failed ones, all is over."""


@pytest.fixture(autouse=True)
def product(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch)
    monkeypatch.setattr(trio.to_thread, "run_sync", at_once)
    monkeypatch.setattr(receiver, "Target", Watched)
    Stories.patch = monkeypatch
    Stories.oracle = Oracle()
    Stories.oracle.watch(monkeypatch)


class Stories(Relay):
    """One transfer after the other, each with as many links and processes as it needs."""

    oracle = Oracle()
    patch: pytest.MonkeyPatch

    def __init__(self) -> None:
        super().__init__()
        self.oracle.forget()
        self._home = tempfile.TemporaryDirectory(prefix="machine-", dir=HOMES)
        self.world = World(Path(self._home.name))
        self.stage = Stage()
        self._changed = False
        self._killed = False
        self._transfers = 0
        self._begin()

    def _begin(self) -> None:
        self.network = Network(self.on_the_way)
        self.patch.setattr(place, "connect", self.network.connect)
        self.processes = {role: Process(self.stage, self.world, role) for role in Role}

    # The two sides

    def prepare(self) -> None:
        """Start failed processes again, as people do, until both sides are connected."""
        for _ in range(int(2 * PATIENCE / TURN)):
            self._restart()
            if self._talk():
                if any(self.on_the_way.values()):
                    return
                self.stage.do(self.network.paired[Role.SENDER].abort)  # something was dropped, and both wait
            for (
                author
            ) in Role:  # what one side has said before it closed its link: that the code is used up, say
                while self.on_the_way[author]:
                    self.deliver(author, self.on_the_way[author].pop(0))
            self.stage.wait(TURN)
        raise AssertionError(f"the two sides do not find each other: {self._ends()}")

    def _ends(self) -> str:
        """Return the state of both sides, for a person."""
        return ", ".join(
            f"{role.value}: {process.outcome!r}, over: {process.over}, facts: {process.facts}"
            for role, process in self.processes.items()
        )

    def _talk(self) -> bool:
        pair = self.network.paired.values()
        return len(pair) == 2 and not any(link.over or link._end for link in pair)

    def _restart(self) -> None:
        self.a_side_that_knows_is_over_soon()
        ends = [process.outcome for process in self.processes.values()]
        if None not in ends and any(isinstance(end, Report) for end in ends):
            self._judge()
            self._begin_another()
        elif any(isinstance(end, WrongCode) for end in ends):  # so it says to take a new one, on both sides
            for process in self.processes.values():
                process.stop()
            part(self.world)
        for role, process in self.processes.items():
            if process.over and not isinstance(process.outcome, Report):
                self.processes[role] = Process(self.stage, self.world, role)

    def refill(self) -> bool:
        return any(self.on_the_way.values())

    def deliver(self, author: Role, message: Wire) -> None:
        self.stage.do(lambda: self.network.deliver(author, message))

    # What else happens

    @rule(steps=STEPS, author=ROLES)
    def cut(self, steps: int, author: Role) -> None:
        """Lose one side's link; the other side learns of it later."""
        self._after(steps)
        if author in self.network.paired:
            self.stage.do(self.network.paired[author].abort)

    @rule(steps=STEPS, role=ROLES)
    def stop(self, steps: int, role: Role) -> None:
        self._after(steps)
        self.processes[role].stop()

    @rule(steps=STEPS, role=ROLES, seconds=st.sampled_from([0, 250]))
    def kill(self, steps: int, role: Role, seconds: int) -> None:
        """Stop one side for a while."""
        self._after(steps)
        self._killed = True
        if not self.processes[role].over:
            self.processes[role].kill()
            self.stage.wait(seconds)

    @rule(steps=STEPS, seconds=st.sampled_from([1, 10, 70, 250]))
    def wait(self, steps: int, seconds: int) -> None:
        """Deliver nothing for a while."""
        self._after(steps)
        self.stage.wait(seconds)

    @rule(steps=STEPS, name=NAMES, size=st.integers(0, 6 * SEGMENT), in_place=st.booleans())
    def change(self, steps: int, name: str, size: int, in_place: bool) -> None:
        self._after(steps)
        self._changed = True
        self.world.change(name, size, in_place=in_place)

    # What holds

    @invariant()
    def no_name_holds_a_wrong_file(self) -> None:
        self.world.check()

    @invariant()
    def no_success_without_the_receipt(self) -> None:
        if self.processes[Role.SENDER].has_all:
            assert self.processes[Role.RECEIVER].has_all, "the sender succeeds, and no receipt was given"

    @invariant()
    def a_side_that_knows_is_over_soon(self) -> None:
        """Check that no side waits for hours only to receive, or send, the goodbye."""
        for process in self.processes.values():
            if process.has_all and not process.over:
                process.knew_at = process.knew_at or self.stage.now
                assert self.stage.now - process.knew_at < SOON, f"{process.role} waits for nothing"

    @invariant()
    def errors_are_for_people(self) -> None:
        for process in self.processes.values():
            if isinstance(process.outcome, Exception):
                assert isinstance(process.outcome, P2PCopyError), repr(process.outcome)

    def _judge(self) -> None:
        """Check that both have ended, and at least one of them with success."""
        sent, received = (self.processes[role].outcome for role in (Role.SENDER, Role.RECEIVER))
        assert isinstance(received, Report), "what the sender calls delivered the receiver must have"
        if isinstance(sent, Report):
            assert (sent.root, sent.files, sent.size) == (received.root, received.files, received.size)
        refused = self.processes[Role.RECEIVER].refusals.names
        assert self._killed or not refused
        if not self._changed:
            self.world.check_whole(refused)

    def _begin_another(self) -> None:
        self.world.begin_another()
        self._transfers += 1
        self._changed = self._killed = False
        self._begin()

    def teardown(self) -> None:
        try:
            self._finish()
        finally:
            for process in self.processes.values():
                process.stop()
            self.stage.close()
            self._home.cleanup()

    def _finish(self) -> None:
        """Check that all is delivered, and both know it, after a few rounds without interference."""
        before = self._transfers
        for _ in range(ROUNDS):
            self.prepare()
            if self._transfers > before:
                return
            self.carry(1000)
        raise AssertionError(f"not over after {ROUNDS} honest rounds: {self._ends()}")


def test_a_goodbye_that_the_relay_does_not_read_is_not_waited_for() -> None:
    stories = Stories()
    sender, receive = (stories.processes[role] for role in (Role.SENDER, Role.RECEIVER))
    stories.prepare()
    while not receive.has_all:
        stories.pass_on(Role.RECEIVER)
        stories.pass_on(Role.SENDER)
    stories.on_the_way[Role.SENDER].extend([b""] * ROOM)
    while stories.pass_on(Role.RECEIVER):
        pass
    assert sender.has_all
    assert not sender.over
    stories.stage.wait(transfer_limits.GOODBYE_LINGER + transport_limits.GOODBYE_TIMEOUT)
    assert isinstance(sender.outcome, Report)
    stories.teardown()


TestStories = Stories.TestCase
TestStories.settings = STORIES
