"""What the tests of whole transfers share."""

from __future__ import annotations

import pytest

from p2p_copy.files import limits as files_limits
from p2p_copy.peer import limits as peer_limits
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.transfer import limits
from tests.support.two_sides import SEGMENT


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Smaller numbers: a few MB are enough for a long transfer."""
    monkeypatch.setattr(protocol_limits, "SEGMENT", SEGMENT)
    monkeypatch.setattr(peer_limits, "RETURN_AFTER", (0.02, 0.1))
    monkeypatch.setattr(files_limits, "JOURNAL_INTERVAL", 0.01)
    monkeypatch.setattr(peer_limits, "ROOM_TURN", 0.2)
    monkeypatch.setattr(limits, "RECEIPT_LINGER", 2.0)
    monkeypatch.setattr(limits, "GOODBYE_LINGER", 1.0)
