"""One event loop for every asynchronous test: Trio, through anyio's plugin."""

from __future__ import annotations

import signal
import uuid

import pytest

for _name in ("SIGINT", "SIGHUP"):
    # In the background of a shell, and under nohup, one is ignored, and so it would be in the processes of the tests.
    if (_number := getattr(signal, _name, None)) and signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def own_memory(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test goes on with a transfer of another one, or of whoever runs it."""
    monkeypatch.setenv("P2P_COPY_STATE_DIR", str(tmp_path_factory.getbasetemp() / uuid.uuid4().hex))


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "trio"
