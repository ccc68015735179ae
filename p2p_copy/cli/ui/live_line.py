"""Fits the live line into the width of a terminal: of its fields as many as there is room for, in their order.

rich draws the bar. It takes a tenth of a second to import, so a `Bar` is made only for a transfer that lasts, and in a
worker thread. rich starts no thread and writes nothing itself.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from p2p_copy.cli import limits
from p2p_copy.cli.ui.display import columns_of, displayed

if TYPE_CHECKING:
    from collections.abc import Sequence

_GAP: Final = "  "


class Bar:
    """Draws bars with the characters and colours that a terminal has."""

    def __init__(self, encoding: str) -> None:
        """Prepare for a terminal with this encoding; rich asks the environment for colours (`NO_COLOR`, `TERM`)."""
        from rich.console import Console

        # A console takes its encoding from its file. What it prints is captured, so nothing comes into this one.
        file = io.TextIOWrapper(io.BytesIO(), encoding)
        console = Console(file=file, force_terminal=True)
        if console.legacy_windows:  # it shows no escape sequences
            console = Console(file=file, force_terminal=True, color_system=None)
        self._console = console
        self._is_coloured = console.color_system is not None and not console.no_color

    def drawn(self, share: float, columns: int) -> str:
        """Return a bar as wide as this, of which this share is done. Without colours, brackets show its ends."""
        from rich.progress_bar import ProgressBar

        inside = columns if self._is_coloured else columns - 2
        bar = ProgressBar(
            1, share, inside, complete_style="cyan", finished_style="cyan", style="bright_black"
        )
        with self._console.capture() as captured:
            self._console.print(bar, end="", width=inside)
        text = captured.get()
        return text if self._is_coloured else f"[{text.ljust(inside)}]"


def fitted(
    fields: Sequence[Sequence[str]],
    columns: int,
    *,
    path: str = "",
    encoding: str = "utf-8",
    bar: Bar | None = None,
    share: float | None = None,
) -> tuple[str, int]:
    """Return a line and its columns: at most so many.

    Args:
        fields: the most important one first, each in one or more forms, the longest one first. All are ASCII.
        columns: the room.
        path: a file that is named last, cut if need be, if there is room.
        encoding: of the terminal.
        bar: draws what is left of the room, behind the first field.
        share: how much of the bar is done, from 0 to 1; None for no bar.

    """
    drawer = bar if share is not None and columns >= limits.BAR_FROM - 1 else None
    spare = columns - (limits.BAR_LEAST + len(_GAP) if drawer else 0)
    parts: list[str] = []
    for forms in fields:
        spare -= len(forms[-1]) + (len(_GAP) if parts else 0)
        if spare < 0:
            spare += len(forms[-1]) + len(_GAP)
            break
        parts.append(forms[-1])
    for place, forms in enumerate(fields[: len(parts)]):
        longest = next(form for form in forms if len(form) - len(parts[place]) <= spare)
        spare -= len(longest) - len(parts[place])
        parts[place] = longest
    if not parts:
        return (cut := fields[0][-1][:columns]), len(cut)
    widen = limits.BAR_WIDE - limits.BAR_LEAST if drawer else 0
    name_columns = min(spare - len(_GAP) - widen, limits.LIVE_NAME_COLUMNS)
    if path and len(parts) == len(fields) and name_columns >= limits.LIVE_NAME_LEAST:
        parts.append(displayed(path, name_columns - len("''"), ascii_only=not encoding.startswith("utf")))
        spare -= len(_GAP) + columns_of(parts[-1])
    width = sum(map(columns_of, parts)) + len(_GAP) * (len(parts) - 1)
    if drawer is not None and share is not None:
        bar_columns = limits.BAR_LEAST + min(spare, limits.BAR_MOST - limits.BAR_LEAST)
        parts.insert(1, drawer.drawn(min(share, 1.0), bar_columns))
        width += bar_columns + len(_GAP)
    return _GAP.join(parts), width


def first_that_fits(forms: Sequence[str], columns: int) -> tuple[str, int]:
    """Return the first of these lines that is no longer than this, or the last one cut; and its columns."""
    line = next((form for form in forms if columns_of(form) <= columns), forms[-1][:columns])
    return line, columns_of(line)
