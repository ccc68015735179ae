"""A real pseudo-terminal: what programs write to it, what a person types, and the picture of it.

What differs from run to run (ports, times, rates) is replaced in the bytes that the programs wrote, before a terminal
emulator lays them out. So lines wrap and are overwritten as they would be with the replaced text.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING, Final, TypeAlias

import pyte

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from docs.figures.theme import Theme

COLUMNS: Final = 80
LINES: Final = 300
"""More than any of these screens needs: nothing scrolls away."""

ENOUGH: Final = 60.0
"""Seconds after which a program that has not shown what it should counts as stuck."""

CELL: Final = (8.4, 20.0)
"""Width and height of a character, in the picture's units; the width is that of common fonts at `SIZE`."""

SIZE: Final = 14
MARGIN: Final = 16
TITLE: Final = 34
"""Height of the bar above the text."""

FONTS: Final = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"

_OVERWRITTEN: Final = re.compile(r"\r(?!\n)[^\r\n]*(?=\r(?!\n))")

PROMPT: Final = "\x1b[32m$\x1b[0m "


Replacement: TypeAlias = "tuple[str, str | Callable[[re.Match[str]], str]]"
"""A pattern, and what stands for it."""


class Terminal:
    """The user's side of a pseudo-terminal, in which one command after another runs."""

    def __init__(self, env: Mapping[str, str], cwd: Path, columns: int = COLUMNS) -> None:
        """Open it, for commands with these variables in this directory."""
        self._env, self._cwd = env, cwd
        self.columns = columns
        self._here, self._there = pty.openpty()
        fcntl.ioctl(self._there, termios.TIOCSWINSZ, struct.pack("4H", LINES, columns, 0, 0))
        self._process: subprocess.Popen[bytes] | None = None
        self.seen = ""

    def start(self, *words: str, shown: str) -> None:
        """Start p2p-copy with these words, after a prompt with the command `shown`."""
        self.seen += f"{PROMPT}\x1b[1m{shown}\x1b[0m\r\n"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "p2p_copy", *words],
            env=self._env,
            cwd=self._cwd,
            stdin=self._there,
            stdout=self._there,
            stderr=self._there,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )

    def read_until(self, pattern: str) -> re.Match[str]:
        """Read on until the end of what was shown matches."""
        deadline = time.monotonic() + ENOUGH
        while not (match := re.search(rf"(?s:{pattern})\Z", self.seen)):
            if not self._read(0.5) and (self._ended() or time.monotonic() > deadline):
                raise RuntimeError(f"{pattern} was never shown, but {self.seen!r}")
        return match

    def _ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _read(self, seconds: float) -> bool:
        """Read the output of this time; return whether there was any."""
        if not select.select([self._here], [], [], max(seconds, 0))[0]:
            return False
        self.seen += os.read(self._here, 65536).decode()
        return True

    def type(self, text: str) -> None:
        """Type; the terminal echoes it. Ctrl-C is the character of the number 3."""
        os.write(self._here, text.encode())

    def pause(self) -> None:
        """Stop the command as a machine that sleeps."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let a command that was stopped go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def finish(self) -> int:
        """Wait until the command ends; return its exit code."""
        assert self._process is not None
        deadline = time.monotonic() + ENOUGH
        while not self._ended():
            self._read(0.05)
            if time.monotonic() > deadline:
                raise RuntimeError(f"the command does not end, and shows {self.seen!r}")
        while self._read(0):  # what it wrote last
            pass
        return self._process.returncode

    def kill(self) -> None:
        """Kill the command, and say so as a shell does."""
        assert self._process is not None
        self._process.kill()
        self.finish()
        self.seen += "\r\nKilled\r\n"

    def close(self) -> None:
        """End the command if it still runs, and close the terminal."""
        if self._process is not None and not self._ended():
            self._process.kill()
            self._process.wait()
        os.close(self._there)
        os.close(self._here)


def _take_terminal() -> None:
    """Make standard input the terminal that controls this process, so that Ctrl-C reaches it."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def laid_out(seen: str, replacements: Iterable[Replacement], columns: int = COLUMNS) -> pyte.Screen:
    """Return the screen after this was written to a terminal, with each pattern replaced.

    Live lines that were overwritten are left out: with the replaced text they may be longer than what overwrote them.
    """
    seen = _OVERWRITTEN.sub("", seen)
    for pattern, replacement in replacements:
        seen = re.sub(pattern, replacement, seen)
    screen = pyte.Screen(columns, LINES)
    pyte.Stream(screen).feed(seen)
    return screen


def text(screen: pyte.Screen) -> str:
    """Return the characters of a screen, without blanks at the ends of lines and lines at its end."""
    return "\n".join(line.rstrip() for line in screen.display).rstrip("\n") + "\n"


def picture(screen: pyte.Screen, title: str, theme: Theme, *, cursor: bool) -> str:
    """Return the SVG of a screen; its text can be selected, and it needs no style sheet."""
    wide, high = CELL
    rows = text(screen).count("\n")
    rows = max(rows, screen.cursor.y + 1 if cursor else 0)
    width, height = COLUMNS * wide + 2 * MARGIN, TITLE + rows * high + MARGIN
    parts = [
        f'''<svg xmlns="http://www.w3.org/2000/svg" class="only-{theme.name}" width="{width:g}" height="{height:g}"
 viewBox="0 0 {width:g} {height:g}" font-family="{FONTS}" font-size="{SIZE}" fill="{theme.text}">
<rect x="0.5" y="0.5" width="{width - 1:g}" height="{height - 1:g}" rx="8" fill="{theme.panel}" stroke="{theme.line}"/>
<text x="{width / 2:g}" y="21" text-anchor="middle" font-size="12" fill="{theme.faint}">{escape(title)}</text>'''
    ]
    if cursor:
        x, y = MARGIN + screen.cursor.x * wide, TITLE + screen.cursor.y * high
        parts.append(
            f'<rect x="{x:g}" y="{y + 2:g}" width="{wide:g}" height="{high - 3:g}" fill="{theme.faint}"/>'
        )
    for number in range(rows):
        parts += _row(screen, number, theme)
    return "\n".join([*parts, "</svg>", ""])


def _row(screen: pyte.Screen, number: int, theme: Theme) -> Iterable[str]:
    """Return one line of text, a piece for each run of characters of the same kind, placed on the grid."""
    line = screen.buffer[number]
    last = len(screen.display[number].rstrip())
    pieces = []
    for (colour, bold), run in groupby(range(last), lambda column: (line[column].fg, line[column].bold)):
        columns = list(run)
        text = "".join(line[column].data for column in columns)
        kind = {"green": f' fill="{theme.good}"'}.get(colour, "") + (' font-weight="600"' if bold else "")
        pieces.append(
            f'<tspan x="{MARGIN + columns[0] * CELL[0]:g}" textLength="{len(columns) * CELL[0]:g}"{kind}>'
            f"{escape(text, quote=False)}</tspan>"
        )
    if pieces:
        yield f'<text xml:space="preserve" y="{TITLE + number * CELL[1] + 15:g}">{"".join(pieces)}</text>'
