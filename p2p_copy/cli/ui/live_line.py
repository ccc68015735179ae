"""Fits the live line into the width of a terminal: of its fields as many as there is room for, in their order.

rich draws the bar. It takes a tenth of a second to import, so a `Bar` is made only for a transfer that lasts, and in a
worker thread. rich starts no thread and writes nothing itself.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from p2p_copy.cli import limits
from p2p_copy.cli.ui.display import columns_of, displayed, one_line, shortened, with_options
from p2p_copy.units import amount, count, duration, part_of, short_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p2p_copy.api.events import Progress, Reconnecting

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


def moving_line(
    so_far: Progress,
    rate: float,
    columns: int,
    *,
    is_stalled: bool = False,
    encoding: str = "utf-8",
    bar: Bar | None = None,
) -> tuple[str, int]:
    """Return the line about a transfer that moves `rate` bytes a second, at most so wide; and its columns."""
    fields = fields_of(so_far, rate)
    size = so_far.total_size
    share = None if size is None else so_far.size / size if size else 1.0
    if is_stalled:
        fields[0] = tuple(f"Stalled  {form.strip()}" for form in fields[0])
    return fitted(fields, columns, path=so_far.path, encoding=encoding, bar=bar, share=share)


def fields_of(so_far: Progress, rate: float) -> list[tuple[str, ...]]:
    """Return how far a transfer is, the most important first, each in forms from long to short."""
    size, files = so_far.total_size, so_far.total_files
    fields: list[tuple[str, ...]] = []
    if size is not None:
        fields.append((f"{100 * so_far.size // size if size else 100:3d} %",))
    fields.append((f"{amount(rate)}/s",))
    if size is None or files is None:
        fields += [(amount(so_far.size),), (count(so_far.files, "file"), short_number(so_far.files))]
    else:
        if rate:
            fields.append((f"{duration(max(size - so_far.size, 0) / rate, rough=True)} left",))
        fields.append((part_of(so_far.size, size),))
        short = f"{short_number(so_far.files)} of {short_number(files)}"
        fields.append((f"{so_far.files:,} of {count(files, 'file')}", f"{short} files", short))
    if so_far.links > 1:
        fields.append((f"{so_far.links} connections", f"{so_far.links} conn."))
    return fields


def retry_lines(loss: Reconnecting, lasted: float, columns: int) -> tuple[str, ...]:
    """Return a line about a loss, `lasted` seconds after it, from the longest form to the shortest one.

    It says when the next try is, for how long this side goes on, and why, as far as that has room.
    """
    pause, left = loss.pause - lasted, f"for {duration(loss.seconds - lasted)} more"
    next_try = f"next try in {duration(pause)}" if pause >= 1 else "trying now"
    short = f"Reconnecting, {next_try}, {left}"
    room = max(columns - len(short) - len(": "), limits.LEAST_REASON)
    why = shortened(with_options(one_line(loss.sentence)), room)
    return f"{short}: {why}", short, f"Reconnecting, {next_try}", "Reconnecting"


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
        parts.append(
            displayed(path, name_columns - len("''"), ascii_only=not encoding.lower().startswith("utf"))
        )
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
