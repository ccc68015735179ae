"""The numbers of the protocol, with units and reasons: changing one changes docs/protocol.md."""

from __future__ import annotations

from typing import Final

from p2p_copy.units import GIB, KIB, MIB

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

MAX_LINKS: Final = 16
"""Links of one transfer: a relay serves some 50 connections of one network, which both sides may be in."""

MULTIPATH_BYTES: Final = 32 * MIB
"""Bytes of records that have gone out over several links, and that the other side has not taken yet: what either side
holds at most. It covers 160 MB/s of all links together at 200 ms there and back."""

MULTIPATH_RECORDS: Final = 1024
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

MIN_OWN_SECRET: Final = 8
"""Characters of the secret part of a code that users chose themselves."""

MAX_CODE: Final = 200
"""Characters of a whole code: a long passphrase, and not a file that was named by mistake."""

LOOK_AGAIN: Final = 60.0
"""Seconds after which a client that waits dials again, give or take half of them: behind a balancer, after a relay came
back or after a change of DNS the other side may come to another relay by now."""

LEAST_LOOK_AGAIN: Final = 10.0
"""Least seconds of the same, whatever a relay says."""
