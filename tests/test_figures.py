"""The pictures in docs/: the screens are what the program prints today, and the chart has the numbers of its page."""

from __future__ import annotations

import re
import sys
from html import unescape
from typing import TYPE_CHECKING

import pytest

if sys.platform != "linux":
    pytest.skip("the pictures are made on Linux", allow_module_level=True)

from docs.figures import screens
from docs.figures.results import results
from docs.figures.theme import THEMES, Theme, written

if TYPE_CHECKING:
    from pathlib import Path

    from docs.figures.screens import Story

pytestmark = pytest.mark.once


@pytest.mark.slow  # real commands, some of them with seconds of transfer
@pytest.mark.parametrize("story", screens.STORIES, ids=lambda story: story.__name__)
def test_a_screen_shows_what_the_program_prints(story: Story, tmp_path: Path) -> None:
    for screen in screens.told(story, tmp_path):
        for theme in THEMES:
            path = written("screens", screen.name, theme)
            shown = path.read_text("utf-8") if path.exists() else ""
            assert screen.svg(theme) == shown, f"draw {path.name} again: python -m docs.figures screens"


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
def test_the_chart_has_the_numbers_of_its_page(theme: Theme) -> None:
    svg = written("figures", "performance", theme).read_text("utf-8")
    drawn = {unescape(text).strip() for text in re.findall(r"<text[^>]*>([^<]+)", svg)}
    wanted = {text for row in results() for text in (row.work, row.label)}
    assert wanted <= drawn, "draw it again: python -m docs.figures figures"
