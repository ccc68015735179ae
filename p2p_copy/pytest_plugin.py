"""The fixture `relay` of pytest, which finds this module by its entry point. A fixture of the same name replaces it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(name="relay")
def _relay() -> Iterator[str]:
    """Address of a relay on the loopback that runs for one test."""
    from p2p_copy.testing import relay  # takes a tenth of a second, and most tests need no relay

    with relay() as address:
        yield address
