"""How much a relay holds: a model of its processor time and memory, by what was measured in `scaling.json`.

`python -m tests.bench.scaling` measures, `python -m tests.generate_reference` puts the tables into docs/scaling.md, and
tests/test_scaling.py holds what the model says against all points, also those that it was not made from.

The model is a sum: each connection costs a TLS handshake and a hello, each pairing its beginning and end, each piece
that comes at once a few trips through the event loop, each byte what is copied, decrypted and encrypted.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Final, NamedTuple

FILE: Final = Path(__file__).with_name("scaling.json")

GIB: Final = 2**30
MIB: Final = 2**20

MADE_FROM: Final = ("500 wait", "2000 wait", "4 fast", "100 slow", "short", "2000 wait, short, 2 workers")
"""The points from which the numbers of the model come; all others are predicted."""

PLAIN: Final = "4 fast, ws"
"""The point from which the costs of a byte without TLS come."""

CONNECTION_LIMIT: Final = 4096
"""`--max-connections` of a relay, unless its operator says otherwise."""

CORE_SHARE: Final = 0.7
"""Part of a processor that a relay should use at most, so that nothing waits long for its turn."""

LINE: Final = 10e6 / 8
"""Bytes per second of each pairing in the arithmetic: 10 Mbit/s, so that 10,000 of them are 100 Gbit/s."""


PIECE_SECONDS: Final = 0.05
"""Seconds between two pieces of each pairing in the arithmetic, as with a client that keeps to a rate."""


class Point(NamedTuple):
    """What was measured at one relay, under one load.

    Attributes:
        tls: whether both links have TLS.
        workers: the relay's worker processes; 0 for a relay that is one process.
        waiters: the most clients that waited at once.
        pairings: the most pairings at once.
        connections: connections that were made, in all.
        paired: pairings that began, in all.
        received: bytes that arrived, in all.
        piece: bytes that came at once: a message, or less from a client that keeps to a rate.
        seconds: from the first connection to the last.
        processor: processor seconds of the relay in that time.
        memory: bytes of memory that the relay took at most, beyond those of an empty one.
        rate: bytes per second that arrived while the load was whole.
        pair_p50: seconds from a second client's first packet until both were told, the median; None without pairings.
        pair_p99: the same, the 99th percentile.
        round_trip_p50: seconds of a small message through the relay and back, the median.
        round_trip_p99: the same, the 99th percentile.
        failures: what went wrong, how often.
        generator: part of one processor that the busiest process of the load took.
        others: processors that all other programs took.

    """

    tls: bool
    workers: int
    waiters: int
    pairings: int
    connections: int
    paired: int
    received: int
    piece: int
    seconds: float
    processor: float
    memory: int
    rate: int
    pair_p50: float | None
    pair_p99: float | None
    round_trip_p50: float
    round_trip_p99: float
    failures: int
    generator: float
    others: float

    @property
    def pieces(self) -> float:
        """In how many pieces the bytes came."""
        return self.received / self.piece


class Model(NamedTuple):
    """What things cost a relay: processor seconds, and bytes of memory.

    Attributes:
        second: of a second with the one pairing over which the round trip is measured, ten times.
        connection: of a connection with TLS, from its first packet to the welcome.
        passing: of a connection besides that, if the relay has workers: the first process admits it and passes it on.
        pairing: of a pairing, its connections not included.
        piece: of a piece of a message that comes at once.
        gib: of a GiB over two links with TLS.
        gib_plain: of a GiB over two links without TLS.
        memory_waiting: of a client that waits, over TLS.
        memory_moving: of a pairing whose bytes are taken as they come, over TLS.

    """

    second: float
    connection: float
    passing: float
    pairing: float
    piece: float
    gib: float
    gib_plain: float
    memory_waiting: float
    memory_moving: float

    def processor(self, point: Point) -> float:
        """Return the processor seconds that a relay takes for a load."""
        return (
            self.second * point.seconds
            + (self.connection + (self.passing if point.workers else 0)) * point.connections
            + self.pairing * point.paired
            + self.piece * point.pieces
            + (self.gib if point.tls else self.gib_plain) * point.received / GIB
        )

    def memory(self, point: Point) -> float:
        """Return the bytes of memory that a relay takes for a load of clients that wait and slow pairings."""
        return self.memory_waiting * point.waiters + self.memory_moving * point.pairings


def load() -> dict[str, Point]:
    """Return what was measured last, by the names of the loads."""
    return {name: Point(**point) for name, point in json.loads(FILE.read_text("utf-8")).items()}


def model(points: dict[str, Point]) -> Model:
    """Return the model that fits the points of `MADE_FROM` and `PLAIN` exactly."""
    few, waiting, fast, slow, short, several = (points[name] for name in MADE_FROM)
    # Two loads of connections alone, and so two equations for the costs of a connection and of a second.
    connection, second = _solved(
        (few.connections, few.seconds, few.processor),
        (waiting.connections, waiting.seconds, waiting.processor),
    )

    def rest(point: Point) -> float:
        return point.processor - connection * point.connections - second * point.seconds

    pairing = max(rest(short) / short.paired, 0)

    def moving(point: Point) -> float:
        return rest(point) - pairing * point.paired

    # Two loads with pieces of different sizes: two equations for the costs of a piece and of a byte.
    piece, byte = _solved(
        (slow.pieces, slow.received, moving(slow)), (fast.pieces, fast.received, moving(fast))
    )
    plain = points[PLAIN]
    return Model(
        second,
        connection,
        max(moving(several) - piece * several.pieces, 0) / several.connections,
        pairing,
        piece,
        byte * GIB,
        max(moving(plain) - piece * plain.pieces, 0) / plain.received * GIB,
        waiting.memory / waiting.waiters,
        slow.memory / slow.pairings,
    )


def _solved(one: tuple[float, float, float], two: tuple[float, float, float]) -> tuple[float, float]:
    """Return x and y of two equations a x + b y = c."""
    (a, b, c), (d, e, f) = one, two
    return (c * e - b * f) / (a * e - b * d), (a * f - c * d) / (a * e - b * d)


def costs() -> list[tuple[str, ...]]:
    """Return the rows of the table of costs."""
    found = model(load())
    return [
        (
            "a connection with TLS, from its first packet to the welcome",
            f"{found.connection * 1e3:.1f} ms",
            "",
        ),
        ("besides, in a relay with workers", f"{found.passing * 1e3:.1f} ms", ""),
        ("a client that waits", "", f"{found.memory_waiting / 1024:.0f} KiB"),
        (
            "a pairing, its connections not included",
            f"{found.pairing * 1e3:.1f} ms",
            f"{found.memory_moving / 1024:.0f} KiB",
        ),
        ("a piece of a message that comes at once", f"{found.piece * 1e3:.2f} ms", ""),
        ("a GiB, both links with TLS", f"{found.gib:.2f} s", ""),
        ("a GiB, both links without TLS", f"{found.gib_plain:.2f} s", ""),
    ]


def measured() -> list[tuple[str, ...]]:
    """Return the rows of the table of all points, with what the model says of each."""
    points = load()
    found = model(points)
    return [
        (
            f"{name}{'' if name in (*MADE_FROM, PLAIN) else ' (predicted)'}",
            f"{point.connections:,}",
            f"{point.received / GIB:.2f}",
            f"{point.processor:.2f}",
            f"{found.processor(point):.2f}",
            f"{point.rate / MIB:,.0f}" if point.received else "",
            _milliseconds(point.pair_p50, point.pair_p99),
            _milliseconds(point.round_trip_p50, point.round_trip_p99),
            f"{point.others:.1f}",
        )
        for name, point in points.items()
    ]


def _milliseconds(median: float | None, p99: float | None) -> str:
    """Return two times as text; none at all if nothing was measured."""
    return "" if median is None or p99 is None else f"{median * 1e3:,.1f} / {p99 * 1e3:,.1f}"


def growth() -> list[tuple[str, ...]]:
    """Return the rows of the arithmetic: pairings of 10 Mbit/s each, over two links with TLS."""
    found = model(load())
    rows: list[tuple[str, ...]] = []
    for pairings in (100, 1_000, 10_000):
        gib = pairings * LINE / GIB
        per_second = found.piece * pairings / PIECE_SECONDS
        cores, plain = found.gib * gib + per_second, found.gib_plain * gib + per_second
        relays = max(math.ceil(2 * pairings / CONNECTION_LIMIT), 1)
        rows.append(
            (
                f"{pairings:,}",
                f"{pairings * LINE * 8 / 1e9:g} Gbit/s",
                f"{math.ceil(cores / CORE_SHARE):,}",
                f"{math.ceil(plain / CORE_SHARE):,}",
                f"{found.memory_moving * pairings / GIB:.1f} GiB",
                f"{2 * pairings:,}",
                f"{relays}",
                f"{found.connection * 2 * pairings:,.0f} s",
            )
        )
    return rows
