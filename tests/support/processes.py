"""Real processes for tests: `python -m p2p_copy …`, started, watched and ended by their handles."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CODE = "lab7-a long passphrase"

STATE = "P2P_COPY_STATE_DIR"
"""The one variable of ours that the tests set for their processes: what is remembered in one is nothing to another."""

PATIENCE = 60
"""Seconds after which a process that should have ended is a failure."""

QUICK = 20
"""Seconds within which an error must have been said."""


def environment(**variables: str) -> dict[str, str]:
    """Return this process' environment without p2p-copy's own variables, and with these."""
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith("P2P_COPY_") or name == STATE
    }
    return {**clean, "PYTHONWARNINGS": "error", "P2P_COPY_CONFIG": os.devnull, **variables}


class Running:
    """One process and what it says."""

    def __init__(self, *words: str, **variables: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "p2p_copy", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(**variables),
        )

    def wait(self, seconds: float = PATIENCE) -> tuple[int, str, str]:
        """Return exit code, output and errors, once it has ended by itself."""
        try:
            out, errors = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, errors = self.process.communicate()
            raise AssertionError(f"still running after {seconds} s:\n{out}\n{errors}") from None
        assert "Traceback" not in errors
        return self.process.returncode, out, errors

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Return where a line of its errors matches."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if match := re.search(pattern, line):
                return match
        raise AssertionError(f"it ended without saying {pattern!r}")

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def relay(*options: str, port: int = 0) -> Iterator[tuple[str, Running]]:
    """Run a relay process; yield its address and handle."""
    words = options or ("--no-tls",)
    running = Running("run-relay-server", "127.0.0.1", str(port), *words)
    try:
        assert running.process.stdout is not None
        line = running.process.stdout.readline()
        match = re.search(r"wss?://[^\s]+", line)
        assert match is not None, line
        yield match[0], running
    finally:
        if running.process.poll() is None:
            running.process.send_signal(signal.SIGTERM)
            code, _, errors = running.wait(QUICK)
            assert code == 0, errors


def sender(
    url: str, *paths: Path | str, code: str = CODE, options: tuple[str, ...] = (), **variables: str
) -> Running:
    return Running("send", *map(str, paths), "--server", url, *options, P2P_COPY_CODE=code, **variables)


def receiver(
    url: str, out: Path, *, code: str = CODE, options: tuple[str, ...] = (), **variables: str
) -> Running:
    return Running("receive", "--server", url, "--out", str(out), *options, P2P_COPY_CODE=code, **variables)


def both(url: str, source: Path, out: Path) -> tuple[tuple[int, str, str], tuple[int, str, str]]:
    """Run a whole transfer; return what became of sender and receiver."""
    one, other = sender(url, source), receiver(url, out)
    return one.wait(), other.wait()
