"""One event loop for every asynchronous test: Trio, through anyio's plugin."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "trio"
