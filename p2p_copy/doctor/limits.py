"""The numbers of the checks: how long each may take, how much is sent or written, and what is worth a warning."""

from __future__ import annotations

from typing import Final

from p2p_copy.units import KIB, MIB

ACME_PORT: Final = 443
"""The port at which an authority checks a name (RFC 8737 section 3); the authority chooses no other one."""

ACME_WAIT: Final = 5.0
"""Seconds for a connection to that port, and again for TLS: time for a lost packet to be repeated twice. A firewall may
drop packets to a port that the relay does not use, and the user of the doctor waits for as long."""

OTHER_ADDRESSES: Final = 2.0
"""Seconds for the other addresses of a host once one has answered: a clock tick more than the first repetition of a
packet."""

ANSWER: Final = 8 * KIB
"""Bytes of the head of an answer in plain HTTP that are read."""

CLOCK: Final = 60.0
"""Seconds by which clocks may differ: certificates are made for a day at least, and a time in HTTP has whole seconds
and is some seconds old."""

ENDS_SOON: Final = 2 * 24 * 3600.0
"""Seconds before the end of a certificate from which on it is worth a warning: what renews itself has done so by then,
even if it is good for a week."""

PAIR_WAIT: Final = 15.0
"""Seconds for the two sides, both here, to meet in their room. A relay pairs them at once."""

ECHO: Final = 15.0
"""Seconds for one message to the other side and back: what a connection has for a welcome."""

ECHOES: Final = 10
"""Messages that are sent there and back to measure the round trip."""

SPEED_SECONDS: Final = 2.0
"""Seconds for which data is sent each way: TCP has found its speed by then."""

SPEED_BYTES: Final = 32 * MIB
"""Bytes sent each way at most: at this machine's own relay they take a tenth of a second."""

SPEED_OF_QUOTA: Final = 100
"""The part of a token's quota that is used up at most: one in so many."""

SPEED_PIECE: Final = 64 * KIB
"""Bytes of one message at most: at 200 kB/s it takes a third of a second."""

SPEED_PIECES: Final = 8
"""Messages into which even the smallest amount is divided."""

DISK_BYTES: Final = 8 * MIB
"""Bytes written to try a disk: enough to tell a disk from a stalled network mount, and few for a quota."""

DISK_SECONDS: Final = 15.0
"""Seconds for a disk to take them. A disk that spins up takes ten."""
