"""One event loop for every asynchronous test: Trio, through anyio's plugin."""

from __future__ import annotations

import signal

import pytest

for _name in ("SIGINT", "SIGHUP"):
    # In the background of a shell, and under nohup, one is ignored, and so it would be in the processes of the tests.
    if (_number := getattr(signal, _name, None)) and signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "trio"
