"""Real processes with real pipes between them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from p2p_copy.errors import DeadlineReached, PipeFailed, UsageError
from p2p_copy.files.stdio import StandardInput, StandardOutput
from p2p_copy.units import MIB
from tests.support.processes import CODE, PATIENCE, environment, relay
from tests.support.trees import make_tree, snapshot

if TYPE_CHECKING:
    from pathlib import Path
    from typing import IO

PYTHON = [sys.executable, "-m", "p2p_copy"]


def start(
    *words: str, stdin: int | IO[bytes] = subprocess.DEVNULL, stdout: int = subprocess.PIPE
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*PYTHON, *words],
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=environment(P2P_COPY_CODE=CODE),
    )


def said_by(process: subprocess.Popen[bytes]) -> str:
    """Wait for the end, and return what it has said to people."""
    _, errors = process.communicate(timeout=PATIENCE)
    assert b"Traceback" not in errors
    return errors.decode()


def test_a_tree_through_two_tars(tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    (tmp_path / "out").mkdir()
    with relay() as (url, _):
        packing = subprocess.Popen(["tar", "c", "--format=pax", "-C", tree, "."], stdout=subprocess.PIPE)
        assert packing.stdout is not None
        sender = start("send", "-", "--server", url, stdin=packing.stdout)
        receiver = start("receive", "--out", "-", "--server", url)
        assert receiver.stdout is not None
        unpacking = subprocess.Popen(["tar", "xp", "-C", tmp_path / "out"], stdin=receiver.stdout)
        for mine in (packing.stdout, receiver.stdout):
            mine.close()  # so that only the other process holds it
        assert unpacking.wait(PATIENCE) == 0
        receiver.stdout = None
        said_by(receiver)
        said_by(sender)
        assert (packing.wait(PATIENCE), sender.returncode, receiver.returncode) == (0, 0, 0)
    assert snapshot(tmp_path / "out") == snapshot(tree)


def test_a_reader_that_ends_early_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(8_000_000))
    with relay() as (url, _):
        with open(tmp_path / "file", "rb") as file:
            sender = start("send", "-", "--server", url, stdin=file)
        receiver = start("receive", "--out", "-", "--server", url)
        assert receiver.stdout is not None
        receiver.stdout.read(10)
        receiver.stdout.close()
        receiver.stdout = None
        assert "has ended" in said_by(receiver)
        assert "The receiver gave up" in said_by(sender)
    assert sender.returncode == receiver.returncode == PipeFailed.exit_code


@pytest.mark.slow  # a relay passes on what is queued for longer than a goodbye may take when nothing moves
def test_a_side_that_is_stopped_says_so_behind_all_that_is_queued_on_a_slow_way() -> None:
    with relay("--no-tls", "--rate", "1M") as (url, _):
        with open("/dev/urandom", "rb") as endless:
            sender = start("send", "-", "--server", url, stdin=endless)
        receiver = start(
            "receive", "--out", "-", "--server", url, "--patience", "1", stdout=subprocess.DEVNULL
        )
        assert receiver.stderr is not None
        while b"Transferring" not in (line := receiver.stderr.readline()):
            assert line
        sender.terminate()
        said = said_by(receiver)
        assert "The sender gave up: it was stopped" in said
        assert "Reconnecting" not in said
        assert "A second signal stops at once" in said_by(sender)
    assert (sender.returncode, receiver.returncode) == (128 + signal.SIGTERM, PipeFailed.exit_code)


def test_what_does_not_go_with_a_pipe_is_said_at_once(tmp_path: Path) -> None:
    for words in (
        ("send", "-", str(tmp_path)),
        ("send", "-", "--code-file", "-"),
        ("send", "-", "--exclude", "*.o"),
        ("send", "-", "--name", "../up"),
        ("receive", "--out", "-", "--only", "*.c"),
    ):
        process = start(*words, "--server", "ws://127.0.0.1:1")
        assert "p2p-copy: " in said_by(process), words
        assert process.returncode == UsageError.exit_code


def test_a_deadline_ends_a_pipe_for_good_and_says_so(tmp_path: Path) -> None:
    with relay() as (url, _):
        sender = start("send", "-", "--server", url, "--deadline", "1s", stdin=subprocess.PIPE)
        assert "cannot be resumed" in said_by(sender)
        assert sender.returncode == DeadlineReached.exit_code


@pytest.mark.skipif(sys.platform == "win32", reason="pipes block there")
def test_standard_input_that_another_program_made_non_blocking_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)

    def feed() -> None:
        time.sleep(0.05)
        os.write(theirs, b"data")
        os.close(theirs)

    feeding = threading.Thread(target=feed)
    feeding.start()
    with os.fdopen(ours) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        source = StandardInput("name")
        assert source.read() == b"data"
        assert source.read() == b""
    feeding.join()


@pytest.mark.skipif(sys.platform == "win32", reason="pipes block there")
def test_standard_output_that_another_program_made_non_blocking_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = os.urandom(3 * MIB)
    theirs, ours = os.pipe()
    os.set_blocking(ours, False)
    taken: list[bytes] = []

    def take() -> None:
        time.sleep(0.05)
        with os.fdopen(theirs, "rb") as stream:
            taken.append(stream.read())

    taking = threading.Thread(target=take)
    taking.start()
    with os.fdopen(ours, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        output = StandardOutput()
        output.write(data)
        output.close()
    taking.join()
    assert taken == [data]
