"""Real commands in real processes, for tests."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PYTHON_M = (sys.executable, "-m", "p2p_copy")
ENOUGH = 60
"""Seconds after which a process of a test counts as stuck."""


def start(*words: str, env: dict[str, str] | None = None, **settings: Any) -> subprocess.Popen[str]:
    """Start p2p-copy with these words and variables; its streams are pipes unless `settings` says otherwise."""
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(
        [*PYTHON_M, *words], env=os.environ | (env or {}), text=True, encoding="utf-8", **(pipes | settings)
    )


def finish(process: subprocess.Popen[str], stdin: str = "") -> tuple[int, str, str]:
    """Wait for the end; return exit code, standard output and standard error."""
    out, err = process.communicate(stdin, timeout=ENOUGH)
    assert "Traceback" not in (err or "")
    return process.returncode, out, err


def run(*words: str, stdin: str = "", **settings: Any) -> tuple[int, str, str]:
    """Run p2p-copy with these words to its end."""
    return finish(start(*words, **settings), stdin)


def command_in(line: str) -> list[str]:
    """Return the words after `p2p-copy` of the command that a sender prints."""
    match = re.fullmatch(r"On the other machine: p2p-copy (.+)", line.strip())
    assert match, line
    return shlex.split(match[1])


def code_of(sender: subprocess.Popen[str]) -> dict[str, str]:
    """Return the variable that gives the receiver the code that this sender shows first."""
    label, _, code = line_of(sender.stdout).strip().partition(": ")
    assert label == "Code"
    return {"P2P_COPY_CODE": code}


def line_of(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline()


@contextmanager
def relay(*words: str) -> Iterator[str]:
    """Run a relay on the loopback in its own process; yield its URL."""
    process = start("run-relay-server", "127.0.0.1", "0", *(words or ["--no-tls"]))
    try:
        match = re.search(r" Relay listening on (wss?://127\.0\.0\.1:[0-9]+)\n$", line_of(process.stdout))
        assert match
        yield match[1]
    finally:
        process.terminate()
        code, _, _ = finish(process)
        assert code == 0


def contents(top: Path) -> dict[str, bytes | None]:
    """Return everything below a directory: names with contents, None for a directory."""
    return {
        str(path.relative_to(top)): path.read_bytes() if path.is_file() else None for path in top.rglob("*")
    }
