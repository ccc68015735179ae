"""The only module that decides what goes to standard output and what to standard error.

Rules:
1. Standard output has the results that a script may read: the code and the receiver's command (`send`), the relay's
   start line (`run-relay-server`). Everything for people goes to standard error.
2. Every line is written as soon as possible, so a pipe or a log file is complete at any moment. The caller does not
   wait for that, see `output`.
3. A line that cannot be written stops nothing. A result that cannot be written is a failure: `check` and `finish` raise
   it. A character that the terminal cannot show is written as an escape.
4. The live line is the last line of a terminal, and is removed before anything else is written. It is only ever written
   to a terminal.
5. `--quiet` silences all but errors, and results without which a transfer cannot go on. With `--verbose` each line for
   people has its time, and there is no live line.
6. With `--json` standard output has objects only (`json_lines`), and standard error is as with `--quiet`.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from p2p_copy.cli import limits
from p2p_copy.cli.ui.output import writers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TextIO


class Terminal:
    """Standard output and standard error, with a live line on the latter if it is a terminal."""

    def __init__(
        self,
        out: TextIO | None,
        err: TextIO | None,
        *,
        quiet: bool = False,
        verbose: bool = False,
        progress: bool = True,
        unasked: str | None = None,
    ) -> None:
        """Write to these streams; None is one that was closed before the process started.

        Args:
            out: standard output.
            err: standard error.
            quiet: whether `--quiet` is given.
            verbose: whether details are written, and each line for people with its time.
            progress: whether there may be a live line, or lines that repeat while a transfer runs.
            unasked: the option with which the user is asked nothing; None if there is none.

        """
        self._out, self._err = writers(out, err)
        self.log = self._err if out is None else self._out
        """Where a log goes: standard output, or standard error if standard output is closed."""
        self._quiet = quiet
        self.is_verbose = verbose and not quiet
        """Whether `detail` writes."""
        self.wants_progress = progress
        """Whether to say now and then how far a transfer is."""
        self._unasked = unasked
        self._open_question = ""
        self.is_interactive = err is not None and err.isatty()
        """Whether standard error is a terminal, which a person reads, rather than a log."""
        shown = progress and not quiet and not verbose
        self.is_live = self.is_interactive and shown and os.environ.get("TERM") != "dumb"
        """Whether there is a live line."""

    @classmethod
    def standard(
        cls,
        *,
        quiet: bool = False,
        verbose: bool = False,
        progress: bool = True,
        unasked: str | None = None,
    ) -> Terminal:
        """Return the terminal of this process."""
        return cls(sys.stdout, sys.stderr, quiet=quiet, verbose=verbose, progress=progress, unasked=unasked)

    @property
    def has_user(self) -> bool:
        """Whether there is a user at a terminal, who can read a question and type the answer."""
        return bool(sys.stdin and sys.stdin.isatty() and self.is_interactive)

    @property
    def why_unasked(self) -> str:
        """Why the user is asked nothing, as the end of a sentence; empty if there is a user who may be asked."""
        if self._unasked:
            return f"with {self._unasked} nothing is asked"
        return "" if self.has_user else "there is no terminal to ask at"

    @property
    def columns(self) -> int:
        """The columns of the terminal now, of which a live line may use all but the last."""
        return self._err.columns

    @property
    def result_columns(self) -> int | None:
        """The columns of the terminal to which results go; None if they go into a pipe or a file."""
        return self._out.columns if self._out.is_terminal else None

    @property
    def encoding(self) -> str:
        """The encoding in which a live line is written."""
        return self._err.encoding

    # --- Writing; none of these blocks ---

    def result(self, line: str) -> None:
        """Write a result that a script may read; losing it is a failure."""
        self._out.put(line + "\n", is_result=True)

    def hint(self, line: str) -> None:
        """Write a line that a script may read, unless `--quiet`; losing it is no failure."""
        if not self._quiet:
            self._out.put(line + "\n")

    def say(self, line: str) -> None:
        """Write a line for people, unless `--quiet`."""
        if not self._quiet:
            self.error(line)

    def verdict(self, line: str) -> None:
        """Write a result for people, unless `--quiet`; losing it is a failure."""
        if not self._quiet:
            self._err.put(self._timed(line) + "\n", is_result=True)

    def error(self, line: str) -> None:
        """Write a line for people, even with `--quiet`; an open question comes after it again."""
        lines = f"{self._timed(line)}\n"
        self._err.put(f"\n{lines}{self._open_question}" if self._open_question else lines)

    def detail(self, line: str) -> None:
        """Write a line for people who have asked for details."""
        if self.is_verbose:
            self.error(line)

    def _timed(self, line: str) -> str:
        return f"{time.strftime('%H:%M:%S')} {line}" if self.is_verbose and line else line

    def live(self, line: str, columns: int | None = None) -> None:
        """Replace the live line; without a terminal do nothing.

        `columns` is how many it takes, less than the terminal has. Without it each character takes one, and the line is
        cut to the terminal's width.
        """
        if self.is_live:
            line = line if columns is not None else line[: self.columns - 1]
            self._err.live(line, len(line) if columns is None else columns)

    def prompt(self, question: str) -> None:
        """Write a question; the caller reads the answer."""
        self._err.put(question)

    @contextmanager
    def asking(self, question: str) -> Iterator[None]:
        """Write a question, whose answer the body reads; what is written meanwhile leaves it in sight."""
        self.wipe()
        self.prompt(question)
        self._open_question = question
        try:
            yield
        finally:
            self._open_question = ""

    def wipe(self) -> None:
        """Remove the live line."""
        if self.is_live:
            self._err.live("", 0)

    # --- Lost results ---

    def describe_lost_results(self, describe: Callable[[int], str]) -> None:
        """Let `describe` return the line that says on standard output how many lines were lost there."""
        self._out.describe = describe

    @property
    def has_room_for_results(self) -> bool:
        """Whether little waits for the reader of standard output. More results are kept all the same, in memory."""
        return self._out.has_room

    def forgive_lost_results(self) -> None:
        """Treat the results so far as ordinary lines: losing them is no failure any more."""
        self._out.forgive_lost_results()
        self._err.forgive_lost_results()

    def check(self) -> None:
        """Find out whether a result was lost.

        Raises:
            BrokenPipeError: its reader has closed the pipe.
            ResultNotWritten: it could not be written.

        """
        self._out.check()
        self._err.check()

    # --- Blocking; only outside of an event loop ---

    def ask(self, question: str) -> str:
        """Ask the user, and return the line that was typed, empty at the end of input."""
        self.prompt(question)
        return sys.stdin.readline()

    def wait_for_reader(self) -> None:
        """Wait until the reader of the results has made room for more; raise what `check` raises."""
        self._out.wait_for_room()
        self.check()

    def finish(self) -> None:
        """Wait until all results are written; raise what `check` raises."""
        self._out.wait_for_results()
        self._err.wait_for_results()
        self.check()

    def flush(self, seconds: float = limits.OUTPUT_FLUSH) -> None:
        """Wait until all lines are written, for `seconds` at most: a terminal may be stopped."""
        until = time.monotonic() + seconds
        for writer in (self._out, self._err):
            writer.flush(max(until - time.monotonic(), 0))

    def leave(self, exit_code: int) -> NoReturn:
        """Write the last lines, and end the process at once."""
        self.flush()
        os._exit(exit_code)
