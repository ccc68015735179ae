"""A relay for the tests of a file, and a tree to send."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from p2p_copy import Code, testing
from tests.support.trees import make_eight_files

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
    return make_eight_files(tmp_path)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file that takes a while."""
    path = tmp_path / "large"
    path.write_bytes(bytes(64_000_000))
    return path
