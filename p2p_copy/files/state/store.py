"""The private directory with a state for each transfer that is not complete.

A state consists of three files, named by its id and an ending: facts (JSON, which may hold secrets), a journal, and a
lock, which the system releases when the process that holds it dies. Only the owner can read these files.

An id is a keyed hash of what identifies the transfer, including its code. The key is random and lies in the same
directory, readable for the owner alone. So an id that is seen in a listing or on a terminal does not help to test
guesses of the code.

If the file system has locks, the lock keeps two processes from using the same state. Without locks they can only cost
each other work: facts are replaced as a whole, and a broken journal is deleted.
"""

from __future__ import annotations

import errno
import os
import re
import sys
import time
from contextlib import suppress
from enum import Enum
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from p2p_copy.files import limits, system
from p2p_copy.files.state.facts import Facts, decode, encode
from p2p_copy.files.state.journal import Journal, delete_journal
from p2p_copy.files.user_directories import user_directory
from p2p_copy.options import STATE_VARIABLE
from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_ID: Final = re.compile(r"[0-9a-f]{32}")
_ID_SIZE: Final = 16

_FACTS: Final = ".json"
_NEW_FACTS: Final = ".json.new"
_JOURNAL: Final = ".journal"
_LOCK: Final = ".lock"

_KEY: Final = "p2p-copy.key"
_KEY_SIZE: Final = 32
_KEY_TRIES: Final = 8
"""Reads of the key before giving up: each time another process may have removed it, or made one before us."""

_HELD: Final = frozenset((errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK))
"""What systems answer when another process has the lock; any other answer means that there are no locks."""

_STATE_FILE: Final = re.compile(rf"[0-9a-f]{{32}}\..*|{re.escape(_KEY)}(\.[0-9a-f]+\.new)?")


class Access(Enum):
    """What other users may do in a directory with states."""

    NONE = 0
    LIST = 1
    WRITE = 2


class StateBusy(Exception):
    """Another process uses this state."""


def default_directory() -> str:
    """Return the usual directory of this user's states, empty if there is none; nothing is created."""
    if sys.platform == "win32":
        base = user_directory("LOCALAPPDATA", "AppData", "Local")
    else:
        base = user_directory("XDG_STATE_HOME", ".local", "state")
    return os.path.join(base, "p2p-copy") if base else ""


def known_directories(state: State | None) -> tuple[str, ...]:
    """Return the directories in which states of this and other transfers may lie. They need not exist."""
    own = state.directory if state is not None else None
    return tuple(filter(None, (own, os.environ.get(STATE_VARIABLE), default_directory())))


def is_state_file(name: str) -> bool:
    """Return whether a file of this name belongs to a state, if it lies in a directory with states."""
    return _STATE_FILE.fullmatch(name) is not None


def access_of_others(directory: str) -> Access:
    """Return what other users may do in a directory with states; nothing if it does not exist: we make it private.

    Its owner may do everything. On Windows modes say nothing about this, and users' directories are private by default.
    """
    if sys.platform == "win32":
        return Access.NONE
    try:
        there = os.stat(directory)
    except OSError:
        return Access.NONE
    if there.st_uid not in (0, os.geteuid()) or there.st_mode & 0o022:
        return Access.WRITE
    return Access.LIST if there.st_mode & 0o044 else Access.NONE


class Summary(NamedTuple):
    """A state in a list; `busy`: a process uses it."""

    id: str
    facts: Facts
    busy: bool


class State:
    """What is remembered of one transfer, locked until it is closed or removed; made by `States`.

    Attributes:
        id: 32 hexadecimal digits.
        facts: the facts of the transfer; replace them, then call `save` to write them.
        journal: the journal of the transfer's entries.

    """

    __slots__ = ("_base", "_lock", "facts", "id", "journal")

    def __init__(self, base: str, lock: _Lock, facts: Facts) -> None:
        self.id = os.path.basename(base)
        self.facts = facts
        self.journal = Journal(base + _JOURNAL)
        self._base = base
        self._lock: _Lock | None = lock

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def directory(self) -> str:
        """The directory with its files."""
        return os.path.dirname(self._base)

    def save(self) -> None:
        """Write the facts; at any time the file holds all of the old ones or all of the new ones.

        After `close` and `remove` nothing is written: another process may use the state.

        Raises:
            OSError: they cannot be written; the old ones are still there.
            ValueError: they are too long; the old ones are still there.

        """
        if self._lock is not None:
            _write_facts(self._base, encode(self.facts))

    def remove(self) -> None:
        """Delete the state and unlock it. Never fails; may be called again. After `close` it deletes nothing."""
        lock, self._lock = self._lock, None
        self.journal.remove() if lock is not None else self.journal.close()
        if lock is not None:
            _remove(self._base)
            lock.remove()

    def close(self) -> None:
        """Commit and close the journal, and unlock the state. Never fails; may be called again."""
        lock, self._lock = self._lock, None
        self.journal.close()
        if lock is not None:
            lock.release()


class States:
    """All states in one directory, which is created when it is first needed.

    Args:
        directory: its path; missing parents are created, too. Empty: there are no states, and none can be made.

    Attributes:
        directory: its absolute path, or empty.
        unreadable: ids of the states that the last call of `all` could not read.

    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = os.path.abspath(directory) if os.fspath(directory) else ""
        self._key = b""  # once it is known
        self.unreadable: list[str] = []

    def id_of(self, what: bytes) -> str:
        """Return the id of the state of the transfer that these bytes identify.

        It is the same each time, and reveals nothing of the bytes without the key. The directory and the key are
        created if they are missing.

        Raises:
            OSError: the directory cannot be created, or there is no key and none can be written.

        """
        if not self._key:
            self._prepare()
            self._key = _key_in(self.directory)
        return blake2b(what, key=self._key, digest_size=_ID_SIZE).hexdigest()

    def open(self, id: str) -> State | None:  # noqa: A002
        """Return the state with this id, None if there is none. A state that cannot be read is removed.

        Raises:
            ValueError: this is no id.
            StateBusy: another process uses it, or another `State` of this one.
            OSError: the directory cannot be used.

        """
        base = self._base(id)
        if not self.directory or not os.path.lexists(base + _FACTS):
            return None
        lock = _Lock(base + _LOCK)
        try:
            facts = _read_facts(base)
            if facts is not None:
                return State(base, lock, facts)
            _remove(base)
        except BaseException:
            lock.release()
            raise
        lock.remove()
        return None

    def create(self, id: str, facts: Facts) -> State:  # noqa: A002
        """Return a new state, which replaces one with this id.

        Raises:
            ValueError: this is no id, or the facts are too long.
            StateBusy: another process uses it, or another `State` of this one.
            OSError: the directory cannot be created, or nothing can be written there.

        """
        base = self._base(id)
        data = encode(facts)
        self._prepare()
        lock = _Lock(base + _LOCK)
        try:
            _remove(base)
            _write_facts(base, data)
            return State(base, lock, facts)
        except BaseException:
            lock.remove()
            raise

    def all(self) -> list[Summary]:
        """Return a summary of each state that can be read, the one that changed last first."""
        try:
            names = os.listdir(self.directory) if self.directory else []
        except OSError:
            return []
        found = []
        self.unreadable = []
        for name in names:
            id, ending = os.path.splitext(name)  # noqa: A001
            if ending == _FACTS and _ID.fullmatch(id):
                base = os.path.join(self.directory, id)
                facts = _read_facts(base)
                if facts is not None:
                    summary = Summary(id, facts, _is_held(base + _LOCK))
                    found.append((_changed(base), summary))
                else:
                    self.unreadable.append(id)
        found.sort(key=lambda each: (each[0], each[1].id), reverse=True)
        return [summary for _, summary in found]

    def _prepare(self) -> None:
        if not self.directory:
            raise FileNotFoundError(errno.ENOENT, "this user has no home directory with an absolute path")
        is_new = _make_directory(self.directory)
        # Some file systems give all files one mode.
        if is_new and access_of_others(self.directory) is Access.WRITE:
            with suppress(OSError):
                os.rmdir(self.directory)
            raise PermissionError(
                errno.EPERM, "other users may write into what is made there", self.directory
            )

    def _base(self, id: str) -> str:  # noqa: A002
        if not _ID.fullmatch(id):  # it becomes part of file names
            raise ValueError("The id of a state has 32 hexadecimal digits.")
        return os.path.join(self.directory, id)


class _Lock:
    """A lock that is held from when this object is made."""

    __slots__ = ("_fd", "_path")

    def __init__(self, path: str) -> None:
        self._path = path
        for _ in range(limits.STATE_LOCK_TRIES):
            self._fd = os.open(path, system.OPEN_OWN | os.O_CREAT, 0o600)
            if _take(self._fd, shared=False):
                if self._is_there():
                    return
                os.close(self._fd)  # the process that held it has removed the file
            else:
                os.close(self._fd)
                time.sleep(limits.STATE_LOCK_PAUSE)  # the other process may only list the states
        raise StateBusy("Another process uses the state of the same transfer.")

    def _is_there(self) -> bool:
        if sys.platform == "win32":
            return True  # an open file cannot be removed
        try:
            return os.path.samestat(os.fstat(self._fd), os.lstat(self._path))
        except FileNotFoundError:
            return False

    def release(self) -> None:
        os.close(self._fd)

    def remove(self) -> None:
        if sys.platform == "win32":
            self.release()
        with suppress(OSError):
            os.unlink(self._path)
        if sys.platform != "win32":  # while it is locked, no other process can lock the removed file
            self.release()


def _take(fd: int, *, shared: bool) -> bool:
    """Lock a file until it is closed; return False if another process has locked it. Without locks it succeeds."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _HELD
    return True


def _is_held(path: str) -> bool:
    try:
        fd = os.open(path, system.OPEN_OWN)
    except OSError:
        return False
    try:
        return not _take(fd, shared=True)
    finally:
        os.close(fd)


def _make_directory(path: str) -> bool:
    """Make a directory that is private to its owner, and missing parents; return whether it was missing."""
    if os.path.isdir(path):
        return False
    parent = os.path.dirname(path)
    if parent != path:
        _make_directory(parent)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not os.path.isdir(path):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None
        return False
    return True


def _key_in(directory: str) -> bytes:
    """Return the key of a directory; one is made if there is none, or if it has the wrong length."""
    path = os.path.join(directory, _KEY)
    for _ in range(_KEY_TRIES):
        try:
            fd = os.open(path, system.OPEN_NO_SYMLINK)
        except FileNotFoundError:
            _make_key(path)
            continue
        with open(fd, "rb") as file:
            key = file.read(_KEY_SIZE + 1)
        if len(key) == _KEY_SIZE:
            return key
        with suppress(FileNotFoundError):
            os.unlink(path)
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)


def _make_key(path: str) -> None:
    """Write a new key, atomically and flushed, unless another process has done so first."""
    new = f"{path}.{os.urandom(8).hex()}.new"
    try:
        fd = os.open(new, system.CREATE, 0o600)
        with open(fd, "wb") as file:
            file.write(os.urandom(_KEY_SIZE))
            file.flush()
            os.fsync(fd)
        try:
            os.link(new, path)
        except FileExistsError:
            pass
        except (OSError, AttributeError):  # without hard links, the key of the last process stays
            os.replace(new, path)
    finally:
        with suppress(OSError):
            os.unlink(new)
    _flush_directory(os.path.dirname(path))


def _read_facts(base: str) -> Facts | None:
    try:
        fd = os.open(base + _FACTS, system.OPEN_NO_SYMLINK)
        with open(fd, "rb") as file:
            return decode(file.read(limits.STATE_FACTS + 1))
    except (OSError, ValueError):
        return None


def _write_facts(base: str, data: bytes) -> None:
    new = base + _NEW_FACTS
    with suppress(FileNotFoundError):
        os.unlink(new)  # left by a process that was killed
    try:
        fd = os.open(new, system.CREATE, 0o600)
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)  # or a power cut may keep the name and lose the contents
        os.replace(new, base + _FACTS)
    except BaseException:
        with suppress(OSError):
            os.unlink(new)
        raise
    _flush_directory(os.path.dirname(base))


def _flush_directory(path: str) -> None:
    if sys.platform != "win32":
        with suppress(OSError):
            fd = os.open(path, system.OPEN_DIRECTORY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)


def _remove(base: str) -> None:
    """Delete all but the lock. The facts go first: without them there is no state."""
    for ending in (_FACTS, _NEW_FACTS):
        with suppress(OSError):
            os.unlink(base + ending)
    delete_journal(base + _JOURNAL)


def _changed(base: str) -> float:
    """Return when a file of a state was last written."""
    newest = 0.0
    for ending in (_FACTS, _JOURNAL, _JOURNAL + "-wal"):
        with suppress(OSError):
            newest = max(newest, os.stat(base + ending).st_mtime)
    return newest
