"""Small numbers, and pipes in place of standard input and output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from p2p_copy.files import limits as files_limits
from p2p_copy.peer import limits as peer_limits
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.transfer import limits
from p2p_copy.units import MIB
from tests.support.pipes import READ, WINDOW, Ends

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ends]:
    """Replace standard input and output by pipes, and make numbers smaller, so that a few MB are a long stream."""
    monkeypatch.setattr(protocol_limits, "STREAM_WINDOW", WINDOW)
    monkeypatch.setattr(files_limits, "STREAM_READ", READ)
    monkeypatch.setattr(limits, "STREAM_ACKNOWLEDGE", MIB)
    monkeypatch.setattr(protocol_limits, "SEGMENT", MIB)
    monkeypatch.setattr(peer_limits, "RETURN_AFTER", (0.02, 0.1))
    monkeypatch.setattr(peer_limits, "ROOM_TURN", 0.2)
    monkeypatch.setattr(limits, "RECEIPT_LINGER", 2.0)
    monkeypatch.setattr(limits, "GOODBYE_LINGER", 1.0)
    both = Ends(monkeypatch)
    yield both
    both.close()
