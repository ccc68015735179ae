"""The pictures in docs/figures: the chart has the numbers of its page. `tests/cli/screens` has the screens."""

from __future__ import annotations

import re
import sys
from html import unescape

import pytest

if sys.platform != "linux":
    pytest.skip("the pictures are made on Linux", allow_module_level=True)

from docs.figures.results import results
from docs.figures.theme import THEMES, Theme, written

pytestmark = pytest.mark.once


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
def test_the_chart_has_the_numbers_of_its_page(theme: Theme) -> None:
    svg = written("figures", "performance", theme).read_text("utf-8")
    drawn = {unescape(text).strip() for text in re.findall(r"<text[^>]*>([^<]+)", svg)}
    wanted = {text for row in results() for text in (row.work, row.label)}
    assert wanted <= drawn, "draw it again: python -m docs.figures figures"
