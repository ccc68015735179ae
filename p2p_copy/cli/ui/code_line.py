"""Reads a code at the terminal, where Tab completes its words: without a network, from the word list.

GNU readline, or libedit, does the editing where Python has it, which is everywhere but on Windows. A line editor of our
own, or a library for one, would take longer to load than the code takes to type. It is imported only here.

1. The code is never in a history, and no history file is read or written.
2. The terminal has its modes back however the prompt ends, also after a signal: readline changes them.
3. It blocks, so it is used before an event loop runs.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from p2p_copy import Code
from p2p_copy.cli.signals import STOP_TRANSFER
from p2p_copy.cli.ui.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from p2p_copy.cli.ui.terminal import Terminal

_DELIMITERS: Final = " .,_-"
_AFTER: Final = (".", "-", ".", ".")
"""What follows each word of a code with five words. More words follow only if the user goes on."""


def ask(terminal: Terminal, question: str) -> str:
    """Ask for a code, and return the line that was typed, empty at the end of input.

    Raises:
        KeyboardInterrupt, Interrupted: a signal came.

    """
    if sys.platform == "win32" or not _is_at_terminal():
        return terminal.ask(question)
    try:
        import readline
        import termios
    except ImportError:
        return terminal.ask(question)
    terminal.flush()  # readline writes the question itself
    readline.set_auto_history(False)
    readline.set_completer_delims(_DELIMITERS)
    readline.set_completer(_Completer(readline).matching)
    if "libedit" in (readline.__doc__ or ""):
        readline.parse_and_bind("bind ^I rl_complete")
    else:
        readline.parse_and_bind("tab: complete")
        readline.parse_and_bind("set enable-bracketed-paste off")
    modes = termios.tcgetattr(0)
    try:
        with _signals_raised():
            return input(question) + "\n"
    except EOFError:
        return ""
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, modes)
        readline.set_completer(None)


def _is_at_terminal() -> bool:
    """Whether readline would be used: it knows only the standard streams of the process."""
    own = sys.stdin is sys.__stdin__ and sys.stdout is sys.__stdout__
    return own and os.isatty(0) and os.isatty(1) and os.environ.get("TERM", "dumb") != "dumb"


class _Completer:
    """Completes the last word before the cursor."""

    def __init__(self, readline: Any) -> None:
        self._readline = readline
        self._words: list[str] = []

    def matching(self, typed: str, number: int) -> str | None:
        """Return the word with this number that begins as what was typed, None after the last (see `readline`)."""
        if number == 0:
            self._words = Code.completions(typed)
            if len(self._words) == 1:
                before = self._readline.get_line_buffer()[: self._readline.get_begidx()]
                for delimiter in _DELIMITERS:
                    before = before.replace(delimiter, " ")
                self._words[0] += (*_AFTER, *[""] * len(before))[len(before.split())]
        return self._words[number] if number < len(self._words) else None


@contextmanager
def _signals_raised() -> Iterator[None]:
    """Raise what would end the process. Readline gives the terminal back for an exception only."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise Interrupted(number)

    mine = [number for number in STOP_TRANSFER if signal.getsignal(number) is signal.SIG_DFL]
    for number in mine:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, signal.SIG_DFL)
