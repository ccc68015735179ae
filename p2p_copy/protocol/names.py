"""Which names a receiver takes from a sender, and how any name is shown.

A name is one component of a path. Two rules exist. The system's rule refuses what no receiver may take:
what would leave its directory, what cannot be a name, what deceives the reader of a terminal. The portable
rule refuses also what Linux, macOS and Windows would not all store, and show, as the same name.

Reasons are short phrases that go on a sentence ("…, which is refused: it is '..'"). They never repeat a
name, so they are safe to print.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from hashlib import blake2b
from typing import Final

from p2p_copy import limits

PARTIAL_PREFIX: Final = ".p2p-copy-"
"""How our own unfinished files begin; no sender may name one."""

_UNSEEN: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Categories refused everywhere: controls, surrogates, line and paragraph separators."""

_UNSEEN_PORTABLE: Final = _UNSEEN | {"Cf", "Co"}
"""Categories refused in portable names: format characters and private use besides."""

_BIDI: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""The format characters that reorder what a terminal shows; others, as in joined emoji, do no harm."""

_NOT_PORTABLE: Final = re.compile(r'[<>:"|?*\\]')

_DEVICES: Final = frozenset(
    {"CON", "PRN", "AUX", "NUL", "CLOCK$", "CONIN$", "CONOUT$"}
    | {f"{port}{number}" for port in ("COM", "LPT") for number in "123456789¹²³"}
)
"""Devices to Windows, with any extension (Microsoft, "Naming Files, Paths, and Namespaces")."""


_TABLES: Final = 256
"""Tables of `SeenNames`."""


def refusal(name: str, *, portable: bool) -> str | None:
    """Return why this name may not be taken, None if it may."""
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
    if not name.isprintable() and _holds_unseen(name, portable=portable):
        return "it contains a control or invisible character"
    if collision_key(name, portable=True).startswith(PARTIAL_PREFIX):
        return "it is kept for unfinished files of p2p-copy"
    return _portable_refusal(name) if portable else None


def _holds_unseen(name: str, *, portable: bool) -> bool:
    refused = _UNSEEN_PORTABLE if portable else _UNSEEN
    return any(unicodedata.category(character) in refused or character in _BIDI for character in name)


def _portable_refusal(name: str) -> str | None:
    if found := _NOT_PORTABLE.search(name):
        return f"it contains {found[0]!a}" if found[0] != "\\" else "it contains a backslash"
    if name.endswith((".", " ")):
        return "it ends with a dot or a space"
    if name.partition(".")[0].rstrip(" ").upper() in _DEVICES:
        return "Windows reserves it"
    return None


def link_target_refusal(target: str, depth: int, *, portable: bool) -> str | None:
    """Return why a symbolic link of this depth may not point there, None if it may.

    A link of depth n lies in n directories, the outermost of which is the tree's root; it must stay in that
    tree. So it may begin with up to n - 1 times "..", and names follow. ".." after a name is refused
    because the name may be another link, and the way up from there leads elsewhere. A link of depth 0 has
    no tree around it. "." and doubled slashes change nothing and are let pass.
    """
    if depth == 0:
        return "it is a link with no directory around it"
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
            return "its target goes up again after a name"
        else:
            climbs += 1
    if climbs >= depth:
        return "its target is outside"
    if len(target.encode()) > limits.MAX_PATH:
        return f"its target is longer than {limits.MAX_PATH} bytes"
    return None


def collision_key(name: str, *, portable: bool) -> str:
    """Return what is equal for two names that may be the same file.

    For portable names: Unicode's canonical caseless match (Unicode Standard, definition D145), without the
    dots and spaces that Windows drops from the end. For names of this system: the name.
    """
    if not portable:
        return name
    if name.isascii():
        return name.lower().rstrip(". ")
    folded = unicodedata.normalize("NFD", name).casefold()
    return unicodedata.normalize("NFD", folded).rstrip(". ")


def shown(path: str) -> str:
    r"""Return a name or path as it may be printed on any terminal; never raises.

    Printable characters and the space stay, backslashes too. Everything else (controls, format and bidi
    characters, other spaces, separators, unassigned and private characters) becomes an escape as in
    Python: \x1b, \u202e. A byte that was not UTF-8 (a surrogate from os.fsdecode) becomes \x and that byte.
    This is for eyes, not to be parsed back.
    """
    if path.isprintable():
        return path
    return "".join(character if character.isprintable() else _escaped(character) for character in path)


def _escaped(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:
        return f"\\x{number - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


class SeenNames:
    """Notices the second use of a name in a directory, among millions, in 12 to 24 bytes a name.

    Holds a keyed 64-bit hash of each name. The key is random and secret, so no sender can construct
    collisions; by chance, one in a million of the largest transfers (`limits.MAX_ENTRIES`) meets two names
    with one hash, and refuses a good name. There are many small open-addressing tables, each at most two
    thirds full, because growing a single one of millions would stop the event loop for a second.
    """

    def __init__(self, key: bytes) -> None:
        """Start empty; `key` is 16 to 64 random bytes that nobody else knows."""
        self._hash = blake2b(digest_size=8, key=key)
        self._tables = [array("Q", bytes(8 * 16)) for _ in range(_TABLES)]  # 0 marks a free slot
        self._used = [0] * _TABLES

    def add(self, directory: int, key: str) -> bool:
        """Note a collision key in a directory (a number from 0); return False if it was there before."""
        hasher = self._hash.copy()
        hasher.update(directory.to_bytes(8, "big") + key.encode("utf-8", "surrogatepass"))
        value = int.from_bytes(hasher.digest(), "big") or 1
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
