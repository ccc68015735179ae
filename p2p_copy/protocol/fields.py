"""Encodes and decodes the fields of messages: numbers of a fixed size, and texts after their length."""

from __future__ import annotations

import struct
from typing import Final

from p2p_copy.errors import PeerMisbehaved
from p2p_copy.protocol.messages import Reason

U16: Final = struct.Struct(">H")


def encode_text(text: str, most: int) -> bytes:
    """Return a text behind its length, cut to at most `most` bytes."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) > most:
        data = data[:most].decode("utf-8", "ignore").encode()
    return U16.pack(len(data)) + data


class Reader:
    """Reads the fields of one message body, from its beginning to its end."""

    __slots__ = ("_at", "_view")

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._at = 0

    def take(self, count: int) -> memoryview:
        """Return the next bytes."""
        if count > len(self._view) - self._at:
            raise PeerMisbehaved("The other side sent a message that is too short.")
        self._at += count
        return self._view[self._at - count : self._at]

    def fields(self, shape: struct.Struct) -> tuple[int, ...]:
        """Return the next fields of a fixed shape."""
        at = self._at
        if shape.size > len(self._view) - at:
            raise PeerMisbehaved("The other side sent a message that is too short.")
        self._at = at + shape.size
        return shape.unpack_from(self._view, at)

    def text(self, most: int) -> str:
        """Return a text of at most `most` bytes that stands behind its length."""
        (length,) = self.fields(U16)
        return self.string(length, most)

    def string(self, length: int, most: int) -> str:
        """Return a text of `length` bytes; raise if that is more than `most`."""
        if not length:
            return ""
        if length > most:
            raise PeerMisbehaved("The other side sent a text that is too long.")
        try:
            return str(self.take(length), "utf-8")
        except UnicodeDecodeError:
            raise PeerMisbehaved("The other side sent a text that is not UTF-8.") from None

    def reason(self, number: int) -> Reason:
        """Return the reason with that number."""
        try:
            return Reason(number)
        except ValueError:
            return Reason.OTHER  # a newer peer may know more reasons

    def rest(self) -> memoryview:
        """Return all that is left."""
        return self.take(len(self._view) - self._at)

    @property
    def left(self) -> int:
        """How many bytes are left."""
        return len(self._view) - self._at

    def end(self) -> None:
        """Raise if anything is left."""
        if self.left:
            raise PeerMisbehaved("The other side sent a message that is too long.")
