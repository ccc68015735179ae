"""A JSON document of any length, value by value: what is read at once is bounded, whoever wrote it.

The document's own brackets and commas are taken here, each value in it by the standard library. A value has at most
`limits.JSON_VALUE` characters, and so many are always at hand before one is taken, so none is ever cut.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final, NoReturn

from p2p_copy.files import limits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

_SPACE: Final = re.compile(r"[ \t\n\r]*")


class Malformed(Exception):
    """The document is not what it should be. The text goes on a sentence, and repeats nothing of the document."""


class JsonStream:
    """Takes a document from the front; every method raises `Malformed` if something else comes."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._text = ""
        self._at = 0
        self._ended = False

    def object_keys(self) -> Iterator[str]:
        """Yield the keys of the object that comes; the caller takes the value of each before it asks for the next."""
        for _ in self._members("{", "}"):
            key = self.value()
            if not isinstance(key, str):
                raise Malformed("it is not JSON")
            self._expect(":")
            yield key

    def array_values(self) -> Iterator[object]:
        """Yield the values of the array that comes."""
        for _ in self._members("[", "]"):
            yield self.value()

    def value(self) -> object:
        """Return the value that comes, which is not long."""
        self._next()
        self._look_ahead()
        try:
            value, end = _DECODER.raw_decode(self._text, self._at)
        except (ValueError, RecursionError):
            raise Malformed("it is not JSON, or a value in it is too long") from None
        if end - self._at > limits.JSON_VALUE:
            raise Malformed("a value in it is too long")
        self._at = end
        return value

    def end(self) -> None:
        """Make sure that nothing comes any more."""
        if self._next():
            raise Malformed("something follows behind its end")

    def _members(self, opening: str, closing: str) -> Iterator[None]:
        """Yield where a member stands, which the caller takes."""
        self._expect(opening)
        if self._next() != closing:
            yield
            while self._next() == ",":
                self._at += 1
                yield
        self._expect(closing)

    def _expect(self, character: str) -> None:
        if self._next() != character:
            raise Malformed("it is not JSON, or something is missing")
        self._at += 1

    def _next(self) -> str:
        """Return the next character that is no space, without taking it; nothing at the end."""
        while True:
            match = _SPACE.match(self._text, self._at)
            assert match is not None, "no space is a match, too"
            self._at = match.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if self._ended:
                return ""
            self._look_ahead()

    def _look_ahead(self) -> None:
        """Have as many characters at hand as a value may have, or all that are left."""
        while len(self._text) - self._at < limits.JSON_VALUE and not self._ended:
            try:
                more = self._file.read(limits.JSON_READ)
            except UnicodeDecodeError:
                raise Malformed("it is not text") from None
            self._text = self._text[self._at :] + more
            self._at = 0
            self._ended = not more


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse)  # NaN and infinities are not JSON
