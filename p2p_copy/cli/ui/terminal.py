"""What is written where. The only module that knows what goes to standard output and what to standard error.

The law:
1. Standard output holds results that a script may read: the code and the receiver's command (`send`), the
   relay's start line (`run-relay-server`). Everything for people goes to standard error.
2. Every line is written as soon as it can be, so a pipe or a log file is complete at any moment; and nobody waits for
   it, see `output`.
3. A line that cannot be written stops nothing. A result that cannot be written is a failure: `check` and `finish` tell.
   A character that the terminal cannot show is written as an escape.
4. The live line is the last line of a terminal and is wiped before anything else is written. It is never
   written to something that is not a terminal.
5. `--quiet` silences all but results and errors.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, NoReturn

from p2p_copy.cli import limits
from p2p_copy.cli.ui.output import writers

if TYPE_CHECKING:
    from typing import TextIO


class Terminal:
    """Two streams, one of which may end in a live line."""

    def __init__(self, out: TextIO | None, err: TextIO | None, *, quiet: bool = False) -> None:
        """Write to these streams; None is one that was closed before this process began."""
        self._out, self._err = writers(out, err)
        self.log = self._err if out is None else self._out
        """Where a log goes: to standard output, or to standard error if that one was closed."""
        self._stream = err
        self._quiet = quiet
        self.is_for_eyes = err is not None and err.isatty()
        """Whether a person reads along, rather than a log."""
        self.is_live = self.is_for_eyes and not quiet and os.environ.get("TERM") != "dumb"
        """Whether a live line can be seen."""

    @classmethod
    def standard(cls, *, quiet: bool = False) -> Terminal:
        """Return the terminal of this process."""
        return cls(sys.stdout, sys.stderr, quiet=quiet)

    # --- What is said; none of this waits ---

    def result(self, line: str) -> None:
        """Write what the command was asked for, which a script may read; it must not be lost."""
        self._out.put(line + "\n", is_result=True)

    def hint(self, line: str) -> None:
        """Write a line that a script may read, and that costs nothing but itself if it cannot be written."""
        self._out.put(line + "\n")

    def say(self, line: str) -> None:
        """Write a line for people, unless they want quiet."""
        if not self._quiet:
            self.error(line)

    def verdict(self, line: str) -> None:
        """Write for people what the command was asked for, unless they want quiet; it must not be lost."""
        if not self._quiet:
            self._err.put(line + "\n", is_result=True)

    def error(self, line: str) -> None:
        """Write a line for people, wanted or not."""
        self._err.put(line + "\n")

    def live(self, line: str) -> None:
        """Make this the live line, cut to the width of the terminal; without a terminal do nothing."""
        if self.is_live:
            self._err.live(line[: self._width() - 1])

    def prompt(self, question: str) -> None:
        """Write a question; somebody else reads the answer."""
        self._err.put(question)

    def wipe(self) -> None:
        """Take the live line away."""
        if self.is_live:
            self._err.live("")

    # --- Whether it came through ---

    def waive(self) -> None:
        """Do without the results so far: nobody needs them any more."""
        self._out.waive()
        self._err.waive()

    def check(self) -> None:
        """Find out whether a result is lost.

        Raises:
            BrokenPipeError: whoever read it has gone.
            ResultNotWritten: it could not be written.

        """
        self._out.check()
        self._err.check()

    # --- For those who may wait: no event loop runs ---

    def ask(self, question: str) -> str:
        """Ask a person, and return the line that was typed, empty at the end of input."""
        self.prompt(question)
        return sys.stdin.readline()

    def wait_for_reader(self) -> None:
        """Wait until whoever reads the results has left room for more; it raises what `check` raises."""
        self._out.wait_for_room()
        self.check()

    def finish(self) -> None:
        """Wait until all results are read, as any command does; it raises what `check` raises."""
        self._out.wait_for_results()
        self._err.wait_for_results()
        self.check()

    def flush(self) -> None:
        """Wait for what is not written yet, but not for a terminal or a pipe that takes nothing any more."""
        until = time.monotonic() + limits.OUTPUT_FLUSH
        for writer in (self._out, self._err):
            writer.flush(max(until - time.monotonic(), 0))

    def leave(self, exit_code: int) -> NoReturn:
        """End the process at once, but for the last lines."""
        self.flush()
        os._exit(exit_code)

    def _width(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno() if self._stream else -1).columns or 80
        except (OSError, ValueError):
            return 80
