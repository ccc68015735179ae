"""The pages of docs/ that are made from the program are what the program says of itself today."""

from __future__ import annotations

import pytest

from tests.generate_reference import DOCS, PAGES
from tests.manual_pages import pages

MANUAL = pages()


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_the_generated_one(name: str) -> None:
    made = PAGES[name]()
    assert (DOCS / name).read_text(encoding="utf-8") == made, "run: python -m tests.generate_reference"


@pytest.mark.parametrize("name", MANUAL)
def test_the_manual_page_is_the_generated_one(name: str) -> None:
    written = (DOCS / "man" / name).read_text(encoding="utf-8")
    assert written == MANUAL[name], "run: python -m tests.generate_reference"
