"""Decides which names a receiver accepts from a sender, and notices one that is used twice in a directory.

A name is one component of a path. There are two rules. The system's rule refuses names that no receiver may accept:
those that would leave their directory, that cannot be names, or that deceive the reader of a terminal. The portable
rule also refuses names that Linux, macOS and Windows would not all store, and show, as the same name.

Reasons are short phrases that continue a sentence ("…, which is refused: it is '..'"). They never repeat a
name, so they are safe to print.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from hashlib import blake2b
from typing import Final

from p2p_copy.protocol import limits

PARTIAL_PREFIX: Final = ".p2p-copy-"
"""How the names of p2p-copy's own unfinished files begin; a sender may not name one."""

_UNFINISHED: Final = re.compile(re.escape(PARTIAL_PREFIX) + r"[0-9a-f]{16,40}(?:\.part)?")

_UNSEEN: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Categories refused everywhere: controls, surrogates, line and paragraph separators."""

_UNSEEN_PORTABLE: Final = _UNSEEN | {"Cf", "Co"}
"""Categories refused in portable names: format characters and private use as well."""

_BIDI: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""The format characters that reorder what a terminal shows; others, as in joined emoji, do no harm."""

_NOT_PORTABLE: Final = re.compile(r'[<>:"|?*\\]')

_DEVICES: Final = frozenset(
    {"CON", "PRN", "AUX", "NUL", "CLOCK$", "CONIN$", "CONOUT$"}
    | {f"{port}{number}" for port in ("COM", "LPT") for number in "123456789¹²³"}
)
"""Devices to Windows, with any extension (Microsoft, "Naming Files, Paths, and Namespaces")."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*(?:[. ][A-Za-z0-9_-]+)*")
"""Most names: letters, digits, `_`, `-`, and single dots and spaces. The rules refuse none of these but devices, and
those that are too long."""

_INITIALS: Final = frozenset(device[0] for device in _DEVICES) | frozenset(
    device[0].lower() for device in _DEVICES
)

_FEW: Final = 1024
"""Names of one directory that `SeenNames` keeps whole. With this many on each level a tree takes 10 MB at most."""

_TABLES: Final = 256
"""Hash tables of `SeenNames`."""


def is_unfinished(name: str) -> bool:
    """Return whether a receiver may have given this name to an unfinished file or a marker of its own."""
    return name.startswith(PARTIAL_PREFIX) and _UNFINISHED.fullmatch(name) is not None


def refusal(name: str, *, portable: bool) -> str | None:
    """Return why this name is refused, None if it is not."""
    if (
        _PLAIN.fullmatch(name)
        and len(name) <= limits.MAX_NAME
        and (name[0] not in _INITIALS or not _is_device(name))
    ):
        return None
    return _refusal_by_rules(name, portable=portable)


def _refusal_by_rules(name: str, *, portable: bool) -> str | None:
    if not name:
        return "it is empty"
    if name in {".", ".."}:
        return f"it is '{name}'"
    if "/" in name:
        return "it contains '/'"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "it is not valid Unicode text"
    if size > limits.MAX_NAME:
        return f"it is longer than {limits.MAX_NAME} bytes"
    if not name.isprintable() and _has_unseen(name, portable=portable):
        return "it contains a control or invisible character"
    if collision_key(name, portable=True).startswith(PARTIAL_PREFIX):
        return "it is reserved for unfinished files of p2p-copy"
    return _portable_refusal(name) if portable else None


def _has_unseen(name: str, *, portable: bool) -> bool:
    refused = _UNSEEN_PORTABLE if portable else _UNSEEN
    return any(unicodedata.category(character) in refused or character in _BIDI for character in name)


def _portable_refusal(name: str) -> str | None:
    if found := _NOT_PORTABLE.search(name):
        return f"it contains {found[0]!a}" if found[0] != "\\" else "it contains a backslash"
    if name.endswith((".", " ")):
        return "it ends with a dot or a space"
    return "Windows reserves it" if _is_device(name) else None


def _is_device(name: str) -> bool:
    return name.partition(".")[0].rstrip(" ").upper() in _DEVICES


def symlink_target_refusal(target: str, depth: int, *, portable: bool) -> str | None:
    """Return why a symlink of this depth may not have this target, None if it may.

    A symlink of depth n lies in n directories, the outermost of which is the tree's root; it must stay in that
    tree. So its target may begin with up to n - 1 times "..", and names follow. ".." after a name is refused
    because the name may be another symlink, whose parent is elsewhere. A symlink of depth 0 is in no tree.
    "." and doubled slashes change nothing and are accepted.
    """
    if depth == 0:
        return "it is a symlink outside any directory"
    if not target:
        return "its target is empty"
    if target.startswith("/"):
        return "its target is an absolute path"
    climbs = 0
    named = False
    for part in target.split("/"):
        if part in {"", "."}:
            continue
        if part != "..":
            named = True
            if reason := refusal(part, portable=portable):
                return f"a name in its target is refused: {reason}"
        elif named:
            return "its target has '..' after a name"
        else:
            climbs += 1
    if climbs >= depth:
        return "its target is outside"
    if len(target.encode()) > limits.MAX_PATH:
        return f"its target is longer than {limits.MAX_PATH} bytes"
    return None


def collision_key(name: str, *, portable: bool) -> str:
    """Return a key that is the same for two names that some system may take for one file.

    For portable names: Unicode's canonical caseless match (Unicode Standard, definition D145), without the
    dots and spaces that Windows drops from the end. For names of this system: the name.
    """
    if not portable:
        return name
    if name.isascii():
        return name.lower().rstrip(". ")
    folded = unicodedata.normalize("NFD", name).casefold()
    return unicodedata.normalize("NFD", folded).rstrip(". ")


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

    def __contains__(self, key: str) -> bool:
        """Return whether a collision key was added."""
        if key in self._few or not self._tables:
            return key in self._few
        value = self._hash(key)
        table = self._tables[value % _TABLES]
        return table[_slot(table, value)] != 0

    def _hash(self, key: str) -> int:
        digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8, key=self._key).digest()
        return int.from_bytes(digest, "big") or 1

    def _add_hash(self, key: str) -> bool:
        if not self._tables:
            self._tables = [array("Q", bytes(8 * 16)) for _ in range(_TABLES)]
            self._used = [0] * _TABLES
        value = self._hash(key)
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
