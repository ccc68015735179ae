"""What the campaign of balancers is made of: relay processes that come and go, and transfers that are watched."""

from __future__ import annotations

import json
import signal
import urllib.request
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import trio

from p2p_copy.observer import Observer
from p2p_copy.protocol.code import Code
from tests.bench.data import MIB, difference
from tests.contrib.balancers import HOSTS, Balancer
from tests.contrib.programs import free_port
from tests.support.processes import Running
from tests.support.transfers import receive, send

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from tests.contrib.balancers import Certificates, Kind

DRAIN: Final = "3s"
"""How long a relay that is stopped lets transfers run: less than those of the campaign take."""

NOTICED: Final = 4.0
"""Seconds after which HAProxy has noticed that a relay is gone or back: two checks, a second apart, and some."""

ENDING: Final = 30.0
"""Seconds in which a relay must have ended after its drain."""

UNDER_WAY: Final = 1 * MIB
"""Bytes that a transfer has moved when it is under way."""

STUCK: Final = 240.0
"""Seconds after which a transfer of the campaign hangs: two sides may have to dial again to meet."""


class Relay:
    """A relay process that is started again at the same port.

    Attributes:
        port: where it listens.

    """

    def __init__(self, options: Sequence[str]) -> None:
        self.port = free_port()
        self._admin = f"127.0.0.1:{free_port()}"
        self._options = (*options, "--admin", self._admin, "--drain", DRAIN)
        self._running: Running | None = None

    async def start(self) -> None:
        """Start it; return when it listens."""
        words = "run-relay-server", f"127.0.0.1:{self.port}", *self._options
        self._running = Running(*words)
        await trio.to_thread.run_sync(self._listening, self._running)

    async def kill(self) -> None:
        """End it without a word to anyone."""
        assert self._running is not None
        await trio.to_thread.run_sync(self._running.kill)

    async def stop(self) -> None:
        """End it as `systemctl stop` does, which must succeed."""
        assert self._running is not None
        self._running.process.send_signal(signal.SIGTERM)
        code, _, errors = await trio.to_thread.run_sync(self._running.wait, ENDING)
        assert code == 0, errors

    async def pairings(self) -> int:
        """Return how many pairings it has had and has."""
        status = await trio.to_thread.run_sync(self._status)
        served: int = status["served"]
        return served + len(status["pairings"])

    def end(self) -> None:
        """Kill it, if it runs."""
        if self._running is not None and self._running.process.poll() is None:
            self._running.kill()

    @staticmethod
    def _listening(running: Running) -> None:
        """Wait until a relay says that it listens."""
        assert running.process.stdout is not None
        assert any("listening" in line for line in running.process.stdout), running.wait()

    def _status(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://{self._admin}/status", timeout=ENDING) as answer:
            found: dict[str, Any] = json.load(answer)
        return found


class Watch(Observer):
    """Notes when one side has met the other, and how its data moved.

    Attributes:
        waits: set when this side is in its room.
        under_way: set when `UNDER_WAY` bytes have arrived, or the transfer is over.
        met: when both were connected, first.
        lost_count: how often a connection was lost, or a try to come back failed.
        size: bytes that have arrived.
        pause: the longest time between two growths of `size`.

    """

    def __init__(self) -> None:
        self.waits = trio.Event()
        self.under_way = trio.Event()
        self.met = 0.0
        self.lost_count = 0
        self.size = 0
        self.pause = 0.0
        self._grew = 0.0

    def waiting(self, relay: str, seconds: float) -> None:
        self.waits.set()

    def paired(self, words: tuple[str, str], peer_verifies: bool) -> None:
        self.met = self.met or trio.current_time()

    def lost(self, sentence: str, patience: float, pause: float) -> None:
        self.lost_count += 1

    def progress(self, files: int, size: int, path: str = "") -> None:
        if size <= self.size:
            return
        now = trio.current_time()
        if self.size:
            self.pause = max(self.pause, now - self._grew)
        self.size, self._grew = size, now
        if size >= UNDER_WAY:
            self.under_way.set()


@dataclass
class Transfer:
    """One transfer between two clients of this process, through a balancer.

    Attributes:
        sends_after: when the sender begins; None for at once.
        wrong: what went wrong; empty if what has arrived is what was sent.
        began: when the second side began.

    """

    arena: Arena
    number: int
    source: Path
    rate: int | None = None
    links: int = 1
    sender: Watch = field(default_factory=Watch)
    receiver: Watch = field(default_factory=Watch)
    sends_after: trio.Event | None = None
    wrong: str = "it has not ended"
    began: float = 0.0

    @property
    def seconds(self) -> float:
        """Seconds that the second side waited for the first one."""
        return max(self.sender.met, self.receiver.met) - self.began

    async def run(self) -> None:
        """Run both sides; note how it ended."""
        try:
            with trio.move_on_after(STUCK):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.receive)
                    nursery.start_soon(self.send)
                where = await trio.to_thread.run_sync(difference, self.source, self._out / self.source.name)
                self.wrong = "" if where is None else "what arrived is not what was sent"
                (self._out / self.source.name).unlink()
        except* Exception as failed:
            self.wrong = "; ".join(f"{type(error).__name__}: {error}" for error in failed.exceptions)
        self.receiver.under_way.set()

    async def send(self) -> None:
        if self.sends_after is not None:
            await self.sends_after.wait()
        self.began = trio.current_time()
        await send(
            [self.source], relay=self.arena.urls[self.number % 2], observer=self.sender, **self._options
        )

    async def receive(self) -> None:
        self.began = trio.current_time()
        url = self.arena.urls[1 - self.number % 2]
        await receive(self._out, relay=url, observer=self.receiver, **self._options)

    @property
    def _out(self) -> Path:
        return self.arena.folder / f"out {self.number}"

    @property
    def _options(self) -> dict[str, object]:
        return {
            "code": Code(f"lab{self.number}", "a long passphrase"),
            "ca_file": self.arena.certificates.authority,
            "limit_rate": self.rate,
            "links": self.links,
        }


class Arena:
    """A balancer of one kind in front of some relays.

    Attributes:
        relays: those that the balancer knows.
        balancer: the balancer.
        urls: its address, in two spellings.

    """

    def __init__(self, kind: Kind, certificates: Certificates, folder: Path) -> None:
        self.kind = kind
        self.certificates = certificates
        self.folder = folder
        self.balancer = Balancer(kind, certificates, folder)
        self.urls = [f"wss://{host}:{self.balancer.port}" for host in HOSTS]
        self.relays: list[Relay] = []
        self._numbers = 0

    @asynccontextmanager
    async def running(self, count: int) -> AsyncIterator[None]:
        """Run it in front of `count` relays."""
        try:
            for _ in range(count):
                await self.another()
            with self.balancer.running([relay.port for relay in self.relays]):
                yield
        finally:
            for relay in self.relays:
                relay.end()

    async def another(self) -> Relay:
        """Start one more relay, of which the balancer is not told."""
        relay = Relay(self.kind.relay_options(self.certificates))
        self.relays.append(relay)
        await relay.start()
        return relay

    def transfers(
        self, count: int, source: Path, *, rate: int | None = None, links: int = 1
    ) -> list[Transfer]:
        """Return new transfers, each with a code of its own."""
        self._numbers += count
        numbers = range(self._numbers - count, self._numbers)
        return [Transfer(self, number, source, rate, links) for number in numbers]
