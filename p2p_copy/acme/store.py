"""Keeps account, keys and certificates on disk, so that neither a kill nor a full disk costs an issued certificate.

    accounts/ID/            key.pem, account.json: one for each authority and external account
    orders/lock             held while ordering; the system lets go of it when a process dies
    orders/ID/              key.pem, room, facts.json: the order that runs, and the address where it goes on
    certificates/NUMBER/    key.pem, chain.pem, facts.json: the highest number is the newest
    tries/ID.json           how the last tries went, so that restarts do not begin to count anew

Orders and tries are apart for each `Wanted`, and certificates say for which one they are, so relays with different
names may share a folder. They share its lock, so one orders at a time.

Rules:
1. Folders are 0700 and files 0600 from the first moment on, whatever the umask, parents that are made here included.
   A folder that exists already keeps its mode: it may be another's, and what is private lies in folders made here.
2. A file appears whole, under its name, or not at all; so does a certificate with its key.
3. Before an order its key is on disk, and room for the chain. Issuance then needs no more space.
4. What is damaged is as good as missing. Only the lock's holder changes `accounts`, `orders` and `certificates`.

All methods block, and raise OSError for what the disk refuses: `in_thread` does them.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import tempfile
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, TypeVar, TypeVarTuple

import trio
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from p2p_copy.acme import limits
from p2p_copy.acme.challenge import key_pem
from p2p_copy.acme.schedule import Validity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from p2p_copy.acme.settings import AcmeSettings

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_KEY: Final = "key.pem"
_CHAIN: Final = "chain.pem"
_FACTS: Final = "facts.json"
_ROOM: Final = "room"
_LOCK: Final = "lock"
_NEW: Final = "new-"
"""How names begin of what is not complete yet; a process that died has left it."""

_threads: Final[trio.lowlevel.RunVar[trio.CapacityLimiter]] = trio.lowlevel.RunVar(
    "threads of a keeper's disk"
)

_MOST_FILE: Final = limits.MOST_ANSWER
"""Bytes that are read of a file."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a certificate was ordered for; a certificate for something else is replaced at once."""

    names: tuple[str, ...]
    directory: str
    profile: str | None

    @classmethod
    def by(cls, settings: AcmeSettings) -> Wanted:
        """Return what these settings want. The order of names is of no account."""
        return cls(tuple(sorted(settings.names)), settings.directory, settings.profile)

    @classmethod
    def read(cls, facts: dict[str, Any]) -> Wanted:
        """Return what was wanted, as `facts` say it."""
        return cls(tuple(facts["names"]), facts["directory"], facts["profile"])

    def facts(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"names": list(self.names), "directory": self.directory, "profile": self.profile}

    @property
    def id(self) -> str:
        """Return the name of its files, of the same length whatever is wanted."""
        return _hashed(json.dumps(self.facts()))


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate on disk that fits its key. `obtained` is a Unix time; `leaf` is the certificate itself."""

    number: int
    chain_file: Path
    key_file: Path
    wanted: Wanted
    validity: Validity
    obtained: float
    leaf: x509.Certificate


@dataclass(frozen=True, slots=True)
class Account:
    """An account at an authority: its key, and where it is; `url` is None before it is registered."""

    key: ec.EllipticCurvePrivateKey
    url: str | None
    email: str | None


@dataclass(frozen=True, slots=True)
class Order:
    """The order that runs: the key of its certificate, and where it is; `url` is None before it was sent.

    `begun` is the Unix time at which its key was made.
    """

    key: ec.EllipticCurvePrivateKey
    url: str | None
    begun: float


@dataclass(frozen=True, slots=True)
class Tries:
    """How the last tries went. Times are Unix times.

    Attributes:
        last: when one was begun; None for never.
        failures: how many failed in a row.
        error: why the last one failed; None if it did not.
        after: when the next one is due after a failure.
        not_before: what the authority asked to wait for.

    """

    last: float | None = None
    failures: int = 0
    error: str | None = None
    after: float = 0.0
    not_before: float = 0.0

    @classmethod
    def read(cls, facts: dict[str, Any]) -> Tries:
        """Return how they went, as `facts` say it."""
        last, error = facts["last"], facts["error"]
        return cls(
            float(last) if last is not None else None,
            int(facts["failures"]),
            str(error) if error is not None else None,
            float(facts["after"]),
            float(facts["not_before"]),
        )


class Lock:
    """The lock of a folder. It may be given up while a thread still waits for the disk to get it."""

    def __init__(self, path: Path) -> None:
        """Lock nothing yet."""
        self._path = path
        self._guard = threading.Lock()
        self._descriptor: int | None = None
        self._given_up = False

    def take(self) -> bool:
        """Return whether this is the holder now; False if another process has the lock, or it was given up."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if sys.platform == "win32":
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            os.close(descriptor)
            return False
        except OSError:
            pass  # the file system has no locks; then two relays on one folder can only cost each other orders
        with self._guard:
            if not self._given_up:
                self._descriptor = descriptor
                return True
        os.close(descriptor)
        return False

    def give_up(self) -> None:
        """Let go of the lock, also of one that a thread is about to get."""
        with self._guard:
            self._given_up = True
            descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


class Store:
    """The folder of one relay's certificates."""

    def __init__(self, settings: AcmeSettings) -> None:
        """Touch nothing yet."""
        self._wanted = Wanted.by(settings)
        self._orders = settings.folder / "orders"
        self._order = self._orders / self._wanted.id
        self._certificates = settings.folder / "certificates"
        self._tries = settings.folder / "tries" / f"{self._wanted.id}.json"
        # The address of a directory has slashes, and an external account is as good as another authority.
        self._account = (
            settings.folder / "accounts" / _hashed(f"{settings.directory}\n{settings.eab_kid or ''}")
        )

    # The folder and its lock

    def make(self) -> None:
        """Make the folder and its parents, if they do not exist, for this user only."""
        for folder in (self._orders, self._certificates, self._account, self._tries.parent):
            _make(folder)

    def lock(self) -> Lock:
        """Return the lock of this folder, not taken yet."""
        return Lock(self._orders / _LOCK)

    def sweep(self) -> None:
        """Remove what processes that died have left, and finish a certificate that lacked its last step only."""
        for folder in (self._orders, self._account, self._order, self._tries.parent):
            for path in _listed(folder):
                if path.name.startswith(_NEW):
                    _remove(path)
        if (self._order / _CHAIN).exists():
            if self._load(self._order, 0) is not None:
                self._publish()
            else:
                self.drop_order()

    # Certificates

    def certificates(self) -> list[Certificate]:
        """Return those that can be used, the newest first. Without a folder there are none."""
        found = (
            self._load(path, int(path.name)) for path in _listed(self._certificates) if path.name.isdigit()
        )
        return sorted(filter(None, found), key=lambda one: one.number, reverse=True)

    def _load(self, folder: Path, number: int) -> Certificate | None:
        """Return the certificate in a folder; None if it is damaged."""
        try:
            wanted = Wanted.read(_read_facts(folder / _FACTS))
            chain = _read(folder / _CHAIN)
            leaf = check_chain(chain, _load_key(folder))
            obtained = (folder / _CHAIN).stat().st_mtime
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, KeyError):
            return None
        validity = Validity(leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp())
        return Certificate(number, folder / _CHAIN, folder / _KEY, wanted, validity, obtained, leaf)

    def discard_old(self, used: Certificate) -> None:
        """Remove the certificates for the same that nobody needs any more, now that one is used.

        Others' stay, and so do damaged ones: nobody can tell whose they are.
        """
        same = [
            each for each in self.certificates() if each.wanted == used.wanted and each.number <= used.number
        ]
        for old in same[limits.KEPT_CERTIFICATES :]:
            _remove(self._certificates / str(old.number))

    # The account

    def account(self) -> Account:
        """Return the account; its key is on disk already, made now if there was none."""
        try:
            key = _load_key(self._account)
        except (FileNotFoundError, ValueError, TypeError):
            key = ec.generate_private_key(ec.SECP256R1())
            _write(self._account / _KEY, key_pem(key))
            self.save_account(None, None)
        try:
            facts = _read_facts(self._account / "account.json")
            return Account(key, facts["url"], facts["email"])
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return Account(key, None, None)

    def save_account(self, url: str | None, email: str | None) -> None:
        """Remember where the account is, and the address that it names."""
        _write_facts(self._account / "account.json", {"url": url, "email": email})

    # The order

    def order(self) -> Order | None:
        """Return the order that runs, if it is for what is wanted; None otherwise."""
        try:
            facts = _read_facts(self._order / _FACTS)
            if Wanted.read(facts) != self._wanted or not (self._order / _ROOM).exists():
                return None
            begun = (self._order / _KEY).stat().st_mtime  # it is written once
            return Order(_load_key(self._order), facts["order"], begun)
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, KeyError):
            return None

    def new_order(self) -> Order:
        """Put a new key and room for the chain on disk, in place of any order before."""
        self.drop_order()
        key = ec.generate_private_key(ec.SECP256R1())
        folder = self._orders / f"{_NEW}{os.urandom(8).hex()}"
        _make(folder)
        try:
            _write(folder / _KEY, key_pem(key))
            # File systems that compress, or keep holes, would give no space for zeros.
            _write(folder / _ROOM, os.urandom(limits.ROOM))
            _write_facts(folder / _FACTS, {**self._wanted.facts(), "order": None})
            folder.rename(self._order)
        except BaseException:
            _remove(folder)
            raise
        _sync(self._orders)
        return Order(key, None, (self._order / _KEY).stat().st_mtime)

    def save_order(self, url: str) -> None:
        """Remember where the order is: then another process can go on with it."""
        _write_facts(self._order / _FACTS, {**self._wanted.facts(), "order": url})

    def drop_order(self) -> None:
        """Forget the order."""
        _remove(self._order)

    def complete(self, chain: bytes, obtained: float) -> Certificate:
        """Put the chain into the room that was kept for it, and return the certificate under its number.

        Args:
            chain: the certificate and what is between it and its root (PEM).
            obtained: when it was issued, which becomes the time of its file: that needs no space.

        Raises:
            ValueError: the chain does not belong to the order's key.

        """
        check_chain(chain, _load_key(self._order))
        with open(self._order / _ROOM, "r+b") as room:
            room.write(chain)
            room.truncate()
            room.flush()
            os.fsync(room.fileno())
        os.utime(self._order / _ROOM, (obtained, obtained))
        (self._order / _ROOM).replace(self._order / _CHAIN)
        _sync(self._order)
        return self._publish()

    def _publish(self) -> Certificate:
        numbers = [int(path.name) for path in _listed(self._certificates) if path.name.isdigit()]
        number = max(numbers, default=0) + 1
        folder = self._certificates / str(number)
        self._order.rename(folder)
        _sync(self._certificates)
        certificate = self._load(folder, number)
        if certificate is None:
            raise FileNotFoundError(f"'{folder}' has changed")
        return certificate

    # The tries

    def tries(self) -> Tries:
        """Return how the last tries went."""
        try:
            return Tries.read(_read_facts(self._tries))
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, KeyError):
            return Tries()

    def save_tries(self, tries: Tries) -> None:
        """Remember how they went."""
        _write_facts(self._tries, asdict(tries))


async def in_thread(job: Callable[[*Ts], T], *arguments: *Ts) -> T:
    """Do what touches the disk, which may not answer: then its thread is left behind.

    Raises:
        TimeoutError: the disk has not answered in `DISK_TIMEOUT`, or threads that were left behind still wait for it.

    """
    try:
        threads = _threads.get()
    except LookupError:
        threads = trio.CapacityLimiter(limits.DISK_THREADS)
        _threads.set(threads)
    with trio.move_on_after(limits.DISK_TIMEOUT):
        return await trio.to_thread.run_sync(job, *arguments, abandon_on_cancel=True, limiter=threads)
    raise TimeoutError(errno.ETIMEDOUT, f"the disk did not answer in {limits.DISK_TIMEOUT:.0f} s")


def check_chain(chain: bytes, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """Return the first certificate of a chain (PEM).

    Raises:
        ValueError: there is none, or it has another key.

    """
    leaf = x509.load_pem_x509_certificates(chain)[0]
    if leaf.public_key() != key.public_key():
        raise ValueError("the certificate has another key than the order")
    return leaf


def _hashed(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]


def _make(folder: Path) -> None:
    """Make a folder and its parents, each for this user only; `mkdir(parents=True)` would leave parents open."""
    if not folder.parent.exists():
        _make(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir(0o700)


def _listed(folder: Path) -> Iterator[Path]:
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    yield from (folder / name for name in names)


def _remove(path: Path) -> None:
    """Remove a file or a folder with all in it, if it is there."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        pass
    except NotADirectoryError:
        path.unlink(missing_ok=True)


def _read(path: Path) -> bytes:
    with open(path, "rb") as stream:
        return stream.read(_MOST_FILE)


def _read_facts(path: Path) -> dict[str, Any]:
    facts = json.loads(_read(path))
    if not isinstance(facts, dict):
        raise ValueError("no facts")
    return facts


def _load_key(folder: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(_read(folder / _KEY), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("a key of another kind")
    return key


def _write_facts(path: Path, facts: dict[str, Any]) -> None:
    _write(path, json.dumps(facts, indent=2).encode() + b"\n")


def _write(path: Path, content: bytes) -> None:
    """Write a file that appears whole, or not at all."""
    descriptor, new = tempfile.mkstemp(prefix=_NEW, dir=path.parent)  # is 0600
    try:
        with open(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
        os.replace(new, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(new)
        raise
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """Make sure that the names in a folder outlive a power cut."""
    if sys.platform != "win32":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
