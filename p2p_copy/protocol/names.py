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

_UNFINISHED: Final = re.compile(re.escape(PARTIAL_PREFIX) + r"[0-9a-f]{16,40}(?:\.part)?")

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


_PLAIN: Final = re.compile(
    r"(?!(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$))\w[\w-]*(?:\.[\w-]+)*", re.ASCII | re.IGNORECASE
)
"""Most names: letters, digits, `_`, `-` and single dots. No rule refuses them, if they are not too long."""

_FEW: Final = 1024
"""Names of one directory that `SeenNames` keeps whole: as many on each level of a tree take 10 MB at the most."""

_TABLES: Final = 256
"""Tables of `SeenNames`."""


def is_unfinished(name: str) -> bool:
    """Return whether this is a name that a receiver gives to a file of its own for a while."""
    return name.startswith(PARTIAL_PREFIX) and _UNFINISHED.fullmatch(name) is not None


def refusal(name: str, *, portable: bool) -> str | None:
    """Return why this name may not be taken, None if it may."""
    if len(name) <= limits.MAX_NAME and _PLAIN.fullmatch(name):
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
    return path if path.isprintable() else path.translate(_ESCAPES)


class _Escapes(dict[int, str]):
    """What each character is shown as. The last ones are remembered: whoever names much may name nothing printable."""

    def __missing__(self, number: int) -> str:
        character = chr(number)
        if len(self) >= _FEW:
            self.clear()
        self[number] = escape = character if character.isprintable() else _escaped(character)
        return escape


_ESCAPES: Final = _Escapes()


def _escaped(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:
        return f"\\x{number - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


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
