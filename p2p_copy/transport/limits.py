"""The numbers of connections: timeouts, buffers, and the work in one turn of the event loop."""

from __future__ import annotations

from typing import Final

from p2p_copy.units import KIB, MIB

DIAL_TIMEOUT: Final = 10.0
"""Seconds for TCP alone. The first packet is repeated after 1, 3 and 7 seconds, and its answer may take two. A client
that reconnects must not lose more time than that to an address at which no machine is."""

CONNECT_TIMEOUT: Final = 15.0
"""Seconds from the first packet to the relay's welcome. A relay that stays silent for longer is an error. So is a proxy
that has not connected to the relay by then; it has as much time again for that."""

PROXY_ANSWER: Final = 16 * KIB
"""Bytes of the head of a proxy's answer. Those of squid and tinyproxy have less than one KiB."""

FILE_TIMEOUT: Final = 8.0
"""Seconds in which small files must be read: a relay's certificate, key and tokens, a client's certificates of
authorities. A disk that has to spin up, or a busy file server, takes less. So an operator who orders a reload is told
of it within `ADMIN_TIMEOUT`, and a client that connects within `CONNECT_TIMEOUT`."""

GOODBYE_TIMEOUT: Final = 5.0
"""Seconds for the last record and the close frame. A peer that does not answer in that time, or takes nothing, is
cut."""

PARTING_LIMIT: Final = 80.0
"""Seconds for the end of a conversation in all, while what is queued before it moves. Service managers kill after
90."""

TICK: Final = 0.5
"""Seconds between two checks of the open deadlines."""

NOT_RUN: Final = 5.0
"""If two checks of a deadline lie more seconds apart, this process did not run in between: it was stopped, or its
machine was. Deadlines are checked every two seconds or more often, and a busy machine delays no check by three more."""

KEEPALIVE_INTERVAL: Final = 20.0
"""Seconds of silence after which a ping is sent. Proxies cut idle connections after 60 s, some after 30 s."""

KEEPALIVE_TIMEOUT: Final = 60.0
"""Seconds without a single byte after which a peer that has not answered a ping is dead. At 200 kB/s a ping may wait
for half a minute behind what kernels and network hold."""

VANISHED: Final = 25.0
"""Seconds without an answer to a packet that was repeated (`TCP_UNANSWERED`) after which a machine is taken to be gone.
With two seconds of delay three repetitions take 21. With 30 % loss there are seven by then; in one case of a hundred
none is answered, and the client has to reconnect. A machine that sleeps for a while answers when it wakes."""

VANISHED_CHECK: Final = 5.0
"""Seconds between two checks for that: a machine that is gone is noticed after half a minute."""

RELAY_PIECE: Final = 64 * KIB
"""Bytes from which a relay passes on a part of a message without waiting for the rest. For smaller parts the trips
through the event loop would cost more than the bytes."""

PIPE_SIZE: Final = 1 * MIB
"""Bytes of a pipe through which a relay splices messages: a longest record. With a quarter of it splicing would take as
much processor time as copying. It is also the most that Linux gives a user without privileges for one pipe."""

SHORT_TURN: Final = 0.0005
"""Seconds that a turn of the event loop may have lasted when a link begins to splice, which then takes a millisecond or
two: see `short_turn`. A client that connects waits for some ten turns until it is paired."""

MAX_PIPES: Final = 64
"""Such pipes in one process: Linux gives a user without privileges memory for as many. Further pairings copy."""

PIECE_COST: Final = 128
"""Bytes of memory that a piece of a message takes besides its data."""

FRUITLESS_PAUSE: Final = 0.01
"""Seconds until the next try when the system calls a socket ready that gives or takes nothing."""

PACE_CHECK: Final = 1.0
"""Seconds between two checks whether a client that is slowed down is still there: one pause may take 20 seconds."""

PACE_PIECE: Final = 0.05
"""Seconds' worth of bytes that pass at once below a client's own limit of its rate."""

PACE_BURST: Final = 0.25
"""Seconds' worth of bytes by which a client makes up for a pause: enough for a busy machine, and no burst that others
would notice."""

PACE_AT_ONCE: Final = 1e-6
"""Seconds that no clock can wait for."""

HTTP_LINGER: Final = 1.0
"""Seconds in which a client may read the answer to a refused request or message before the connection is closed."""

HTTP_PEEK: Final = 1 * KIB
"""Bytes of a server's first answer that are kept, to tell what kind of server it is."""

MAX_PORT: Final = 65535
"""The highest port that TCP has."""

REDIRECT_SHOWN: Final = 120
"""Characters of a redirect's target that are shown: enough for a host, and at most a line or two of a terminal."""

MAX_FRAGMENTS: Final = 64
"""Frames of one WebSocket message. A relay makes half as many at most. Endless empty frames would pass every limit on
size."""

FRAMES_A_TRIP: Final = 256
"""Frames that are decoded before it is the turn of other tasks: a buffer full of empty ones takes a quarter of a
second."""

TCP_KEEPALIVE: Final = (30, 10, 3)
"""Seconds of idleness before a probe, seconds between probes, lost probes until a connection is dead."""

TCP_UNANSWERED: Final = 3
"""Times in a row that our kernel has repeated a packet, or asked whether a window is open again, without an answer. A
machine that is there answers at least one of them, whatever its programs and disks do."""

TCP_USER_TIMEOUT: Final = 600.0
"""Seconds in which the other end's kernel must take at least some of what was sent (RFC 5482). Linux counts a closed
window as silence, so a receiver's disk may stall for no longer: a network file system that changes servers, or that is
flushed, takes minutes."""

RECEIVE_BUFFER: Final = 1 * MIB
"""Bytes read from a socket at once. trio-websocket reads 4 KiB, which would cost a trip through the event loop each.
Half as many as here would cost a relay a quarter more of its own processor time, and save 5 MiB of memory for each
pairing at full speed."""

UNMASKED: Final = 16 * KIB
"""Bytes from which a client's binary message is sent with a mask of zeros, which costs neither side anything. Masks
keep an attacker from choosing bytes that a proxy takes for a request (RFC 6455 section 10.3). Only sealed records are
as long; only their receiver can foresee more of one than its header, and that has nothing of a request."""

LONG_FRAME: Final = 64 * KIB
"""Bytes of a frame from which reads of a plain link end where its payload begins and ends. If the payload then comes in
one read it is not copied, which saves more than another trip through the event loop costs."""

UNSENT: Final = 1 * MIB
"""Bytes that the kernel may hold and has not put on the network yet: what one read brings is then sent at once. With
trio's 16 KiB one record takes five trips through the event loop. At 200 kB/s these bytes take some five seconds, and
a ping waits behind them."""

UNSENT_MOST: Final = 3 * MIB
"""The same on a fast link: there are fewer trips. Linux gives a socket 4 MiB at most, unless it is told otherwise, and
needs some of that itself."""

UNSENT_SECONDS: Final = 0.05
"""Seconds for which such bytes last at the measured rate, if there may be more than `UNSENT`: a ping waits behind them
for no longer than that, while the link stays as fast."""

UNSENT_CHECK: Final = 0.2
"""Seconds over which the rate of a link is measured for that."""

TLS_TRIP: Final = 1 * MIB
"""Bytes encrypted for one send. With fewer there are more trips through the event loop; with more, encrypted bytes wait
longer for the network."""

TLS_TURN: Final = 128
"""TLS records that are decrypted before other tasks get their turn. One takes some 8 microseconds, whether it is full
or changes the keys. The longest read has half as many full ones."""

TLS_BARREN: Final = 32
"""TLS records without content that may come on one connection: tickets, alerts and changes of keys, of which honest
ends send a few. More of them end the connection, except those for which content has paid."""

TLS_PAYS: Final = 1 * MIB
"""Bytes of content after which one more such record may come: decrypting the content costs a hundred times as much as
that record, and no TLS library changes its keys before some 100 GB."""

TLS_FREE_RECORD: Final = 1 * KIB
"""Bytes of content that pay for one record; records with less count as work, as frames do."""

TLS_HANDSHAKE: Final = 256
"""TLS records of one handshake from one side. Usually they are some ten; a few dozen if a client splits its first
message to pass a censor."""

TLS_PIECE: Final = 64 * KIB
"""Bytes that the TLS library is given at once, in addition to at most one record that it has not decrypted. Its buffers
grow to a third more than that, and never shrink again."""
