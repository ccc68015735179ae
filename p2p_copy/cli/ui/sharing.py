"""Gives a code to its user in other ways than as text: as a link for a browser, as a QR code, and in the clipboard.

The link is that of the page that a relay serves, with the code behind `#`, which no browser sends to a server. It is as
secret as the code, and is shown where the code is.

The libraries for that are extras, `p2p-copy[qr]` and `p2p-copy[clipboard]`. In a session over SSH the clipboard is that
of the machine in front of the user, which only the terminal can reach (OSC 52), and no library is needed.
"""

from __future__ import annotations

import base64
import os
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from p2p_copy.errors import UsageError
from p2p_copy.transport.address import parse_address

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p2p_copy.cli.options.client import SendArguments
    from p2p_copy.cli.ui.announcement import Announcement
    from p2p_copy.cli.ui.terminal import Terminal

_QUIET_ZONE: Final = 2
"""Modules of light border. ISO 18004 wants four, but telephones need only two, and more would not fit 40 columns."""

_BLACK_ON_WHITE: Final = "\x1b[38;5;16;48;5;231m"
"""Colours 16 and 231 of the palette are black and white in dark and in light terminals; the first eight are not."""
_RESET: Final = "\x1b[0m"


class Sharing:
    """What a user has asked for. Made before anything starts, so that what is missing is told then."""

    def __init__(
        self, terminal: Terminal, sending: SendArguments, relays: Sequence[str], *, json: bool
    ) -> None:
        """Load what the options need. There are no `relays` if the sender is one itself.

        Raises:
            UsageError: a library is not installed, there is no terminal to draw on, no clipboard, or no page.

        """
        self._terminal = terminal
        self._qr = self._clipboard = None
        self._page = page_at(relays) if sending.link and relays else ""
        self._by_terminal = False
        if sending.qr:
            if json or not terminal.is_interactive:
                raise UsageError("--qr draws on a terminal, and standard error is none.")
            self._qr = _library("segno", "--qr", "qr")
        elif self._page and terminal.is_interactive and not json:
            try:
                self._qr = import_module("segno")
            except ImportError:
                terminal.say("To see the link as a QR code, too: python3 -m pip install 'p2p-copy[qr]'")
        if sending.copy:
            self._by_terminal = terminal.is_interactive and "SSH_TTY" in os.environ
            if not self._by_terminal:
                self._clipboard, _ = _library("pyperclip", "--copy", "clipboard").determine_clipboard()
                if not self._clipboard:
                    raise UsageError(
                        "--copy finds no clipboard here. On Linux it needs wl-clipboard, xclip or xsel, and a desktop."
                    )

    def complete(self, announcement: Announcement, code: str) -> Announcement:
        """Return an announcement with the link and the picture that were asked for, and fill the clipboard.

        The picture and the clipboard have the link, if there is one, else the code. Blocks for a moment.
        """
        link = f"{self._page}#{quote(code, safe='')}" if self._page else ""
        self._copy(link or code, "link" if link else "code")
        return announcement.shown_as(link, self._picture(link or code))

    def _copy(self, text: str, what: str) -> None:
        if self._by_terminal:
            encoded = base64.b64encode(text.encode()).decode()
            self._terminal.prompt(f"\x1b]52;c;{encoded}\x07")
            self._terminal.say(
                f"The {what} was given to your terminal for the clipboard; not every terminal takes it."
            )
        elif self._clipboard is not None:
            try:
                self._clipboard(text)
            except (OSError, RuntimeError) as error:
                self._terminal.say(
                    f"The {what} could not be copied to the clipboard ({type(error).__name__})."
                )
            else:
                self._terminal.say(f"The {what} is in the clipboard.")

    def _picture(self, text: str) -> str:
        if self._qr is None:
            return ""
        made = self._qr.make(text, micro=False, error="m")
        rows = [list(map(bool, row)) for row in made.matrix_iter(border=_QUIET_ZONE)]
        return drawn(rows, self._terminal.encoding)


def page_at(relays: Sequence[str]) -> str:
    """Return the address of the page that these relays serve, if they do: the only one of them can.

    Raises:
        UsageError: there are several, or a browser would not let the page use cryptography.

    """
    if len(relays) > 1:
        raise UsageError(
            "--link is a link to one relay, whose page knows no other, and this transfer has several. Name one relay "
            "with --server, or leave out --link."
        )
    address = parse_address(relays[0])
    if not (address.tls or address.is_loopback):
        raise UsageError(
            "--link needs a relay with TLS (wss://): browsers let a page use cryptography only if it comes by https."
        )
    return f"{'https' if address.tls else 'http'}://{address.host_header}{address.prefix}/"


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
