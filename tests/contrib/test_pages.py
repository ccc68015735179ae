"""The pages are true: sentences that the program prints, files that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from typing import TYPE_CHECKING

import pytest

from p2p_copy.cli.ui.display import with_options
from tests.contrib.programs import CONTRIB

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = CONTRIB.parent
PAGES = {page.name: page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md")}
FOR_OPERATORS = "".join(PAGES[f"{name}.md"] for name in ("relay", "relay-proxy", "monitoring", "attack"))
TROUBLE = PAGES["troubleshooting.md"]

LEAST = 8
"""Fixed characters that a sentence must have: a text that is all placeholders would match everything."""


@cache
def sentences() -> list[re.Pattern[str]]:
    """Return every text of the program as a pattern: literals, f-strings, docstrings."""
    found: list[re.Pattern[str]] = []
    for file in (ROOT / "p2p_copy").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            parts: list[ast.expr] = node.values if isinstance(node, ast.JoinedStr) else []
            if isinstance(node, ast.Constant):
                parts = [node]
            texts = [
                str(part.value).strip() if len(parts) == 1 else str(part.value)
                for part in parts
                if isinstance(part, ast.Constant) and isinstance(part.value, str)
            ]
            if sum(map(len, texts)) >= LEAST:
                found.append(re.compile("".join(map(_pattern, parts)), re.DOTALL))
    return found


def _pattern(part: ast.expr) -> str:
    return re.escape(with_options(str(part.value).strip("\n"))) if isinstance(part, ast.Constant) else ".*"


def quotes() -> Iterator[str]:
    for line in TROUBLE.splitlines():
        if line.startswith("> "):
            yield line.removeprefix("> ").removeprefix("The relay refused: ")


@pytest.mark.parametrize("quote", list(quotes()))
def test_a_quoted_sentence_is_one_of_the_program(quote: str) -> None:
    assert any(pattern.fullmatch(quote) for pattern in sentences())


def test_every_file_that_the_pages_name_exists() -> None:
    for name in set(re.findall(r"\bcontrib/[\w/.@-]*[\w]", "".join(PAGES.values()))):
        assert (ROOT / name).exists(), name


def test_every_example_is_named_in_a_page_for_operators() -> None:
    for file in CONTRIB.rglob("*"):
        if file.is_file() and file.name != "p2p-copy.sbatch" and file.suffix != ".pyc":
            assert str(file.relative_to(ROOT)) in FOR_OPERATORS, file
