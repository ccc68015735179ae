"""Measures how much a relay forwards over TLS, and its processor time, by the size of messages.

The clients send frames that were made before, and ignore what they receive, so the relay alone is measured.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import trio

from tests.bench.data import GIB, KIB, MIB
from tests.bench.guests import Guests, Place as Relay, leave
from tests.bench.markdown import median, table
from tests.bench.runs import Place, free_port, serving
from tests.support.websocket import BINARY, frame

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.bench.contestants import PeerToPeerCopy
    from tests.support.certificates import Certificates

SIZES = (1 * KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, 1 * MIB, 2 * MIB)

AMOUNT = 256 * MIB
MOST = 20_000
"""Bytes, or messages, for one figure, whichever is less."""

PATIENCE = 300.0
"""Seconds for one figure."""


def measure(
    relays: Sequence[PeerToPeerCopy], certificates: Certificates, folder: Path, rounds: int, scale: float
) -> str:
    """Return a table of throughput and processor time for all sizes and relays."""
    rows = []
    for size in SIZES:
        count = max(1, int(min(AMOUNT // size, MOST) * scale))
        rates: dict[str, list[float]] = {relay.name: [] for relay in relays}
        costs: dict[str, list[float]] = {relay.name: [] for relay in relays}
        for _ in range(rounds):
            for relay in relays:
                seconds, processor = _one(relay, certificates, folder, size, count)
                rates[relay.name].append(size * count / MIB / seconds)
                costs[relay.name].append(processor / (size * count / GIB))
        rows += [[f"{size // KIB} KiB", name, median(rates[name]), median(costs[name])] for name in rates]
    return table(["message", "relay", "MiB/s", "relay CPU s per GiB"], rows)


def _one(
    relay: PeerToPeerCopy, certificates: Certificates, folder: Path, size: int, count: int
) -> tuple[float, float]:
    """Return seconds, and processor seconds of the relay, for `count` messages of this size."""
    port = free_port()
    (words,) = relay.servers(port)
    with serving(words, folder, relay.env, port, Place()) as server:
        guests = Guests(Relay(port, certificates.authority, relay.legacy))
        seconds = trio.run(_pump, guests, size, count)
        return seconds, server.used().processor


async def _pump(guests: Guests, size: int, count: int) -> float:
    sender, receiver = await guests.pair("messages")
    message = frame(BINARY, os.urandom(size))
    together = message * max(1, min(count, MIB // size))
    began = time.monotonic()

    async def send() -> None:
        for _ in range(count * len(message) // len(together) + 1):
            await sender.raw(together)

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            rest = size * count
            while rest > 0:
                rest -= len(await receiver.stream.receive_some())
            seconds = time.monotonic() - began
            nursery.cancel_scope.cancel()
    leave(sender)
    leave(receiver)
    return seconds
