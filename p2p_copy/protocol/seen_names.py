"""Notices a name that is used twice in one directory, in a few bytes for each name."""

from __future__ import annotations

from array import array
from hashlib import blake2b
from typing import Final

_FEW: Final = 1024
"""Names of one directory that `SeenNames` keeps whole: so many on each level of a tree take 10 MB at most."""

_TABLES: Final = 256
"""Hash tables of `SeenNames`."""


class SeenNames:
    """The names that were used in one directory.

    The first ones are kept whole. For each further one a keyed 64-bit hash is kept, which takes 12 to 24 bytes. The
    key is random and secret, so a sender cannot construct collisions. By chance, one in a hundred thousand of the
    largest directories (`limits.MAX_OPEN_NAMES`) has two names with the same hash, and one of them is refused.
    There are many small open-addressing tables, each at most two thirds full: growing one table of millions would
    take a second and a lot of memory.
    """

    __slots__ = ("_few", "_key", "_tables", "_used")

    def __init__(self, key: bytes) -> None:
        """Begin with no names; `key` is 16 to 64 random bytes that the sender does not know."""
        self._key = key
        self._few: set[str] = set()
        self._tables: list[array[int]] = []  # 0 marks a free slot
        self._used: list[int] = []

    def add(self, key: str) -> bool:
        """Add a collision key; return False if it was there before."""
        if key in self._few:
            return False
        if len(self._few) < _FEW:
            self._few.add(key)
            return True
        return self._add_hash(key)

    def _add_hash(self, key: str) -> bool:
        if not self._tables:
            self._tables = [array("Q", bytes(8 * 16)) for _ in range(_TABLES)]
            self._used = [0] * _TABLES
        digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8, key=self._key).digest()
        value = int.from_bytes(digest, "big") or 1
        number = value % _TABLES
        table = self._tables[number]
        at = _slot(table, value)
        if table[at]:
            return False
        table[at] = value
        self._used[number] += 1
        if 3 * self._used[number] > 2 * len(table):
            self._tables[number] = _doubled(table)
        return True


def _slot(table: array[int], value: int) -> int:
    """Return the slot of a value, or the free slot in which it belongs."""
    mask = len(table) - 1
    at = value // _TABLES & mask
    while table[at] and table[at] != value:
        at = (at + 1) & mask
    return at


def _doubled(table: array[int]) -> array[int]:
    larger = array("Q", bytes(2 * 8 * len(table)))
    for value in table:
        if value:
            larger[_slot(larger, value)] = value
    return larger
