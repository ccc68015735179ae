"""Runs all pairings of a relay; one task checks all of them every few seconds.

So no pairing needs a clock of its own, nor a timer for each message. If the memory of the relay is short at a check,
pairings that stand still are ended for theirs.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import trio

from p2p_copy.relay import limits
from p2p_copy.relay.log import events
from p2p_copy.relay.log.abuse import Abuse

if TYPE_CHECKING:
    from p2p_copy.relay.budget import Budget
    from p2p_copy.relay.pairing import Pairing
    from p2p_copy.relay.tally import Tally


class Pairings:
    """The pairings of one relay.

    Attributes:
        running: those that run, by numbers that only the operator learns.
        budget: the budget of memory that they share.

    """

    def __init__(self, budget: Budget, tally: Tally) -> None:
        """Begin with none; `tally` counts those that end."""
        self.running: dict[int, Pairing] = {}
        self.budget = budget
        self._tally = tally
        self._numbers = itertools.count(1)
        self._stopping = False

    def __len__(self) -> int:
        return len(self.running)

    @property
    def received(self) -> dict[str, int]:
        """Bytes received so far, in all pairings that were and are, by the side that they came from."""
        # A program with a relay in a thread asks from another thread, where the pairings may change meanwhile.
        running = zip(*(pairing.sent for pairing in tuple(self.running.values())), strict=True)
        sums = [sum(side) for side in running] or [0, 0]
        ended = self._tally.received.items()
        return {side: before + now for (side, before), now in zip(ended, sums, strict=True)}

    async def run(
        self, pairing: Pairing, addresses: tuple[str | None, ...], number: int | None = None
    ) -> None:
        """Run a pairing until its end, then count it and log it with the addresses of its clients.

        Without a `number` it has the next one of this process.
        """
        if number is None:
            number = next(self._numbers)
        self.running[number] = pairing
        pairing.number = number
        if self._stopping:
            pairing.stop()
        events.PAIRED.log(pairing=number)
        try:
            usage = await pairing.run()
        finally:
            del self.running[number]
        self._tally.add(usage, number, addresses)

    def stop(self) -> None:
        """End all pairings, and each that begins later."""
        self._stopping = True
        for pairing in tuple(self.running.values()):
            pairing.stop()

    async def watch(self) -> None:
        """Check all pairings, and keep to the budget, until this is cancelled."""
        while True:
            await trio.sleep(limits.PAIRING_CHECK_INTERVAL)
            for count, pairing in enumerate(tuple(self.running.values()), 1):
                pairing.check()
                if count % limits.PAIRINGS_A_TURN == 0:
                    # Checking thousands takes a tenth of a second; let messages move in between.
                    await trio.lowlevel.checkpoint()
            if self.budget.missing:
                self._free_memory()

    def _free_memory(self) -> None:
        """End pairings in which one side reads nothing, the longest stalled first, until enough memory is free."""
        # A pairing ended at an earlier check has a few seconds to say goodbye, and keeps its memory until then.
        ending = (each for each in self.running.values() if each.is_freeing_memory)
        missing = self.budget.missing - sum(_gives_back(each) for each in ending)
        latest = trio.current_time() - limits.MEMORY_STALL
        for pairing in sorted(self.running.values(), key=lambda pairing: pairing.undelivered_since):
            if missing <= 0 or pairing.undelivered_since > latest:
                break
            missing -= _gives_back(pairing)
            pairing.free_memory()
            self._tally.abuse.count(Abuse.MEMORY)


def _gives_back(pairing: Pairing) -> int:
    return max(pairing.held, 2 * limits.WINDOW_LEAST)
