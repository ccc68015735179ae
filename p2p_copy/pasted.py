"""Text that people paste, or that their editor or shell has written: what is around the value that they mean.

A mark of the byte order (Notepad), UTF-16 (PowerShell), blanks and line ends, and the label in front of the value in
what our own commands print. All of that is invisible or meant for eyes, so it is dropped, and held against nobody.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

MARK: Final = "\ufeff"
"""What a file in UTF-8 begins with if its editor marks it (RFC 3629, section 6)."""

_LABEL: Final = re.compile(r"(?:Code|Token|Line): ")
"""What `send` and `relay-token` print in front of a value."""


def decode(data: bytes, *, cut: bool = False) -> str:
    """Return a file's text: UTF-8, or UTF-16 if it is marked as that.

    Args:
        data: the file, or its beginning.
        cut: it is the beginning only, and may end inside a character.

    Raises:
        UnicodeDecodeError: it is no text.

    """
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    decoder = codecs.getincrementaldecoder("utf-16" if wide else "utf-8-sig")()
    return decoder.decode(data, final=not cut)


def value(text: str) -> str:
    """Return what is meant by text that was pasted or stored."""
    text = text.strip().removeprefix(MARK).strip()
    label = _LABEL.match(text)
    return text[label.end() :].strip() if label else text


def first_value(text: str) -> str:
    """Return what is meant by the first line of a file; empty if nothing stands there."""
    return value(re.split(r"\r\n|\r|\n", text, maxsplit=1)[0])
