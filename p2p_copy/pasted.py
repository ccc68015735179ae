"""Extracts a value from text that a user has pasted, or that an editor or shell has written.

A byte order mark (Notepad), UTF-16 (PowerShell), blanks and line ends, and the label that our own commands print before
a value are dropped: the user does not see them, or did not mean them.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

BYTE_ORDER_MARK: Final = "\ufeff"
"""Byte order mark, with which some editors begin a file in UTF-8 (RFC 3629, section 6)."""

_LABEL: Final = re.compile(r"(?:Code|Token|Line): ")
"""The labels that `send` and `relay-token` print before a value."""


def decode(data: bytes, *, cut: bool = False) -> str:
    """Return a file's text: UTF-16 if it has a byte order mark of that, else UTF-8.

    Args:
        data: the file, or its beginning.
        cut: it is only the beginning, and may end inside a character.

    Raises:
        UnicodeDecodeError: it is neither.

    """
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    decoder = codecs.getincrementaldecoder("utf-16" if wide else "utf-8-sig")()
    return decoder.decode(data, final=not cut)


def value(text: str) -> str:
    """Return the value in a pasted or stored text."""
    text = text.strip().removeprefix(BYTE_ORDER_MARK).strip()
    label = _LABEL.match(text)
    return text[label.end() :].strip() if label else text


def first_value(text: str) -> str:
    """Return the value in the first line of a file's text; empty if there is none."""
    return value(re.split(r"\r\n|\r|\n", text, maxsplit=1)[0])
