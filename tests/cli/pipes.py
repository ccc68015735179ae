"""Pipes that are full from the start, for tests."""

from __future__ import annotations

import os

STUFFING = "#"
"""What stands in place of all that fills a pipe when it is read."""


def full_pipe() -> tuple[int, int]:
    """Return the reading and the writing end of a full pipe."""
    reader, writer = os.pipe()
    fill(writer)
    return reader, writer


def fill(writer: int) -> None:
    """Fill a pipe to its last byte."""
    os.set_blocking(writer, False)
    for size in (4096, 1):
        try:
            while True:
                os.write(writer, b"#" * size)
        except BlockingIOError:
            pass
    os.set_blocking(writer, True)


def drain(reader: int, *, until: str) -> str:
    """Read until the text ends like this; return it with the filling as one character."""
    data = b""
    while not data.rstrip(b" ").endswith(until.encode().rstrip(b" ")):  # spaces clear what was longer
        piece = os.read(reader, 65536)
        assert piece, f"{until!r} never came, but {data[-200:]!r}"
        data += piece
    stuffing = len(data) - len(data.lstrip(b"#"))
    return STUFFING * bool(stuffing) + data[stuffing:].decode()
