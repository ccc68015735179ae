"""The programs in docs/examples, each in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import p2p_copy as p2p
from tests.support.processes import PATIENCE, Running

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
            said, complaints = process.communicate(timeout=PATIENCE)
            assert (process.returncode, complaints) == (0, "")
            assert said.splitlines()[-1] == "8 files, 2400000 bytes"
    assert len(os.listdir(tmp_path / "out" / "tree")) == 8


def test_a_program_under_trio(relay: str, tree: Path, tmp_path: Path) -> None:
    with program("trio_mirror.py", relay, tree, 2) as sending:
        codes = [p2p.Code.parse(line(sending, "Code: ")) for _ in range(2)]
        client = p2p.Client(relay=relay)
        roots = {client.receive(tmp_path / code.room, code=code).root[:16] for code in codes}
        said, complaints = sending.communicate(timeout=PATIENCE)
        assert (sending.returncode, complaints) == (0, "")
    assert sorted(said.splitlines()) == sorted(f"{code.room}: 8 files, digest {min(roots)}" for code in codes)


def test_a_program_under_asyncio(relay: str, tree: Path, tmp_path: Path) -> None:
    paths = [tree, tree / "0"]
    with program("asyncio_progress.py", relay, *paths) as sending:
        codes = dict(line(sending, "").split(": ") for _ in paths)
        client = p2p.Client(relay=relay)
        for number, code in enumerate(codes.values()):
            client.receive(tmp_path / str(number), code=p2p.Code.parse(code))
        said, complaints = sending.communicate(timeout=PATIENCE)
        assert (sending.returncode, complaints) == (0, "")
    assert f"{tree}: 8 files are there, and verified" in said
    assert f"{tree / '0'}: 300000 of " in said


@pytest.mark.skipif(sys.platform == "win32", reason="is ended with Ctrl-C, which is no signal there")
def test_a_web_server_under_asyncio(tree: Path, tmp_path: Path) -> None:
    with program("asyncio_server.py", tmp_path / "uploads") as serving:
        url = line(serving, "")
        command = request(url, b"")["command"].split()
        assert request(f"{url}/0") == {"number": 0, "state": "waiting", "size": 0}
        command[command.index("PATH")] = str(tree)
        assert Running(*command[1:]).wait()[0] == 0
        deadline = time.monotonic() + PATIENCE
        while request(f"{url}/0")["state"] != "complete":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert request(f"{url}/0") == {"number": 0, "state": "complete", "size": 2_400_000, "files": 8}
        assert request(url, b"")["number"] == 1  # another one, of which nothing comes
        with pytest.raises(urllib.error.HTTPError, match="404"):
            request(f"{url}/2")
        host, port = url.removeprefix("http://").removesuffix("/uploads").split(":")
        with socket.create_connection((host, int(port))):  # a visitor that says nothing
            serving.send_signal(signal.SIGINT)
            said, complaints = serving.communicate(timeout=PATIENCE)
        assert (serving.returncode, said, complaints) == (0, "", "")
    assert len(os.listdir(tmp_path / "uploads" / "0" / "tree")) == 8


def request(url: str, data: bytes | None = None) -> dict[str, Any]:
    with urllib.request.urlopen(url, data, timeout=PATIENCE) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


@pytest.mark.slow  # another pytest starts
def test_tests_with_a_relay(tmp_path: Path) -> None:
    options = ("-q", "-p", "no:xdist", "-p", "no:cacheprovider", "--rootdir", tmp_path)
    command = [sys.executable, "-m", "pytest", *map(str, options), str(EXAMPLES / "test_upload.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert "2 passed" in done.stdout


def test_every_example_is_run_here() -> None:
    here = Path(__file__).read_text(encoding="utf-8")
    assert not [example.name for example in EXAMPLES.glob("*.py") if f'"{example.name}"' not in here]
