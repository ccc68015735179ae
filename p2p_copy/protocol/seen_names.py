"""Which names of one directory have been used already, in memory that is bounded by their number alone."""

from __future__ import annotations

from array import array
from hashlib import blake2b
from typing import Final

_FEW: Final = 1024
"""Names of one directory that `SeenNames` keeps whole: as many on each level of a tree take 10 MB at the most."""

_TABLES: Final = 256
"""Tables of `SeenNames`."""


class SeenNames:
    """Notices the second use of a name in one directory, be there few names or millions.

    The first few are kept as they are, of all others 12 to 24 bytes: a keyed 64-bit hash of each. The key is
    random and secret, so no sender can construct collisions; by chance, one in a hundred thousand of the largest
    directories (`limits.MAX_OPEN_NAMES`) holds two names with one hash, and a good name is refused. There are many
    small open-addressing tables, each at most two thirds full, because growing a single one of millions would
    take a second and a lot of memory.
    """

    __slots__ = ("_few", "_key", "_tables", "_used")

    def __init__(self, key: bytes) -> None:
        """Start empty; `key` is 16 to 64 random bytes that nobody else knows."""
        self._key = key
        self._few: set[str] = set()
        self._tables: list[array[int]] = []  # 0 marks a free slot
        self._used: list[int] = []

    def add(self, key: str) -> bool:
        """Note a collision key; return False if it was there before."""
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
    """Return where the value is, or else the free slot where it belongs."""
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
