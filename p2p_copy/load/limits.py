"""The numbers of a load test, each with its unit and its reason."""

from __future__ import annotations

from typing import Final

from p2p_copy.units import KIB

MESSAGE: Final = 960 * KIB
"""Bytes of a message on a fast link: what a sender puts into one record."""

LEAST_MESSAGE: Final = 64 * KIB
MESSAGE_SECONDS: Final = 0.3
"""On a slow link a message is shorter, as a sender's records are: it takes this many seconds, and is not shorter than
the first number."""

PAIR_TIMEOUT: Final = 30.0
"""Seconds in which two clients that are both welcome must be paired. A relay pings the one that waits first, which
takes a round trip."""

TAIL_TIMEOUT: Final = 60.0
"""Seconds without a single byte after which a pairing counts as lost. A relay that limits the rate still moves some."""

ROUND_TRIP_INTERVAL: Final = 0.1
"""Seconds between two round trips that are measured: 300 in half a minute, enough for the 99th percentile."""

GONE_AFTER: Final = 10.0
"""Seconds without a connection to the relay after which the test ends. A restart takes less."""

DIAL_AGAIN: Final = 1.0
"""Seconds between two tries to reach a relay that was lost, of the one connection that finds out whether it is gone."""

PROGRESS_INTERVAL: Final = 0.5
"""Seconds between two reports of a process that makes load."""

STOP_TIMEOUT: Final = 15.0
"""Seconds in which such a process must hand over its figures once it was told to stop."""

ROOM_HINTS: Final = 32
"""Different first bytes of the names of rooms. Each has a TLS context of its own, which takes half a megabyte and ten
milliseconds. So many spread rooms evenly over a relay's workers."""

PENDING_SECONDS: Final = 0.1
"""Seconds that a client takes from its first packet to its hello, for the estimate of how many are at it at once."""

DESCRIPTORS_SPARE: Final = 64
"""Descriptors of a process that makes load beside its connections."""

GENERATOR_BUSY: Final = 0.85
"""Part of one processor from which a process that makes load is too busy to say how fast the relay is."""
