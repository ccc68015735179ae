"""The numbers of the command line: lines, queues and waits."""

from __future__ import annotations

from typing import Final

from p2p_copy import MAX_LINKS
from p2p_copy.units import MIB

MAX_PORT: Final = 65_535
"""The highest TCP port."""

DRAW_INTERVAL: Final = 0.5
"""Seconds between two live lines: a receiver says as often how far it is."""

PLAIN_PROGRESS_INTERVAL: Final = 5.0
"""Seconds between two progress lines without a terminal, as in job logs."""

PLAIN_RECONNECT_INTERVAL: Final = 60.0
"""Seconds between two lines about reconnecting without a terminal: it may take hours."""

BAR_FROM: Final = 60
"""Columns of a terminal from which on the live line has a bar."""

BAR_LEAST: Final = 5
"""Columns of that bar at least: ten steps, so that a long line at 80 columns still has it."""

BAR_WIDE: Final = 10
"""Columns of that bar before the name of a file takes any."""

BAR_MOST: Final = 30
"""Columns of that bar at most."""

LIVE_NAME_LEAST: Final = 12
"""Columns that there must be for the name of the current file; with fewer it says nothing."""

LEAST_REASON: Final = 20
"""Columns that there must be for the reason of a loss in the live line; with fewer it is left out."""

LIVE_NAME_COLUMNS: Final = 40
"""Columns of that name at most."""

PREVIEW_LINES: Final = 20
"""Names in a receiver's question: it fits on a screen."""

PREVIEW_INDENT: Final = 3
"""Levels by which these names are indented at most: an honest sender shows two."""

NAME_COLUMNS: Final = 48
"""Columns of each of these names: with its indentation and size no line is longer than 80 columns, so none wraps."""

PATH_COLUMNS: Final = 240
"""Columns of a path in any other line: three lines of a terminal."""

STOP_NOTICE: Final = 2.0
"""Seconds after Ctrl-C until the user is told what the process still waits for."""

MAX_TOKEN: Final = 256
"""Characters of an access token; ours have 43."""

TOKEN_BYTES: Final = 32
"""Random bytes of a new token: too many to guess, so that a plain SHA-256 of it can be stored in a file."""

RELAY_DRAIN_SHORT: Final = 5.0
"""Seconds for pairings to finish after Ctrl-C, at most, because a user waits at the terminal."""

KEEPER_PAUSE: Final = 600.0
"""Seconds until what renews a certificate goes on after a bug: a certificate has at least a third of its life left."""

RELAY_HURRY: Final = 1.0
"""Seconds to tell clients when a second signal stops the relay: one round trip."""

OUTPUT_QUEUE: Final = 1 * MIB
"""Characters that are queued for standard output or standard error at most: some ten thousand lines of a log. Further
lines are dropped and counted."""

OUTPUT_FLUSH: Final = 1.0
"""Seconds that an ending process waits for its last lines to be written: enough for any reader that reads, and short
for a user who has stopped the terminal."""

OUTPUT_IDLE: Final = 5.0
"""Seconds after which an idle writing thread ends; starting one takes as long as writing a line."""

OUTPUT_RETRY: Final = 0.05
"""Seconds until a full non-blocking stream is tried again."""

MAP_BLOCKS_FROM: Final = 16 * MIB
"""Bytes from which the C library may map a block separately; all blocks of a transfer are smaller."""

KEEP_FREED: Final = 32 * MIB
"""Freed bytes that the C library may keep for the next record instead of returning them to the kernel."""

CLIENT_COLLECTIONS: Final = (30_000, 10, 10)
"""Thresholds of Python's garbage collector in a client: a collection of generation 0 after 30,000 net new objects, some
megabytes. What a transfer imports once it runs is 22,000: with a threshold of 5,000 it made four collections, which
found nothing and took four milliseconds. A transfer makes few cycles, and those of a lost connection wait for this."""

RELAY_COLLECTIONS: Final = (2_000, 5, 50)
"""Thresholds of Python's garbage collector in a relay: a collection of generation 0 after 2,000 net new objects, every
fifth one with generation 1, which takes some 3 ms, and every fiftieth of these full. A full one takes half a second of
CPU time with 2,000 clients, and no client is served meanwhile. With these thresholds there is one for half a million
objects, or some 2,500 connections if all of them leave cycles: ours leave none (`tests/relay/test_garbage.py`),
libraries may, on some versions of Python."""

SERVE_CONNECTIONS: Final = 4 * MAX_LINKS
"""Clients of the relay in `send --serve`: the links of both sides, and as many again to replace lost ones."""

SERVE_PENDING: Final = 32
"""Connections of that relay that have not said hello: four sources with `MAX_PENDING_PER_SOURCE` each."""

SERVE_PORT: Final = 8765
"""TCP port that `send --serve` tries first, so that one firewall rule serves every transfer."""

DIGEST_DIGITS: Final = 16
"""Hexadecimal digits of the root digest that are shown: enough for two people to compare."""

PROBLEM_LINES: Final = 20
"""Undelivered paths that are named one by one; the rest is counted, so that logs stay readable."""

RATE_WINDOW: Final = 5.0
"""Seconds over which the displayed rate is measured: long enough to be steady, short enough to fall to zero soon."""

CODE_TRIES: Final = 3
"""Times that `receive` asks for the code at a terminal before it gives up."""
