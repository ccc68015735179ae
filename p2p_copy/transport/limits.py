"""The numbers of connections: timeouts, buffers, and how much work one turn of the event loop may be."""

from __future__ import annotations

from typing import Final

from p2p_copy.units import KIB, MIB

DIAL_TIMEOUT: Final = 10.0
"""Seconds for TCP alone: the first packet is repeated after 1, 3 and 7 of them, and each may take two to be answered.
An address where nobody is must not cost those who come back more than that."""

CONNECT_TIMEOUT: Final = 15.0
"""Seconds from the first packet to the relay's welcome; a silent relay is an error, not a wait."""

FILE_TIMEOUT: Final = 8.0
"""Seconds in which small files must be read while others wait: a relay's certificate, key and tokens, a client's
certificates of authorities. A disk that has to spin up, or a file server that is busy, takes less. Whoever has ordered
a reload hears of it within `ADMIN_TIMEOUT`, and a client that dials within `CONNECT_TIMEOUT`."""

GOODBYE_TIMEOUT: Final = 5.0
"""Seconds for saying goodbye: the last record, the close frame. Whoever does not answer, or takes nothing, is cut."""

PARTING_LIMIT: Final = 80.0
"""Seconds for last words in all, while what is queued before them moves. Service managers kill after 90."""

TICK: Final = 0.5
"""Seconds between two looks at what has a deadline."""

NOT_RUN: Final = 5.0
"""Seconds between two looks after which this process did not run in between: it was stopped, or its machine was. All
who look do so every two seconds or more often, and a busy machine makes nobody wait for three more."""

KEEPALIVE_INTERVAL: Final = 20.0
"""Seconds of silence after which a ping is sent: proxies cut idle connections at 60 s, some at 30 s."""

KEEPALIVE_TIMEOUT: Final = 60.0
"""Seconds without a single byte from a peer that owes us a pong, after which it is dead: with 200 kB/s a ping may wait
for half a minute behind what the kernel and the network hold."""

VANISHED: Final = 25.0
"""Seconds for which a machine may owe an answer to a packet that was repeated (`TCP_UNANSWERED`) until it is gone. With
two seconds of delay three repetitions take 21; with 30 % loss there are seven by then, of which one in a hundred times
none is answered, and that costs a return; a machine that sleeps for a while answers when it wakes."""

VANISHED_LOOK: Final = 5.0
"""Seconds between two looks for that: half a minute in all."""

RELAY_PIECE: Final = 64 * KIB
"""Bytes from which a relay passes on a part of a message without waiting for its rest: fewer would cost more trips
through its loop than bytes."""

PIPE_SIZE: Final = 1 * MIB
"""Bytes of a pipe through which a relay splices messages: a longest record. With a quarter of it splicing would take as
much processor time as copying. It is also the most that Linux gives a user without privileges for one pipe."""

MAX_PIPES: Final = 64
"""Such pipes in one process: Linux has memory for so many, for a user without privileges. Further pairings copy."""

PIECE_COST: Final = 128
"""Bytes of memory that a piece of a message takes besides its own."""

FRUITLESS_PAUSE: Final = 0.01
"""Seconds until the next try when the system says that a socket is ready, and it gives or takes nothing."""

PACE_CHECK: Final = 1.0
"""Seconds between two looks whether somebody who is slowed down is still there: one pause may take 20 seconds."""

HTTP_LINGER: Final = 1.0
"""Seconds in which a client may take the answer to a request that is no WebSocket, before we close."""

HTTP_PEEK: Final = 1 * KIB
"""Bytes of a server's first words that are kept to tell what kind of server it is."""

MAX_PORT: Final = 65535
"""The highest port that TCP has."""

REDIRECT_SHOWN: Final = 120
"""Characters of a redirect's target that a person is shown: enough for a host, and a line of a terminal."""

MAX_FRAGMENTS: Final = 64
"""Frames of one WebSocket message. A relay makes half as many at most; endless empty ones pass every limit on size."""

FRAMES_A_TRIP: Final = 256
"""Frames that are decoded before somebody else's turn: a buffer full of empty ones would take a quarter of a second."""

TCP_KEEPALIVE: Final = (30, 10, 3)
"""Seconds of idleness before a probe, seconds between probes, lost probes until a connection is dead."""

TCP_UNANSWERED: Final = 3
"""Times in a row that a kernel has repeated a packet, or asked whether a window is open again, in vain. A machine that
is there answers at least one of them, whatever its programs and disks do."""

TCP_USER_TIMEOUT: Final = 600.0
"""Seconds in which the other end's kernel must take at least something of what we send (RFC 5482). Linux counts
a closed window as silence, so this is also how long a receiver's disk may stall: a network file system that
changes servers, or that is flushed, takes minutes."""

RECEIVE_BUFFER: Final = 1 * MIB
"""Bytes read from a socket at once; the library's 4 KiB would cost a trip through the loop each. Half as many would
cost a relay a quarter more of its own processor time, and save it 5 MiB of memory for each pairing at full speed."""

UNMASKED: Final = 16 * KIB
"""Bytes from which a client's binary message goes out under a mask of zeros, which costs neither side anything. Only
sealed records are as long, and nobody but their receiver can foresee more than the header of one, which has nothing
that a proxy could take for a request: so masks have nothing to prevent there (RFC 6455 section 10.3)."""

LONG_FRAME: Final = 64 * KIB
"""Bytes of a frame from which reads of a plain link end where its payload begins and ends: it need not be copied then,
if it came in one piece, and that pays for another trip through the loop."""

UNSENT: Final = 1 * MIB
"""Bytes that the kernel may hold before they are on their way, beyond what the network takes at once: what one read
brings is then sent in one go. With trio's 16 KiB one record takes five trips through the event loop. With 200 kB/s it
takes some five seconds, and a ping waits behind it."""

TLS_TRIP: Final = 1 * MIB
"""Bytes encrypted for one send: fewer would cost a trip through the loop each, more would wait for each other."""

TLS_TURN: Final = 128
"""TLS records that are opened before it is somebody else's turn. One takes some 8 microseconds, be it long or a change
of keys; a longest read has half as many that are full."""

TLS_BARREN: Final = 32
"""TLS records without a byte of content that may come on one connection: tickets, alerts and changes of keys, of which
honest ends send a few. More of them end it, apart from those that content has paid for."""

TLS_PAYS: Final = 1 * MIB
"""Bytes of content that pay for one more such record: they cost a hundred times as much to decrypt, and no TLS library
changes its keys more often than after some 100 GB."""

TLS_FREE_RECORD: Final = 1 * KIB
"""Bytes of content that pay for the record which brings them; shorter ones are counted as frames are."""

TLS_HANDSHAKE: Final = 256
"""TLS records of one handshake from one side: they are some ten, a few dozen where a client splits its first message
to pass a censor."""

TLS_PIECE: Final = 64 * KIB
"""Bytes that the TLS library is given at once, behind one record at most that it has not opened. Its buffers grow to a
third more than that, and never shrink again."""
