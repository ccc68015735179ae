"""The numbers of meeting and reconnecting: how long to look where, and when to open more links."""

from __future__ import annotations

from typing import Final

from p2p_copy.units import KIB

HANDSHAKE_TIMEOUT: Final = 15.0
"""Seconds for each message of the key exchange: both ends are there, and it takes two round trips of small messages."""

PIPELINE: Final = 4
"""Records waiting between two stages of one side, so that disk, cipher and network overlap; also the most that one
trip to the worker thread makes or consumes, since a trip costs half as much as a record."""

RECORDS_RECEIVED: Final = 2 * PIPELINE + 2
"""Records that exist at once at a receiver with one link: those in its worker thread, those that are read ahead, the
last of which the read that began before brings, and one that is coming."""

RETURN_AFTER: Final = (0.5, 30.0)
"""Seconds until the first try to reconnect, and between two tries at most. Each pause is twice as long as the last one,
give or take half of it, so that a thousand clients do not reconnect to a relay at once."""

LINKS_AUTO: Final = 4
"""Links that a transfer has at most if no user asked for a number: each is a connection that others could have."""

LINKS_FROM: Final = 0.01
"""Seconds of a round trip to the other side from which one TCP connection may be slower than the network: with less,
even a window of 1 MiB is 100 MB/s. Loopback and local networks stay below, unless machines are so busy that each answer
takes as long; then the trial decides."""

LINKS_TRIAL: Final = 1.0
"""Seconds in which it shows whether more links are faster: ten round trips of a long way."""

LINKS_GAIN: Final = 1.2
"""Times as fast as before that twice as many links must be, or no more are opened."""

LINKS_AT_ONCE: Final = 3
"""Links that one side opens at the same time: relays allow a source eight connections that have not said hello. A link
that has been welcomed, and waits for the other side, does not count."""

LINK_WAIT: Final = 60.0
"""Seconds in the room of a further link; the other side comes at once or has a reason not to."""

LINKS_RATE: Final = 512 * KIB
"""Bytes per second. A client that limits itself to less uses one link only: more would not be faster, and a record of
each would take seconds, as if it were stuck (`RETRANSMIT_AFTER`)."""

ACK_AFTER: Final = 0.02
"""Seconds for which an ack is put off, so that one is enough for many records. `MULTIPATH_BYTES` in this time are
1.6 GB/s."""

RETRANSMIT_AFTER: Final = 2.0
"""Seconds without any ack of a new record after which the records of a link that is stuck are sent over an idle one,
too: TCP repeats what was lost in less. Acks are repeated as often, since one may be lost with its link."""

ROOM_TURN: Final = 5.0
ROOM_TURN_MOST: Final = 20.0
"""Seconds in the room of the code for a side that looks into the rooms of its tickets, too: twice as many each round,
up to the second number, so that a side that waits for a night comes to a relay about once a minute, not each 10
seconds."""

DOUBT_PATIENCE: Final = 180.0
"""Seconds for which to look for the other side when the code is used up, and the link was lost before this side knew
that both have a ticket: two rounds of an honest other side, and its pauses."""

ROOM_TURNS: Final = 3
"""Times as long as a turn in the room of the code that a turn in the room of a ticket lasts. So two sides with the same
ticket meet in the end: one is there for longer than the other is away, even if the other looks into two more rooms."""

REDIAL_SETTLED: Final = 5.0
"""Seconds for which a client that has dialled again keeps both connections: longer than a relay takes to refuse
the new one because its role in the room is taken (`PROBE_TIMEOUT`)."""

NEXT_RELAY_AFTER: Final = 1.0
"""Seconds at one relay after which a side with several comes to the next one, too. Connecting takes less, and if the
other side waits there, they are paired by then; a user hardly notices a second where a firewall drops packets."""
