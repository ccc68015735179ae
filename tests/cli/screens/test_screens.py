"""The screens in this folder and the pictures in docs/screens are what the program shows today."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if sys.platform != "linux":
    pytest.skip("the screens are made on Linux", allow_module_level=True)

from docs.figures.screens import told
from docs.figures.terminal import COLUMNS
from docs.figures.theme import THEMES, written
from tests.cli.screens import frames
from tests.cli.screens.stories import HERE, ONLY_TEXT, STORIES, WIDTHS, path_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.once

AGAIN = "look at it, and write it again: python -m tests.cli.screens"


def same(path: Path, shown: str) -> None:
    assert shown == (path.read_text("utf-8") if path.exists() else ""), f"{path.name}: {AGAIN}"


@pytest.mark.slow  # real commands, some of them with seconds of transfer
@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("name", STORIES)
def test_a_screen_is_what_a_person_sees(name: str, columns: int) -> None:
    for screen in told(STORIES[name], columns):
        same(path_of(screen, columns), screen.text)
        assert max(map(len, screen.text.splitlines())) <= columns
        if columns == COLUMNS and name not in ONLY_TEXT:
            for theme in THEMES:
                same(written("screens", screen.name, theme), screen.svg(theme))


@pytest.mark.parametrize("kind", frames.KINDS)
def test_the_frames_of_the_live_line_are_what_a_person_sees(kind: str) -> None:
    same(frames.path_of(kind), frames.text(kind))


def test_no_screen_has_a_time_that_reads_like_a_clock_or_a_wrong_plural() -> None:
    """Whatever the story: a duration has units, and one thing is no plural."""
    for path in HERE.glob("*/*.txt"):
        text = path.read_text("utf-8")
        assert not frames.CLOCK.search(text), path
        assert not frames.WRONG_PLURAL.search(text), path
