"""The numbers of a transfer: chunks, windows, and how long each side waits for the other."""

from __future__ import annotations

from typing import Final

from p2p_copy.units import KIB, MIB

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

STREAM_PIECE: Final = 64 * KIB
"""Bytes up to which pieces of a stream are joined in memory: a window of single bytes would take gigabytes."""

STREAM_ACKNOWLEDGE: Final = 4 * MIB
"""Bytes written after which a receiver of a stream says so at once: a sixteenth of the window, so that the sender need
not stand still."""

PROGRESS_INTERVAL: Final = 0.5
"""Seconds between two reports from the receiver to the sender, and between two redraws of a progress line."""

OFFER_TIMEOUT: Final = 60.0
"""Seconds that the sender waits for the receiver's answer to its offer."""

PREVIEW_AFTER: Final = 1.0
"""Seconds that a sender counts before it shows what there is, at least; then it goes on counting."""

ANSWER_TIMEOUT: Final = 3600.0
"""Seconds that a receiver's user may take to answer: a lunch, and as long as one side waits for the other."""

RECEIPT_TIMEOUT: Final = 600.0
"""Seconds in which nothing moves, after all was sent, before the sender gives up on the receipt."""

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

MESSAGES_A_TURN: Final = 16
"""Messages of the other side that are acted upon before somebody else's turn: each may hold a path of 8 KiB, which
takes half a millisecond to be shown if nothing in it can be printed."""
