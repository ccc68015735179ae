"""Formats names and sentences of the other side, so that they cannot look like lines of this program.

A name is escaped (`protocol.escape.escape`). A name with a blank is put in quotes, of several blanks in a row all but
the first are written as escapes, and a long name is cut in the middle. So no name can fill the rest of a line with
blanks and continue as if it were the next line.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final

from p2p_copy import escape
from p2p_copy.cli import limits

if TYPE_CHECKING:
    from collections.abc import Iterator

_ELLIPSIS: Final = "…"
_ASCII_ELLIPSIS: Final = "..."

_BLANKS: Final = re.compile(r"(?<= ) ")
_OPTION: Final = re.compile(r"`([a-z]+(?:_[a-z]+)*)`")
_SPELT: Final = {"relay": "--server", "token": "--token-file"}
"""Options with other names than in Python."""

_SEVERAL_BLANKS: Final = re.compile(r" {2,}")


def displayed(name: str, columns: int = limits.PATH_COLUMNS, *, ascii_only: bool = False) -> str:
    """Return a name or path to show, at most `columns` wide and its quotes, in quotes if it could be misread."""
    name = _BLANKS.sub(r"\\x20", escape(name))
    if ascii_only:
        name = name.encode("ascii", "backslashreplace").decode("ascii")
    name = _cut(name, columns, _ASCII_ELLIPSIS if ascii_only else _ELLIPSIS)
    return f'"{name.replace(chr(34), chr(92) + chr(34))}"' if " " in name or '"' in name or not name else name


def one_line(sentence: str) -> str:
    """Return a sentence of another machine, escaped, with each run of blanks made one."""
    return _SEVERAL_BLANKS.sub(" ", escape(sentence))


def with_options(sentence: str) -> str:
    """Return a sentence with the options that it names as this command line writes them: `max_size` as --max-size."""
    return _OPTION.sub(lambda found: _SPELT.get(found[1]) or f"--{found[1].replace('_', '-')}", sentence)


def shortened(sentence: str, columns: int) -> str:
    """Return a sentence of at most so many columns: if it is longer, its beginning and three dots."""
    if columns_of(sentence) <= columns:
        return sentence
    return _fitting(iter(sentence), columns - len(_ASCII_ELLIPSIS)).rstrip() + _ASCII_ELLIPSIS


def columns_of(text: str) -> int:
    """Return the columns of a text on a terminal."""
    return len(text) if text.isascii() else sum(map(_width, text))


def _cut(name: str, columns: int, ellipsis: str) -> str:
    if len(name) <= columns and sum(map(_width, name)) <= columns:
        return name
    space = columns - len(ellipsis)
    tail = _fitting(reversed(name[-columns:]), space // 2)
    head = _fitting(iter(name[:columns]), space - sum(map(_width, tail)))
    return head + ellipsis + tail[::-1]


def _fitting(characters: Iterator[str], columns: int) -> str:
    """Return the first characters that fit into `columns`."""
    taken = ""
    for character in characters:
        columns -= _width(character)
        if columns < 0:
            break
        taken += character
    return taken


def _width(character: str) -> int:
    """Return the columns of a character on a terminal; a combining character takes none."""
    if unicodedata.combining(character):
        return 0
    is_escaped = character == '"'  # a backslash comes before it
    return 2 if is_escaped or unicodedata.east_asian_width(character) in "WF" else 1
