"""Gives a code to its user in other ways than as text: as a QR code on the terminal, and in the clipboard.

The libraries for that are extras, `p2p-copy[qr]` and `p2p-copy[clipboard]`. In a session over SSH the clipboard is that
of the machine in front of the user, which only the terminal can reach (OSC 52), and no library is needed.
"""

from __future__ import annotations

import base64
import os
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from p2p_copy.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p2p_copy.cli.options.client import SendArguments
    from p2p_copy.cli.ui.terminal import Terminal

_QUIET_ZONE: Final = 2
"""Modules of light border. ISO 18004 wants four, but telephones need only two, and more would not fit 40 columns."""

_BLACK_ON_WHITE: Final = "\x1b[38;5;16;48;5;231m"
"""Colours 16 and 231 of the palette are black and white in dark and in light terminals; the first eight are not."""
_RESET: Final = "\x1b[0m"


class Sharing:
    """What a user has asked for. Made before anything starts, so that what is missing is told then."""

    def __init__(self, terminal: Terminal, sending: SendArguments, *, json: bool) -> None:
        """Load what the options need.

        Raises:
            UsageError: a library is not installed, there is no terminal to draw on, or no clipboard.

        """
        self._terminal = terminal
        self._qr = self._clipboard = None
        self._by_terminal = False
        if sending.qr:
            if json or not terminal.is_interactive:
                raise UsageError("--qr draws on a terminal, and standard error is none.")
            self._qr = _library("segno", "--qr", "qr")
        if sending.copy:
            self._by_terminal = terminal.is_interactive and "SSH_TTY" in os.environ
            if not self._by_terminal:
                self._clipboard, _ = _library("pyperclip", "--copy", "clipboard").determine_clipboard()
                if not self._clipboard:
                    raise UsageError(
                        "--copy finds no clipboard here. On Linux it needs wl-clipboard, xclip or xsel, and a desktop."
                    )

    def copy(self, code: str) -> None:
        """Put a code into the clipboard, if that was asked for; blocks for a moment."""
        if self._by_terminal:
            text = base64.b64encode(code.encode()).decode()
            self._terminal.prompt(f"\x1b]52;c;{text}\x07")
            self._terminal.say(
                "The code was given to your terminal for the clipboard; not every terminal takes it."
            )
        elif self._clipboard is not None:
            try:
                self._clipboard(code)
            except (OSError, RuntimeError) as error:
                self._terminal.say(f"The code could not be copied to the clipboard ({type(error).__name__}).")
            else:
                self._terminal.say("The code is in the clipboard.")

    def picture(self, code: str) -> str:
        """Return the lines of a QR code, if that was asked for; else nothing."""
        if self._qr is None:
            return ""
        made = self._qr.make(code, micro=False, error="m")
        rows = [list(map(bool, row)) for row in made.matrix_iter(border=_QUIET_ZONE)]
        return drawn(rows, self._terminal.encoding)


def drawn(rows: Sequence[Sequence[bool]], encoding: str) -> str:
    """Return a picture of dark modules (True) and light ones, black on white whatever the terminal's colours are.

    A character has two modules, one above the other, if the encoding has such characters.
    """
    try:
        "▀▄█".encode(encoding)
    except (LookupError, UnicodeEncodeError):
        black, white = "\x1b[48;5;16m  ", "\x1b[48;5;231m  "
        return "\n".join("".join(black if dark else white for dark in row) + _RESET for row in rows)
    blank = [False] * len(rows[0])
    pairs = zip(rows[::2], [*rows[1::2], blank], strict=False)
    lines = ("".join(" ▄▀█"[2 * above + below] for above, below in zip(*pair, strict=True)) for pair in pairs)
    return "\n".join(f"{_BLACK_ON_WHITE}{line}{_RESET}" for line in lines)


def _library(module: str, option: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise UsageError(
            f"{option} needs a library that is not installed: python3 -m pip install 'p2p-copy[{extra}]'"
        ) from None
