"""Real commands whose output is stuck: a stopped terminal, a pipe without a reader, a full disk."""

from __future__ import annotations

import codecs
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.cli.pipes import drain, fill, full_pipe
from tests.cli.processes import ENOUGH, contents, finish, run, start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    Outlet = Callable[[], AbstractContextManager[tuple[int, int, Callable[[], None]]]]

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="pipes are filled and read in the ways of Unix"
)

CODE = "lab7-a long passphrase"
RELAY = ("run-relay-server", "127.0.0.1", "0", "--no-tls", "--log-level", "debug")
FULL = "/dev/full"
LOST, READER_GONE = 27, 141


@contextmanager
def pipe() -> Iterator[tuple[int, int, Callable[[], None]]]:
    """Yield the reading and the writing end of a pipe, and a function that fills it."""
    reader, writer = os.pipe()
    yield reader, writer, lambda: fill(writer)
    os.close(reader)
    os.close(writer)


@contextmanager
def terminal() -> Iterator[tuple[int, int, Callable[[], None]]]:
    """Yield the user's side of a pseudo-terminal, the program's side, and a function that stops it as Ctrl-S does."""
    pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")
    import termios

    here, there = pty.openpty()
    yield here, there, lambda: termios.tcflow(there, termios.TCOOFF)
    os.close(here)
    os.close(there)


def read_until(reader: int, pattern: str) -> re.Match[str]:
    said, decoder = "", codecs.getincrementaldecoder("utf-8")()
    while not (match := re.search(pattern, said)):
        said += decoder.decode(os.read(reader, 4096))
    return match


OUTLETS = pytest.mark.parametrize("outlet", [pipe, terminal])


@pytest.mark.fault(80, "full pipe", "stopped")
@OUTLETS
def test_a_relay_serves_while_its_log_is_stuck(outlet: Outlet, tree: Path, tmp_path: Path) -> None:
    with outlet() as (reader, writer, stop):
        relay = start(*RELAY, stdout=writer, stderr=writer)
        url = read_until(reader, r"Relay listening on (ws://\S+)\r?\n")[1]
        stop()
        env = {"P2P_COPY_SERVER": url, "P2P_COPY_CODE": CODE}
        sender = start("send", str(tree), env=env)
        received, _, err = run("receive", "--out", str(tmp_path / "out"), env=env)
        assert (received, finish(sender)[0]) == (0, 0), err
        assert contents(tmp_path / "out") == contents(tree.parent)
        relay.terminate()
        assert relay.wait(ENOUGH) == 0, "its last line holds it for a second"
        relay.communicate()


@pytest.mark.fault(80, "full pipe", "stopped")
@OUTLETS
@pytest.mark.parametrize("side", ["send", "receive"])
def test_a_client_finishes_while_its_output_is_stuck(
    outlet: Outlet, side: str, relay: str, tree: Path, tmp_path: Path
) -> None:
    env = {"P2P_COPY_SERVER": relay, "P2P_COPY_CODE": CODE}
    commands = {"send": ("send", str(tree)), "receive": ("receive", "--out", str(tmp_path / "out"))}
    with outlet() as (_, writer, stop):
        stop()
        stuck = start(*commands.pop(side), env=env, stdout=writer, stderr=writer)
        code, _, err = run(*next(iter(commands.values())), env=env)
        assert (code, stuck.wait(ENOUGH)) == (0, 0), err
        stuck.communicate()
    assert contents(tmp_path / "out") == contents(tree.parent)


@pytest.mark.fault(80, "full pipe")
def test_a_log_that_is_read_late_is_complete(tmp_path: Path) -> None:
    (tmp_path / "tokens").touch()
    with pipe() as (reader, writer, stop):
        relay = start(*RELAY, "--tokens-file", str(tmp_path / "tokens"), stdout=writer)
        read_until(reader, r"Relay listening on (ws://\S+)\n")
        stop()
        relay.send_signal(signal.SIGHUP)
        assert " tokens reloaded: 0\n" in drain(reader, until=" tokens reloaded: 0\n")
        relay.terminate()
        relay.communicate()


@pytest.mark.fault(80, "full disk")
def test_a_log_continues_once_the_disk_has_space_again(tmp_path: Path) -> None:
    """A limit of the file's size simulates the full disk. Each reload logs a line."""
    resource = pytest.importorskip("resource")
    if not hasattr(resource, "prlimit"):
        pytest.skip("no limit of another process can be changed here")
    tokens, log = tmp_path / "tokens", tmp_path / "log"
    tokens.touch()
    with log.open("w") as stream:
        relay = start(
            *RELAY, "--tokens-file", str(tokens), "--admin", f"unix:{tmp_path}/admin", stdout=stream
        )
    allowed = resource.prlimit(relay.pid, resource.RLIMIT_FSIZE)
    while "Relay listening" not in log.read_text():
        time.sleep(0.01)
    resource.prlimit(relay.pid, resource.RLIMIT_FSIZE, (1, allowed[1]))
    reload = ("relay-admin", f"unix:{tmp_path}/admin", "reload")
    assert [run(*reload)[0] for _ in range(3)] == [0, 0, 0]
    resource.prlimit(relay.pid, resource.RLIMIT_FSIZE, allowed)
    assert run(*reload)[0] == 0
    relay.terminate()
    relay.communicate()
    text = log.read_text()
    dropped = re.search(r" \.\.\. lines dropped: ([0-9]+)\n[^\n]* tokens reloaded: 0\n", text)
    assert dropped, text
    # The last lost line may still have been on its way when there was space again.
    assert text.count(" tokens reloaded: 0\n") == 4 - int(dropped[1])


@pytest.mark.skipif(not os.path.exists(FULL), reason="this system has no device that is always full")
@pytest.mark.fault(80, "result lost")
@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["send", "--help"],
        ["--version"],
        ["relay-token", "name"],
        ["resume"],
        ["send", "--dry-run", os.path.dirname(__file__)],
    ],
)
def test_a_result_that_cannot_be_written_is_an_error(words: list[str]) -> None:
    with open(FULL, "w") as nowhere:
        code, _, err = run(*words, stdout=nowhere)
    assert (code, err.splitlines()[-1]) == (
        LOST,
        "p2p-copy: The result could not be written: No space left on device.",
    )


@pytest.mark.skipif(not os.path.exists(FULL), reason="this system has no device that is always full")
@pytest.mark.fault(80, "result lost")
def test_a_new_code_that_cannot_be_written_ends_the_sender_and_a_known_one_does_not(
    relay: str, tree: Path, tmp_path: Path
) -> None:
    env = {"P2P_COPY_SERVER": relay}
    with open(FULL, "w") as nowhere:
        code, _, err = run("send", str(tree), env=env, stdout=nowhere)
        assert (code, "No space left on device" in err) == (LOST, True), err
        env["P2P_COPY_CODE"] = CODE
        sender = start("send", str(tree), env=env, stdout=nowhere)
        received = run("receive", "--out", str(tmp_path / "out"), env=env)[0]
        assert (received, finish(sender)[0]) == (0, 0)


@pytest.mark.fault(80, "reader gone", "result lost")
@pytest.mark.parametrize("words", [["--help"], ["send", "--dry-run", os.path.dirname(__file__)]])
def test_a_reader_that_has_seen_enough_ends_a_command_quietly(words: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = start(*words, stdout=writer)
    os.close(writer)
    code, _, err = finish(process)
    assert (code, err) == (READER_GONE, "")


@pytest.mark.fault(80, "closed", "result lost")
def test_a_result_with_no_output_at_all_is_an_error() -> None:
    words = [sys.executable, "-m", "p2p_copy", "relay-token", "name"]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == LOST
    assert "closed" in done.stderr


@pytest.mark.fault(80, "full pipe")
def test_a_result_waits_for_its_reader_as_that_of_any_command_does() -> None:
    reader, writer = full_pipe()
    process = start("relay-token", "name", stdout=writer)
    read_until(reader, r"Line: name \S+\n")
    assert process.wait(ENOUGH) == 0
    process.communicate()
    os.close(reader)
    os.close(writer)
