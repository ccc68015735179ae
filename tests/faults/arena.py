"""A relay process with a transfer that runs through it, and what must hold after every fault.

The promise: whatever was done to the relay,
1. its process lives, and neither reports a bug nor writes a traceback;
2. a new pair is served within `PAIR_WITHIN` seconds;
3. an unrelated transfer, which runs all the while, is not disturbed, and at the end is byte-identical;
4. descriptors, tasks, rooms and connections are back where they were within `BACK_WITHIN` seconds;
5. its memory has grown by less than `GROWTH`;
6. its log tells no secret.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from tests.faults.road import SlowRoad
from tests.faults.server import Footprint, Server
from tests.processes import PATIENCE, Running

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
    """One line of the table at the end."""

    fault: str
    pair: float
    back: float
    before: Footprint
    after: Footprint
    growth: int


RESULTS: list[Result] = []


class Transfer:
    """A real sender and a real receiver, the sender on a slow road.

    They do not come back, so an attack that breaks their transfer cannot pass for a pause.
    """

    def __init__(self, server: Server, folder: Path, size: int = TRANSFER, rate: float = RATE) -> None:
        self._server, self._rate = server, rate
        self._source, self._out = folder / f"{CANARY}.bin", folder / "out"
        self._source.write_bytes(os.urandom(size))
        address, ca_file = server.clients.address, server.clients.ca_file
        self._road = SlowRoad(address.host, address.port, rate)
        options = ("--quiet", "--patience", "0", *(("--ca-file", ca_file) if ca_file else ()))
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

    def __init__(self, server: Server, transfer: Transfer) -> None:
        self.server = server
        self.transfer = transfer
        self._quiet: Footprint | None = None

    @asynccontextmanager
    async def attacked(self) -> AsyncIterator[Relay]:
        """Yield clients of the relay; afterwards hold the relay to the promise above."""
        server = self.server
        if self._quiet is None:
            for number in range(5):  # what is loaded at first use is no growth
                await server.clients.works(f"{CANARY} warm {number}")
            await trio.sleep(1)
            self._quiet = server.footprint
        before, memory = self._quiet, server.memory
        yield server.clients
        assert server.process.poll() is None, server.errors

        began = trio.current_time()
        with trio.fail_after(PATIENCE):
            await server.clients.works(f"{CANARY} new")
        pair = trio.current_time() - began

        began = trio.current_time()
        while (after := server.footprint) != before and trio.current_time() - began < BACK_WITHIN:  # noqa: ASYNC110
            await trio.sleep(0.1)
        back = trio.current_time() - began
        growth = server.memory - memory
        name = os.environ["PYTEST_CURRENT_TEST"].partition("::")[2].removesuffix(" (call)")
        RESULTS.append(Result(name.removeprefix("test_fault_"), pair, back, before, after, growth))

        assert pair < PAIR_WITHIN, f"a new pair took {pair:.1f} s"
        assert after == before, "something is left"
        assert growth < GROWTH
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
        yield Arena(server, transfer)
        transfer.finish()


def table() -> Iterator[str]:
    """Return what was measured, a line a fault."""
    yield f"{'fault':72} {'pair s':>6} {'back s':>6} {'before -> after: fds/tasks/rooms':>34} {'RSS MB':>7}"
    for result in sorted(RESULTS, key=lambda result: (int(result.fault.partition("_")[0]), result.fault)):
        before, after = ("/".join(map(str, found[:3])) for found in (result.before, result.after))
        yield (
            f"{result.fault[:72]:72} {result.pair:6.2f} {result.back:6.1f} {before + ' -> ' + after:>34} "
            f"{result.growth / 1e6:+7.1f}"
        )
