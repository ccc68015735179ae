"""The numbers of a transfer: chunks, windows, and how long each side waits for the other."""

from __future__ import annotations

from typing import Final

from p2p_copy.units import KIB, MIB

CHUNK: Final = 256 * KIB
"""Bytes of file data read and sent at once while the pace of the link is not known. A file of at most this size is
read whole."""

LEAST_CHUNK: Final = 64 * KIB
MOST_CHUNK: Final = 960 * KIB
"""Bytes of file data read and sent at once on the slowest link and on a fast one. Each chunk costs a frame, a record
and a trip to a thread, so longer ones are cheaper by the byte; beyond this, more memory gains little."""

PACED_CHUNK: Final = 4 * KIB
"""The least below a limit of the rate. A relay keeps a short record until it is whole, so each takes its time twice."""

CHUNK_SECONDS: Final = 0.3
"""Seconds that a slow link takes for a chunk. The receiver counts whole chunks, so its progress lags by as much."""

RECORD_SPARE: Final = 8 * KIB
"""Bytes that a record may have besides one chunk: its frame, and other messages. Small files fill a record together."""

RECORD_TARGET: Final = CHUNK + RECORD_SPARE
"""Content bytes at which a receiver sends a record of answers."""

READ_PER_SENT: Final = 8
"""Bytes that a sender may have to read again after it was killed, for each byte that may have to be sent again after a
receiver was. What is not in the sender's journal is only read and compared, which is faster than sending it."""

SMALL_PER_LARGE: Final = 8
"""Bytes of small files that may have to be sent again after a receiver was killed, for each byte of a large one. To
record a small file takes a sixth of its time, and what came in the last second need not be recorded. So a transfer of
small files that ends within a second records none."""

COMPARE_AT_ONCE: Final = 64 * MIB
"""Bytes that a sender reads before it tells the receiver their digests: each side then hashes while the other does."""

COUNT_AT_ONCE: Final = 1000
"""Files and directories that a sender counts at once for the progress line: that takes a few milliseconds."""

COUNT_AFTER: Final = 2.0
"""Seconds after which it counts larger trees, while it sends, which is slower by a tenth meanwhile."""

SENDER_PAGE_ENTRIES: Final = 256
"""Entries that the sender collects for one page. With small pages the first contents are sent early."""

SENDER_PAGE_BYTES: Final = 64 * KIB
"""Encoded bytes, at four for each character, after which the sender closes a page: long names do not fill a record."""

UNDECIDED: Final = 1000
"""Most things that a sender cannot send and has not reported yet, because the receiver may not want them. Beyond that
the oldest are reported at once. A screen shows 20."""

STREAM_PIECE: Final = 64 * KIB
"""Bytes up to which pieces of a stream are joined in memory: a full window of single bytes would take gigabytes."""

STREAM_ACKNOWLEDGE: Final = 4 * MIB
"""Bytes written after which a receiver of a stream acknowledges at once: a sixteenth of the window, so that the sender
does not have to stop."""

PROGRESS_INTERVAL: Final = 0.5
"""Seconds between two reports from the receiver to the sender, and between two redraws of a progress line."""

OBSERVER_INTERVAL: Final = 0.05
"""Seconds between two reports of a receiver of trees to its observer. A person sees no more than 20 a second, and a
fast disk takes dozens of records in that time."""

OFFER_TIMEOUT: Final = 60.0
"""Seconds that the sender waits for the receiver's answer to its offer."""

PREVIEW_AFTER: Final = 1.0
"""Seconds after which a sender shows what it has counted so far; it goes on counting then."""

ANSWER_TIMEOUT: Final = 3600.0
"""Seconds that a receiver's user may take to answer: as long as one side waits for the other to start."""

DELETE_TIMEOUT: Final = 300.0
"""Seconds that a receiver's user may take to say whether to delete what the sender does not have. The sender waits for
its receipt meanwhile, but no longer than RECEIPT_TIMEOUT."""

DELETE_AT_ONCE: Final = 500
"""Paths that are deleted in one trip to a thread: that takes some milliseconds."""

RECEIPT_TIMEOUT: Final = 600.0
"""Seconds in which nothing moves, after all was sent, before the sender gives up on the receipt."""

PROGRESS_SAVED: Final = (0.25, 30.0)
"""Seconds after the first bytes at which a side saves how far it is, for the list of unfinished transfers; then twice
as many each time, to the most. A side that is stopped saves it, too, but not one that is killed."""

STALL: Final = 10.0
"""Seconds without movement after which each side says which party it waits for. A slow link moves in that time."""

HEARTBEAT: Final = 3.0
"""Seconds after which a receiver that waits for data says that it is there, so that the sender knows which party is
stuck."""

RECEIPT_LINGER: Final = 180.0
"""Seconds for which a receiver that has given its receipt waits, and reconnects, for the sender's goodbye."""

RESTART_LINGER: Final = 60.0
"""Seconds of the same for a receiver that is started again when all was done. The sender, if it still runs, waits in
the room already, or connects every 45 seconds or more often."""

GOODBYE_LINGER: Final = 30.0
"""Seconds for which a sender that has the receipt reconnects to say goodbye, if the link was lost in that moment."""

MESSAGES_A_TURN: Final = 16
"""Messages of the other side that are acted upon before other tasks get a turn: each may hold a path of 8 KiB, which
takes half a millisecond to escape if no character of it can be printed."""
