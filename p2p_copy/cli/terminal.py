"""What is written where. The only module that writes to standard output and standard error.

The law:
1. Standard output holds results that a script may read: the code and the receiver's command (`send`), the
   relay's start line (`run-relay-server`). Everything for people goes to standard error.
2. Every line is flushed at once, so a pipe or a log file is complete at any moment.
3. Writing never fails. A reader that went away is no reason to give up a transfer; a character that the
   terminal cannot show is written as an escape.
4. The live line is the last line of a terminal and is wiped before anything else is written. It is never
   written to something that is not a terminal.
5. `--quiet` silences all but results and errors.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO


class Terminal:
    """Two streams, one of which may end in a live line."""

    def __init__(self, out: TextIO, err: TextIO, *, quiet: bool = False) -> None:
        """Write to these streams; they are told to escape what they cannot encode."""
        self._out = _Lasting(out)
        self._err = _Lasting(err)
        self._quiet = quiet
        self._live = ""
        self.is_for_eyes = err.isatty()
        """Whether a person reads along, rather than a log."""
        self.is_live = self.is_for_eyes and not quiet and os.environ.get("TERM") != "dumb"
        """Whether a live line can be seen."""

    @classmethod
    def standard(cls, *, quiet: bool = False) -> Terminal:
        """Return the terminal of this process; what was closed before it began swallows what is written."""
        out, err = (stream or open(os.devnull, "w", encoding="utf-8") for stream in (sys.stdout, sys.stderr))  # noqa: SIM115
        return cls(out, err, quiet=quiet)

    def result(self, line: str) -> None:
        """Write a line that a script may read."""
        self.wipe()
        self._out.write(line + "\n")

    def say(self, line: str) -> None:
        """Write a line for people, unless they want quiet."""
        if not self._quiet:
            self.error(line)

    def error(self, line: str) -> None:
        """Write a line for people, wanted or not."""
        self.wipe()
        self._err.write(line + "\n")

    def live(self, line: str) -> None:
        """Make this the live line, cut to the width of the terminal; without a terminal do nothing."""
        if self.is_live:
            line = line[: self._err.width() - 1]
            # Spaces wipe what a longer line left behind: every terminal knows them, not all know escapes.
            self._err.write("\r" + line.ljust(len(self._live)))
            self._live = line

    def ask(self, question: str) -> str:
        """Ask a person, and return the line that was typed, empty at the end of input."""
        self.prompt(question)
        return sys.stdin.readline()

    def prompt(self, question: str) -> None:
        """Write a question; somebody else reads the answer."""
        self.wipe()
        self._err.write(question)

    def wipe(self) -> None:
        """Take the live line away."""
        if self._live:
            self._err.write("\r" + " " * len(self._live) + "\r")
            self._live = ""


class _Lasting:
    """A text stream to which writing never fails."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self._sink()

    def _sink(self) -> None:
        # What is left in the buffer would fail again at exit, and turn a success into exit code 120.
        with contextlib.suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)

    def width(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except (OSError, ValueError):
            return 80
