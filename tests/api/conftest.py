"""A relay for the tests of a file, and a tree to send."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from p2p_copy import Code, testing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def relay() -> Iterator[str]:
    with testing.relay() as url:
        yield url


@pytest.fixture
def code() -> Code:
    return Code.generate()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory of eight files, 2.4 MB in all."""
    top = tmp_path / "tree"
    top.mkdir()
    for number in range(8):
        (top / str(number)).write_bytes(bytes(300_000))
    return top


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file that takes a while."""
    path = tmp_path / "large"
    path.write_bytes(bytes(64_000_000))
    return path
