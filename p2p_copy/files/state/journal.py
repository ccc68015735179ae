"""Remembers which entries of a transfer are done, so that a resumed one need not read or send them again.

Rules
1. What is set counts at once. From the next `commit` on it survives if the process is killed.
2. A journal may cost work, never correctness: one that cannot be read is deleted, a broken row is ignored, and one that
   cannot be written (`failed`) continues in memory.
3. Data that was not flushed to the disk may be lost when the machine restarts. So each row says in which boot it was
   recorded (`of_this_boot`).
4. The file is a SQLite database. SQLite survives the kill of a process and a power cut, and finds one of a million rows
   in bounded memory. It does not notice a bit that changed on the disk, so each row has a checksum.

Only one thread and one process may use a journal at a time; the lock of its state (`store`) keeps other processes out.
The functions below `Journal` read and write the database. They raise what `_errors` returns, and `OSError`; `Journal`
decides what that means.
"""

from __future__ import annotations

import math
import os
import sys
import time
from contextlib import suppress
from struct import Struct, error as struct_error
from typing import TYPE_CHECKING, Any, Final, TypeVarTuple
from zlib import crc32

from blake3 import blake3

from p2p_copy.files import limits
from p2p_copy.files.system import CREATE
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.units import KIB
from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    import sqlite3  # it takes long to import: only when there is something to read or write
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

Facts = TypeVarTuple("Facts")

KEY: Final = 16
"""Bytes of a key: enough that no two paths can be found that have the same one."""

_NO_SQLITE: Final = "This Python has no SQLite."


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
        identity: of the file as it was then, so that a file that changed is not taken for it.
        part: at a receiver, the path of the file that is being written.
        leaves: digests of its verified segments so far, 32 bytes each, joined.
        flushed: how many of these segments are certain to be on the disk.

    """

    identity: bytes
    part: str
    leaves: bytes
    flushed: int


def key_of(path: str) -> bytes:
    """Return the key of an entry, from its path inside the transfer."""
    return blake3(path.encode("utf-8", "surrogatepass")).digest(length=KEY)


def boot_id() -> str:
    """Return an id of this boot of this machine; empty where the system has none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.readline(64).strip()
    except (OSError, ValueError):
        return ""


class _UnderWay:
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


class _Schedule:
    """When commits are due."""

    __slots__ = ("_bytes", "_committed", "_since")

    def __init__(self) -> None:
        self._bytes = 0  # of work since a commit was last due
        # When a commit was last due, or when the first work was done: no database before that.
        self._since = math.inf
        self._committed = -math.inf  # when `commit` was last called, whether it had something to write or not

    def add(self, size: int) -> bool:
        """Count bytes of work, and return whether a commit is due; then the count starts again."""
        self._bytes += size
        now = time.monotonic()
        self._since = min(self._since, now)
        if self._bytes < limits.JOURNAL_BYTES and now - self._since < limits.JOURNAL_INTERVAL:
            return False
        self._bytes, self._since = 0, now
        return True

    def committed(self) -> None:
        """Take note of a commit."""
        self._committed = time.monotonic()

    @property
    def is_late(self) -> bool:
        """Whether the last commit is longer ago than commits are apart."""
        return time.monotonic() - self._committed >= limits.JOURNAL_INTERVAL


class Journal:
    """What was done and begun, by key.

    An existing file is opened at once. A new one is made by the first `commit` that has something to write. No method
    fails because of the file or its contents.

    Args:
        path: its file, in a directory that only this user can use; None for a journal that ends with this process.
            If that one exceeds `limits.JOURNAL_MEMORY`, it is kept in a temporary file without a name.

    Attributes:
        failed: why the journal is not written any more, a sentence without file names; None as long as it is.

    """

    def __init__(self, path: str | None) -> None:
        self.failed: str | None = None
        self._path = os.path.abspath(path) if path is not None else ""
        self._db: sqlite3.Connection | None = None
        self._closed = False
        # Set since the last commit; None is forgotten.
        self._done: dict[bytes, Done | None] = {}
        # Set by `set_done_later`: how to make key and value, and of what.
        self._later: list[tuple[Callable[..., tuple[bytes, Done]], tuple[Any, ...]]] = []
        # All that are begun; None is in the database only.
        self._begun: dict[bytes, _UnderWay | None] = {}
        # To be removed from the database.
        self._ended: set[bytes] = set()
        self._boots = [boot_id()]  # the ids of the boots of the machine in which the journal was written
        self._boot = 0  # the index of the current boot
        self._committed_at = 0.0
        self._schedule = _Schedule()
        self._worked = False  # since the last commit
        if self._path and os.path.lexists(self._path):
            self._load()

    @property
    def committed_at(self) -> float:
        """The time of the last commit, as of `time.time`; 0.0 if there was none.

        A file under way may grow for long before there is more to record of it: then the time alone is committed.
        """
        return self._committed_at

    @property
    def empty(self) -> bool:
        """Whether nothing is remembered, neither on the disk nor in memory."""
        if self._later or self._begun or any(self._done.values()):
            return False
        if self._db is None:
            return True
        try:
            # One row more than were forgotten is enough: at least one of them was not forgotten.
            rows = self._db.execute("SELECT key FROM done LIMIT ?", (len(self._done) + 1,)).fetchall()
        except _errors() as error:
            self._cannot_read(error)
            return self.empty
        return all(key in self._done for (key,) in rows)

    # What is remembered

    def done(self, key: bytes) -> Done | None:
        """Return what was completed under a key."""
        self._set_now()
        if key in self._done:
            return self._done[key]
        found = self._find_done(key)
        return None if found is None else found[0]

    def begun(self, key: bytes) -> Begun | None:
        """Return what is known of a large file under way, by its key."""
        record = self._under_way(key)
        return None if record is None else record.begun()

    def all_begun(self) -> list[tuple[bytes, Begun]]:
        """Return all large files that are under way."""
        found = [(key, self.begun(key)) for key in list(self._begun)]
        return [(key, begun) for key, begun in found if begun is not None]

    def of_this_boot(self, key: bytes) -> bool:
        """Return whether all that is remembered under a key was recorded in this boot of this machine.

        Then it is as certain as what was flushed: data that was written is lost only if the machine stops.
        """
        record = self._under_way(key)
        if record is not None and record.boot != self._boot:
            return False
        if key in self._done:
            return True
        found = self._find_done(key)
        return found is None or found[1] == self._boot

    def _find_done(self, key: bytes) -> tuple[Done, int] | None:
        if self._db is None:
            return None
        try:
            return _find_done(self._db, key)
        except _errors() as error:
            self._cannot_read(error)
            return None

    def _under_way(self, key: bytes) -> _UnderWay | None:
        if key not in self._begun:
            return None
        self._set_now()
        record = self._begun.get(key)
        if record is not None or key not in self._begun:
            return record
        assert self._db is not None, "what is not in memory is in the database"
        try:
            record = _find_begun(self._db, key)
        except _errors() as error:
            self._cannot_read(error)
            return None
        if record is None:  # it is broken
            self._end(key)
        else:
            self._begun[key] = record
        return record

    # What is to be remembered

    def set_done(self, key: bytes, done: Done) -> None:
        """Record something as completed, and forget what was begun under its key."""
        self._set_now()
        self._done[key] = done
        if key in self._begun:
            self._end(key)

    def set_done_later(self, make: Callable[[*Facts], tuple[bytes, Done]], *facts: *Facts) -> None:
        """At the next commit or look-up, call `set_done` with what `make` returns for these facts.

        Most transfers end before that, and their many small files cost nothing more.
        """
        self._later.append((make, facts))

    def _set_now(self) -> None:
        if self._later:
            later, self._later = self._later, []
            for make, facts in later:
                key, done = make(*facts)
                self._done[key] = done
                if key in self._begun:
                    self._end(key)

    def begin(self, key: bytes, begun: Begun) -> None:
        """Record a large file as under way; this replaces what was begun under its key."""
        assert not len(begun.leaves) % protocol_limits.DIGEST
        self._set_now()
        self._begun[key] = _UnderWay(begun, self._boot)
        self._ended.discard(key)  # all of its rows are replaced

    def add_leaves(self, key: bytes, leaves: bytes) -> None:
        """Record the digests of further segments of a file under way, joined; ignored if it is not under way."""
        assert not len(leaves) % protocol_limits.DIGEST
        record = self._under_way(key)
        if record is not None and leaves:
            record.leaves += leaves
            record.changed = True

    def set_flushed(self, key: bytes, segments: int) -> None:
        """Record how many segments of a file under way are certain to be on the disk, at most as many as are known."""
        record = self._under_way(key)
        if record is not None:
            record.set_flushed(segments)
            record.changed = True

    def forget(self, key: bytes) -> None:
        """Forget what was done and what was begun under a key."""
        self._set_now()
        self._done[key] = None
        if key in self._begun:
            self._end(key)

    def forget_begun(self, key: bytes) -> None:
        """Forget what was begun under a key, and not what was done: an earlier state of the file is still known."""
        self._set_now()
        if key in self._begun:
            self._end(key)

    def _end(self, key: bytes) -> None:
        del self._begun[key]
        self._ended.add(key)

    # The file

    def commit_if_due(self, size: int) -> None:
        """Count `size` bytes of work, and commit if that is due."""
        self._worked = True
        if self._schedule.add(size):
            self.commit()

    def commit_if_late(self) -> None:
        """Commit, if only the time, when the last commit of this process is longer ago than commits should be apart.

        If a process makes something long after its last commit and does not record it, it does not count as ours.
        """
        if self._schedule.is_late:
            self.commit(always=True)

    def commit(self, *, always: bool = False) -> None:
        """Write what has gathered in memory, all or nothing; with `always` write the time even if nothing has."""
        self._set_now()
        self._schedule.committed()
        if self._closed or self._fits_into_memory:
            return
        if self.failed is not None:
            self._drop_oldest()
            return
        for _ in range(2):  # a broken database is made again, once
            try:
                self._write(always=always)
            except OSError as error:
                self._roll_back()
                self.failed = f"The system says: {error.strerror or type(error).__name__}."
                return
            except ImportError:
                self.failed = _NO_SQLITE
                return
            except _errors() as error:
                self._roll_back()
                if _of_the_system(error):
                    self.failed = f"The database says: {error}."
                    return
                self._disconnect()
                self._delete()
            else:
                return
        self.failed = "The database cannot read what it has written."

    @property
    def _fits_into_memory(self) -> bool:
        """Whether there is no file and none is needed yet."""
        return not self._path and self._db is None and len(self._done) <= limits.JOURNAL_MEMORY

    def _write(self, *, always: bool) -> None:
        self._roll_back()  # what an interrupt left behind
        if self._db is None:  # it has no rows to remove
            self._done = {key: done for key, done in self._done.items() if done is not None}
            self._ended.clear()
        under_way = [(key, record) for key, record in self._begun.items() if record is not None]
        changed = [(key, record) for key, record in under_way if record.changed]
        if self._done or self._ended or changed or (self._worked and self._begun) or always:
            self._committed_at = time.time()
            _write_rows(
                self._db or self._create(),
                done=self._done,
                begun=changed,
                ended=self._ended,
                boots=self._boots,
                boot=self._boot,
                now=self._committed_at,
            )
            self._done.clear()
            self._ended.clear()
        self._worked = False
        for key, record in under_way:
            if record.changed:
                record.written = record.segments
                record.changed = False
            else:
                self._begun[key] = None  # it is not needed at the moment, and may be long

    def close(self) -> None:
        """Commit and close the file; this object is empty afterwards. May be called again."""
        if self._path:
            self.commit()
        self._end_all()

    def remove(self) -> None:
        """Close and delete the file; this object is empty afterwards. May be called again."""
        if self._db is not None:
            with suppress(Exception):  # what is to be deleted need not be flushed first
                self._db.execute("PRAGMA synchronous = OFF")
        self._end_all()
        self._delete()

    def _end_all(self) -> None:
        self._closed = True
        self._disconnect()
        self._later.clear()
        self._done.clear()
        self._begun.clear()

    def _create(self) -> sqlite3.Connection:
        if self._path:
            _create_file(self._path)
        self._db = _connect(self._path)
        _set_up(self._db)
        return self._db

    def _load(self) -> None:
        try:
            self._db = _connect(self._path)
            self._committed_at, boots, begun = _load_state(self._db)
        except ImportError:
            self.failed = _NO_SQLITE
            return
        except _errors() as error:
            self._cannot_read(error)
            return
        self._begun = dict.fromkeys(begun)
        (this,) = self._boots
        if not this or this not in boots:  # a boot without an id may be another one each time
            boots.append(this)
        self._boot = len(boots) - 1 if not this else boots.index(this)
        self._boots = boots

    # Failures

    def _cannot_read(self, error: Exception) -> None:
        """Continue without what is on the disk."""
        if _of_the_system(error):
            self.failed = f"The database says: {error}."
            self._disconnect()
        else:
            self._disconnect()
            self._delete()

    def _delete(self) -> None:
        if self._path:
            delete_journal(self._path)

    def _roll_back(self) -> None:
        if self._db is not None and self._db.in_transaction:
            with suppress(Exception):
                self._db.execute("ROLLBACK")

    def _disconnect(self) -> None:
        """Close the database. Rows that are only there are lost; a new one gets all that is in memory."""
        db, self._db = self._db, None
        if db is not None:
            with suppress(Exception):  # nothing is lost: each write was committed, or has failed
                db.close()
        self._ended.clear()
        in_memory = [(key, record) for key, record in self._begun.items() if record is not None]
        for _, record in in_memory:
            record.written, record.changed = None, True
        self._begun = dict(in_memory)

    def _drop_oldest(self) -> None:
        """Forget the oldest entries that exceed the limit, since they can no longer be written."""
        if len(self._done) > limits.JOURNAL_MEMORY:
            self._disconnect()  # or its older rows would count again
            for key in list(self._done)[: -limits.JOURNAL_MEMORY]:
                del self._done[key]


# The database

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

_COMPANIONS: Final = ("-wal", "-shm", "-journal")
"""Endings of the files that SQLite may keep next to the database."""

_OF_THE_SYSTEM: Final = frozenset((3, 5, 6, 8, 10, 13, 14, 22, 23))
"""SQLite's codes for failures of the system: PERM, BUSY, LOCKED, READONLY, IOERR, FULL, CANTOPEN, NOLFS, AUTH. Every
other error in reading means that the database holds something that we did not write."""


def _errors() -> tuple[type[Exception], ...]:
    """Return what SQLite raises when it cannot read or write. A function, so that `except` imports SQLite only then."""
    import sqlite3

    # UnicodeDecodeError: a message quotes what is in a broken database, which may be no text.
    return sqlite3.DatabaseError, UnicodeDecodeError, MemoryError


def _of_the_system(error: Exception) -> bool:
    """Return whether the system has failed, so that the database may be intact."""
    return getattr(error, "sqlite_errorcode", 1) & 0xFF in _OF_THE_SYSTEM


def load_library() -> None:
    """Load SQLite, which takes long, at a time when nobody waits. If there is none, opening a journal says so."""
    with suppress(ImportError):
        import sqlite3  # noqa: F401


def delete_journal(path: str) -> None:
    """Delete the file of a closed journal, and its companions. Never fails."""
    for ending in ("", *_COMPANIONS):  # the log is not first: a database without it may be inconsistent
        with suppress(OSError):
            os.unlink(path + ending)


def _connect(path: str) -> sqlite3.Connection:
    """Open an existing file, without reading it. Without a path, open a new one that vanishes when it is closed."""
    import sqlite3

    if path and sys.platform != "win32":
        from urllib.parse import quote

        # `unix-none`: locks are unreliable on the file systems of many clusters, and `store` has one.
        uri = f"file:{quote(os.fsencode(path))}?mode=rw&vfs=unix-none"
        db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    else:
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")  # first of all: then the log needs no shared memory
        db.execute(f"PRAGMA cache_size = -{limits.JOURNAL_CACHE // KIB}")
    except BaseException:
        db.close()
        raise
    return db


def _create_file(path: str) -> None:
    """Create an empty file for a database, private to its owner; `FileExistsError` if something is there."""
    for ending in _COMPANIONS:  # SQLite would read a left-over log as that of the new database
        with suppress(FileNotFoundError):
            os.unlink(path + ending)
    os.close(os.open(path, CREATE, 0o600))


def _set_up(db: sqlite3.Connection) -> None:
    """Make a database of an empty file."""
    # Five flushes of its first page would save nothing: all else is in the log, which is not flushed. A power cut that
    # takes the page and leaves the log leaves an empty journal.
    db.execute("PRAGMA synchronous = OFF")
    _use_log(db)
    db.executescript(_SCHEMA)


def _load_state(db: sqlite3.Connection) -> tuple[float, list[str], list[bytes]]:
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


def _find_done(db: sqlite3.Connection, key: bytes) -> tuple[Done, int] | None:
    """Return what was completed, and the index of the boot in which that was recorded."""
    row = db.execute("SELECT value FROM done WHERE key = ?", (key,)).fetchone()
    value = None if row is None else _unpack(key, row[0])
    if value is None:
        return None
    identity, digest, name, flushed, boot = value
    return Done(identity, digest, name, bool(flushed)), boot


def _find_begun(db: sqlite3.Connection, key: bytes) -> _UnderWay | None:
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
    return _UnderWay(begun, boot, count if whole else None)


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


def _write_rows(
    db: sqlite3.Connection,
    *,
    done: Mapping[bytes, Done | None],
    begun: Iterable[tuple[bytes, _UnderWay]],
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
        boot: index of the boot in which this is written.
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


def _leaf_rows(changed: Iterable[tuple[bytes, _UnderWay]]) -> Iterator[tuple[Any, ...]]:
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
    return crc32(body, crc32(key)).to_bytes(_SUM, "little") + body


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
