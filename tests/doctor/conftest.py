"""Little is sent and written in these tests."""

from __future__ import annotations

import pytest

from p2p_copy.doctor import limits
from tests.support.certificates import Certificates


@pytest.fixture(autouse=True)
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send and write little."""
    monkeypatch.setattr(limits, "SPEED_BYTES", 1_000_000)
    monkeypatch.setattr(limits, "DISK_BYTES", 100_000)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))
