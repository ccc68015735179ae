"""How names that somebody else has chosen look in a line for people: never as further lines, or as words of ours.

A name comes escaped (`protocol.escape.escape`). What has a blank in it is put in quotes, of several blanks in a row all
but the first are escapes, and what is too long is cut in the middle: so no name fills the rest of a line with blanks
and goes on as if it were the next one.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final

from p2p_copy.cli import limits
from p2p_copy.protocol.escape import escape

if TYPE_CHECKING:
    from collections.abc import Iterator

_ELLIPSIS: Final = "…"

_BLANKS: Final = re.compile(r"(?<= ) ")
_SEVERAL_BLANKS: Final = re.compile(r" {2,}")


def displayed(name: str, columns: int = limits.PATH_COLUMNS) -> str:
    """Return a name or path for a line for people, `columns` wide at most, and in quotes if it could be misread."""
    name = _cut(_BLANKS.sub(r"\\x20", escape(name)), columns)
    return f'"{name.replace(chr(34), chr(92) + chr(34))}"' if " " in name or '"' in name or not name else name


def one_line(sentence: str) -> str:
    """Return a sentence that may be another machine's, of which blanks do not fill the rest of a line, either."""
    return _SEVERAL_BLANKS.sub(" ", escape(sentence))


def _cut(name: str, columns: int) -> str:
    if len(name) <= columns and sum(map(_width, name)) <= columns:
        return name
    room = columns - len(_ELLIPSIS)
    tail = _fitting(reversed(name[-columns:]), room // 2)
    head = _fitting(iter(name[:columns]), room - sum(map(_width, tail)))
    return head + _ELLIPSIS + tail[::-1]


def _fitting(characters: Iterator[str], columns: int) -> str:
    """Return as many of the first characters as fit into so many columns."""
    taken = ""
    for character in characters:
        columns -= _width(character)
        if columns < 0:
            break
        taken += character
    return taken


def _width(character: str) -> int:
    """Return the columns that a character takes on a terminal; one that joins the one before it takes none."""
    if unicodedata.combining(character):
        return 0
    is_escaped = character == '"'  # a backslash comes before it
    return 2 if is_escaped or unicodedata.east_asian_width(character) in "WF" else 1
