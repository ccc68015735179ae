"""Both sides of a transfer, each with a state, to be stopped and started again."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import pytest
import trio

from p2p_copy.files.state import journal
from p2p_copy.files.state.facts import Facts
from p2p_copy.files.state.store import States
from p2p_copy.transfer.resumption import Resumption
from p2p_copy.units import MIB
from tests.support.transfers import CODE, Both, Told, copy, receive, send

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from p2p_copy.files.state.store import State
    from tests.support.lossy_relay import LossyRelay

SEGMENT = 1 * MIB
ID = "0" * 32


class TwoSides:
    """Two sides with a state each, which can be stopped and started again."""

    def __init__(self, tmp_path: Path, at: LossyRelay, source: Path) -> None:
        self.out = tmp_path / "out"
        self._memories = {role: States(str(tmp_path / role)) for role in ("sender", "receiver")}
        self.relay = at
        self._source = source
        self.told = {role: Told() for role in self._memories}
        self.options: dict[str, dict[str, Any]] = {role: {} for role in self._memories}

    def state(self, role: str) -> State:
        states = self._memories[role]
        return states.open(ID) or states.create(ID, Facts())

    def remembered(self) -> list[str]:
        return [id_ for states in self._memories.values() for id_, _, _ in states.all()]

    async def start(self, role: str) -> Any:
        common = {
            "relay": self.relay.address,
            "code": CODE,
            "patience": 20.0,
            "state": self.state(role),
            "observer": self.told[role],
            **self.options[role],
        }
        if role == "sender":
            return await send([str(self._source)], **common)
        return await receive(str(self.out), **common)

    async def until(self, role: str, when: Callable[[], bool]) -> None:
        """Run one side, and stop it when a condition holds."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.start, role)
            while not when():  # noqa: ASYNC110
                await trio.sleep(0.001)
            self.relay.dam = math.inf
            nursery.cancel_scope.cancel()

    async def until_sent(self, role: str, size: int) -> None:
        """Run one side, and stop it when `size` bytes in all were sent to the relay; no more pass before."""
        self.relay.dam = size
        await self.until(role, lambda: self.relay.upstream > size)

    async def until_arrived(self, role: str, size: int) -> None:
        """Run one side and stop it as soon as the receiver has `size` bytes."""
        arrived = trio.Event()

        def look(_: int, here: int) -> None:
            if here > size:
                arrived.set()

        self.told["receiver"].on_progress = look
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.start, role)
            await arrived.wait()
            nursery.cancel_scope.cancel()

    async def kill(self, role: str, more: int) -> None:
        """Stop one side after `more` bytes to the relay, as if it were killed: nothing is added to its journal."""
        size = self.relay.upstream + more
        with pytest.MonkeyPatch.context() as patch:

            def dead() -> bool:
                # A killed process makes no directory, so the first one must exist and be noted before.
                sent = self.relay.upstream > size
                if it_is_time := sent and any(map(os.path.isdir, self.out.glob("*"))):
                    patch.setattr(journal.Journal, "commit", lambda journal, **_: None)
                return it_is_time

            self.relay.dam = size
            await self.until(role, dead)

    def tag(self, role: str) -> str:
        with self.state(role) as state:
            return Resumption(state, 0).tag


async def through(it: LossyRelay, tree: Path, out: Path, **more: Any) -> Both:
    lasting = {"patience": 20.0}
    return await copy(
        [tree],
        out,
        relay=it.address,
        sending={**lasting, **more.get("sending", {})},
        receiving={**lasting, **more.get("receiving", {})},
    )


async def half_way(again: TwoSides, size: int) -> None:
    """Run both sides until `size` bytes have arrived, then stop both; little more passes before."""
    again.relay.dam = size + 2_000_000

    def arrived() -> bool:
        return again.told["receiver"].last[1] > size

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(again.until, "receiver", arrived)
            await again.until("sender", arrived)


async def to_the_end(again: TwoSides) -> None:
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(again.start, "receiver")
            await again.start("sender")
