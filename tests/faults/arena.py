"""A relay process with a transfer that runs through it, and what must hold after every fault.

The promise: whatever was done to the relay,
1. its process lives, and neither reports a bug nor writes a traceback;
2. a new pair is served within `PAIR_WITHIN` seconds;
3. an unrelated transfer, which runs all the while, is not disturbed, and at the end is byte-identical;
4. another honest pair never waits for longer than `STALL` seconds, and keeps a `SHARE` of its throughput;
5. descriptors, tasks, rooms and connections are back where they were within `BACK_WITHIN` seconds;
6. its memory has grown by less than `GROWTH`;
7. its log tells no secret.

`P2P_COPY_FAULTS_RELAY=PYTHON`, the interpreter of an environment in which another version is installed, lets that be
the relay: the table at the end shows what an attack did to it, also where a fault fails.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import time
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from tests.faults.road import SlowRoad
from tests.faults.server import Footprint, Server
from tests.faults.witness import Seen, Witness
from tests.support.processes import PATIENCE, Running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.relay.clients import Relay

MIB = 1 << 20

PAIR_WITHIN = 3.0
"""Seconds for a new pair: the promise is one, and the rest is for a machine that does other work besides. The
table at the end tells what was measured."""

BACK_WITHIN = 15.0
"""Seconds after which nothing of a fault is left."""

STALL = 2.5
"""Seconds in which nothing may move in an honest pair. A quiet machine needs a tenth of it, as the table at the end
shows; the rest is for a machine that does other work besides."""

SHARE = 0.005
"""Share of its quiet throughput that an honest pair keeps, even if all of an attack is one wait of `STALL` seconds, and
the machine was quiet only before. Where an attack lasts for seconds, promise more."""

QUIET = 2.0
"""Seconds in which the quiet throughput is measured."""

GROWTH = 20 * MIB
"""Bytes that a relay's memory may grow by through one fault."""

CANARY = "canary"
"""Is in every code, name and header that must not be in the log."""

CODE = f"{CANARY}7-a {CANARY} in a passphrase"

TRANSFER = 64 * MIB
"""Bytes of the unrelated transfer."""

RATE = 96 * 1024
"""Bytes per second of it: it lasts for ten minutes if it must."""


@dataclass
class Result:
    """One line of the table at the end. What comes after an attack is not known if that has failed."""

    fault: str
    seconds: float
    cpu: float
    quiet: Seen
    seen: Seen
    before: Footprint
    pair: float = math.nan
    back: float = math.nan
    after: Footprint | None = None
    growth: int = 0


RESULTS: list[Result] = []


class Transfer:
    """A real sender and a real receiver, the sender on a slow road.

    They do not come back, so an attack that breaks their transfer cannot pass for a pause. They have one link: on a
    busy machine the way is long enough for more, and clients that wait for these would seem to be left by an attack.
    """

    def __init__(self, server: Server, folder: Path, size: int = TRANSFER, rate: float = RATE) -> None:
        self._server, self._rate = server, rate
        self._source, self._out = folder / f"{CANARY}.bin", folder / "out"
        self._source.write_bytes(os.urandom(size))
        address, ca_file = server.clients.address, server.clients.ca_file
        self._road = SlowRoad(address.host, address.port, rate)
        options = (
            "--quiet",
            "--patience",
            "0",
            "--links",
            "1",
            *(("--ca-file", ca_file) if ca_file else ()),
        )
        scheme = "wss" if address.tls else "ws"
        slow = f"{scheme}://127.0.0.1:{self._road.port}"
        self._ends = (
            Running("send", str(self._source), "--server", slow, *options, P2P_COPY_CODE=CODE),
            Running(
                *("receive", "--server", server.url, "--out", str(self._out), *options), P2P_COPY_CODE=CODE
            ),
        )

    def begin(self) -> None:
        """Wait until bytes pass."""
        deadline = time.monotonic() + PATIENCE
        while not any(pairing["copied"] > self._rate for pairing in self._server.status["pairings"]):
            self.must_run()
            assert time.monotonic() < deadline, "it does not begin"
            time.sleep(0.1)

    def must_run(self) -> None:
        """Check that neither end has ended."""
        ended = [end.wait(0) for end in self._ends if end.process.poll() is not None]
        assert not ended, ended

    def finish(self) -> None:
        """Let it come to its end, and compare."""
        self.must_run()
        self._road.lift()
        for end in self._ends:
            code, _, errors = end.wait()
            assert code == 0, errors
        one, other = (_digest(path) for path in (self._source, self._out / self._source.name))
        assert one == other

    def exit_codes(self) -> tuple[int, ...]:
        """Wait for both ends to end; return their exit codes, the sender's first."""
        return tuple(end.wait()[0] for end in self._ends)

    def close(self) -> None:
        for end in self._ends:
            if end.process.poll() is None:
                end.kill()
        self._road.close()
        self._source.unlink()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Arena:
    """A relay with a transfer, to be attacked."""

    def __init__(self, server: Server, transfer: Transfer, witness: Witness) -> None:
        self.server = server
        self.transfer = transfer
        self._witness = witness
        self._quiet: tuple[Footprint, Seen] | None = None

    async def _wait_until_quiet(self) -> tuple[Footprint, Seen]:
        """Return what the relay holds, and what the honest pair sees, while there is no attack."""
        for number in range(5):  # what is loaded at first use is no growth
            await self.server.clients.works(f"{CANARY} warm {number}")
        await self._witness.begin()
        await trio.sleep(QUIET)
        seen, _, _ = await self._witness.end()
        return self.server.footprint, seen

    @asynccontextmanager
    async def attacked(
        self, *, stall: float = STALL, share: float = SHARE, peak: float = math.inf
    ) -> AsyncIterator[Relay]:
        """Yield clients of the relay; afterwards hold the relay to the promise above.

        Args:
            stall: seconds in which nothing may move in an honest pair.
            share: of its quiet throughput that the pair must keep, if the attack lasts long enough to measure it.
            peak: bytes by which the relay's memory may grow while it is attacked.

        """
        server = self.server
        if self._quiet is None:
            self._quiet = await self._wait_until_quiet()
        (before, quiet), memory = self._quiet, server.memory
        name = os.environ["PYTEST_CURRENT_TEST"].partition("::")[2].removesuffix(" (call)")
        await self._witness.begin()
        try:
            yield server.clients
        finally:
            assert server.process.poll() is None, server.errors
            with trio.CancelScope(shield=True):
                seen, seconds, cpu = await self._witness.end()
            result = Result(name.removeprefix("test_fault_"), seconds, cpu, quiet, seen, before)
            RESULTS.append(result)

        began = trio.current_time()
        with trio.fail_after(PATIENCE):
            await server.clients.works(f"{CANARY} new")
        result.pair = pair = trio.current_time() - began

        began = trio.current_time()
        while (after := server.footprint) != before and trio.current_time() - began < BACK_WITHIN:  # noqa: ASYNC110
            await trio.sleep(0.1)
        result.back = trio.current_time() - began
        result.after, result.growth = after, server.memory - memory

        assert seen.stall < stall, f"an honest pair waited for {seen.stall:.1f} s"
        assert not seen.throughput < share * quiet.throughput, "an honest pair was slow"
        assert seen.memory - memory < peak, f"{(seen.memory - memory) / MIB:.0f} MiB at most"
        assert pair < PAIR_WITHIN, f"a new pair took {pair:.1f} s"
        assert after == before, "something is left"
        assert result.growth < GROWTH
        self.transfer.must_run()
        self.check_log()

    def check_log(self) -> str:
        """Check that the log tells no secret, and of no bug; return what is new in it."""
        log = self.server.new_log()
        network = re.escape(self.server.clients.address.host.rpartition(".")[0])
        for secret in (CANARY, network, r"[0-9a-f]{32}"):
            assert not re.search(secret, log), f"the log tells {secret}"
        assert "a bug ended" not in log, log
        assert self.server.errors == ""
        assert all(line.isprintable() for line in log.splitlines())
        return log


@contextmanager
def arena(folder: Path, *options: str, **settings: Any) -> Iterator[Arena]:
    """Run a relay and a transfer; at the end the transfer must be whole, and the relay must stop when told to."""
    with ExitStack() as stack:
        server = Server(folder, *options, **settings)
        stack.callback(server.close)
        transfer = Transfer(server, folder)
        stack.callback(transfer.close)
        transfer.begin()
        witness = Witness(server, f"{CANARY} witness")
        stack.callback(witness.close)
        yield Arena(server, transfer, witness)
        transfer.finish()


HEAD = (
    f"{'fault':60} {'pair s':>6} {'back s':>6} {'before -> after: fds/tasks/rooms':>32} {'RSS MB':>7} "
    f"{'peak MB':>8} {'fds':>5} {'CPU s':>6} {'of s':>6} {'stall s':>7} {'MB/s':>6} {'quiet':>6}"
)


def table() -> Iterator[str]:
    """Return what was measured, a line a fault: after it and, from the peak on, during it."""
    yield HEAD
    for result in sorted(RESULTS, key=lambda result: (int(result.fault.partition("_")[0]), result.fault)):
        before, after = (
            "/".join(map(str, found[:3])) if found else "failed" for found in (result.before, result.after)
        )
        seen = result.seen
        yield (
            f"{result.fault[:60]:60} {result.pair:6.2f} {result.back:6.1f} {before + ' -> ' + after:>32} "
            f"{result.growth / 1e6:+7.1f} {seen.memory / 1e6:8.1f} {seen.descriptors:5} "
            f"{result.cpu:6.2f} {result.seconds:6.1f} {seen.stall:7.2f} {seen.throughput / 1e6:6.0f} "
            f"{result.quiet.throughput / 1e6:6.0f}"
        )
