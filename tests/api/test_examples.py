"""The programs in docs/examples, each in a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import p2p_copy as p2p

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@contextmanager
def program(name: str, *words: object) -> Iterator[subprocess.Popen[str]]:
    """Run an example, whose output can be read."""
    command = [sys.executable, str(EXAMPLES / name), *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str], beginning: str) -> str:
    """Return the rest of the next line, which has this beginning."""
    assert process.stdout is not None
    text = process.stdout.readline().rstrip()
    assert text.startswith(beginning)
    return text.removeprefix(beginning)


def test_a_plain_program(relay: str, tree: Path, tmp_path: Path, code: p2p.Code) -> None:
    with (
        program("plain.py", "send", relay, code, tree) as sending,
        program("plain.py", "receive", relay, code, tmp_path / "out") as receiving,
    ):
        for process in (sending, receiving):
            said, complaints = process.communicate(timeout=20)
            assert (process.returncode, complaints) == (0, "")
            assert said.splitlines()[-1] == "8 files, 2400000 bytes"
    assert len(os.listdir(tmp_path / "out" / "tree")) == 8


def test_a_program_under_trio(relay: str, tree: Path, tmp_path: Path) -> None:
    with program("trio_mirror.py", relay, tree, 2) as sending:
        codes = [p2p.Code.parse(line(sending, "Code: ")) for _ in range(2)]
        client = p2p.Client(relay=relay)
        roots = {client.receive(tmp_path / code.room, code=code).root[:16] for code in codes}
        said, complaints = sending.communicate(timeout=20)
        assert (sending.returncode, complaints) == (0, "")
    assert sorted(said.splitlines()) == sorted(f"{code.room}: 8 files, digest {min(roots)}" for code in codes)


@pytest.mark.skipif(sys.platform == "win32", reason="is ended with Ctrl-C, which is no signal there")
def test_a_server_under_asyncio(relay: str, tree: Path, tmp_path: Path) -> None:
    with program("asyncio_uploads.py", relay, tmp_path / "uploads") as serving:
        port = int(line(serving, "Port: "))
        with socket.create_connection(("127.0.0.1", port)) as visitor, visitor.makefile() as answers:
            code = p2p.Code.parse(answers.readline())
            p2p.Client(relay=relay).send(tree, code=code)
            assert answers.readline() == "Received 8 files.\n"
        with socket.create_connection(("127.0.0.1", port)) as visitor:
            assert visitor.recv(100)  # another code, of which nothing comes
        with socket.create_connection(("127.0.0.1", port)) as visitor:
            assert visitor.recv(100)
            serving.send_signal(signal.SIGINT)
            _, complaints = serving.communicate(timeout=20)
        assert "KeyboardInterrupt" in complaints.splitlines()[-1]
    assert len(os.listdir(tmp_path / "uploads" / code.room / "tree")) == 8
