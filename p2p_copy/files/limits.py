"""The numbers of files: journals, flushes, handles and buffers."""

from __future__ import annotations

from typing import Final

from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.units import KIB, MIB

DIRECTORY_HANDLES: Final = 2 * protocol_limits.MAX_DEPTH
"""Directories that a receiver keeps open at once: those of the longest path, twice. macOS allows 256 descriptors."""

FLUSH_EVERY: Final = 128 * MIB
"""Bytes of one file after which it is flushed to the disk: a single flush at the end may take minutes."""

JOURNAL_BYTES: Final = 16 * MIB
"""Bytes of work after which a journal is committed: after a kill, what it lacks is transferred again."""

JOURNAL_INTERVAL: Final = 1.0
"""Seconds after which it is committed at the latest: a commit takes some 100 microseconds and flushes nothing."""

JOURNAL_LATE: Final = 1.5 * JOURNAL_INTERVAL
"""Seconds after a journal's last commit in which a process that was killed may have written to a part, or to
directories that it had made. Anything later was written by another program; all of such a part is read again."""

FSYNC_FROM: Final = 1 * MIB
"""Bytes from which a file is flushed to the disk before it is published. For smaller ones flushing would take most of
the time."""

STREAM_READ: Final = 960 * KIB
"""Most bytes read from a pipe at once: those of the longest chunk."""

SORTED_NAMES: Final = 2**18
"""Names that a walk holds to sort them, in all directories that it is in: some 20 MB if they have 20 characters. Those
of one directory may be half of them."""

PREVIEW_INSIDE: Final = 5
"""Names that a preview shows of each directory at the top at most."""

PREVIEW_EXAMINED: Final = 1000
"""Names that a preview examines in each of these directories at most, where patterns leave out most names."""

EXTRAS_IN_MEMORY: Final = 8 * MIB
"""Bytes of the list of what is to be deleted that are held in memory, some 60,000 paths; more go into a temporary
file."""

EXTRAS_SHOWN: Final = 20
"""Paths of them that a question shows."""

EXTRAS_OMITTED: Final = 1_000_000
"""Things that the sender cannot send and that are not wanted here, in 24 bytes each; with more of them nothing is
deleted."""

EXTRAS_DEPTH: Final = 200
"""Levels of directories that are deleted with all that is in them."""

EXTRAS_LINKS: Final = 100_000
"""Files with several names that are remembered when one of these is deleted; the other names of more files stay."""

JOURNAL_CACHE: Final = 8 * MIB
"""Bytes of a journal that the database keeps in memory: a million entries take more, and are accessed in no order."""

JOURNAL_LOG: Final = 16 * MIB
"""Bytes of a journal's log from which they are moved into the database. That takes long, so it is done for many entries
of a page at once."""

JOURNAL_MEMORY: Final = 100_000
"""Entries that a journal holds in memory, some 40 MB. More go into a temporary file if the journal has no file; if it
cannot be written, the oldest are forgotten and transferred again."""

STATE_FACTS: Final = 1 * MIB
"""Bytes of the facts about one transfer: some paths and keys. A longer document was not written by us."""

STATE_LOCK_TRIES: Final = 10
STATE_LOCK_PAUSE: Final = 0.02
"""Attempts to get a lock, and seconds between them: a process that lists the states holds each lock for an instant."""

RECEIPT_BUFFER: Final = 64 * KIB
"""Bytes of a receipt that are written at once: some 400 entries, and little to hold."""

RECEIPT_LINE: Final = 64 * KIB
"""Bytes of a line in a receipt that is read: an entry with the longest path, name and target takes 50 KiB if every
character of them is an escape."""

VERIFY_READ: Final = 4 * MIB
"""Bytes of a file that are read at once to be compared: more would not be faster, and network file systems like long
reads."""
