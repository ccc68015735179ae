"""Many clients of one relay, in a process of their own: they wait, or wait and dial again, or are pairings that move a
little all the time.

`python -m tests.bench.crowd PORT CA-FILE waiters|lookers|pairings COUNT [--legacy]` prints `there` when all of them
are connected, and disconnects them when its standard input ends. A client that loses its connection ends the crowd with
an error.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from functools import partial

import trio

from p2p_copy.protocol.rendezvous import Role
from tests.bench.guests import Guests, Place, leave, pass_on

AT_ONCE = 32
"""Clients that connect at the same time: fewer than either relay's backlog."""

MESSAGE = 128 * 1024
"""Bytes of a pairing's message; between a read of the disk and a record of ours."""

INTERVAL = 1.0
"""Seconds between two messages of a pairing on average, so that 200 of them move 25 MiB/s and leave a processor idle.
Each is between half and one and a half of it: clients that connected together must not send together for ever."""

GATHERING = 300
"""Seconds in which all clients must be connected."""

LONGEST = 1800
"""Seconds after which all disconnect in any case."""

THERE = "there"
"""What it prints when all are connected."""


class Crowd:
    """The clients of one relay."""

    def __init__(self, place: Place) -> None:
        self._guests = Guests(place)
        self._entrance = trio.CapacityLimiter(AT_ONCE)
        self._message = os.urandom(MESSAGE)

    async def wait(self, name: str, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Wait alone in a room."""
        async with self._entrance:
            client = await self._guests.come(Role.RECEIVER, name)
        try:
            task_status.started()
            raise AssertionError(f"a waiting client was told {await client.message()!r}")
        finally:
            leave(client)

    async def look(self, name: str, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Wait alone in a room, and dial again as often as the relay says."""
        chance = random.Random(name)
        async with self._entrance:
            client, again = await self._guests.look(Role.RECEIVER, name, again=False)
        try:
            task_status.started()
            while True:
                with trio.move_on_after(again * (0.5 + chance.random())):
                    raise AssertionError(f"a waiting client was told {await client.message()!r}")
                newer, again = await self._guests.look(Role.RECEIVER, name, again=True)
                leave(client)
                client = newer
        finally:
            leave(client)

    async def pair(self, name: str, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Connect both sides, and move a message now and then; each is answered, as in a transfer."""
        async with self._entrance:
            sender, receiver = await self._guests.pair(name)
        chance = random.Random(name)
        try:
            task_status.started()
            while True:
                await pass_on(sender, receiver, self._message)
                await pass_on(receiver, sender, b"taken")
                await trio.sleep(INTERVAL * (0.5 + chance.random()))
        finally:
            leave(sender)
            leave(receiver)

    async def gather(self, kind: str, count: int) -> None:
        come = {"waiters": self.wait, "lookers": self.look, "pairings": self.pair}[kind]
        with trio.move_on_after(LONGEST):
            async with trio.open_nursery() as nursery:
                with trio.fail_after(GATHERING):
                    async with trio.open_nursery() as arrivals:
                        for number in range(count):
                            arrivals.start_soon(nursery.start, partial(come, f"{kind} {number}"))
                sys.stdout.write(f"{THERE}\n")
                sys.stdout.flush()
                await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
                nursery.cancel_scope.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description="Many clients of one relay.")
    parser.add_argument("port", type=int)
    parser.add_argument("ca_file")
    parser.add_argument("kind", choices=["waiters", "lookers", "pairings"])
    parser.add_argument("count", type=int)
    parser.add_argument("--legacy", action="store_true")
    words = parser.parse_args()

    async def begin() -> None:
        await Crowd(Place(words.port, words.ca_file, words.legacy)).gather(words.kind, words.count)

    trio.run(begin)


if __name__ == "__main__":
    main()
