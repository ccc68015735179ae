"""Soak: a relay renews certificates of 20 seconds for an hour, while transfers of two minutes and short clients pass.

`python -m tests.campaigns.acme --minutes 5` writes a report in Markdown, and ends with 1 if a transfer noticed
something, a handshake failed, or memory, descriptors or tasks of the relay have grown. It needs pebble.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import ssl
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import trio

from p2p_copy.protocol.rendezvous import room_hint
from tests.bench import proc
from tests.relay.clients import room
from tests.relay.workers.relays import WorkersRelay
from tests.support.acme_authorities import Served, pebble
from tests.support.ordered import Ordered
from tests.support.processes import Running, receiver, sender

LIFE = 20
"""Seconds that a certificate lives: it is renewed when half of them have passed."""

RATE = 1 << 20
"""Bytes per second of a transfer."""

LONG = 120
"""Seconds that a transfer takes."""

HANDSHAKE_PAUSE = 0.1
"""Seconds between two short clients."""

LEAST_SAMPLES = 12

GROWTH = 4 * 1024
"""KiB by which the last third's memory may exceed the first third's, for each process: what the C library keeps."""

PATIENCE = 180
"""Seconds that the end of a transfer may take."""


class Sample(NamedTuple):
    """What the relay's processes hold together."""

    second: int
    memory: int
    descriptors: int
    tasks: int
    renewals: int


class Soak:
    """One run: what was seen, and what was wrong."""

    def __init__(self, relay: WorkersRelay, ordered: Ordered, folder: Path) -> None:
        self.relay, self.ordered, self.folder = relay, ordered, folder
        self.samples: list[Sample] = []
        self.wrong: list[str] = []
        self.handshakes = self.transfers = 0
        self.serials: set[int] = set()
        self._began = time.monotonic()

    @property
    def renewals(self) -> int:
        """How many certificates have come."""
        return len(re.findall("a new certificate for", self.relay.log))

    def look(self) -> Sample:
        pid = self.relay.process.pid
        pids = [pid, *proc.children(pid)]
        return Sample(
            round(time.monotonic() - self._began),
            sum(proc.memory(each).resident for each in pids),
            sum(map(proc.descriptors, pids)),
            self.relay.status["tasks"],
            self.renewals,
        )

    async def watch(self, interval: float) -> None:
        """Take samples until cancelled."""
        while True:
            await trio.sleep(interval)
            self.samples.append(await trio.to_thread.run_sync(self.look))

    async def shake_hands(self) -> None:
        """Be one short client after the other, until cancelled: each must be shown a good certificate."""
        while True:
            hint = room_hint(room(str(self.handshakes)))
            try:
                shown = await trio.to_thread.run_sync(self.ordered.shown, "http/1.1", hint)
                self.serials.add(shown.serial_number)
            except (OSError, ssl.SSLError) as error:
                self.wrong.append(f"handshake {self.handshakes}: {type(error).__name__}: {error}")
            self.handshakes += 1
            await trio.sleep(HANDSHAKE_PAUSE)

    async def transfer(self, until: float) -> None:
        """Make one long transfer after the other; neither side may notice a renewal."""
        source = self.folder / "source"
        while time.monotonic() < until:
            seconds = min(LONG, max(until - time.monotonic(), 1))
            source.write_bytes(os.urandom(math.ceil(seconds * RATE)))
            options = ("--ca-file", self.ordered.authority)
            before = self.renewals
            out = self.folder / f"out{self.transfers}"
            code, state = f"soak{self.transfers}-a long passphrase", str(self.folder / "state")
            sides = (
                sender(self.relay.url, source, code=code, options=options, P2P_COPY_STATE_DIR=state),
                receiver(self.relay.url, out, code=code, options=options, P2P_COPY_STATE_DIR=state),
            )
            async with trio.open_nursery() as nursery:
                for side in sides:
                    nursery.start_soon(self.see_end, side, seconds + PATIENCE)
            if not (out / "source").exists() or (out / "source").read_bytes() != source.read_bytes():
                self.wrong.append(f"transfer {self.transfers}: what arrived differs")
            elif seconds > 2 * LIFE and self.renewals - before < seconds / LIFE / 2:
                self.wrong.append(
                    f"transfer {self.transfers}: {self.renewals - before} renewals only meanwhile"
                )
            (out / "source").unlink(missing_ok=True)
            self.transfers += 1

    async def see_end(self, side: Running, seconds: float) -> None:
        """Wait for the end of one side, which must have gone well without a new connection."""
        what = f"transfer {self.transfers}"
        try:
            code, _, said = await trio.to_thread.run_sync(side.wait, seconds)
        except AssertionError as error:
            self.wrong.append(f"{what}: {error}")
            return
        if code or "econnect" in said:
            self.wrong.append(f"{what}: exit code {code}: {said[-500:]}")

    async def run(self, seconds: float) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.watch, seconds / LEAST_SAMPLES / 2)
            nursery.start_soon(self.shake_hands)
            await self.transfer(time.monotonic() + seconds)
            nursery.cancel_scope.cancel()

    def judge(self) -> None:
        """Note what has grown, and what the log should not have."""
        third = len(self.samples) // 3
        memory = GROWTH * (1 + len(self.relay.pids))
        for name, allowed in (("memory", memory), ("descriptors", 2), ("tasks", 2)):
            first, last = (
                statistics.median(getattr(sample, name) for sample in part)
                for part in (self.samples[:third], self.samples[-third:])
            )
            if last - first > allowed:
                self.wrong.append(f"{name} has grown from {first:g} to {last:g}")
        for pattern in ("no certificate: ", "a bug", "Traceback", "certificate-late", "has expired"):
            if found := re.findall(f".*{pattern}.*", self.relay.log + self.relay.errors):
                self.wrong.append(f"{len(found)} times in the log: {found[0]}")


def report(soak: Soak, served: Served, minutes: float) -> str:
    rows = "\n".join(f"| {' | '.join(map(str, sample))} |" for sample in soak.samples)
    verdict = "\n".join(f"- FAILED: {each}" for each in soak.wrong) or "All is well."
    return (
        f"# {minutes:g} minutes of certificates of {LIFE} seconds\n\n{verdict}\n\n"
        f"{soak.renewals} certificates, {soak.transfers} transfers of {LONG} s at most, {soak.handshakes} handshakes "
        f"that saw {len(soak.serials)} certificates.\n\n"
        f"| {' | '.join(Sample._fields)} |\n|{'---:|' * len(Sample._fields)}\n{rows}\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--workers", type=int, default=1)
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with pebble(folder / "pebble", life=LIFE) as served:
            ordered = Ordered(served, folder)
            ordered.trust()
            relay = WorkersRelay(
                folder,
                *("--rate", str(RATE)),
                certificates=ordered,
                where=ordered.where,
                workers=words.workers,
                level="info",
            )
            try:
                relay.wait_for("a new certificate for")
                soak = Soak(relay, ordered, folder)
                trio.run(soak.run, words.minutes * 60)
                soak.judge()
            finally:
                relay.close()
        sys.stdout.write(report(soak, served, words.minutes))
    return 1 if soak.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
