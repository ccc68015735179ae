"""The numbers of the protocol, with units and reasons. docs/protocol.md refers to them by name."""

from __future__ import annotations

from typing import Final

from p2p_copy.units import GIB, KIB, MIB

PROTOCOL_VERSION: Final = 1
"""Version of rendezvous, key exchange and records together: one number, no negotiation of parts."""

MAX_HANDSHAKE_MESSAGE: Final = 1 * KIB
"""Bytes of one key exchange message: shares and nonces are fixed, capabilities are a short list."""

MAX_CAPABILITIES: Final = 512
"""Bytes of the capability list inside a key exchange message."""

RECORD_HEADER: Final = 16
"""Bytes: type, flags, reserved, content size, sequence number."""

RECORD_TAG: Final = 16
"""Bytes of the AES-GCM tag."""

MAX_RECORD_CONTENT: Final = 1 * MIB
"""Bytes of one record's content: all that a receiver has to keep before it can check a record."""

MAX_RECORD: Final = RECORD_HEADER + MAX_RECORD_CONTENT + RECORD_TAG
"""Bytes of one record as a message on the wire."""

MAX_RECORD_HOLES: Final = 256 * MIB
"""Bytes of all holes in one record: the receiver hashes as many zeros, which takes a quarter of a second, before it can
act on anything else. They cost the sender next to nothing."""

MAX_RECORD_MESSAGES: Final = 1024
"""Messages of one record; each entry and extended attribute of a page counts as one more. A record's content has
116,000 of the shortest messages, which compress to a hundred bytes. 1024 of them take the other side some 5
milliseconds, and a small file costs as little in a record of 340 as in one of 5,000."""

REKEY_RECORDS: Final = 2**22
"""Records under one key. RFC 8446 section 5.5 allows 2**24.5 full TLS records for AES-GCM; ours are longer."""

REKEY_BYTES: Final = 64 * GIB
"""Content bytes under one key: 2**32 AES blocks keep the distinguishing advantage below 2**-64."""

ZSTD_WINDOW_LOG: Final = 20
"""Largest zstd window, as a power of two: no content is longer, so only an attacker needs a larger one."""

SEGMENT: Final = 16 * MIB
"""Bytes of a file under one leaf of its digest; the unit in which work is verified, and later resumed."""

DIGEST: Final = 32
"""Bytes of a BLAKE3 digest."""

MAX_NAME: Final = 255
"""Bytes of one name in UTF-8: what Linux file systems take (NAME_MAX)."""

MAX_PATH: Final = 4096
"""Bytes of one path in UTF-8: what Linux system calls take (PATH_MAX)."""

MAX_DEPTH: Final = 64
"""Levels of directories; a receiver may have one open handle for each."""

MAX_PAGE_ENTRIES: Final = 256
"""Entries of one manifest page."""

MAX_PREVIEW_ENTRIES: Final = 100
"""Entries that a sender shows before the receiver's user answers: more than a person reads."""

MAX_OPEN_ENTRIES: Final = 1024
"""Entries that a receiver keeps, from the first one on that is not done, for a tree of any size."""

MAX_ENTRIES: Final = 1_000_000_000
"""Entries of one transfer: their numbers have four bytes. Memory does not depend on how many there are."""

MAX_OPEN_NAMES: Final = 16_000_000
"""Names in the directories from the top to the current one, all together: both sides keep these, in up to 24 bytes
each, to notice names that collide. One directory of ext4 takes some ten million."""

MAX_NAMED_AGAIN: Final = 100_000
"""Files of one transfer whose further names become hard links: both sides keep some 600 bytes for each of these files.
The names of all other files are sent as separate files."""

MAX_XATTRS: Final = 64
"""Extended attributes of one entry: programs set a few."""

MAX_XATTR_BYTES: Final = 32 * KIB
"""Bytes of the names and values of all extended attributes of one entry. ext4 takes 4 KiB in all; a receiver may have
to keep those of MAX_OPEN_ENTRIES entries."""

MAX_FILE_SIZE: Final = 2**63 - 1
"""Bytes of one file and of one transfer: the range of off_t."""

MAX_LINKS: Final = 16
"""Links of one transfer: a relay serves some 50 connections of one network, and both sides may be in the same one."""

MULTIPATH_BYTES: Final = 32 * MIB
"""Bytes of records that were sent over several links and are not yet consumed: what either side keeps at most. It
allows 160 MB/s over all links together with a round trip of 200 ms."""

MULTIPATH_RECORDS: Final = 1024
"""Records of the same: short ones take memory, too."""

STREAM_WINDOW: Final = 64 * MIB
"""Bytes of a stream that the receiver has not acknowledged, at most: the sender keeps them all, to send them again
after a lost link, and a receiver whose output does not move may have to keep them, too. It allows 1 Gbit/s with a round
trip of half a second."""

MAX_TEXT: Final = 500
"""Characters of any sentence that one side sends for the other side's user."""

MAX_HELLO: Final = 2 * KIB
"""Bytes of a rendezvous message (JSON text)."""

MAX_FEATURES: Final = 16
"""Names in the feature list of a hello."""

CLAIM_DIGITS: Final = (32, 64)
"""Least and most hexadecimal digits of a claim: from 128 random bits to the length of a SHA-256."""

MAX_LEGACY_ROOM: Final = 128
"""Characters of a room in the legacy form: p2p-copy 0.1.x sends the 64 digits of a hash, other programs any text."""

CODE_WORDS: Final = 5
"""Words of a generated code: its secret has 30.8 bits."""

MIN_CODE_WORDS: Final = 4
"""Least words of a generated code: its secret has 17.9 bits, so the one guess that a code allows is right once in
248,704 times. With three words it would be right once in 32."""

MAX_CODE_WORDS: Final = 12
"""Most words of a generated code: its secret has 121 bits, and it fits into MAX_CODE."""

MIN_OWN_SECRET: Final = 8
"""Characters of the secret part of a code that users chose themselves."""

MAX_CODE: Final = 200
"""Characters of a whole code: enough for a long passphrase, too few for a file that was pasted by mistake."""

REDIAL_AFTER: Final = 60.0
"""Seconds after which a waiting client connects again, give or take half of them: behind a balancer, after a relay was
restarted or after a change of DNS, the other side may by now come to another relay."""

LEAST_REDIAL: Final = 10.0
"""Least seconds for `REDIAL_AFTER`, even if a relay asks for fewer."""
