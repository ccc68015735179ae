"""Formats the help as two columns of plain text.

The library's own tables would take a third of the time of `--help`.
"""

from __future__ import annotations

import io
import textwrap
from typing import TYPE_CHECKING, Any, Final, cast

from cyclopts import App

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import Console, ConsoleOptions

_INDENT: Final = 2
_LEFT: Final = 26
"""Columns for an option and its value; a longer one gets a line of its own."""

WIDEST: Final = 100
"""Columns of a line at most: longer lines are hard to read."""


_MORE: Final = "More: p2p-copy help topics"


class Commands(App):
    """The commands; help of each ends with its examples."""

    def help_print(self, tokens: Any = None, *, console: Any = None) -> None:
        """Print the help of a command, or of all."""
        super().help_print(tokens, console=console)
        chain, apps, _ = self.parse_commands(tokens)
        console = console or apps[-1].console
        _print(console, "\n".join((*example_lines(" ".join(chain), min(console.width, WIDEST)), _MORE)))


def example_lines(command: str, width: int) -> Iterator[str]:
    """Yield the lines that show the examples of a command."""
    from p2p_copy.cli.ui.examples import EXAMPLES

    if command in EXAMPLES:
        yield "Examples:"
        for purpose, line in EXAMPLES[command]:
            yield from paragraph(purpose, width, " " * _INDENT, " " * _INDENT)
            yield from _typed(line, width)
        yield ""


class TwoColumns:
    """A formatter for cyclopts: options on the left, their meaning on the right."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Print one panel."""
        if panel.entries:
            width = min(options.max_width, WIDEST)
            lines = [
                line
                for entry in panel.entries
                for line in two_columns(_spelled(entry), _meaning(entry), width)
            ]
            _print(console, "\n".join((f"{panel.title}:", *lines, "")))

    def render_usage(self, console: Console, options: ConsoleOptions, usage: Any) -> None:
        """Print the command's usage."""
        words = f"Usage: {_plain(usage).strip().removeprefix('Usage: ')}"
        _print(console, "\n".join((*paragraph(words, options.max_width, rest="    "), "")))

    def render_description(self, console: Console, options: ConsoleOptions, description: Any) -> None:
        """Print what the command does."""
        if text := _plain(description).strip():
            width = min(options.max_width, WIDEST)
            lines = [line for part in text.splitlines() for line in paragraph(part, width) or [""]]
            _print(console, "\n".join((*lines, "")))


class Printed:
    """Keeps what the library prints, so that it can be written like any other result.

    Attributes:
        console: what the library prints to. It is created on first use: most commands print no help, and importing rich
            is slow.

    """

    def __init__(self) -> None:
        """Start with no text."""
        self._file = io.StringIO()
        self.console: Console = cast("Console", _LazyConsole(self._file))

    def text(self) -> str:
        """Return the whole text, without the last line end."""
        return self._file.getvalue().removesuffix("\n")


class _LazyConsole:
    """A console that is created on first use."""

    def __init__(self, file: io.StringIO) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        from rich.console import Console

        if "_console" not in vars(self):
            self._console = Console(file=self._file)
        return getattr(self._console, name)


def two_columns(left: str, right: str, width: int, column: int = _LEFT) -> list[str]:
    """Return the lines of what stands on the left, and of its meaning at `column`, or below if the left is too long."""
    margin = " " * min(_INDENT + column, width // 3)
    left = " " * _INDENT + left
    lines = paragraph(right, width, margin, margin)
    if lines and len(left) < len(margin) - 1:
        lines[0] = left + lines[0][len(left) :]
        return lines
    return [left, *lines]


def table(rows: Iterable[tuple[str, str]], width: int) -> list[str]:
    """Return the lines of a table whose left column is as narrow as its longest word allows."""
    rows = tuple(rows)
    column = min(_LEFT, max(len(left) for left, _ in rows) + 2)
    return [line for left, right in rows for line in two_columns(left, right, width, column)]


def _typed(command: str, width: int) -> Iterator[str]:
    """Yield the lines of a command; a long one is broken as a shell wants it, so that it can be copied."""
    margin = " " * 2 * _INDENT
    *begun, last = paragraph(command, width - len(" \\"), margin, margin + " " * _INDENT)
    yield from (f"{line} \\" for line in begun)
    yield last


def _spelled(entry: HelpEntry) -> str:
    """Return how a word, a command or an option is written: `-o, --out DIR`; a long option leaves space for a short."""
    if entry.positional_label:
        return entry.positional_label
    shorts = "".join(f"{short}, " for short in entry.shorts)
    longs = ", ".join(entry.names)
    indent = " " * len("-o, ") if longs.startswith("-") else ""
    return " ".join(filter(None, ((shorts or indent) + longs, entry.metavar)))


def _meaning(entry: HelpEntry) -> str:
    choices = f"one of {', '.join(entry.choices)}" if entry.choices else ""
    variables = f"or {', '.join(entry.env_var)}" if entry.env_var else ""
    default = f"default: {entry.default}" if entry.default else ""
    required = "required" if entry.required else ""
    notes = "; ".join(filter(None, (choices, variables, default, required)))
    return " ".join(filter(None, (_plain(entry.description), f"[{notes}]" if notes else "")))


def paragraph(text: str, width: int, first: str = "", rest: str = "") -> list[str]:
    """Return the lines of a text; options, variables and URLs stay whole."""
    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=rest,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _plain(text: Any) -> str:
    """Return the plain text of what the library may have wrapped for rich."""
    text = getattr(text, "primary_renderable", text)
    return str(getattr(text, "plain", text) or "")


def _print(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
