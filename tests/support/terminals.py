"""A pseudo-terminal, and what a person sees in it."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
from typing import Final

import pyte

_BELL: Final = b"\a"
"""Shows nothing, and no line of this program has one: it marks the end of what was written."""


class ShownTerminal:
    """A pseudo-terminal in this process.

    Attributes:
        stderr: the program's side.
        screen: what is seen, as of the last `look`.

    """

    def __init__(self, columns: int, lines: int) -> None:
        """Open one with this many columns and lines."""
        self._here, there = pty.openpty()
        self.stderr = open(there, "w")  # noqa: SIM115 - closed in `close`
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self._lines = lines
        self.resize(columns)

    def resize(self, columns: int) -> None:
        fcntl.ioctl(self.stderr, termios.TIOCSWINSZ, struct.pack("4H", self._lines, columns, 0, 0))
        self.screen.resize(self._lines, columns)

    def look(self) -> pyte.Screen:
        """Return the screen with all that has been written, of which one read may return a part only."""
        os.write(self.stderr.fileno(), _BELL)
        shown = b""
        while not shown.endswith(_BELL):
            shown += os.read(self._here, 65536)
        self._stream.feed(shown)
        return self.screen

    def clear(self) -> None:
        """Empty the screen, unseen by the program."""
        self._stream.feed(b"\x1b[2J\x1b[H")

    def close(self) -> None:
        self.stderr.close()
        os.close(self._here)
