"""The real programs that contrib/ is written for: found, run and ended; a test without its program is skipped."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTRIB = Path(__file__).parents[2] / "contrib"

PATIENCE = 40
"""Seconds in which a program must be ready, and in which it must have ended."""


def need(name: str) -> str:
    """Return the path of a program, or skip the test."""
    path = os.environ.get("PATH", os.defpath)
    found = shutil.which(name, path=f"{path}:/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed here")
    return found


def check(*words: str | Path, **variables: str) -> str:
    """Run a program to its end, which must be a success; return what it said."""
    done = subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **variables},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def substituted(file: Path, **places: str) -> str:
    """Return a file's text with names and numbers of a real installation replaced; each must occur."""
    return replaced(file.read_text(), places)


def replaced(text: str, places: dict[str, str]) -> str:
    for old, new in places.items():
        assert old in text, f"{old} is not in the file any more"
        text = text.replace(old, new)
    return text


_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_PORTS = itertools.cycle(random.sample(range(20_000 + 1_000 * _WORKER, 21_000 + 1_000 * _WORKER), 1_000))
"""Ports of this process of the tests, below those that a system gives away by itself."""


def free_port() -> int:
    """Return a free port that nobody else will take: proxies cannot be asked for any port and say which."""
    while True:
        port = next(_PORTS)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextmanager
def serving(words: list[str], port: int, log: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server from when it accepts connections at `port` until the block is left."""
    with log.open("wb") as stream:
        process = subprocess.Popen(words, stdout=stream, stderr=stream, env={**os.environ, **variables})
    try:
        deadline = time.monotonic() + PATIENCE
        while not _accepts(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
