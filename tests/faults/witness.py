"""An honest pair that measures what an attack does to others, in a process of its own.

The test's own process is busy with the attack, and a pause of it must not look like one of the relay. So this
process has the pair, and it also looks at the relay's process. It pairs two clients and says so in a line. Then it
answers each line `begin` with a line, and each line `end` with what was seen since.

Twenty times a second the pair passes a small message: that shows stalls. Every half second it passes some MiB as fast
as it can: that shows throughput. These bursts are short, so the pair costs the relay some percent of one processor.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from tests.bench import proc
from tests.relay.clients import Relay
from tests.support.processes import PATIENCE, environment

if TYPE_CHECKING:
    from p2p_copy.transport.link import Link
    from tests.faults.server import Server

MIB = 1 << 20

TICK = 0.05
"""Seconds between two small messages, and between two looks at the relay's process."""

BETWEEN = 0.5
"""Seconds between the beginnings of two bursts."""

PIECE = 256 * 1024
"""Bytes of one message of a burst: a record of ours."""

PIECES = 16
"""Messages of a burst."""

WITHIN = 45.0
"""Seconds that the pair waits for what is under way when an attack ends. It is the longest stall that is measured."""


@dataclass
class Seen:
    """What a witness saw during an attack."""

    stall: float = 0.0
    """Seconds of the longest time in which nothing came that should have come."""

    throughput: float = math.nan
    """Bytes per second of all bursts together; not a number if there was none."""

    memory: int = 0
    """Bytes of the relay's memory, at most."""

    descriptors: int = 0
    """Descriptors of the relay, at most."""


class Pair:
    """The pair and its measures. All is measured at the receiver, but for the beginning of a burst."""

    def __init__(self, sender: Link, receiver: Link, process: int) -> None:
        self._sender, self._receiver, self._process = sender, receiver, process
        self._came = trio.current_time()
        self._burst_since: float | None = None
        self._left = 0
        self._bytes, self._seconds = 0, 0.0
        self._seen = Seen()

    def begin(self) -> Seen:
        """Forget what was seen."""
        self._came = trio.current_time()
        self._bytes, self._seconds = 0, 0.0
        self._seen = Seen()
        return self._seen

    async def end(self) -> Seen:
        """Return what was seen, once that is here which is under way: it may have been delayed."""
        now = trio.current_time()
        with trio.move_on_after(WITHIN):
            while self._came < now + TICK or (self._burst_since or math.inf) < now:  # noqa: ASYNC110
                await trio.sleep(TICK / 5)
        self._seen.stall = max(self._seen.stall, trio.current_time() - self._came)
        if self._seconds:
            self._seen.throughput = self._bytes / self._seconds
        return self._seen

    async def say(self) -> None:
        """Send messages and bursts until cancelled."""
        burst_at = trio.current_time() + BETWEEN
        while True:
            await self._sender.send(b"tick")
            if trio.current_time() >= burst_at and self._burst_since is None:
                self._burst_since, self._left = trio.current_time(), PIECES
                burst_at = self._burst_since + BETWEEN
                for _ in range(PIECES):
                    await self._sender.send(bytes(PIECE))
            await trio.sleep(TICK)

    async def hear(self) -> None:
        """Receive until cancelled."""
        while True:
            message = await self._receiver.receive()
            now = trio.current_time()
            self._seen.stall = max(self._seen.stall, now - self._came)
            self._came = now
            if len(message) == PIECE:
                self._left -= 1
                if self._left == 0 and self._burst_since is not None:
                    self._bytes += PIECES * PIECE
                    self._seconds += now - self._burst_since
                    self._burst_since = None

    async def look(self) -> None:
        """Look at the relay's process until it ends."""
        with suppress(OSError):
            while True:
                self._seen.memory = max(self._seen.memory, _memory(self._process))
                self._seen.descriptors = max(self._seen.descriptors, proc.descriptors(self._process))
                await trio.sleep(TICK)


def _memory(pid: int) -> int:
    """Return the bytes of memory that a process really has. Unlike smaps it walks no page tables."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def testify(room: str, host: str, port: int, process: int, ca_file: str | None) -> None:
    """Run the pair until there are no more orders."""
    async with (
        Relay(port, ca_file, host).pair(room) as (sender, receiver),
        trio.open_nursery() as nursery,
    ):
        pair = Pair(sender, receiver, process)
        for task in (pair.say, pair.hear, pair.look):
            nursery.start_soon(task)
        answer = Seen()
        while True:
            sys.stdout.write(json.dumps(asdict(answer)) + "\n")
            sys.stdout.flush()
            order = await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
            if not order:
                break
            answer = pair.begin() if order == "begin\n" else await pair.end()
        nursery.cancel_scope.cancel()


class Witness:
    """The process with the pair, and the processor time of the relay."""

    def __init__(self, server: Server, room: str) -> None:
        self._server = server
        address = server.clients.address
        words = (room, address.host, str(address.port), str(server.process.pid), server.clients.ca_file or "")
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        self._began, self._cpu = time.monotonic(), 0.0
        self._answer()

    async def begin(self) -> None:
        """Forget what was seen up to now."""
        self._began, self._cpu = time.monotonic(), self._server.cpu
        await trio.to_thread.run_sync(self._ask, "begin")

    async def end(self) -> tuple[Seen, float, float]:
        """Return what was seen, for how many seconds, and the relay's seconds of a processor in that time."""
        seconds, cpu = time.monotonic() - self._began, self._server.cpu - self._cpu
        return await trio.to_thread.run_sync(self._ask, "end"), seconds, cpu

    def _ask(self, order: str) -> Seen:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # then there is no answer either
            self._process.stdin.write(f"{order}\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Seen:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            _, errors = self._process.communicate(timeout=PATIENCE)
            raise AssertionError(f"the honest pair has ended:\n{errors}")
        return Seen(**json.loads(line))

    def close(self) -> None:
        self._process.kill()
        with suppress(BrokenPipeError):
            self._process.communicate()


if __name__ == "__main__":
    where = sys.argv[1:]
    trio.run(testify, where[0], where[1], int(where[2]), int(where[3]), where[4] or None)
