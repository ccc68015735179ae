"""Remembers which entries of a transfer are done, so that a resumed one need not read or send them again.

Rules
1. What is set counts at once. From the next `commit` on it survives if the process is killed.
2. A journal may cost work, never correctness: one that cannot be read is deleted, a broken row is ignored, and one that
   cannot be written (`failed`) continues in memory.
3. Data that was not flushed to the disk may be lost when the machine restarts. So each row says in which boot it was
   recorded (`of_this_boot`).

Only one thread and one process may use a journal at a time; the lock of its state (`store`) keeps other processes out.
"""

from __future__ import annotations

import math
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from blake3 import blake3

from p2p_copy.files import limits
from p2p_copy.files.state import database
from p2p_copy.files.state.database import Begun, Done, UnderWay
from p2p_copy.protocol import limits as protocol_limits

if TYPE_CHECKING:
    import sqlite3

__all__ = ["KEY", "Begun", "Done", "Journal", "boot_id", "key_of", "pack_identity"]

KEY: Final = 16
"""Bytes of a key: enough that no two paths can be found that have the same one."""

_NO_SQLITE: Final = "This Python has no SQLite."


def key_of(path: str) -> bytes:
    """Return the key of an entry, from its path inside the transfer."""
    return blake3(path.encode("utf-8", "surrogatepass")).digest(length=KEY)


def pack_identity(*parts: int | str) -> bytes:
    """Return bytes that only the same parts yield, as in `pack_identity(*identity_of(status))`."""
    try:
        return (b"%x," * len(parts)) % parts  # of any size: inode numbers of Windows take 128 bits
    except TypeError:
        return b"".join(map(_packed, parts))


def _packed(part: int | str) -> bytes:
    if isinstance(part, str):
        data = part.encode("utf-8", "surrogatepass")
        return b"%x:%b" % (len(data), data)
    return b"%x," % part


def boot_id() -> str:
    """Return an id of this boot of this machine; empty where the system has none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.readline(64).strip()
    except (OSError, ValueError):
        return ""


class _Schedule:
    """When commits are due."""

    __slots__ = ("_bytes", "_committed", "_since")

    def __init__(self) -> None:
        self._bytes = 0  # of work since a commit was last due
        self._since = (
            math.inf
        )  # when a commit was last due, or when the first work was done: no database before that
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
        # All that are begun; None is in the database only.
        self._begun: dict[bytes, UnderWay | None] = {}
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
        if self._begun or any(self._done.values()):
            return False
        if self._db is None:
            return True
        try:
            # One row more than were forgotten is enough: at least one of them was not forgotten.
            rows = self._db.execute("SELECT key FROM done LIMIT ?", (len(self._done) + 1,)).fetchall()
        except database.errors() as error:
            self._cannot_read(error)
            return self.empty
        return all(key in self._done for (key,) in rows)

    # What is remembered

    def done(self, key: bytes) -> Done | None:
        """Return what was completed under a key."""
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
            return database.find_done(self._db, key)
        except database.errors() as error:
            self._cannot_read(error)
            return None

    def _under_way(self, key: bytes) -> UnderWay | None:
        record = self._begun.get(key)
        if record is not None or key not in self._begun:
            return record
        assert self._db is not None, "what is not in memory is in the database"
        try:
            record = database.find_begun(self._db, key)
        except database.errors() as error:
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
        self._done[key] = done
        if key in self._begun:
            self._end(key)

    def begin(self, key: bytes, begun: Begun) -> None:
        """Record a large file as under way; this replaces what was begun under its key."""
        assert not len(begun.leaves) % protocol_limits.DIGEST
        self._begun[key] = UnderWay(begun, self._boot)
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
        self._done[key] = None
        if key in self._begun:
            self._end(key)

    def _end(self, key: bytes) -> None:
        del self._begun[key]
        self._ended.add(key)

    # The file

    def add_work(self, size: int) -> bool:
        """Count `size` bytes of work, and return whether a commit is due."""
        self._worked = True
        return self._schedule.add(size)

    @property
    def is_late(self) -> bool:
        """Whether the last commit of this process is longer ago than commits are apart."""
        return self._schedule.is_late

    def commit(self, *, always: bool = False) -> None:
        """Write what has gathered in memory, all or nothing; with `always` at least the time."""
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
            except database.errors() as error:
                self._roll_back()
                if database.of_the_system(error):
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
            database.write(
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
        self._done.clear()
        self._begun.clear()

    def _create(self) -> sqlite3.Connection:
        if self._path:
            database.create(self._path)
            self._db = database.connect(self._path)
        else:
            self._db = database.temporary()
        database.set_up(self._db)
        return self._db

    def _load(self) -> None:
        try:
            self._db = database.connect(self._path)
            self._committed_at, boots, begun = database.load(self._db)
        except ImportError:
            self.failed = _NO_SQLITE
            return
        except database.errors() as error:
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
        if database.of_the_system(error):
            self.failed = f"The database says: {error}."
            self._disconnect()
        else:
            self._disconnect()
            self._delete()

    def _delete(self) -> None:
        if self._path:
            database.delete(self._path)

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
