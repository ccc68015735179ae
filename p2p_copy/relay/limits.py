"""The relay's numbers, each with its unit and its reason, in the order in which a connection meets them."""

from __future__ import annotations

from typing import Final

from p2p_copy.transport import limits as transport_limits
from p2p_copy.units import KIB, MIB

# Listening and accepting

UNIX_SOCKET_MODE: Final = 0o660
"""Mode of a unix socket: for the relay's own user, and for the group that the proxy in front is in."""

UNIX_BACKLOG: Final = 4096
"""Connections that may wait at a unix socket to be accepted; the kernel's own limit (somaxconn) comes first."""

ACCEPT_RETRY_PAUSE: Final = 0.1
"""Seconds until the next accept when the system has nothing left for a new connection: others end now and then."""

DESCRIPTORS_SHARE: Final = 0.8
"""Part of the process' file descriptors that connections may take; the rest is for files, logs and the library."""

# How many: the whole relay

MAX_CONNECTIONS: Final = 4096
"""Clients of one relay, all its workers together, until the limits of the operating system say less."""

MAX_PENDING: Final = 256
"""Connections of one relay that have not said hello yet; they come and go within `ACCEPT_BUDGET`. The relay
closes the oldest one for each further one: finding it takes a fifth of a millisecond."""

MAX_WAITING: Final = 3072
"""Clients of one relay that wait for another one: the last quarter of the places is for their partners."""

BUSY_RETRY_AFTER: Final = 60
"""Seconds after which a client that found the relay full is asked to try again."""

# How many: one source

MAX_PER_SOURCE: Final = 50
"""Connections of one source (an IPv4 address, an IPv6 /64): enough for a department behind one address."""

MAX_PENDING_PER_SOURCE: Final = 8
"""Connections of one source that have not said hello yet: a user starts a few clients at once, a flood starts more."""

ARRIVALS_PER_MINUTE: Final = 60
"""New connections of one source in a minute: the TLS handshake is what costs a relay most."""

JOINS_PER_MINUTE: Final = 30
"""Hellos with which one source may ask for a room in a minute: enough for scripts, far too few to try out rooms."""

NETWORK_MULTIPLES: Final = {64: 1, 56: 4, 48: 16}
"""IPv6 networks by the bits of their prefix, and how many times the limits of one source each has. A provider gives a
/64 to a phone, a /56 to a home and a /48 to a site (RFC 6177, RIPE-690), but many phones may share a /56. With the
defaults a /48 has half of all places for connections without a hello, and a fifth of all others. An IPv4 /24 is not
counted: providers do not give it to a customer, and an attacker who rents many IPv4 addresses pays for each."""

REMEMBERED_SOURCES: Final = 16_384
"""Sources without a connection that a relay remembers, for a minute: some 10 MB at most, whatever connects."""

# Arriving: PROXY header, TLS, HTTP, hello

ACCEPT_BUDGET: Final = 10.0
"""Seconds from accept to hello, for TCP, TLS, HTTP and JSON together, so that half-open connections cost little."""

MAX_PROXY_LINE: Final = 107
"""Bytes of a PROXY protocol header of version 1 (section 2.1): no address makes it longer."""

MAX_PROXY_HEADER: Final = 1 * KIB
"""Bytes of a PROXY protocol header of version 2 after its first 16: addresses take 36, and the relay reads nothing else
of it."""

MAX_CLIENT_HELLO: Final = 5 + 16 * KIB
"""Bytes of a TLS ClientHello that are looked at: one record (RFC 8446 section 5.1). Ours have half a KiB, or two with a
post-quantum key. A longer one is served, without its hint."""

HELLO_LOOK_PAUSE: Final = 0.05
HELLO_LOOK_PAUSE_MOST: Final = 1.0
"""Seconds between two looks at a ClientHello that comes in pieces, where the kernel does not say when it is whole: the
first ones, and the most, since a thousand connections may end within it."""

MAX_HTTP_HEAD: Final = 8 * KIB
"""Bytes of an HTTP request's head at the relay: browsers and proxies stay below 4 KiB."""

MAX_HTTP_HEADERS: Final = 64
"""Header lines of one HTTP request at the relay."""

MAX_PAGE: Final = 4 * MIB
"""Bytes of all files of the page together, which each process of a relay holds in memory, compressed as well; the page
has a tenth of that."""

MAX_PAGE_FILES: Final = 32
"""Files of the page: each is one more connection for a browser."""

MAX_PAGE_MANIFEST: Final = 64 * KIB
"""Bytes of the list of the page's files."""

CONTROL_TIMEOUT: Final = 5.0
"""Seconds in which a client must take what the relay itself says: welcome, refusal, "paired", pongs, close frames. The
kernels hold thousands of these for a client that reads late, so a client that makes the relay wait reads nothing. From
"paired" on `PAIRED_SEND_TIMEOUT` holds: a pong may then wait behind what the other side has sent. What is said before
the hello counts for `ACCEPT_BUDGET` as well."""

# Waiting

WAIT: Final = 3600.0
"""Seconds that one client may wait for the other (the welcome says so)."""

PROBE_TIMEOUT: Final = 3.0
"""Seconds within which a waiting client should answer the ping that the relay sends when another client comes to its
room. A client that answers later keeps its place until its link ends. But a newcomer of the same role that waits at
another relay as well is refused after this time, so that it keeps its place there."""

REDIALS_PER_SECOND: Final = 20.0
"""Waiting clients that dial again, to which the relay spreads them: each costs it a TLS handshake, some milliseconds
of a processor."""

# Processor time of one connection, until it is paired

EARLY_READS: Final = 1.0
EARLY_READS_BURST: Final = 24
"""Reads per second from a connection that is not paired, and how many of them may come at once. A client needs some ten
for TLS, request and hello; one that waits answers a ping now and then."""

EARLY_READS_TOTAL: Final = 400
"""Reads per second from all connections that are not paired, beyond what each may have at once: some 8 % of a
processor, which they share equally."""

EARLY_FRAMES: Final = 2.0
EARLY_FRAMES_BURST: Final = 64
"""WebSocket frames, or TLS records, per second from a connection that is not paired, and how many may come at once."""

EARLY_FRAMES_TOTAL: Final = 2000
"""WebSocket frames, or TLS records, per second from all these connections, which share them equally."""

EARLY_READ: Final = 4 * KIB
"""Bytes of one read from a connection that is not paired: requests are shorter, and 180 TLS records fit into it."""

# Processor time of one connection, once it is paired

FRAMES_PER_SECOND: Final = 2000
"""WebSocket frames per second taken from one connection: 2 GB/s of our own records. 40,000 would fill a processor."""

FRAME_BURST: Final = 2.0
"""Seconds' worth of frames that may come at once: what a slow network held up comes all together."""

SMALL_READS_PER_SECOND: Final = 400
"""Reads per second from one paired connection that bring next to nothing, each of which takes some 0.2 ms of a
processor. What comes faster is read in larger pieces, for it gathers in the kernel until the next read."""

FREE_READ: Final = 16 * KIB
"""Bytes that pay for the read that brings them; half as many pay for half of it."""

# Messages of a pairing

MAX_MESSAGE: Final = 2 * MIB + 64 * KIB
"""Bytes of one message through the relay: p2p-copy 0.1.x sends up to 2 MiB and a header."""

PIECES_PER_MESSAGE: Final = 32
"""A longest message is passed on in this many pieces and one more: half of the `MAX_FRAGMENTS` that clients take."""

BATCHES_QUEUED: Final = 0
"""Batches that wait in a pairing's channel, for each direction: none. So two are in flight, one at the reading and one
at the writing task. A batch is what one read brought, RECEIVE_BUFFER, and less than a piece from before. One more waits
at the link that it came over: with wide windows a pairing holds six batches in all."""

PAIRED_SEND_TIMEOUT: Final = 600.0
"""Seconds in which one of a pair must take one send: a batch, or a message of the relay's own behind one. A receiver's
disk may stall for minutes, and a client that stalls on purpose costs the relay three batches."""

TAIL_TIMEOUT: Final = 60.0
"""Seconds in which the slower side may take what was sent to it before the other side closed."""

SPLICE_TURN: Final = 0.001
"""Seconds for which one direction of a pairing may splice parts without a turn of the event loop in between. A mebibyte
takes 0.3 to 0.5 ms of them. How long all of them together take is bounded, too: see `transport.short_turn`."""

# Memory of all pairings

MEMORY_SHARE: Final = 4
"""All pairings of a relay may hold 1/4 of the memory of the machine, or of its control group, unless its operator says
otherwise (`--max-memory`). The rest is for Python and its modules (40 MiB), some 50 KiB for each connection (200 MiB
for 4,096 of them; over TLS up to 170 KiB for each that has sent much), what the allocator keeps, and the kernel's own
buffers."""

LEAST_MEMORY: Final = 16 * MIB
"""Least bytes that all pairings of a relay may hold: 128 pairings that do not move, or a dozen that may move fast."""

MEMORY_FREE_SHARE: Final = 4
"""One direction may hold 1/4 of what is free in that budget. With n directions that take what they get, 1 of
1 + n/4 parts of the budget stays free."""

MEMORY_RELIEF: Final = 4
"""If less than 1/4 of that budget is free, the pairings that stood still longest end."""

MEMORY_BUSY: Final = 8
"""If less than 1/8 of that budget is free, the relay tells newcomers that it is busy."""

MEMORY_STALL: Final = 60.0
"""Seconds in which a receiver may take nothing of a batch while memory is short: slow disks and full links last less,
and a client whose pairing was ended reconnects and resumes."""

WINDOW_LEAST: Final = 64 * KIB
"""Bytes that a direction of a pairing may hold in any case: about one piece. 2,000 pairings that do not read hold
256 MiB with it."""

WINDOW_MOST: Final = 8 * MIB
"""Bytes of the widest window: more than a direction at full speed holds (`BATCHES_QUEUED`), and twice that over TLS."""

WINDOW_GROWTH: Final = 32
"""Bytes that a receiver takes for each byte by which a window opens. Kernels take some MiB for a program that reads
nothing, which opens a window by a hundred KiB at most; reads of a whole RECEIVE_BUFFER begin after 64 MiB."""

LEAST_READ: Final = 16 * KIB
"""Bytes that a read may bring in any case: a record of TLS."""

# Stalls

PAIRING_CHECK_INTERVAL: Final = 2.0
"""Seconds between two checks of all pairings: a microsecond for each, and no timer for any message."""

PAIRINGS_A_TURN: Final = 64
"""Pairings that are checked before other tasks have their turn: some milliseconds."""

REPORT_STALL_AFTER: Final = 6.0
"""Seconds without movement in one direction of a pairing after which the relay says so: before the clients' `STALL`,
so that they know by then which side it is."""

LOG_STALL_AFTER: Final = 60.0
"""Seconds after which a stall is worth a line in the relay's log: slow disks and full links last less."""

# Rates

LEAST_RATE: Final = 64 * KIB
"""Least bytes per second that a rate limit may say: a longest message takes half a minute then, and clients of
p2p-copy 0.1.x believe the connection dead when nothing moves for longer."""

RATE_BURST: Final = 1.0
"""Seconds' worth of bytes that may pass at once below a rate limit: a pause is made up for, an hour is not."""

RATE_GRAIN: Final = 16 * KIB
"""Bytes that a pairing owes before it stands in a queue for them, so that small messages do not each cost a wait."""

# Stopping

DRAIN: Final = 300.0
"""Seconds for pairings to finish when the relay is stopped (--drain); clients resume what is cut."""

STOP_TIMEOUT: Final = 2 * transport_limits.GOODBYE_TIMEOUT
"""Seconds from the order to stop until the last connection is cut: for bytes in flight, then for the goodbye."""

# Files

MAX_CERTIFICATE_FILE: Final = 1 * MIB
"""Bytes that the relay reads of the files of its certificate and its key."""

CERTIFICATE_CHECK_INTERVAL: Final = 60.0
"""Seconds between two checks of the certificate's files and age: a renewal is in use within a minute."""

CERTIFICATE_WARNINGS: Final = (14, 7, 1)
"""Days before a certificate's end at which the relay warns: usual renewals happen 30 days before."""

MAX_TOKENS_FILE: Final = 1 * MIB
"""Bytes of a relay's file of tokens: some ten thousand, each of which is compared at every hello."""

# Worker processes

MAX_WORKERS: Final = 256
"""Most worker processes of a relay: a room's first byte, by which clients are sent to one, has as many values."""

WORKER_REPORT_INTERVAL: Final = 1.0
"""Seconds between two reports of a worker, which are its signs of life and what stays known of one that is killed."""

WORKER_SILENT: Final = 30.0
"""Seconds without a report after which a worker is killed: no event loop stands still for a hundredth of that."""

WORKER_START: Final = 30.0
"""Seconds in which a new worker has to be ready; it takes half a second on an idle machine."""

WORKER_PAUSES: Final = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds until a worker that has ended is started again, each time it ends early."""

WORKER_SETTLED: Final = 60.0
"""Seconds after which a worker has not ended early, and is started again at once."""

WORKER_KILL: Final = 3.0
"""Seconds after the time in which a stopping worker should have ended until it is killed."""

WORKER_RETIREMENT: Final = 7 * 24 * 3600.0
"""Seconds for the pairings of a worker whose place another one has: a week, so that an old program ends some day."""

CONTROL_ANSWER: Final = 5.0
"""Seconds for a worker's answer to the first process: less than a request at the admin address has."""

CONTROL_READ: Final = 64 * KIB
"""Bytes of one read between two processes of a relay."""

MAX_CONTROL_MESSAGE: Final = 8 * MIB
"""Bytes of one message between them, and of those that wait to be read: a list of 4,096 pairings has 200 KiB."""

WORKER_LOG_UNSENT: Final = MIB
"""Bytes that may wait on the way to the first process before a worker's log lines are left out: some 4,000 lines."""

SHARED_RATE_GRAIN: Final = 0.05
"""Seconds' worth of a shared rate that a worker's pairing owes before it asks the first process for them: some 20
questions a second for each such rate, however many pairings share it."""

QUOTA_SLICE: Final = 4 * MIB
"""Bytes of a quota that a worker takes at once for a pairing, to ask seldom; what it has not used it gives back."""

QUOTA_NEAR: Final = 64
"""Slices that must be left of a quota for that; from then on it is asked for each piece, so that a quota is exact."""

PASS_ON_READ: Final = 64 * KIB
"""Bytes of one read for a client that a worker passes on to another one: two such reads are held for each client."""

# Log, service manager, admin address

LOG_WINDOW: Final = 60.0
"""Seconds after which the log sums up what came too often."""

LOG_REPEATS: Final = 5
"""Equal lines that are written in that time: enough to see a pattern, too few to fill a disk."""

STATUS_INTERVAL: Final = 10.0
"""Seconds between two updates of the counts that systemd shows as the relay's status."""

ADMIN_SOCKET_MODE: Final = 0o600
"""Mode of the admin address' unix socket: any program that can open it may give orders."""

ADMIN_CONNECTIONS: Final = 16
"""Requests at the admin address at once: a few programs that watch, and an operator."""

ADMIN_TIMEOUT: Final = 10.0
"""Seconds for one request at the admin address, a reload from a slow disk included."""

UPGRADE_TIMEOUT: Final = WORKER_START + ADMIN_TIMEOUT
"""Seconds for an order there to replace the workers, which is answered when they serve."""

MAX_ADMIN_BODY: Final = 1 * KIB
"""Bytes of the body of such a request: one name and one number."""
