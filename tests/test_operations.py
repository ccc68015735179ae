"""docs/operations.md is what the program says of itself today."""

from __future__ import annotations

from tests.generate_operations import PAGE, page


def test_the_page_is_the_generated_one() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tests.generate_operations"
