"""How the page finds out that a connection is dead, in Node."""

from __future__ import annotations

import pytest

from tests.web.test_protocol import needs_node, node

pytestmark = pytest.mark.once


@needs_node
def test_the_page_waits_for_no_dead_connection() -> None:
    node("waiting.test.mjs")
