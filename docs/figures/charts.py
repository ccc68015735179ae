"""Charts: the table of docs/performance.md, and the rate of a transfer that is interrupted.

The numbers are read out of that page and of `resumed.json`, so that they stand in one place.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
import numpy as np

from docs.figures import resumed as transfer
from docs.figures.results import Result, results

mpl.use("svg")
from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes

    from docs.figures.theme import Theme

OURS: Final = "p2p-copy"
BOUND: Final = "bare"
"""No program, but what the libraries alone can do."""

MIB: Final = 2**20
WINDOW: Final = 1.0
"""Seconds over which one point of the rate is taken."""


def performance(theme: Theme) -> str:
    """Draw the table: one panel for each work, one bar for each program."""
    rows = results()
    works = list(dict.fromkeys(row.work for row in rows))
    with _style(theme):
        lines = (len(works) + 1) // 2
        figure, grid = plt.subplots(lines, 2, figsize=(7.6, 2.3 * lines), layout="constrained")
        for axes, work in zip(grid.flat, works, strict=False):
            _panel(axes, work, [row for row in rows if row.work == work], theme)
        for axes in grid.flat[len(works) :]:
            axes.remove()
        return _svg(figure, theme)


def _panel(axes: Axes, work: str, rows: list[Result], theme: Theme) -> None:
    better = "more is better" if rows[0].rate else "less is better"
    axes.set_title(f"{work}\n", loc="left", fontweight="bold", fontsize=10)
    axes.text(0, 1.02, better, transform=axes.transAxes, color=theme.faint, fontsize=9)
    colours = {OURS: theme.accent, BOUND: "none"}
    bars = axes.barh(
        [f"{row.program} (a bound)" if row.program == BOUND else row.program for row in rows],
        [row.value for row in rows],
        color=[colours.get(row.program, theme.line) for row in rows],
        edgecolor=[theme.faint if row.program == BOUND else "none" for row in rows],
        linestyle=":",
        height=0.7,
    )
    axes.bar_label(bars, [row.label for row in rows], padding=4)
    axes.set_xlim(0, max(row.value for row in rows) * 1.4)
    axes.set_xticks([])
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def resumed(theme: Theme) -> str:
    """Draw the rate of the interrupted transfer, and below it how much the receiver has."""
    measured = transfer.load()
    with _style(theme):
        figure, (rate, have) = plt.subplots(
            2, 1, sharex=True, figsize=(7.6, 4.6), height_ratios=(3, 2), layout="constrained"
        )
        points = list(_rates(measured))
        rate.fill_between(*zip(*points, strict=True), color=theme.accent, alpha=0.25, linewidth=0)
        rate.plot(*zip(*points, strict=True), color=theme.accent)
        rate.axhline(measured.limit / MIB, color=theme.faint, linestyle=":")
        end = measured.samples[-1][0]
        quiet = (measured.events[0][0] + measured.events[1][0]) / 2
        rate.text(quiet, measured.limit / MIB, "relay's limit", color=theme.faint, ha="center", va="bottom")
        rate.set_ylabel("MiB/s, mean of 1 s")
        rate.set_ylim(0, max(value for _, value in points) * 1.35)
        have.plot(
            [second for second, *_ in measured.samples],
            [100 * written / measured.size for _, written, _ in measured.samples],
            color=theme.accent,
        )
        have.set_ylabel("% at the receiver")
        have.set_xlabel("seconds since both sides were connected")
        have.set_xlim(0, end)
        have.set_ylim(0, 104)
        top = rate.get_ylim()[1]
        for (begin, lost), (again, back) in zip(measured.events[::2], measured.events[1::2], strict=True):
            for axes in (rate, have):
                axes.axvspan(begin, again, color=theme.warn, alpha=0.15, linewidth=0)
            middle = (begin + again) / 2
            rate.text(middle, top * 0.97, f"{lost},\n{back}", color=theme.warn, ha="center", va="top")
        twice = (measured.samples[-1][2] - measured.size) / MIB
        have.text(
            end * 0.985,
            8,
            f"{measured.size / MIB:.0f} MiB, of which {twice:.0f} MiB were sent twice",
            color=theme.faint,
            ha="right",
        )
        for axes in (rate, have):
            axes.spines[["top", "right"]].set_visible(False)
        return _svg(figure, theme)


def _rates(measured: transfer.Measured) -> Iterator[tuple[float, float]]:
    """Yield seconds and MiB per second, over `WINDOW` seconds around each sample.

    The receiver says about twice a second how much it has written since it last said so. Nothing is written during an
    interruption.
    """
    seconds, moved = [0.0], [0]
    for second, _, size in measured.samples:
        if size > moved[-1]:
            if second - seconds[-1] > WINDOW:
                seconds.append(second - WINDOW / 2)
                moved.append(moved[-1])
            seconds.append(second)
            moved.append(size)
    for second, *_ in measured.samples:
        begin, end = max(second - WINDOW / 2, 0), min(second + WINDOW / 2, seconds[-1])
        before, after = np.interp((begin, end), seconds, moved)
        yield second, (after - before) / (end - begin) / MIB


def _style(theme: Theme) -> Any:
    """Return the style of a chart, as a context. Text stays text, and nothing depends on the clock or on chance."""
    return mpl.rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "p2p-copy",
            "font.family": "sans-serif",
            "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],
            "font.size": 9.5,
            "figure.constrained_layout.w_pad": 0.12,
            "figure.constrained_layout.h_pad": 0.1,
            "text.color": theme.text,
            "axes.labelcolor": theme.text,
            "axes.edgecolor": theme.line,
            "axes.facecolor": theme.page,
            "figure.facecolor": theme.page,
            "xtick.color": theme.text,
            "ytick.color": theme.text,
        }
    )


def _svg(figure: Any, theme: Theme) -> str:
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    svg = re.sub(r" +$", "", file.getvalue(), flags=re.MULTILINE)
    return svg.replace("<svg ", f'<svg class="only-{theme.name}" ', 1)
