"""What the tests of journals share: keys, records, and a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from p2p_copy.files.state.journal import Begun, Done, Journal, key_of
from p2p_copy.protocol import limits as protocol_limits

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

PATIENCE = 100
"""Seconds after which a program of its own is a failure; on a quiet machine none takes six."""

KEY = key_of("top/file")
OTHER = key_of("top/other")
DONE = Done(b"identity", b"d" * 32, "", flushed=True)
LEAVES = tuple(bytes([number]) * protocol_limits.DIGEST for number in range(8))


def under_way(segments: int = 0, flushed: int = 0, identity: bytes = b"identity") -> Begun:
    return Begun(identity, "part", b"".join(LEAVES[:segments]), flushed)


def opened(path: str) -> closing[Journal]:
    return closing(Journal(path))


def run_child(script: str, *arguments: str, code: int = 0) -> str:
    """Run a program of its own; it must end with this code, which is negative for a signal."""
    ended = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert ended.returncode == code, ended.stderr
    return ended.stdout


def overwrite(path: str, data: bytes) -> None:
    """Replace the file of a journal, and remove what SQLite keeps next to it."""
    for ending in ("-wal", "-shm"):
        Path(path + ending).unlink(missing_ok=True)
    Path(path).write_bytes(data)
