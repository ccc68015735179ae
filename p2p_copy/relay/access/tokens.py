"""Access tokens: which clients may use this relay, how fast and how much. Without a token file, all may.

One token a line: `NAME sha256:HEX [rate=BYTES/s] [quota=BYTES]`; `#` begins a comment. The file holds no token, only
hashes, so reading it is of no use to an attacker. Rules:
1. A file with a mistake changes nothing: a relay does not start with it, and one that runs keeps what it has.
2. Every hash is compared, in constant time, for every hello.
3. What a token has used is remembered by its name as long as this process runs, and counts on after a reload.
4. A reload ends no pairing. Those that run go on, with the rate and quota that their account has from then on.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING, Final, TypeAlias

from p2p_copy import pasted
from p2p_copy.errors import CannotListen
from p2p_copy.relay import limits
from p2p_copy.relay.access.rates import Account
from p2p_copy.relay.file_thread import FileThread, read_regular
from p2p_copy.units import KIB, parse_rate, parse_size

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAME: Final = re.compile(r"[A-Za-z0-9._@-]{1,64}", re.ASCII)
_Entry: TypeAlias = tuple[str, bytes, int | None, int | None]
"""Name, hash, rate and quota of one line."""

_HASH: Final = re.compile(r"sha256:([0-9a-f]{64})", re.ASCII | re.IGNORECASE)


class Tokens:
    """The tokens of one file."""

    def __init__(self, path: str) -> None:
        """Read the file, which may wait for its disk.

        Raises:
            CannotListen: it cannot be read, or has a mistake. No part of it is in the sentence.

        """
        self._path = path
        self._accounts: dict[str, Account] = {}  # by name, also of tokens that were removed from the file
        self._by_hash: dict[bytes, Account] = {}
        self._thread = FileThread()
        self._use(_load(path))

    def __len__(self) -> int:
        return len(self._by_hash)

    async def reload(self) -> None:
        """Read the file again.

        Raises:
            CannotListen: it cannot be read, or has a mistake, and nothing has changed.

        """
        self._use(await self._thread.run("The tokens file", _load, self._path))

    def _use(self, entries: list[_Entry]) -> None:
        by_hash = {}
        for name, digest, rate, quota in entries:
            account = self._accounts.setdefault(name, Account())
            account.set_terms(rate, quota)
            by_hash[digest] = account
        self._by_hash = by_hash

    def account(self, token: str | None) -> Account | None:
        """Return the account of a token, None if there is no such token."""
        digest = _hash(token or "")
        found = None
        for known, account in self._by_hash.items():
            if hmac.compare_digest(known, digest):
                found = account
        return found if token else None


def line_for(name: str, token: str) -> str:
    """Return the line of the file that makes `token` valid.

    Raises:
        ValueError: the name has characters that a name must not have, or too many.

    """
    if not _NAME.fullmatch(name):
        raise ValueError("a token's name has 1 to 64 letters, digits or . _ @ -")
    return f"{name} sha256:{_hash(token).hex()}"


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _load(path: str) -> list[_Entry]:
    """Return the entries of a file of tokens."""
    data = read_regular("tokens", path, limits.MAX_TOKENS_FILE + 1)
    if len(data) > limits.MAX_TOKENS_FILE:
        raise CannotListen("The tokens file is too long: is it the right file?")
    try:
        return list(_entries(pasted.decode(data)))
    except UnicodeDecodeError:
        raise CannotListen("The tokens file is not UTF-8 text.") from None


def _entries(text: str) -> Iterator[_Entry]:
    """Yield the entry of each line."""
    names: set[str] = set()
    hashes: set[bytes] = set()
    for number, line in enumerate(text.splitlines(), 1):
        words = pasted.value(line.partition("#")[0]).split()
        if not words:
            continue
        try:
            name, digest, rate, quota = _entry(words)
            if name in names or digest in hashes:
                raise ValueError("its name or its token is there twice")
        except ValueError as error:
            raise CannotListen(
                f"The tokens file has a mistake in line {number}: {error}. A line looks like this: "
                "NAME sha256:HEX rate=10M/s quota=500G"
            ) from None
        names.add(name)
        hashes.add(digest)
        yield name, digest, rate, quota


def _entry(words: list[str]) -> _Entry:
    name, *rest = words
    if not _NAME.fullmatch(name):
        raise ValueError("its name has other characters than letters, digits and . _ @ -, or too many")
    digest = _HASH.fullmatch(rest[0]) if rest else None
    if digest is None:
        raise ValueError("after the name there is no sha256: with 64 hexadecimal digits")
    rate = quota = None
    for word in rest[1:]:
        match word.lower().partition("="):
            case ("rate", "=", text):
                rate = parse_rate(text)
                if rate < limits.LEAST_RATE:
                    raise ValueError(f"its rate is below {limits.LEAST_RATE // KIB}K")
            case ("quota", "=", text):
                quota = parse_size(text)
            case _:
                raise ValueError("after the hash there may only be rate= and quota=")
    return name, bytes.fromhex(digest[1]), rate, quota
