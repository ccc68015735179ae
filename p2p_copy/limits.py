"""Every number of p2p-copy, with its unit and its reason.

The first block is specification: changing a number there changes the protocol (docs/protocol.md). The
second block is implementation: it may change with any release, and both ends need not agree on it.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

# --- Specification -----------------------------------------------------------------------------------

PROTOCOL_VERSION: Final = 1
"""Of the rendezvous, the handshake and the records together; one number, no negotiation of parts."""

MAX_HANDSHAKE_MESSAGE: Final = 1 * KIB
"""Bytes of one key exchange message: shares and nonces are fixed, capabilities are a short list."""

MAX_CAPABILITIES: Final = 512
"""Bytes of the capability list inside a key exchange message."""

RECORD_HEADER: Final = 16
"""Bytes: type, flags, stream, content size, sequence number."""

RECORD_TAG: Final = 16
"""Bytes of the AES-GCM tag."""

MAX_RECORD_CONTENT: Final = 1 * MIB
"""Bytes of one record's content: a receiver must hold one record, and never more, before it can check it."""

MAX_RECORD: Final = RECORD_HEADER + MAX_RECORD_CONTENT + RECORD_TAG
"""Bytes of one record as a message on the wire."""

MAX_RECORD_HOLES: Final = 256 * MIB
"""Bytes of all holes that one record tells of: they cost the sender next to nothing, and the receiver up to a quarter
of a second of hashing zeros before it looks up again."""

MAX_RECORD_MESSAGES: Final = 1024
"""Messages of one record; a page counts as many as it has entries and extended attributes. A record's content holds
116,000 of the shortest, which compress to a hundred bytes: so few cost whoever hears them some 5 milliseconds, and each
of 340 small files for each record costs no more than each of 5,000."""

REKEY_RECORDS: Final = 2**22
"""Records under one key. RFC 8446 section 5.5 allows 2**24.5 full TLS records for AES-GCM; ours are longer."""

REKEY_BYTES: Final = 64 * GIB
"""Content bytes under one key: 2**32 AES blocks keep the distinguishing advantage below 2**-64."""

ZSTD_WINDOW_LOG: Final = 20
"""Largest zstd window, as a power of two: no record's content is longer, so a longer window is an attack."""

SEGMENT: Final = 16 * MIB
"""Bytes of a file under one leaf of its digest; the unit in which work is verified, and later resumed."""

DIGEST: Final = 32
"""Bytes of a BLAKE3 digest."""

MAX_NAME: Final = 255
"""Bytes of one name in UTF-8: what Linux file systems hold (NAME_MAX)."""

MAX_PATH: Final = 4096
"""Bytes of one path in UTF-8: what Linux system calls take (PATH_MAX)."""

MAX_DEPTH: Final = 64
"""Levels of directories; a receiver may hold one open handle for each."""

MAX_PAGE_ENTRIES: Final = 256
"""Entries of one manifest page."""

MAX_PREVIEW_ENTRIES: Final = 100
"""Entries that a sender shows before the receiver's user answers: more than anybody reads."""

MAX_OPEN_ENTRIES: Final = 1024
"""Files announced and not yet ended: what a receiver must remember at once, whatever the tree's size."""

MAX_ENTRIES: Final = 1_000_000_000
"""Entries of one transfer. Their numbers take four bytes, and memory does not depend on how many there are."""

MAX_OPEN_NAMES: Final = 16_000_000
"""Names in the directories from the top to the current one, all together: both sides remember these, in up to 24 bytes
each, to notice names that collide. One directory of ext4 holds some ten million."""

MAX_NAMED_AGAIN: Final = 100_000
"""Files of one transfer whose several names are kept: both sides remember each, in some 600 bytes. The names of what is
more are sent as files of their own."""

MAX_XATTRS: Final = 64
"""Extended attributes of one entry: programs set a handful."""

MAX_XATTR_BYTES: Final = 32 * KIB
"""Bytes of the names and values of all extended attributes of one entry. ext4 holds 4 KiB in all; a receiver may have
to remember those of MAX_OPEN_ENTRIES."""

MAX_FILE_SIZE: Final = 2**63 - 1
"""Bytes of one file and of one transfer: what off_t holds."""

MAX_STREAMS: Final = 16
"""Links of one transfer: a relay serves some 50 connections of one network, which both sides may be in."""

BUNDLE_BYTES: Final = 32 * MIB
"""Bytes of records that have gone out over several links, and that the other side has not taken yet: what either side
holds at most. It covers 160 MB/s of all links together at 200 ms there and back."""

BUNDLE_RECORDS: Final = 1024
"""Records of the same: short ones take room, too."""

STREAM_WINDOW: Final = 64 * MIB
"""Bytes of a stream that the receiver has not acknowledged, at most: the sender holds them all, to send them again
after a lost link, and a receiver whose output stalls may have to hold them, too. A line of 1 Gbit/s stays full with
half a second of delay."""

MAX_TEXT: Final = 500
"""Characters of any sentence that one side sends for the other side's user."""

MAX_HELLO: Final = 2 * KIB
"""Bytes of a rendezvous message (JSON text)."""

MAX_FEATURES: Final = 16
"""Names in the feature list of a hello."""

CLAIM_DIGITS: Final = (32, 64)
"""Least and most hexadecimal digits of a claim: 128 random bits, which nobody guesses, up to what a SHA-256 has."""

MAX_LEGACY_ROOM: Final = 128
"""Characters of a room in the legacy form: p2p-copy 0.1.x sends the 64 digits of a hash, other programs any text."""

ROOM_BITS: Final = 25
"""Least entropy of a generated code's room part: two strangers rarely meet."""

SECRET_BITS: Final = 30
"""Least entropy of a generated code's secret part: one guess a code, so one in a thousand million."""

MIN_OWN_SECRET: Final = 8
"""Characters of the secret part of a code that users chose themselves."""

MAX_CODE: Final = 200
"""Characters of a whole code: a long passphrase, and not a file that was named by mistake."""

# --- Implementation ----------------------------------------------------------------------------------

CHUNK: Final = 256 * KIB
"""Bytes of file data read and sent at once while the pace of the link is not known; a file of so many is read whole."""

LEAST_CHUNK: Final = 64 * KIB
MOST_CHUNK: Final = 960 * KIB
"""Bytes of file data read and sent at once on the slowest link and on a fast one: what a frame, a record and a hop to a
thread cost is shared by more bytes, until more memory buys little."""

CHUNK_SECONDS: Final = 0.3
"""Seconds that a slow link takes for a chunk. The receiver counts whole ones, so progress is as honest as that."""

RECORD_SPARE: Final = 8 * KIB
"""Bytes of a record besides one chunk: its frame, and what else is due. Many small files fill a record as well."""

RECORD_TARGET: Final = CHUNK + RECORD_SPARE
"""Content bytes at which a receiver sends a record of answers."""

COMPRESS_LEVEL: Final = 1
"""zstd level: some 300 MB/s for each core; level 3 costs half as much again for texts 6 % smaller."""

COMPRESS_FROM: Final = 512
"""Content bytes from which compressing is tried; below, there is nothing to win on a network."""

COMPRESS_PROBE_FROM: Final = 64 * KIB
"""Content bytes from which a sample is tried first; below, the whole costs hardly more than a sample."""

COMPRESS_SAMPLE: Final = 8 * KIB
"""Bytes of that sample: enough to tell, and 10 microseconds of work where there is nothing to win."""

COMPRESS_LEAST_GAIN: Final = 20
"""A record must lose one part in so many (5 %) to be sent compressed: opening it costs the other side."""

COMPRESS_MAX_SKIP: Final = 32
"""Records sent as they are after a failure before the next try: 30 MB at most, so that a change is noticed soon."""

PIPELINE: Final = 4
"""Records waiting between two stages of one side, so that disk, cipher and socket overlap; also the most that one
trip to the worker thread makes or consumes, since a trip costs half as much as a record."""

DIRECTORY_HANDLES: Final = 2 * MAX_DEPTH
"""Directories that a receiver keeps open at once: any path, and a neighbour's. macOS allows 256 descriptors."""

FLUSH_EVERY: Final = 128 * MIB
"""Bytes of one file after which they are flushed to the disk: one flush of all at the end is minutes of silence."""

JOURNAL_BYTES: Final = 16 * MIB
"""Bytes written after which a journal makes itself durable: what is lost when a process is killed comes again."""

JOURNAL_INTERVAL: Final = 1.0
"""Seconds after which it does so at the latest: some 100 microseconds each time, and no flush to the disk."""

JOURNAL_LATE: Final = 1.5 * JOURNAL_INTERVAL
"""Seconds after a journal's last word in which the process that was killed may have written to a part, or put things
into directories that it had made. What is later is somebody else's, and all of a part is looked at again then."""

FSYNC_FROM: Final = 1 * MIB
"""Bytes from which a file is flushed to the disk before it gets its name; below, the cost is all fsync."""

COUNT_AT_ONCE: Final = 1000
"""Files and directories that a sender counts for the progress line without hesitation: a few milliseconds."""

COUNT_AFTER: Final = 2.0
"""Seconds after which it counts what are more, beside the sending, which that slows down by a tenth."""

SENDER_PAGE_ENTRIES: Final = 256
"""Entries that the sender collects for one page; small pages let first bytes flow early."""

SENDER_PAGE_BYTES: Final = 64 * KIB
"""Encoded bytes, at four for each character, after which the sender closes a page: long names do not fill a record."""

UNDECIDED: Final = 1000
"""Things that cannot be sent, and of which a sender waits to hear whether the receiver wants them: what are more are
told at once. A screen shows 20."""

STREAM_NAME: Final = "stdin"
"""What standard input is called at a receiver, unless told otherwise (--name)."""

STREAM_READ: Final = 960 * KIB
"""Bytes read from a pipe at once, if it holds so many: as many as the longest chunk."""

STREAM_PIECE: Final = 64 * KIB
"""Bytes up to which pieces of a stream are joined in memory: a window of single bytes would take gigabytes."""

STREAM_ACKNOWLEDGE: Final = 4 * MIB
"""Bytes written after which a receiver of a stream says so at once: a sixteenth of the window, so that the sender need
not stand still."""

PROGRESS_INTERVAL: Final = 0.5
"""Seconds between two reports from the receiver to the sender, and between two redraws of a progress line."""

PLAIN_PROGRESS_INTERVAL: Final = 5.0
"""Seconds between two progress lines where there is no terminal (job logs)."""

DIAL_TIMEOUT: Final = 10.0
"""Seconds for TCP alone: the first packet is repeated after 1, 3 and 7 of them, and each may take two to be answered.
An address where nobody is must not cost those who come back more than that."""

CONNECT_TIMEOUT: Final = 15.0
"""Seconds from the first packet to the relay's welcome; a silent relay is an error, not a wait."""

FILE_TIMEOUT: Final = 8.0
"""Seconds in which small files must be read while others wait: a relay's certificate, key and tokens, a client's
certificates of authorities. A disk that has to spin up, or a file server that is busy, takes less. Whoever has ordered
a reload hears of it within `ADMIN_TIMEOUT`, and a client that dials within `CONNECT_TIMEOUT`."""

HANDSHAKE_TIMEOUT: Final = 15.0
"""Seconds for each message of the key exchange: both ends are there, it is two round trips of small messages."""

OFFER_TIMEOUT: Final = 60.0
"""Seconds that the sender waits for the receiver's answer to its offer."""

PREVIEW_AFTER: Final = 1.0
"""Seconds that a sender counts before it shows what there is, at least; then it goes on counting."""

PREVIEW_INSIDE: Final = 5
"""Names that it shows of each directory at the top."""

PREVIEW_LOOK: Final = 1000
"""Names that it looks at for that, where patterns leave most of them out."""

PREVIEW_LINES: Final = 20
"""Names that a receiver's user sees: the question fits on a screen."""

PREVIEW_INDENT: Final = 3
"""Levels by which the names of such a list are indented at most: an honest sender shows two."""

NAME_COLUMNS: Final = 48
"""Columns of each of these names: with its indentation and what stands behind it no line is longer than 80, so none
wraps."""

PATH_COLUMNS: Final = 240
"""Columns of a path in any other line for people: some three lines of a terminal."""

ANSWER_TIMEOUT: Final = 3600.0
"""Seconds that a receiver's user may take to answer: a lunch, and as long as one side waits for the other."""

RECEIPT_TIMEOUT: Final = 600.0
"""Seconds in which nothing moves, after all was sent, before the sender gives up on the receipt."""

GOODBYE_TIMEOUT: Final = 5.0
"""Seconds for saying goodbye: the last record, the close frame. Whoever does not answer, or takes nothing, is cut."""

PARTING_LIMIT: Final = 80.0
"""Seconds for last words in all, while what is queued before them moves. Service managers kill after 90."""

STOP_NOTICE: Final = 2.0
"""Seconds after which somebody who has pressed Ctrl-C is told what this still waits for."""

TICK: Final = 0.5
"""Seconds between two looks at what has a deadline."""

NOT_RUN: Final = 5.0
"""Seconds between two looks after which this process did not run in between: it was stopped, or its machine was. All
who look do so every two seconds or more often, and a busy machine makes nobody wait for three more."""

PATIENCE: Final = 12 * 3600.0
"""Seconds for which a side that lost the other one, or the relay, tries to come back unless told otherwise
(--patience): a night."""

RETURN_AFTER: Final = (0.5, 30.0)
"""Seconds until the first try to come back, and between two tries at most; each time twice as many, give or take half
of them, so that a thousand clients do not come back to a relay all at once."""

STREAMS_AUTO: Final = 4
"""Links that a transfer has at most if nobody asked for a number: each is a connection that others could have."""

STREAMS_FROM: Final = 0.01
"""Seconds from one side to the other and back from which one TCP connection may be slower than the network: with less,
even a window of 1 MiB is 100 MB/s. Loopback and local networks stay below."""

STREAMS_TRIAL: Final = 1.0
"""Seconds in which it shows whether more links were worth it: ten round trips of a long way."""

STREAMS_GAIN: Final = 1.2
"""Times as fast as before that twice as many links must be, or no more are opened."""

STREAMS_AT_ONCE: Final = 3
"""Links with which one side is on its way to the relay at the same time: relays allow a source eight connections that
have not said hello. A link that has been welcomed, and waits for the other side, is none of them any more."""

STREAM_WAIT: Final = 60.0
"""Seconds in the room of a further link; the other side comes at once or has a reason not to."""

NOTE_AFTER: Final = 0.02
"""Seconds for which a note of what has arrived is put off, so that one is enough for many records. `BUNDLE_BYTES` in
this time are 1.6 GB/s."""

DOUBT_AFTER: Final = 2.0
"""Seconds without any arrival after which what took a link that is stuck is sent over an idle one, too: TCP repeats
what was lost in less. Notes are repeated as often, since one may have gone with its link."""

ROOM_TURN: Final = 5.0
ROOM_TURN_MOST: Final = 20.0
"""Seconds in the room of the code for a side that looks into the rooms of its tickets, too: twice as many each round,
up to the second number, so that whoever waits for a night comes to a relay about once a minute, not each 10 seconds."""

DOUBT_PATIENCE: Final = 180.0
"""Seconds for which to look for the other side when the code is used up in the very moment in which both have met by
it, so that nobody knows whether both have a ticket: two rounds of an honest other side, and its pauses."""

ROOM_TURNS: Final = 3
"""So many turns in the room of a ticket, so that two sides with the same ticket cannot miss each other for ever: one of
them is in its room for longer than the other one is away, be that in two other rooms."""

STALL: Final = 10.0
"""Seconds without movement after which each side says whom it waits for: a slow link moves, a stuck one does not."""

BEAT: Final = 3.0
"""Seconds after which a receiver that waits for data says that it is there, so that a sender knows who is stuck."""

RECEIPT_LINGER: Final = 180.0
"""Seconds in which a receiver that has everything, and has said so, tries to learn that the sender knows."""

AGAIN_LINGER: Final = 60.0
"""Seconds of the same for a side that is started again when all was done: the other one, if it is there, waits in the
room already, or tries to come every 45 seconds at most."""

GOODBYE_LINGER: Final = 30.0
"""Seconds in which a sender that knows tries to tell a receiver whose link was lost in that moment."""

LOOK_AGAIN: Final = 60.0
"""Seconds after which a client that waits dials again, give or take half of them: behind a balancer, after a relay came
back or after a change of DNS the other side may come to another relay by now."""

LEAST_LOOK_AGAIN: Final = 10.0
"""Least seconds of the same, whatever a relay says."""

LOOK_SETTLED: Final = 5.0
"""Seconds for which a client that has dialled again waits over both connections: longer than a relay takes to say that
the new place is not free (`RELAY_PROBE_TIMEOUT`)."""

PEER_WAIT: Final = 3600.0
"""Seconds that a client waits for the other side unless told otherwise (--wait)."""

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

RELAY_ACCEPT_BUDGET: Final = 10.0
"""Seconds from accept to hello, TCP to TLS to HTTP to JSON, in all: half-open connections cost us little."""

RELAY_WAIT: Final = 3600.0
"""Seconds that a relay lets one client wait for the other (told to clients in the welcome)."""

RELAY_PROBE_TIMEOUT: Final = 3.0
"""Seconds after which a waiting client is late with the answer to a ping that it is sent when another one comes to its
room. It keeps its place until its link ends; only one that waits elsewhere as well is refused for that."""

RELAY_WORD: Final = 5.0
"""Seconds in which a client must take what the relay itself says to it: welcome, refusal, "paired", pongs, close
frames. The kernels hold thousands of these for a client that reads late, so one that makes the relay wait reads
nothing. From "paired" on it is `RELAY_WRITE_PROGRESS`: a pong may then wait behind what the other side has sent. What
is said before a hello was heard is part of the accept budget as well."""

RELAY_MAX_MESSAGE: Final = 2 * MIB + 64 * KIB
"""Bytes of one message through the relay: p2p-copy 0.1.x sends up to 2 MiB and a header."""

RELAY_PIECE: Final = 64 * KIB
"""Bytes from which a relay passes on a part of a message without waiting for its rest: fewer would cost more trips
through its loop than bytes."""

DUCT: Final = 1 * MIB
"""Bytes of a pipe through which a relay lets messages pass by: a longest record. With a quarter of it that would take
as much processor time as copying. It is also the most that Linux gives a user without privileges for one pipe."""

MAX_DUCTS: Final = 64
"""Such pipes in one process: what Linux has memory for, for a user without privileges. Further pairings copy."""

RELAY_PIECES: Final = 32
"""Pieces that a longest message is passed on in, and one more: half of the `MAX_FRAGMENTS` that clients take."""

RELAY_CHANNEL: Final = 0
"""Handfuls waiting in a pairing's channel, for each direction: none, so that two are in flight, one in the hand of
each task at its ends. A handful is what one read brought, RECEIVE_BUFFER, and less than a piece from before. One more
waits at the link that it came over: six handfuls are all that a pairing holds, if its windows are as wide as that."""

MEMORY_SHARE: Final = 4
"""Part of the memory of the machine, or of its control group, that all pairings of a relay may hold unless its operator
says otherwise (`--max-memory`): one in so many. The rest is for Python and its modules (40 MiB), some 50 KiB for each
connection (200 MiB for 4,096 of them; over TLS up to 170 KiB for each that has sent much), what the allocator keeps,
and the kernel's own buffers."""

LEAST_MEMORY: Final = 16 * MIB
"""Least bytes that all pairings of a relay may hold: 128 pairings that do not move, or a dozen that may move fast."""

MEMORY_FREE_SHARE: Final = 4
"""Part of what is free in that budget that one direction may hold: one in so many. With n directions that take what
they get, 1 of 1 + n/4 parts of the budget stays free."""

MEMORY_RELIEF: Final = 4
"""Part of that budget that should be free, one in so many: if less is, who has stood still for long is ended."""

MEMORY_BUSY: Final = 8
"""Part of that budget, one in so many, that newcomers find free, or are told that the relay is busy."""

MEMORY_STALL: Final = 60.0
"""Seconds in which a receiver may take nothing of a handful while memory is short: slow disks and full links last less,
and who is ended comes back and goes on where it was."""

WINDOW_LEAST: Final = 64 * KIB
"""Bytes that a direction of a pairing may hold in any case: about one piece. 2,000 pairings that do not read hold
256 MiB with it."""

WINDOW_MOST: Final = 8 * MIB
"""Bytes of the widest window: more than a direction at full speed holds (`RELAY_CHANNEL`), and twice that over TLS."""

WINDOW_GROWTH: Final = 32
"""Bytes that a receiver takes for each byte by which a window opens. Kernels take some MiB for a program that reads
nothing, so that is worth a hundred KiB at most; reads of a whole RECEIVE_BUFFER begin after 64 MiB."""

LEAST_READ: Final = 16 * KIB
"""Bytes that a read may bring in any case: a record of TLS."""

PIECE_COST: Final = 128
"""Bytes of memory that a piece of a message takes besides its own."""

RELAY_STALL: Final = 6.0
"""Seconds without movement in one direction of a pairing after which the relay says so: before the clients' `STALL`,
so that they know by then on whom it is."""

RELAY_LOOK: Final = 2.0
"""Seconds between two looks at all pairings: a microsecond for each, and no timer for any message."""

LOOKS_A_TRIP: Final = 64
"""Pairings that are looked at before somebody else's turn: some milliseconds."""

RELAY_STALL_LONG: Final = 60.0
"""Seconds after which a stall is worth a line in the relay's log: slow disks and full links last less."""

RELAY_FAREWELL: Final = 60.0
"""Seconds in which the slower side may take what was sent to it before the other side closed."""

RELAY_MAX_CONNECTIONS: Final = 4096
"""Connections of one relay process, until the limits of the operating system say less."""

RELAY_MAX_PENDING: Final = 256
"""Connections of one relay process that have not said hello yet; strangers come and go within the accept budget. Before
one more comes in, the oldest one goes: looking for it takes a fifth of a millisecond."""

RELAY_PENDING_PER_SOURCE: Final = 8
"""Connections of one source that have not said hello yet: a user starts a few clients at once, a flood starts more."""

RELAY_PER_SOURCE: Final = 50
"""Connections of one source (an IPv4 address, an IPv6 /64): a department behind one address, and no more."""

RELAY_NETWORKS: Final = {64: 1, 56: 4, 48: 16}
"""IPv6 networks by the bits of their prefix, and how many times the limits of one source each has. A provider gives a
/64 to a phone, a /56 to a home and a /48 to a site (RFC 6177, RIPE-690), but many phones may share a /56. With the
defaults a /48 has half of all places for those without a hello, and a fifth of all others. An IPv4 /24 is not counted:
no customer is given one, and whoever rents many addresses pays for each."""

RELAY_ARRIVALS: Final = 60
"""New connections of one source in a minute, TLS handshakes being what costs a relay most."""

RELAY_JOINS: Final = 30
"""Rooms that one source may come to in a minute: enough for scripts, and hopeless for trying out rooms."""

RELAY_LOOKS: Final = 20.0
"""Clients that wait and dial again, in a second, to which a relay spreads them: each costs it a TLS handshake, some
milliseconds of a processor."""

RELAY_MAX_WAITING: Final = 3072
"""Clients of one relay process that wait for another one: the last quarter of the places is for their partners."""

RELAY_BUSY_RETRY: Final = 60
"""Seconds after which a client that met a full relay is asked to try again."""

RELAY_REMEMBERED_SOURCES: Final = 16_384
"""Sources without a connection that a relay remembers, for a minute: some 10 MB, if the whole internet calls."""

RELAY_ACCEPT_PAUSE: Final = 0.1
"""Seconds until the next try when the system has nothing left for a new connection: others end now and then."""

RELAY_FRAMES: Final = 2000
"""WebSocket frames per second taken from one connection, two GB/s of our own records: 40,000 would fill a processor."""

RELAY_READS: Final = 400
"""Reads per second from one paired connection that bring next to nothing, each of which takes some 0.2 ms of a
processor. Whatever comes faster comes in larger pieces, for it gathers in the kernel until the next read."""

RELAY_FREE_READ: Final = 16 * KIB
"""Bytes that pay for the read that brings them; half as many pay for half of it."""

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
"""The same from all of them, which they share equally."""

EARLY_READ: Final = 4 * KIB
"""Bytes of one read from a connection that is not paired: requests are shorter, and 180 TLS records fit into it."""

FRUITLESS_PAUSE: Final = 0.01
"""Seconds until the next try when the system says that a socket is ready, and it gives or takes nothing."""

PACE_CHECK: Final = 1.0
"""Seconds between two looks whether somebody who is slowed down is still there: one pause may take 20 seconds."""

FRAME_BURST: Final = 2.0
"""Seconds' worth of frames that may come at once: what was held up by a slow network comes all together."""

RATE_BURST: Final = 1.0
"""Seconds' worth of bytes that may pass at once below a rate limit: a pause is made up for, an hour is not."""

RATE_GRAIN: Final = 16 * KIB
"""Bytes that a pairing owes before it stands in a queue for them, so that small messages do not each cost a wait."""

LEAST_RATE: Final = 64 * KIB
"""Least bytes per second that a rate limit may say: a longest message takes half a minute then, and clients of
p2p-copy 0.1.x believe the connection dead when nothing moves for longer."""

RELAY_WRITE_PROGRESS: Final = 600.0
"""Seconds in which one of a pair must take one send: a handful, or a word of the relay's own behind one. A receiver's
disk may stall for minutes, and whoever stalls on purpose costs the relay three handfuls."""

PROXY_HEADER: Final = 1 * KIB
"""Bytes of a PROXY protocol header after its first 16: addresses take 36, and the rest is of no use to us."""

MAX_TOKEN: Final = 256
"""Characters of an access token; ours have 43."""

MAX_CERTIFICATE_FILE: Final = 1 * MIB
"""Bytes that are looked at of a relay's certificate, or key, and what is around it in its file."""

MAX_TOKENS_FILE: Final = 1 * MIB
"""Bytes of a relay's file of tokens: some ten thousand, each of which is compared at every hello."""

TOKEN_BYTES: Final = 32
"""Random bytes of a token that we make: nobody guesses it, so its plain SHA-256 can lie in a file."""

DESCRIPTORS_SHARE: Final = 0.8
"""Part of the process' file descriptors that connections may take; the rest is for files, logs and the library."""

HTTP_HEAD: Final = 8 * KIB
"""Bytes of an HTTP request's head at the relay: browsers and proxies stay below 4 KiB."""

HTTP_HEADERS: Final = 64
"""Header lines of one HTTP request at the relay."""

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

MESSAGES_A_TURN: Final = 16
"""Messages of the other side that are acted upon before somebody else's turn: each may hold a path of 8 KiB, which
takes half a millisecond to be shown if nothing in it can be printed."""

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

RELAY_STOP_TIMEOUT: Final = 2 * GOODBYE_TIMEOUT
"""Seconds from the order to stop until the last connection is cut: what is in flight, then the goodbye."""

RELAY_DRAIN: Final = 300.0
"""Seconds in which pairings may come to their end when the relay is stopped (--drain); clients resume what is cut."""

RELAY_DRAIN_SHORT: Final = 5.0
"""Seconds of the same at most when somebody at a terminal pressed Ctrl-C, and waits."""

RELAY_HURRY: Final = 1.0
"""Seconds in which clients are told when a stop is ordered once more: one round trip, for those who listen."""

RELAY_CERTIFICATE_CHECK: Final = 60.0
"""Seconds between two looks at the certificate's files and age: a renewal is in use within a minute."""

CERTIFICATE_WARNINGS: Final = (14, 7, 1)
"""Days before a certificate's end at which the relay warns: usual renewals happen 30 days before."""

RELAY_STATUS_INTERVAL: Final = 10.0
"""Seconds between two looks at the counts that systemd shows as the relay's status."""

LOG_WINDOW: Final = 60.0
"""Seconds after which the log sums up what came too often."""

LOG_SAME_LINES: Final = 5
"""Lines that say the same which are written in that time: enough to see a pattern, too few to fill a disk."""

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

ADMIN_TIMEOUT: Final = 10.0
"""Seconds for one request at the admin address, a reload from a slow disk included."""

ADMIN_CONNECTIONS: Final = 16
"""Requests at the admin address at once: a few programs that watch, and an operator."""

ADMIN_BODY: Final = 1 * KIB
"""Bytes of the body of such a request: one name and one number."""

ADMIN_SOCKET_MODE: Final = 0o600
"""Mode of the admin address' unix socket: whoever opens it may give orders."""

UNIX_SOCKET_MODE: Final = 0o660
"""Mode of a unix socket: for the relay's own user, and for the group that the proxy in front is in."""

UNIX_BACKLOG: Final = 4096
"""Connections that may wait at a unix socket to be accepted; the kernel's own limit (somaxconn) comes first."""

MAP_BLOCKS_FROM: Final = 16 * MIB
"""Bytes from which the C library may map a block of its own; all that a transfer allocates is smaller."""

KEEP_FREED: Final = 32 * MIB
"""Freed bytes that the C library may keep for the next record instead of returning them to the kernel."""

RELAY_COLLECTIONS: Final = (10_000, 5, 10)
"""Thresholds of Python's garbage collector in a relay: how many more objects were made than freed for a collection of
the young, how many of those for one of the middle-aged, and how many of those for a full one, which takes half a second
of a processor with 2,000 clients. Half a million objects are some 2,500 connections, if all left cycles behind."""

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

SERVE_CONNECTIONS: Final = 4 * MAX_STREAMS
"""Clients of the relay in `send --serve`: the links of both sides, and as many that take the place of lost ones."""

SERVE_PENDING: Final = 32
"""Connections of the same that have not said hello: four sources with `RELAY_PENDING_PER_SOURCE` each."""

SERVE_ROOMS: Final = 256
"""Rooms of the same besides that of the code, the latest ones: each meeting of the two sides has `MAX_STREAMS` and
one, and a room that is still looked into counts as new each time."""

SERVE_PORT: Final = 8765
"""TCP port that `send --serve` asks for first, so that one firewall rule can serve every transfer."""

PROBLEM_LINES: Final = 20
"""Paths that a client names one by one as not delivered; the rest is counted, so that logs stay readable."""

RATE_WINDOW: Final = 5.0
"""Seconds over which the displayed rate is taken: long enough to be calm, short enough to fall to zero soon."""

CODE_TRIES: Final = 3
"""Times that a client asks for the code at a terminal before it gives up."""

JOURNAL_CACHE: Final = 8 * MIB
"""Bytes of a journal that the database keeps in memory: a million entries take more, and come in no order at all."""

JOURNAL_LOG: Final = 16 * MIB
"""Bytes of a journal's log from which they are moved to their places, which takes long: a page holds many entries."""

JOURNAL_MEMORY: Final = 100_000
"""Entries that a journal remembers in memory, some 40 MB: if it has no file, what are more go into a temporary one; if
nothing can be written any more, older ones are done again."""

STATE_FACTS: Final = 1 * MIB
"""Bytes of the facts about one transfer: some names and keys. Whatever is longer was not written by us."""

STATE_LOCK_TRIES: Final = 10
STATE_LOCK_PAUSE: Final = 0.02
"""Times that a lock is asked for, and seconds between them: whoever lists the states holds each for an instant."""

RECEIPT_BUFFER: Final = 64 * KIB
"""Bytes of a receipt that are written at once: some 400 entries, and little to hold."""

JSON_VALUE: Final = 64 * KIB
"""Characters of one value in a document that somebody hands to us: a receipt's entry with the longest path, name and
target takes 50 KiB if every character of them is an escape."""

JSON_READ: Final = 256 * KIB
"""Characters of such a document that are read at once: some 1,500 entries; what is left is copied each time."""

VERIFY_READ: Final = 4 * MIB
"""Bytes of a file that are read at once to be compared: more would not be faster, and network file systems like long
reads."""
