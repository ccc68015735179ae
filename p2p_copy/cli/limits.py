"""The numbers of the command line: lines, queues and drains."""

from __future__ import annotations

from typing import Final

from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.units import MIB

PLAIN_PROGRESS_INTERVAL: Final = 5.0
"""Seconds between two progress lines where there is no terminal (job logs)."""

PREVIEW_LINES: Final = 20
"""Names that a receiver's user sees: the question fits on a screen."""

PREVIEW_INDENT: Final = 3
"""Levels by which the names of such a list are indented at most: an honest sender shows two."""

NAME_COLUMNS: Final = 48
"""Columns of each of these names: with its indentation and what stands behind it no line is longer than 80, so none
wraps."""

PATH_COLUMNS: Final = 240
"""Columns of a path in any other line for people: some three lines of a terminal."""

STOP_NOTICE: Final = 2.0
"""Seconds after which somebody who has pressed Ctrl-C is told what this still waits for."""

MAX_TOKEN: Final = 256
"""Characters of an access token; ours have 43."""

TOKEN_BYTES: Final = 32
"""Random bytes of a token that we make: nobody guesses it, so its plain SHA-256 can lie in a file."""

RELAY_DRAIN: Final = 300.0
"""Seconds in which pairings may come to their end when the relay is stopped (--drain); clients resume what is cut."""

RELAY_DRAIN_SHORT: Final = 5.0
"""Seconds of the same at most when somebody at a terminal pressed Ctrl-C, and waits."""

RELAY_HURRY: Final = 1.0
"""Seconds in which clients are told when a stop is ordered once more: one round trip, for those who listen."""

OUTPUT_QUEUE: Final = 1 * MIB
"""Characters that wait to be written to standard output or standard error: some ten thousand lines of a log. What comes
while nobody reads them is dropped and counted."""

OUTPUT_FLUSH: Final = 1.0
"""Seconds that the end of a process waits for a terminal, a pipe or a disk that does not take the last lines: enough
for all that move, and short for the person who has stopped a terminal."""

OUTPUT_IDLE: Final = 5.0
"""Seconds after which a thread that has nothing to write ends; starting one takes as long as writing a line."""

OUTPUT_RETRY: Final = 0.05
"""Seconds until a stream that does not block and is full is tried again."""

MAP_BLOCKS_FROM: Final = 16 * MIB
"""Bytes from which the C library may map a block of its own; all that a transfer allocates is smaller."""

KEEP_FREED: Final = 32 * MIB
"""Freed bytes that the C library may keep for the next record instead of returning them to the kernel."""

RELAY_COLLECTIONS: Final = (10_000, 5, 10)
"""Thresholds of Python's garbage collector in a relay: how many more objects were made than freed for a collection of
the young, how many of those for one of the middle-aged, and how many of those for a full one, which takes half a second
of a processor with 2,000 clients. Half a million objects are some 2,500 connections, if all left cycles behind."""

SERVE_CONNECTIONS: Final = 4 * protocol_limits.MAX_LINKS
"""Clients of the relay in `send --serve`: the links of both sides, and as many that take the place of lost ones."""

SERVE_PENDING: Final = 32
"""Connections of the same that have not said hello: four sources with `MAX_PENDING_PER_SOURCE` each."""

SERVE_ROOMS: Final = 256
"""Rooms of the same besides that of the code, the latest ones: each meeting of the two sides has `MAX_LINKS` and
one, and a room that is still looked into counts as new each time."""

SERVE_PORT: Final = 8765
"""TCP port that `send --serve` asks for first, so that one firewall rule can serve every transfer."""

PROBLEM_LINES: Final = 20
"""Paths that a client names one by one as not delivered; the rest is counted, so that logs stay readable."""

RATE_WINDOW: Final = 5.0
"""Seconds over which the displayed rate is taken: long enough to be calm, short enough to fall to zero soon."""

CODE_TRIES: Final = 3
"""Times that a client asks for the code at a terminal before it gives up."""
