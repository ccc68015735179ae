"""Sender and receiver without a loop, with an adversary between them: no wrong file, no success without a receipt."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from p2p_copy.protocol.rendezvous import Role
from tests.stateful.oracle import Oracle
from tests.stateful.profiles import STATEFUL
from tests.stateful.relay import PLACES, ROLES, STEPS, Relay, Wire
from tests.stateful.sides import Desk, ReceiverSide, SenderSide, Side
from tests.stateful.stage import ROOM, other
from tests.stateful.world import CHUNK, HOMES, JOURNAL, SEGMENT, SIZES, World, shrink

pytestmark = pytest.mark.once

A_LINK: Final = (ROOM + 2) * (CHUNK + 200) + 2 * SEGMENT + JOURNAL
"""Most bytes that are sent again after one link was lost or one side killed."""

MEETINGS: Final = 4
"""After so many meetings without interference all is delivered, whatever happened before."""

NAMES: Final = st.sampled_from(sorted(SIZES))


@pytest.fixture(autouse=True)
def oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch)
    Core.oracle = Oracle()
    Core.oracle.watch(monkeypatch)


class Core(Relay):
    """One transfer over as many links as it needs."""

    oracle = Oracle()

    def __init__(self) -> None:
        super().__init__()
        self._numbers = 0
        self._links = 0
        self._changed = False
        self._home = tempfile.TemporaryDirectory(prefix="machine-", dir=HOMES)
        self.world = World(Path(self._home.name))
        self._transfers = 0
        self.desks: dict[Role, Desk] = {}
        self._take_desks()
        self.sides: dict[Role, Side] = {}
        self.oracle.forget()
        self.goodbye = False

    # The two sides

    def prepare(self) -> None:
        """Give both sides a link, unless one of them has not noticed yet that its link is over."""
        if self.goodbye:
            self._begin_another()
        if all(side.over and not side.said for side in self.sides.values()):
            self._meet()

    def _fresh(self) -> bytes:
        self._numbers += 1
        return self._numbers.to_bytes(32, "big")

    def _meet(self) -> None:
        """Give both sides a new link; the old one is over."""
        self._end()
        self._links += 1
        self._changed = self._changed and self.desks[Role.SENDER].done is not None
        self.on_the_way = {role: [] for role in Role}
        desks = self.desks
        self.sides = {
            Role.SENDER: SenderSide(self.world, desks[Role.SENDER], self._fresh(), self._fresh()),
            Role.RECEIVER: ReceiverSide(self.world, desks[Role.RECEIVER], self._fresh(), self._fresh()),
        }

    def refill(self) -> bool:
        for role, side in self.sides.items():
            while len(self.on_the_way[role]) < ROOM and (side.said or side.speak()):
                self.on_the_way[role].append(side.said.pop(0))
        return any(self.on_the_way.values())

    def deliver(self, author: Role, message: Wire) -> None:
        side = self.sides[other(author)]
        if not side.over:
            side.hear(message)
        if isinstance(side, ReceiverSide):
            self.goodbye |= side.knows

    def _end(self) -> None:
        for side in self.sides.values():
            if not side.over:
                side.close()

    # What else happens

    @rule(steps=STEPS)
    def meet(self, steps: int) -> None:
        """Lose the link, and open another one."""
        self._after(steps)
        self._meet()

    @rule(steps=STEPS, role=ROLES)
    def lose(self, steps: int, role: Role) -> None:
        """Lose one side's link, and not yet the other's."""
        self._after(steps)
        if not self.sides[role].over:
            self.sides[role].close()

    @rule(steps=STEPS, role=ROLES)
    def kill(self, steps: int, role: Role) -> None:
        self._after(steps)
        if self.sides[role].over:
            self.desks[role].forget()
        else:
            self.sides[role].kill()

    @rule(steps=STEPS, name=NAMES, size=st.integers(0, 6 * SEGMENT), in_place=st.booleans())
    def change(self, steps: int, name: str, size: int, in_place: bool) -> None:
        self._after(steps)
        self._changed = True
        self.world.change(name, size, in_place=in_place)

    @rule(steps=STEPS, name=NAMES)
    def delete(self, steps: int, name: str) -> None:
        self._after(steps)
        self._changed = True
        self.world.delete(name)

    @rule(steps=STEPS)
    def misread(self, steps: int) -> None:
        """Change a bit in the sender's memory, after it was hashed."""
        self._after(steps)
        self.oracle.misreads = True
        self.world.extra += 2 * max(SIZES.values())

    @rule(steps=STEPS, at=PLACES)
    def poison(self, steps: int, at: int) -> None:
        """Lose the link, and change the parts that are left."""
        self._after(steps)
        self._end()
        self.world.poison(at)

    @rule(steps=STEPS, name=NAMES)
    def lose_a_file(self, steps: int, name: str) -> None:
        """Lose the link, and remove a file that was received."""
        self._after(steps)
        self._end()
        if not self.goodbye:
            self._changed = True
            self.world.lose(name)

    # What holds

    @invariant()
    def no_name_holds_a_wrong_file(self) -> None:
        self.world.check()

    @invariant()
    def no_success_without_the_receipt(self) -> None:
        sent, received = self.desks[Role.SENDER].done, self.desks[Role.RECEIVER].done
        if sent is not None:
            assert received is not None, "the sender succeeds, and the receiver has given no receipt"
        if self.goodbye:
            assert sent is not None
            assert received is not None

    def teardown(self) -> None:
        try:
            self._finish()
        finally:
            for side in self.sides.values():
                if not side.over:
                    side.close()
            for desk in self.desks.values():
                desk.journal.close()
            self._home.cleanup()

    def _finish(self) -> None:
        """Check that all is delivered after a few meetings without interference."""
        meetings = 0
        self.oracle.misreads = False
        while not self.goodbye and meetings < MEETINGS:
            meetings += 1
            self._meet()
            self.carry(1000)
            self.world.check()
        ends = {role: side.error for role, side in self.sides.items()}
        assert self.goodbye, f"not done after {meetings} honest meetings: {ends}"
        self._hold_against_the_source()

    def _hold_against_the_source(self) -> None:
        """Check that both sides have succeeded."""
        if not self._changed:
            self.world.check_whole(self.desks[Role.RECEIVER].refused)
        allowed = self.world.size + self.world.extra + self._links * A_LINK
        assert self.oracle.contents <= allowed

    def _begin_another(self) -> None:
        """Send the same tree once more, to another place."""
        self._hold_against_the_source()
        self._end()
        self._transfers += 1
        self._links = 0
        self.oracle.contents = 0
        self.goodbye = self._changed = False
        self.world.begin_another()
        self._take_desks()

    def _take_desks(self) -> None:
        for desk in self.desks.values():
            desk.journal.close()
        name = f"{self._home.name}/{self._transfers}"
        self.desks = {role: Desk(f"{name}.{role}.journal") for role in Role}


TestCore = Core.TestCase
TestCore.settings = STATEFUL
