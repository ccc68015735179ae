"""Escapes names that another party has chosen, so that a terminal does not interpret them."""

from __future__ import annotations

from typing import Final

_REMEMBERED: Final = 1024
"""Escapes that are cached: a hundred kilobytes, and more characters than the names of one tree have."""


def escape(path: str) -> str:
    r"""Return a name or path in a form that is safe to print on any terminal. Never raises.

    Printable characters and the space stay, backslashes too. Everything else (controls, format and bidi
    characters, other spaces, separators, unassigned and private characters) becomes an escape as in
    Python: \x1b, \u202e. A byte that was not UTF-8 (a surrogate from os.fsdecode) becomes \x and that byte.
    This is for people: it cannot be parsed back.
    """
    return path if path.isprintable() else path.translate(_ESCAPES)


class _Escapes(dict[int, str]):
    """The escape of each character, cached: a peer may send many names without one printable character."""

    def __missing__(self, number: int) -> str:
        character = chr(number)
        if len(self) >= _REMEMBERED:
            self.clear()
        self[number] = shown = character if character.isprintable() else _escaped(character)
        return shown


_ESCAPES: Final = _Escapes()


def _escaped(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:
        return f"\\x{number - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
