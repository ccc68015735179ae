"""Commands that are run again, `resume` and `forget`, in real processes."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from p2p_copy import Client, Code, errors
from p2p_copy.files.state.facts import Facts
from p2p_copy.files.state.store import States
from tests.contrib.programs import free_port
from tests.support.commands import send_command
from tests.support.processes import CODE, QUICK, Running, receiver, relay, sender
from tests.support.trees import leftovers, unfinished_size

if TYPE_CHECKING:
    from pathlib import Path

RATE = ("--no-tls", "--rate", "20M")
"""Of the relay, so that a transfer takes a while."""


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(60_000_000))
    return path


def under_way(out: Path, size: int = 20_000_000) -> None:
    """Return once this many bytes, several segments, are written."""
    deadline = time.monotonic() + QUICK
    while unfinished_size(out) <= size:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.fault(70, "SIGKILL", "SIGTERM")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("victim", [0, 1])
def test_the_same_command_again_resumes(
    tmp_path: Path, large: Path, victim: int, number: signal.Signals
) -> None:
    out = tmp_path / "out"
    with relay(*RATE) as (url, _):
        sides = [sender(url, large), receiver(url, out)]
        under_way(out, 40_000_000)  # 20 MB pass at once; in the next second the sender is told of some
        sides[victim].process.send_signal(number)
        code, _, said = sides[victim].wait(QUICK)
        assert code == (-number if number == signal.SIGKILL else 128 + number), said
        if number == signal.SIGTERM:
            stopped, running = ("send", "receiving") if victim == 0 else ("receive", "sending")
            listed = {line.split()[1]: line for line in Running("resume").wait(QUICK)[1].splitlines()[1:]}
            assert set(listed) == {stopped, running}
            assert re.search(r" [1-9][0-9]?% of 57\.2 MiB ", listed[stopped])
        sides[victim] = (lambda: sender(url, large), lambda: receiver(url, out))[victim]()
        ends = [side.wait() for side in sides]
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert "Resuming the transfer" in ends[victim][2]
    assert "Reconnecting" in ends[1 - victim][2]
    assert (out / "large").read_bytes() == large.read_bytes()
    assert not leftovers(out)
    assert Running("resume").wait(QUICK)[1] == "No unfinished transfers.\n"


def test_a_transfer_that_stopped_at_its_deadline_is_listed_and_resumed(tmp_path: Path, large: Path) -> None:
    out = tmp_path / "out"
    with relay(*RATE) as (url, _):
        code_was_made = Running("send", str(large), "--server", url, "--deadline", "2s")
        code = code_was_made.wait_for(r"").string  # the first line on standard error names the relay
        assert "Connecting" in code
        assert code_was_made.process.stdout is not None
        code = code_was_made.process.stdout.readline().split()[1]
        taking = Running("receive", code, "--server", url, "--out", str(out))
        assert code_was_made.wait(QUICK)[0] == errors.DeadlineReached.exit_code
        listed = Running("resume").wait(QUICK)[1].splitlines()
        mine = next(line for line in listed if " send " in line)
        assert str(large) in mine
        assert code not in mine
        again = Running("resume", mine.split()[0])
        assert again.wait()[0] == taking.wait()[0] == 0
    assert (out / "large").read_bytes() == large.read_bytes()


def test_what_is_forgotten_leaves_nothing_behind(tmp_path: Path, large: Path) -> None:
    out = tmp_path / "out"
    receipts = [("--receipt", str(tmp_path / name)) for name in ("sent", "received")]
    with relay("--no-tls", "--rate", "2M") as (url, _):
        sides = [sender(url, large, options=receipts[0]), receiver(url, out, options=receipts[1])]
        under_way(out)
        busy = Running("resume").wait(QUICK)[1].splitlines()[1].split()[0]
        code, _, said = Running("forget", busy).wait(QUICK)
        assert code == errors.UsageError.exit_code
        assert "is running" in said
        for side in sides:
            side.kill()
    listed = [line.split()[0] for line in Running("resume").wait(QUICK)[1].splitlines()[1:]]
    assert len(listed) == 2
    assert len(leftovers(tmp_path)) == 4, "the receipts were begun, and the output directory was marked"
    assert Running("forget", *listed).wait(QUICK)[0] == 0
    assert not leftovers(tmp_path)
    assert Running("resume").wait(QUICK)[1] == "No unfinished transfers.\n"
    code, _, said = Running("forget", listed[0]).wait(QUICK)
    assert code == errors.UsageError.exit_code
    assert f'No unfinished transfer matches "{listed[0]}". List them with p2p-copy resume.' in said


@pytest.mark.fault(78, "same machine")
def test_the_same_command_twice_at_once_is_refused(tmp_path: Path, large: Path) -> None:
    with relay() as (url, _):
        first = sender(url, large)
        first.wait_for("[Ww]aiting")
        code, _, said = sender(url, large).wait(QUICK)
        assert code == errors.UsageError.exit_code
        assert "running this transfer" in said
        first.kill()


@pytest.mark.fault(77, "relay restarts")
def test_a_waiting_sender_registers_again_after_the_relay_was_restarted(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    port = free_port()
    with relay(port=port) as (url, _):
        waiting = sender(url, tmp_path / "file")
        waiting.wait_for("[Ww]aiting")
    waiting.wait_for("Reconnecting")
    with relay(port=port) as (url, _):
        other = receiver(url, tmp_path / "out")
        assert waiting.wait()[0] == other.wait()[0] == 0


def test_a_memory_that_cannot_be_written_costs_the_memory_and_not_the_transfer(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "no directory").write_text("")
    options = ("--state-dir", str(tmp_path / "no directory" / "below"))
    with relay() as (url, _):
        one = sender(url, tmp_path / "file", options=options)
        other = receiver(url, tmp_path / "out", options=options)
        ends = [one.wait(), other.wait()]
    assert [code for code, _, _ in ends] == [0, 0]
    assert all("cannot be saved" in said for _, _, said in ends)


def test_an_odd_state_does_not_hide_the_others(tmp_path: Path) -> None:
    states = States(str(tmp_path))
    states.create("0" * 32, Facts(command=send_command("/a"))).close()
    (tmp_path / f"{'1' * 32}.json").write_text('{"began": "yesterday"}')
    states.create("2" * 32, Facts()).close()
    code, out, said = Running("resume", "--state-dir", str(tmp_path)).wait()
    assert code == 0
    assert [line[:8] for line in out.splitlines()] == ["ID      ", "00000000"]
    for id_, line in zip("21", said.splitlines(), strict=True):
        assert line == f"{id_ * 8}  cannot be read and is ignored. To remove it: p2p-copy forget {id_ * 8}"
    for id_, words in (
        ("0", "have not connected yet"),
        ("1", "was removed"),
        ("2", "have not connected yet"),
    ):
        code, _, said = Running("resume", id_ * 8, "--state-dir", str(tmp_path)).wait()
        assert code == errors.UsageError.exit_code
        assert words in said


@pytest.mark.fault(104, "listing", "resume")
def test_the_name_of_a_state_does_not_help_to_guess_the_code(tmp_path: Path) -> None:
    """The same transfer has different names in two directories, so a name does not reveal the transfer."""
    ids = []
    for place in (tmp_path / "one", tmp_path / "other"):
        for _ in range(2):  # the same command finds its state again
            client = Client("ws://127.0.0.1:9", state_dir=place)
            ids.append(client.save_receive("/incoming", code=Code.parse("1234-guess-me")).id)
    assert ids[0] == ids[1]
    assert ids[2] == ids[3]
    listed = [line[:8] for at in ("one", "other") for line in list_of(tmp_path / at).splitlines()[1:]]
    assert listed == [ids[0][:8], ids[2][:8]]
    assert ids[0][:8] != ids[2][:8]


def test_a_certificate_for_a_relay_without_tls_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    """The relay of a saved transfer is known only when it is resumed."""
    facts = Facts(command=send_command("/a", relay="ws://127.0.0.1:1"), code=CODE)
    States(str(tmp_path)).create("0" * 32, facts).close()
    code, _, said = Running("resume", "0", "--ca-file", "x", "--state-dir", str(tmp_path)).wait()
    assert code == errors.UsageError.exit_code
    assert "--ca-file has no effect here" in said
    assert list_of(tmp_path).splitlines()[1].startswith("00000000")


@pytest.mark.parametrize("words", [("send", "x", "--server", " WS://x"), ("receive", "ws://x")])
def test_so_is_one_for_a_relay_named_by_the_command_or_the_environment(words: tuple[str, ...]) -> None:
    code, _, said = Running(*words, "--ca-file=x").wait()
    assert code == errors.UsageError.exit_code
    assert "--ca-file has no effect here" in said


def test_words_are_not_left_uncompared_where_nothing_can_be_asked(tmp_path: Path) -> None:
    command = replace(send_command("/a", relay="ws://127.0.0.1:1"), verify=True)
    States(str(tmp_path)).create("0" * 32, Facts(command=command, code=CODE)).close()
    code, out, said = Running("resume", "0", "--state-dir", str(tmp_path)).wait()
    assert (code, out) == (errors.UsageError.exit_code, "")
    assert said == "p2p-copy: --verify asks a question, but there is no terminal to ask at.\n"
    assert list_of(tmp_path).splitlines()[1].startswith("00000000")


@pytest.mark.parametrize("words", [("send", "x"), ("receive", "--yes", "--out", "x"), ("resume", "0")])
def test_a_pin_in_the_configuration_is_refused_for_a_relay_without_tls(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    facts = Facts(command=send_command("/a", relay="ws://127.0.0.1:1"), code=CODE)
    States(str(tmp_path / "states")).create("0" * 32, facts).close()
    (tmp_path / "config").write_text(f'server = "ws://127.0.0.1:1"\npin = "{"ab" * 32}"\n')
    options = ("--config", str(tmp_path / "config"), "--state-dir", str(tmp_path / "states"))
    code, out, said = Running(*words, *options, P2P_COPY_CODE=CODE).wait()
    assert (code, out) == (errors.UsageError.exit_code, "")
    assert "--pin has no effect with a ws:// relay" in said
    assert len(list_of(tmp_path / "states").splitlines()) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the usual place is named by other variables")
@pytest.mark.parametrize("variable", ["XDG_STATE_HOME", "P2P_COPY_STATE_DIR"])
def test_what_the_configuration_says_of_a_relay_counts_for_a_transfer_in_the_usual_place(
    variable: str, tmp_path: Path
) -> None:
    states = tmp_path / "p2p-copy" if variable == "XDG_STATE_HOME" else tmp_path
    facts = Facts(command=send_command("/a", relay="ws://127.0.0.1:1"), code=CODE)
    States(str(states)).create("0" * 32, facts).close()
    config = tmp_path / "config"
    config.write_text(f'[relay.work]\nurl = "ws://127.0.0.1:1"\npin = "{"ab" * 32}"\n')
    variables = {"P2P_COPY_STATE_DIR": "", variable: str(tmp_path)}
    code, _, said = Running("resume", "0", "--config", str(config), **variables).wait()
    assert code == errors.UsageError.exit_code
    assert "--pin has no effect with a ws:// relay" in said


def list_of(directory: Path) -> str:
    return Running("resume", "--state-dir", str(directory)).wait()[1]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows says no such thing in modes")
def test_a_state_directory_that_others_may_list_is_reported(tmp_path: Path) -> None:
    command = ("receive", CODE, "--server", "ws://127.0.0.1:1", "--patience=0")
    tmp_path.chmod(0o755)
    said = Running(*command, "--state-dir", str(tmp_path)).wait()[2]
    tmp_path.chmod(0o700)
    assert said.count(f"Other users may list {tmp_path}") == 1


@pytest.mark.fault(105, "state directory")
@pytest.mark.skipif(sys.platform == "win32", reason="Windows says no such thing in modes")
@pytest.mark.parametrize(
    "command", [("send", "."), ("receive", CODE), ("resume",), ("resume", "0000"), ("forget", "0000")]
)
def test_nothing_is_read_where_others_may_plant_a_transfer(tmp_path: Path, command: tuple[str, ...]) -> None:
    """It would name the files to be sent and the relay, or the directory to be written to and files to be removed."""
    facts = Facts(command=send_command("/etc"), code=CODE)
    States(str(tmp_path)).create("0" * 32, facts).close()
    tmp_path.chmod(0o1777)
    more = ("--server", "ws://127.0.0.1:1") if command[0] in {"send", "receive"} else ()
    code, out, said = Running(*command, *more, "--state-dir", str(tmp_path)).wait()
    assert (code, out) == (errors.UsageError.exit_code, "")
    assert f"Other users may write into {tmp_path}" in said
    assert len(os.listdir(tmp_path)) == 2, "the state is left as it was"
