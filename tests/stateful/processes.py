"""Real senders and receivers on a `Stage`, started, stopped and killed as a person would their processes."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import trio

from p2p_copy.files.state.facts import Facts
from p2p_copy.files.state.store import States
from p2p_copy.files.target.target import Target
from p2p_copy.observer import Observer, Report
from p2p_copy.protocol.code import Code
from p2p_copy.protocol.messages import Reason
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.transfer.reasons import SENTENCES
from tests.stateful.sides import abandon
from tests.stateful.stage import DEAD, Stage
from tests.support.transfers import receive, send

if TYPE_CHECKING:
    from p2p_copy.files.state.store import State
    from tests.stateful.world import World

CODE = Code("lab", "a long passphrase")
PATIENCE = 600.0


TARGETS: ContextVar[list[Target]] = ContextVar("targets")
"""The output directories that the process of a task has opened."""


class Watched(Target):
    """An output directory that can be abandoned."""

    def __init__(self, *words: Any, **more: Any) -> None:
        super().__init__(*words, **more)
        TARGETS.get().append(self)


class Refusals(Observer):
    """Keeps what the receiver refused."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def problem(self, path: str, sentence: str) -> None:
        if sentence == SENTENCES[Reason.EXISTS]:
            self.names.add(path.partition("/")[2])


class Process:
    """One run of the command of one side.

    Attributes:
        outcome: what it returned or raised; None while it runs, and after a kill.
        over: whether it has ended.
        knew_at: when it was first seen to know that all was delivered.

    """

    def __init__(self, stage: Stage, world: World, role: Role) -> None:
        self.role = role
        self.outcome: Report | Exception | None = None
        self.over = False
        self.knew_at: float | None = None
        self.refusals = Refusals()
        self._stage = stage
        self._world = world
        self._scope = trio.CancelScope()
        self._dead: list[bool] = []
        self._targets: list[Target] = []
        self._state = open_state(world, role)
        stage.start(self._run)

    async def _run(self) -> None:
        DEAD.set(self._dead)
        TARGETS.set(self._targets)
        common: dict[str, Any] = {
            "relay": "ws://relay", "code": CODE, "patience": PATIENCE, "wait": PATIENCE,
            "state": self._state, "observer": self.refusals,
        }  # fmt: skip
        with self._scope:
            try:
                if self.role is Role.SENDER:
                    self.outcome = await send([str(self._world.source)], **common)
                else:
                    self.outcome = await receive(str(self._world.out), **common)
            except Exception as error:  # any: the machine checks which ones are allowed
                self.outcome = error
        self.over = True

    @property
    def has_all(self) -> bool:
        """Whether this side knows that all was delivered."""
        return isinstance(self.outcome, Report) or self.facts.over is not None

    @property
    def facts(self) -> Facts:
        """What this side remembers."""
        return self._state.facts

    def stop(self) -> None:
        """Send it SIGTERM, and wait until it is gone."""
        self._stage.do(self._scope.cancel)
        while not self.over:
            self._stage.wait(1)

    def kill(self) -> None:
        """Send it SIGKILL."""
        self._dead.append(True)
        self.stop()
        self.outcome = None
        for target in self._targets:
            abandon(target)
        if self._state._lock is not None:
            self._state._lock.release()
        if self._state.journal._db is not None:
            self._state.journal._db.close()


def open_state(world: World, role: Role) -> State:
    """Return the state that one side keeps of the transfer."""
    states = States(str(world.states / role.value))
    return states.open("0" * 32) or states.create("0" * 32, Facts())


def part(world: World) -> None:
    """Make the code valid again on both sides, as if both took a new one. The journals stay."""
    for role in Role:
        state = open_state(world, role)
        state.facts = replace(state.facts, tickets=(), sure=False, spent=False)
        state.save()
        state.close()
