"""The file of a journal: a SQLite database in which each row has a checksum.

SQLite survives the kill of a process and a power cut, and finds one of a million rows in bounded memory. It does not
notice a bit that changed on the disk, hence the checksums.

Everything here raises `errors` and plain `OSError`; `journal` decides what they mean.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from struct import Struct, error as struct_error
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from zlib import crc32

from p2p_copy.files import limits
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.units import KIB

if TYPE_CHECKING:
    import sqlite3  # it takes long to import: only when there is something to read or write
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_VERSION: Final = 1
"""Of the schema. A database with another one is not used."""

_SCHEMA: Final = f"""
BEGIN;
CREATE TABLE last (value BLOB NOT NULL);
CREATE TABLE done (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE begun (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE leaf (key BLOB, number INTEGER, digest BLOB NOT NULL, sum INTEGER NOT NULL,
    PRIMARY KEY (key, number)) WITHOUT ROWID;
PRAGMA user_version = {_VERSION};
COMMIT;
"""

_AT_ONCE: Final = 100
"""Rows of one statement. After each statement other threads may run, so that a statement a row takes much longer."""

_PUT_DONE: Final = "REPLACE INTO done VALUES (?, ?)"
_PUT_MANY_DONE: Final = _PUT_DONE + ", (?, ?)" * (_AT_ONCE - 1)

_HEAD: Final = Struct("<QHHB")
"""At the start of a value: flushed, index of the boot, length of the identity, length of the digest. The identity, the
digest and a name follow."""

_SUM: Final = 4
"""Bytes of the checksum before a value."""

_LAST: Final = b"last"
"""Replaces the key of what each commit writes: a line with its time, then the id of each boot, a line each."""

_CREATE: Final = (
    os.O_RDWR | os.O_CREAT | os.O_EXCL
    | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)  # fmt: skip

_COMPANIONS: Final = ("-wal", "-shm", "-journal")
"""Endings of the files that SQLite may keep next to the database."""

_OF_THE_SYSTEM: Final = frozenset((3, 5, 6, 8, 10, 13, 14, 22, 23))
"""SQLite's codes for failures of the system: PERM, BUSY, LOCKED, READONLY, IOERR, FULL, CANTOPEN, NOLFS, AUTH. Every
other error in reading means that the database holds something that we did not write."""


class Done(NamedTuple):
    """Something that was completed.

    Attributes:
        identity: identifies it in the state that it had.
        digest: the file digest, 32 bytes; empty for directories and links.
        name: the name under which a receiver has published it, if it differs from the sender's.
        flushed: it was flushed to the disk.

    """

    identity: bytes
    digest: bytes
    name: str
    flushed: bool


class Begun(NamedTuple):
    """A large file under way.

    Attributes:
        identity: identifies the file in the state that it had.
        part: the path of the part at a receiver.
        leaves: digests of its verified segments so far, 32 bytes each, joined.
        flushed: how many of these segments are certain to be on the disk.

    """

    identity: bytes
    part: str
    leaves: bytes
    flushed: int


class UnderWay:
    """A large file under way, in memory.

    Attributes:
        boot: index of the boot in which it was begun.
        written: how many of its leaves the database has; None if all rows of the file must be replaced.
        changed: the database has not all that is known here.

    """

    __slots__ = ("boot", "changed", "flushed", "identity", "leaves", "part", "written")

    def __init__(self, begun: Begun, boot: int, written: int | None = None) -> None:
        self.identity = begun.identity
        self.part = begun.part
        self.leaves = bytearray(begun.leaves)
        self.set_flushed(begun.flushed)
        self.boot = boot
        self.written = written
        self.changed = written is None

    @property
    def segments(self) -> int:
        """How many leaves there are."""
        return len(self.leaves) // protocol_limits.DIGEST

    def set_flushed(self, segments: int) -> None:
        """Set how many segments are certain to be on the disk, at most as many as there are."""
        self.flushed = min(max(segments, 0), self.segments)

    def begun(self) -> Begun:
        """Return what is known, as a value."""
        return Begun(self.identity, self.part, bytes(self.leaves), self.flushed)


def errors() -> tuple[type[Exception], ...]:
    """Return what SQLite raises when it cannot read or write. A function, so that `except` imports SQLite only then."""
    import sqlite3

    # UnicodeDecodeError: a message quotes what is in a broken database, which may be no text.
    return sqlite3.DatabaseError, UnicodeDecodeError, MemoryError


def of_the_system(error: Exception) -> bool:
    """Return whether the system has failed, so that the database may be intact."""
    return getattr(error, "sqlite_errorcode", 1) & 0xFF in _OF_THE_SYSTEM


def delete(path: str) -> None:
    """Delete a closed database and its companions. Never fails."""
    for ending in ("", *_COMPANIONS):  # the log is not first: a database without it may be inconsistent
        with suppress(OSError):
            os.unlink(path + ending)


def connect(path: str) -> sqlite3.Connection:
    """Open an existing file, without reading it."""
    import sqlite3

    if sys.platform == "win32":
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    else:
        from urllib.parse import quote

        # `unix-none`: locks are unreliable on the file systems of many clusters, and `store` has one.
        uri = f"file:{quote(os.fsencode(path))}?mode=rw&vfs=unix-none"
        db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")  # first of all: then the log needs no shared memory
        db.execute(f"PRAGMA cache_size = -{limits.JOURNAL_CACHE // KIB}")
    except BaseException:
        db.close()
        raise
    return db


def temporary() -> sqlite3.Connection:
    """Open a new database without a name, which vanishes when it is closed."""
    import sqlite3

    db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    try:
        db.execute(f"PRAGMA cache_size = -{limits.JOURNAL_CACHE // KIB}")
    except BaseException:
        db.close()
        raise
    return db


def create(path: str) -> None:
    """Create an empty file for a database, private to its owner; `FileExistsError` if something is there."""
    for ending in _COMPANIONS:  # SQLite would read a left-over log as that of the new database
        with suppress(FileNotFoundError):
            os.unlink(path + ending)
    os.close(os.open(path, _CREATE, 0o600))


def set_up(db: sqlite3.Connection) -> None:
    """Make a database of an empty file."""
    _use_log(db)
    db.executescript(_SCHEMA)


def load(db: sqlite3.Connection) -> tuple[float, list[str], list[bytes]]:
    """Return the time of the last commit, the ids of all boots, and the keys of what is begun."""
    import sqlite3

    if db.execute("PRAGMA user_version").fetchone() != (_VERSION,):
        raise sqlite3.DatabaseError("This is of another version.")
    _use_log(db)
    row = db.execute("SELECT value FROM last").fetchone()
    text = None if row is None else _without_checksum(_LAST, row[0])
    try:
        committed_at, *boots = (text or b"").decode().split("\n")
        begun = [key for (key,) in db.execute("SELECT key FROM begun") if isinstance(key, bytes)]
        return float(committed_at), boots, begun
    except ValueError:
        raise sqlite3.DatabaseError("This was not written by us.") from None


def _use_log(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")  # a power cut may lose the last commits, and nothing else
    (page,) = db.execute("PRAGMA page_size").fetchone()
    db.execute(f"PRAGMA wal_autocheckpoint = {limits.JOURNAL_LOG // page}")


def find_done(db: sqlite3.Connection, key: bytes) -> tuple[Done, int] | None:
    """Return what was completed, and the index of the boot in which that was recorded."""
    row = db.execute("SELECT value FROM done WHERE key = ?", (key,)).fetchone()
    value = None if row is None else _unpack(key, row[0])
    if value is None:
        return None
    identity, digest, name, flushed, boot = value
    return Done(identity, digest, name, bool(flushed)), boot


def find_begun(db: sqlite3.Connection, key: bytes) -> UnderWay | None:
    """Return what is known of a large file."""
    row = db.execute("SELECT value FROM begun WHERE key = ?", (key,)).fetchone()
    value = None if row is None else _unpack(key, row[0])
    if value is None:
        return None
    identity, _, part, flushed, boot = value
    leaves, whole = _leaves(db, key)
    count = len(leaves) // protocol_limits.DIGEST
    begun = Begun(identity, part, leaves, flushed)
    # Rows after a broken leaf must not be joined to new ones: all are replaced.
    return UnderWay(begun, boot, count if whole else None)


def _leaves(db: sqlite3.Connection, key: bytes) -> tuple[bytes, bool]:
    """Return the leaves up to the first that is missing or broken, and whether none is."""
    leaves = bytearray()
    rows = db.execute("SELECT number, digest, sum FROM leaf WHERE key = ? ORDER BY number", (key,))
    for expected, (number, digest, found) in enumerate(rows):
        whole = isinstance(digest, bytes) and _leaf_sum(key, expected, digest) == found
        if number != expected or not whole:
            rows.close()
            return bytes(leaves), False
        leaves += digest
    return bytes(leaves), True


def write(
    db: sqlite3.Connection,
    *,
    done: Mapping[bytes, Done | None],
    begun: Iterable[tuple[bytes, UnderWay]],
    ended: Iterable[bytes],
    boots: Sequence[str],
    boot: int,
    now: float,
) -> None:
    """Write all of this, or nothing.

    Args:
        db: the database.
        done: what was completed; None removes it.
        begun: large files of which more is known than the database has.
        ended: keys of large files to be removed.
        boots: the ids of all boots.
        boot: index of the one in which this is recorded.
        now: the time.

    """
    begun = list(begun)
    gone = [(key,) for key in ended]
    anew = [(key,) for key, record in begun if record.written is None]
    forgotten = [(key,) for key, entry in done.items() if entry is None]
    db.execute("BEGIN IMMEDIATE")
    db.executemany("DELETE FROM leaf WHERE key = ?", gone + anew)
    db.executemany("DELETE FROM begun WHERE key = ?", gone)
    values = [
        (key, _pack(key, record.identity, b"", record.part, record.flushed, record.boot))
        for key, record in begun
    ]
    db.executemany("REPLACE INTO begun VALUES (?, ?)", values)
    db.executemany("REPLACE INTO leaf VALUES (?, ?, ?, ?)", _leaf_rows(begun))
    db.executemany("DELETE FROM done WHERE key = ?", forgotten)
    _put_done(db, done, boot)
    db.execute("DELETE FROM last")
    db.execute(
        "INSERT INTO last VALUES (?)", (_with_checksum(_LAST, "\n".join((repr(now), *boots)).encode()),)
    )
    db.execute("COMMIT")


def _put_done(db: sqlite3.Connection, entries: Mapping[bytes, Done | None], boot: int) -> None:
    flat: list[bytes] = []
    for key in sorted(entries):  # neighbours share pages
        done = entries[key]
        if done is not None:
            flat += key, _pack(key, *done, boot)
    step = 2 * _AT_ONCE
    rest = len(flat) - len(flat) % step
    for start in range(0, rest, step):
        db.execute(_PUT_MANY_DONE, flat[start : start + step])
    db.executemany(_PUT_DONE, zip(flat[rest::2], flat[rest + 1 :: 2], strict=True))


def _leaf_rows(changed: Iterable[tuple[bytes, UnderWay]]) -> Iterator[tuple[Any, ...]]:
    for key, record in changed:
        for number in range(record.written or 0, record.segments):
            digest = bytes(
                record.leaves[number * protocol_limits.DIGEST : (number + 1) * protocol_limits.DIGEST]
            )
            yield key, number, digest, _leaf_sum(key, number, digest)


def _pack(key: bytes, identity: bytes, digest: bytes, name: str, flushed: int, boot: int) -> bytes:
    body = _HEAD.pack(flushed, boot, len(identity), len(digest)) + identity + digest
    if name:
        body += name.encode("utf-8", "surrogatepass")
    return _with_checksum(key, body)


def _unpack(key: bytes, value: object) -> tuple[bytes, bytes, str, int, int] | None:
    """Return identity, digest, name, flushed and index of the boot; None if this is not what we wrote."""
    body = _without_checksum(key, value)
    if body is None:
        return None
    try:
        flushed, boot, identity, digest = _HEAD.unpack_from(body)
        start = _HEAD.size + identity
        end = start + digest
        name = body[end:].decode("utf-8", "surrogatepass")
    except (struct_error, ValueError):
        return None
    return body[_HEAD.size : start], body[start:end], name, flushed, boot


def _with_checksum(key: bytes, body: bytes) -> bytes:
    return crc32(body, crc32(key)).to_bytes(_SUM, "little") + body


def _without_checksum(key: bytes, value: object) -> bytes | None:
    """Return a value without its checksum; None if this is not what we wrote."""
    if isinstance(value, bytes):  # columns may hold values of any kind
        body = value[_SUM:]
        if _with_checksum(key, body) == value:
            return body
    return None


def _leaf_sum(key: bytes, number: int, digest: bytes) -> int:
    return crc32(digest, crc32(b"%d" % number, crc32(key)))
