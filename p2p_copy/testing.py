"""A relay for tests: `from p2p_copy.testing import relay`.

    with relay() as address: ...        in any program or test: plain, under asyncio or under Trio
    def test_upload(relay): ...         in pytest, where `relay` is a fixture whose value is the address

The relay listens on the loopback, in a thread of its own that ends with the block or the test. pytest finds the fixture
by itself, also without this import (`p2p_copy.pytest_plugin`). This module does not need pytest.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from p2p_copy.api.relay import Relay

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["relay"]


@contextmanager
def relay(**settings: Any) -> Iterator[str]:
    """Run a relay on the loopback while a block runs; yield its address.

    Args:
        settings: keyword arguments of `p2p_copy.Relay`, such as `rate=1_000_000`.

    Raises:
        CannotListen: certificate, key or tokens cannot be used.

    Example:
        >>> from p2p_copy.testing import relay
        >>> with relay() as address:
        ...     print(address.rpartition(":")[0])
        ws://127.0.0.1

    """
    with Relay("127.0.0.1", 0, **settings) as running:
        yield running.urls[0]
