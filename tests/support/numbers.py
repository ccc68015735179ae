"""The numbers of all folders by their names alone, for tests that make many of them small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from p2p_copy.cli import limits as cli_limits
from p2p_copy.files import limits as files_limits
from p2p_copy.peer import limits as peer_limits
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.relay import limits as relay_limits
from p2p_copy.transfer import limits as transfer_limits
from p2p_copy.transport import limits as transport_limits

if TYPE_CHECKING:
    from types import ModuleType

    import pytest

EVERYWHERE = (
    protocol_limits,
    transport_limits,
    peer_limits,
    files_limits,
    transfer_limits,
    relay_limits,
    cli_limits,
)


def home_of(name: str) -> ModuleType:
    """Return the module in which a number is defined; each name stands in one of them only."""
    (home,) = (module for module in EVERYWHERE if hasattr(module, name))
    return home


def change(monkeypatch: pytest.MonkeyPatch, **numbers: Any) -> None:
    """Give numbers other values for the rest of a test."""
    for name, value in numbers.items():
        monkeypatch.setattr(home_of(name), name, value)
