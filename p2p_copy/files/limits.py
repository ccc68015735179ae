"""The numbers of files: journals, flushes, handles and buffers."""

from __future__ import annotations

from typing import Final

from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.units import KIB, MIB

DIRECTORY_HANDLES: Final = 2 * protocol_limits.MAX_DEPTH
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

STREAM_READ: Final = 960 * KIB
"""Bytes read from a pipe at once, if it holds so many: as many as the longest chunk."""

PREVIEW_INSIDE: Final = 5
"""Names that it shows of each directory at the top."""

PREVIEW_LOOK: Final = 1000
"""Names that it looks at for that, where patterns leave most of them out."""

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

RECEIPT_LINE: Final = 64 * KIB
"""Bytes of a line in a receipt that is read: an entry with the longest path, name and target takes 50 KiB if every
character of them is an escape."""

VERIFY_READ: Final = 4 * MIB
"""Bytes of a file that are read at once to be compared: more would not be faster, and network file systems like long
reads."""
