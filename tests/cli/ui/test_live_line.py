"""The live line at every width: what fits, in which order, and that it is as wide as it says."""

from __future__ import annotations

import io
from contextlib import closing
from dataclasses import replace

import pyte
import pytest

from p2p_copy.api import events
from p2p_copy.cli.ui.display import columns_of
from p2p_copy.cli.ui.live_line import Bar, first_that_fits, fitted
from p2p_copy.cli.ui.progress import Progress
from p2p_copy.cli.ui.terminal import Terminal
from p2p_copy.units import GIB, KIB, MIB

pytest.importorskip("pty", reason="this system has no pseudo-terminals")
pytest.importorskip("termios", reason="this system has no pseudo-terminals")
from tests.support.terminals import ShownTerminal

TIB = 1024 * GIB

ORDINARY = events.Progress(1, 59 * MIB, total_files=3, total_size=92 * MIB, path="results/2024/measured.h5")
HUGE = events.Progress(
    123_456,
    int(999.9 * GIB),
    total_files=3_456_789,
    total_size=int(2.9 * TIB),
    path="results/2024/measured.h5",
    links=4,
)


def drawn(so_far: events.Progress, widths: list[int], rate: float) -> list[str]:
    """Return what a person sees of the live line in a terminal that is resized to one width after the other."""
    seen = []
    with closing(ShownTerminal(widths[0], lines=10)) as shown:
        terminal = Terminal(io.StringIO(), shown.stderr)
        progress = Progress(terminal, sends=True)
        progress.load_bar()
        progress.show(events.Paired(("acid", "zoom")))
        before = int(so_far.size - 4 * rate)
        progress.show(replace(so_far, files=0, size=before))
        progress.draw(0)
        progress.show(so_far)
        terminal.flush(60)
        shown.look()
        for width in widths:
            shown.resize(width)
            progress.draw(4)
            terminal.flush(60)
            screen = shown.look()
            seen.append(screen.display[screen.cursor.y].rstrip())
    return seen


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("locale.setlocale", lambda category: "C.UTF-8")


def test_what_fits_is_shown_in_the_order_of_its_importance() -> None:
    assert drawn(ORDINARY, [10, 20, 40, 60, 80, 100, 120], rate=12 * MIB) == [
        " 64 %",
        " 64 %  12.0 MiB/s",
        " 64 %  12.0 MiB/s  3 s left",
        " 64 %  ━━━━━━━╸━━━━  12.0 MiB/s  3 s left  59.0 of 92.0 MiB",
        " 64 %  ━━━━━━━━━━━╸━━━━━━  12.0 MiB/s  3 s left  59.0 of 92.0 MiB  1 of 3 files",
        " 64 %  ━━━━━━━╸━━━━  12.0 MiB/s  3 s left  59.0 of 92.0 MiB  1 of 3 files  results/2024/measured.h5",
        f" 64 %  {'━' * 19}╺{'━' * 10}  12.0 MiB/s  3 s left  59.0 of 92.0 MiB  1 of 3 files  results/2024/measured.h5",
    ]


def test_large_numbers_fit() -> None:
    *lines, widest = drawn(HUGE, [20, 40, 60, 80, 120], rate=999.9 * KIB)
    assert lines == [
        " 33 %  999.9 KiB/s",
        " 33 %  999.9 KiB/s  23 d left",
        " 33 %  ━━╺━━━  999.9 KiB/s  23 d left  999.9 GiB of 2.9 TiB",
        " 33 %  ━╸━━━  999.9 KiB/s  23 d left  999.9 GiB of 2.9 TiB  123k of 3.46M files",
    ]
    assert widest.endswith("999.9 GiB of 2.9 TiB  123,456 of 3,456,789 files  4 connections")


@pytest.mark.parametrize("so_far", [ORDINARY, HUGE], ids=["ordinary", "huge"])
def test_no_line_is_wider_than_the_terminal(so_far: events.Progress) -> None:
    widths = list(range(4, 160))
    for columns, line in zip(widths, drawn(so_far, widths, rate=9.9 * MIB), strict=True):
        assert len(line) < columns, "some terminals wrap a full line"
        assert ("━" in line) == (columns >= 60)
        assert "%" in line or columns < 6
        assert "left" in line or columns < 40


def test_a_terminal_that_is_resized_gets_lines_of_its_new_width() -> None:
    wide, narrow, again = drawn(ORDINARY, [120, 40, 120], rate=MIB)
    assert wide == again
    # A terminal keeps what a longer line had in the last column, into which nothing is written.
    assert narrow[:-1].rstrip() == " 64 %  1.0 MiB/s  33 s left"


def test_without_colours_the_bar_has_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert Bar("utf-8").drawn(0.5, 12) == "[━━━━━     ]"
    assert Bar("ascii").drawn(0.5, 12) == "[-----     ]"


def test_colours_take_no_columns() -> None:
    bar = Bar("utf-8")
    line, columns = fitted([["50 %"]], 79, bar=bar, share=0.5)
    assert "\x1b[" in line
    screen = pyte.Screen(80, 2)
    pyte.Stream(screen).feed(line)
    assert screen.cursor.x == columns == len("50 %") + 2 + 30


def test_in_the_c_locale_everything_is_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("locale.setlocale", lambda category: "C")
    (line,) = drawn(
        events.Progress(1, MIB, total_files=3, total_size=2 * MIB, path="Straße/" + "ß" * 50), [120], rate=MIB
    )
    assert line.isascii()
    assert "Stra\\xdfe/" in line
    assert "..." in line


def test_a_wide_name_is_measured_in_columns() -> None:
    line, columns = fitted([["x"]], 40, path="写真" * 20)
    assert columns_of(line) == columns <= 40


def test_of_whole_lines_the_first_that_fits_is_shown() -> None:
    assert first_that_fits(("longer", "long"), 5) == ("long", 4)
    assert first_that_fits(("longer", "long"), 2) == ("lo", 2)
