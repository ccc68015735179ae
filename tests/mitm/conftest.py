"""What all transfers through a malicious relay have in common."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from p2p_copy.units import KIB
from tests.support.numbers import home_of

if TYPE_CHECKING:
    from pathlib import Path

CHUNK = 16 * KIB


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few files make many records, and neither side waits long for what was dropped."""
    for name in ("CHUNK", "LEAST_CHUNK", "MOST_CHUNK"):
        monkeypatch.setattr(home_of(name), name, CHUNK)
    for name in ("RECEIPT_LINGER", "GOODBYE_LINGER"):
        monkeypatch.setattr(home_of(name), name, 0.3)
    for name in ("HANDSHAKE_TIMEOUT", "OFFER_TIMEOUT"):
        monkeypatch.setattr(home_of(name), name, 0.8)  # an honest answer takes a while on a busy machine


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three files, of three records each."""
    source = tmp_path / "a secret name"
    source.mkdir()
    for number in range(3):
        (source / f"{number}").write_bytes(os.urandom(2 * CHUNK + 1))
    return source
