"""A receipt and a received tree, for the tests of receipts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.trees import make_tree

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def receipt(tmp_path: Path) -> Path:
    return tmp_path / "receipt.json"


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A directory into which a tree with everything was received."""
    top = tmp_path / "out"
    top.mkdir()
    make_tree(top)
    return top
