"""What one side remembers of one transfer's entries, so that nothing is read or sent again after a break.

Rules
1. Whatever is set counts at once, and from the next `commit` on it is kept when the process is killed.
2. A journal may cost work, never correctness: one that cannot be read is thrown away, a broken row is passed over, and
   one that cannot be written (`failed`) goes on from memory.
3. What was not flushed to the disk may be gone if the machine was started anew since. So each row says in which boot it
   was recorded (`of_this_boot`).

One thread at a time, and one process at a time: see to that with the lock of `states`.
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
"""Bytes of a key: nobody finds two paths with the same one."""

_NO_SQLITE: Final = "This Python has no SQLite."


def key_of(path: str) -> bytes:
    """Return the key of an entry, from its path inside the transfer."""
    return blake3(path.encode("utf-8", "surrogatepass")).digest(length=KEY)


def pack_identity(*parts: int | str) -> bytes:
    """Return bytes that are the same for the same parts only: `pack_identity(*identity_of(status))`."""
    try:
        return (b"%x," * len(parts)) % parts  # numbers may have any size: Windows' inodes take 128 bits
    except TypeError:
        return b"".join(map(_packed, parts))


def _packed(part: int | str) -> bytes:
    if isinstance(part, str):
        data = part.encode("utf-8", "surrogatepass")
        return b"%x:%b" % (len(data), data)
    return b"%x," % part


def boot_id() -> str:
    """Return what tells this boot of this machine from any other; empty where the system does not say."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.readline(64).strip()
    except (OSError, ValueError):
        return ""


class Journal:
    """What was done and begun, by key.

    An existing file is opened at once, and a new one is made by the first `commit` that has something to write. No
    method fails because of a file or of what is in it.

    Args:
        path: of the file, in a directory that is ours alone; None for one that ends with this process. What does not
            fit into memory then (`limits.JOURNAL_MEMORY`) goes into a temporary file without a name.

    Attributes:
        failed: why nothing is written any more, a sentence without file names; None while all is well.

    """

    def __init__(self, path: str | None) -> None:
        self.failed: str | None = None
        self._path = os.path.abspath(path) if path is not None else ""
        self._db: sqlite3.Connection | None = None
        self._closed = False
        # Since the last commit; None is forgotten.
        self._done: dict[bytes, Done | None] = {}
        # All there are; None is in the database only.
        self._begun: dict[bytes, UnderWay | None] = {}
        # To be removed from the database.
        self._ended: set[bytes] = set()
        self._boots = [boot_id()]
        self._boot = 0  # the number of this one
        self._same_boot = True
        self._committed_at = 0.0
        self._unsaved = 0  # bytes of work since it was last due
        self._worked = False  # since the last commit
        self._renews = False  # the next commit writes its time, whatever else there is
        self._renewed = -math.inf  # when there was a commit last, whether it had something to write or not
        self._due_since = math.inf  # until the first work: nobody is to wait for a database before that
        if self._path and os.path.lexists(self._path):
            self._load()

    @property
    def same_boot(self) -> bool:
        """Whether all that was found here was recorded during this boot of this machine; if not, see `of_this_boot`."""
        return self._same_boot

    @property
    def committed_at(self) -> float:
        """The time of the last commit, as `time.time` says it; 0.0 if there was none.

        A file under way may grow for long until there is more to be said of it: then the time alone is committed.
        """
        return self._committed_at

    @property
    def empty(self) -> bool:
        """Whether nothing is remembered, on the disk or in memory."""
        if self._begun or any(self._done.values()):
            return False
        if self._db is None:
            return True
        try:
            # If more are there than were forgotten, one of them was not.
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
        """Return the large file that is under way under a key."""
        record = self._under_way(key)
        return None if record is None else record.begun()

    def all_begun(self) -> list[tuple[bytes, Begun]]:
        """Return all large files that are under way."""
        found = [(key, self.begun(key)) for key in list(self._begun)]
        return [(key, begun) for key, begun in found if begun is not None]

    def of_this_boot(self, key: bytes) -> bool:
        """Return whether all that is remembered under a key was recorded during this boot of this machine.

        If so, it is as certain as what was flushed: only a machine that stops loses what it was told to write.
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
        """Remember something that was completed, and forget what was begun under this key."""
        self._done[key] = done
        if key in self._begun:
            self._end(key)

    def begin(self, key: bytes, begun: Begun) -> None:
        """Remember a large file that is under way, in place of what was begun under this key."""
        assert not len(begun.leaves) % protocol_limits.DIGEST
        self._begun[key] = UnderWay(begun, self._boot)
        self._ended.discard(key)  # its rows are replaced, every one

    def add_leaf(self, key: bytes, leaf: bytes) -> None:
        """Remember the digest of one more segment of a file under way. One that is not remembered is passed over."""
        assert len(leaf) == protocol_limits.DIGEST
        record = self._under_way(key)
        if record is not None:
            record.leaves += leaf
            record.changed = True

    def add_leaves(self, key: bytes, leaves: bytes) -> None:
        """Remember the digests of several segments, joined, as `add_leaf` does."""
        for at in range(0, len(leaves), protocol_limits.DIGEST):
            self.add_leaf(key, leaves[at : at + protocol_limits.DIGEST])

    def set_flushed(self, key: bytes, segments: int) -> None:
        """Remember how many segments of a file under way are certain to be on the disk: no more than it has leaves."""
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

    def is_due(self, size: int) -> bool:
        """Return whether a commit is due after `size` more bytes of work; if so, the next one is due anew."""
        self._worked = True
        self._unsaved += size
        now = time.monotonic()
        self._due_since = min(self._due_since, now)
        if self._unsaved < limits.JOURNAL_BYTES and now - self._due_since < limits.JOURNAL_INTERVAL:
            return False
        self._unsaved, self._due_since = 0, now
        return True

    @property
    def is_old(self) -> bool:
        """Whether the last commit of this process is longer ago than commits are apart."""
        return time.monotonic() - self._renewed >= limits.JOURNAL_INTERVAL

    def renew(self) -> None:
        """Commit, and at least the time."""
        self._renews = True
        self.commit()

    def commit(self) -> None:
        """Write what has gathered in memory, all or nothing; cheap if that is nothing."""
        self._renewed = time.monotonic()
        if self._closed or self._fits_into_memory:
            return
        if self.failed is not None:
            self._spare_memory()
            return
        for _ in range(2):  # a broken database is begun anew, once
            try:
                self._write()
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
        """Whether there is no file, and no need for one yet."""
        return not self._path and self._db is None and len(self._done) <= limits.JOURNAL_MEMORY

    def _write(self) -> None:
        self._roll_back()  # what an interrupt left behind
        if self._db is None:  # there is nothing that could be forgotten
            self._done = {key: done for key, done in self._done.items() if done is not None}
            self._ended.clear()
        under_way = [(key, record) for key, record in self._begun.items() if record is not None]
        changed = [(key, record) for key, record in under_way if record.changed]
        if self._done or self._ended or changed or (self._worked and self._begun) or self._renews:
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
        self._worked = self._renews = False
        for key, record in under_way:
            if record.changed:
                record.written = record.segments
                record.changed = False
            else:
                self._begun[key] = None  # nobody needs it at the moment, and it may be long

    def close(self) -> None:
        """Commit, and let go of the file. Nothing is remembered here afterwards. May be called again."""
        self.commit()
        self._end_all()

    def remove(self) -> None:
        """Let go of the file and delete it. Nothing is remembered here afterwards. May be called again."""
        if self._db is not None:
            with suppress(Exception):  # what is deleted need not reach the disk before
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
        (own,) = self._boots
        self._same_boot = bool(own) and set(boots) == {own}
        if not own or own not in boots:
            boots.append(own)
            self._boot = len(boots) - 1
        else:
            self._boot = boots.index(own)
        self._boots = boots

    # When it goes wrong

    def _cannot_read(self, error: Exception) -> None:
        """Go on without what is on the disk."""
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
        """Let go of the database, which takes with it what is nowhere else; the rest would be written anew."""
        db, self._db = self._db, None
        if db is not None:
            with suppress(Exception):  # nothing is lost: what there was to write is written, or failed
                db.close()
        self._ended.clear()
        in_memory = [(key, record) for key, record in self._begun.items() if record is not None]
        for _, record in in_memory:
            record.written, record.changed = None, True
        self._begun = dict(in_memory)

    def _spare_memory(self) -> None:
        if len(self._done) > limits.JOURNAL_MEMORY:
            self._disconnect()  # so that what is dropped here does not come back as it was before
            for key in list(self._done)[: -limits.JOURNAL_MEMORY]:
                del self._done[key]
