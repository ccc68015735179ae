"""The commands in real processes, on real files."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from p2p_copy.errors import NothingToSend, RelayUnreachable
from tests.cli.processes import PYTHON_M, code_of, command_in, contents, finish, line_of, run, start

if TYPE_CHECKING:
    from pathlib import Path

CODE = "lab7-a long passphrase"


def digest_in(text: str) -> str:
    match = re.search(r"digest ([0-9a-f]{16})\.", text)
    assert match, text
    return match[1]


def test_the_printed_command_receives_what_is_sent(relay: str, tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    sender = start("send", str(tree), "--server", relay)
    env = code_of(sender)
    words = command_in(line_of(sender.stdout))
    assert words == ["receive", "--server", relay]
    received, receiver_out, receiver_err = run(*words, "--out", str(out), env=env)
    sent, sender_out, sender_err = finish(sender)
    assert (sent, received) == (0, 0), sender_err + receiver_err
    assert (sender_out, receiver_out) == ("", "")
    assert digest_in(sender_err) == digest_in(receiver_err)
    assert contents(out) == contents(tree.parent)


def test_a_generated_code_may_be_said_as_several_words(relay: str, tree: Path, tmp_path: Path) -> None:
    sender = start("send", str(tree), "--server", relay, "--code-words", "6")
    words = re.split("[.-]", code_of(sender)["P2P_COPY_CODE"])
    assert len(words) == 6
    said = [f"{words[0].upper()},", *words[1:3], " and ".join(words[3:5]).replace(" and ", "_"), words[5]]
    received, _, err = run("receive", *said, "--server", relay, "--out", str(tmp_path / "out"))
    assert (finish(sender)[0], received) == (0, 0), err
    assert "argument" not in err
    assert contents(tmp_path / "out") == contents(tree.parent)


def test_the_spelling_of_0_1_works(relay: str, tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    sender = start("send", relay, CODE, str(tree))
    received, _, receiver_err = run("receive", relay, CODE, "--out", str(out))
    sent, sender_out, sender_err = finish(sender)
    assert (sent, received) == (0, 0), sender_err + receiver_err
    assert contents(out) == contents(tree.parent)
    assert "passphrase" not in sender_out + sender_err + receiver_err
    for said, otherwise in ((sender_err, "send makes one"), (receiver_err, "receive asks for it")):
        assert "The code is an argument, so other users" in said
        assert f"leave it out, and {otherwise}" in said


def test_relay_and_code_come_from_the_environment(relay: str, tree: Path, tmp_path: Path) -> None:
    env = {"P2P_COPY_SERVER": relay, "P2P_COPY_CODE": CODE}
    sender = start("send", str(tree), env=env)
    received, _, receiver_err = run("receive", "--out", str(tmp_path / "out"), env=env)
    assert (finish(sender)[0], received) == (0, 0), receiver_err


def test_the_code_comes_from_standard_input(relay: str, tree: Path, tmp_path: Path) -> None:
    sender = start("send", str(tree), "--server", relay, "--code", CODE)
    words = command_in(line_of(sender.stdout))
    assert words == ["receive", "--server", relay]
    received, _, receiver_err = run(
        *words, "--code-file", "-", "--out", str(tmp_path / "out"), stdin=CODE + "\n"
    )
    assert (finish(sender)[0], received) == (0, 0), receiver_err


def test_quiet_says_nothing_but_results(relay: str, tree: Path, tmp_path: Path) -> None:
    sender = start("send", str(tree), "--server", relay, "--quiet")
    env = code_of(sender)
    words = command_in(line_of(sender.stdout))
    assert run(*words, "--quiet", "--out", str(tmp_path / "out"), env=env) == (0, "", "")
    assert finish(sender) == (0, "", "")


def test_quiet_says_nothing_at_all_about_a_code_that_was_given(
    relay: str, tree: Path, tmp_path: Path
) -> None:
    """Cron would mail it every night."""
    env = {"P2P_COPY_SERVER": relay, "P2P_COPY_CODE": CODE}
    sender = start("send", str(tree), "--quiet", env=env)
    assert run("receive", "--quiet", "--out", str(tmp_path / "out"), env=env) == (0, "", "")
    assert finish(sender) == (0, "", "")


def test_quiet_names_the_relay_of_serve(tree: Path) -> None:
    """Without its address nothing can be received, whoever has chosen the code."""
    sender = start("send", "--serve", "127.0.0.1:0", str(tree), "--quiet", env={"P2P_COPY_CODE": CODE})
    assert command_in(line_of(sender.stdout))[:2] == ["receive", "--server"]
    sender.terminate()
    finish(sender)


def test_what_is_refused_is_named_on_both_sides_and_makes_the_transfer_partial(
    relay: str, tree: Path, tmp_path: Path
) -> None:
    env = {"P2P_COPY_SERVER": relay, "P2P_COPY_CODE": CODE}
    (tmp_path / "out" / "tree").mkdir(parents=True)
    (tmp_path / "out" / "tree" / "größe").write_text("mine", encoding="utf-8")
    sender = start("send", str(tree), env=env)
    receiver = start("receive", "--out", str(tmp_path / "out"), env=env)
    for code, _, err in (finish(sender), finish(receiver)):
        assert code == 3, err
        assert "Not delivered: tree/größe already exists" in err
    assert (tmp_path / "out" / "tree" / "größe").read_text(encoding="utf-8") == "mine"
    assert (tmp_path / "out" / "tree" / "deep" / "er" / "file").exists()


def test_a_sender_can_be_the_relay(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    sender = start("send", "--serve", "127.0.0.1:0", str(tree))
    env = code_of(sender)
    words = command_in(line_of(sender.stdout))
    assert re.fullmatch(r"ws://127\.0\.0\.1:[1-9][0-9]*", words[-1])
    received, _, receiver_err = run(*words, "--out", str(out), env=env)
    sent, _, sender_err = finish(sender)
    assert (sent, received) == (0, 0), sender_err + receiver_err
    assert contents(out) == contents(tree.parent)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_a_client_without_a_traceback(
    relay: str, tree: Path, number: signal.Signals, code: int
) -> None:
    sender = start("send", str(tree), "--server", relay)
    line_of(sender.stdout)
    sender.send_signal(number)
    ended, _, err = finish(sender)
    assert (ended, err.splitlines()[-1]) == (
        code,
        "p2p-copy: Interrupted. Run the same command again to continue.",
    )


@pytest.mark.fault(70, "SIGINT")
@pytest.mark.parametrize(
    "loading", ["p2p_copy.cli.main", "trio", "p2p_copy.cli.commands.send", "p2p_copy.transfer.send"]
)
def test_ctrl_c_while_the_program_is_loaded_is_one_sentence(loading: str) -> None:
    """The signal comes during the imports: of the program, or of its command."""
    program = (
        "import os, signal, sys, importlib.abc\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Interrupted(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        f"        if name == {loading!r}: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        "sys.argv[1:] = 'send', 'x', '--server', 'ws://127.0.0.1:1'\n"
        "from p2p_copy.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.splitlines() in (
        ["p2p-copy: Interrupted."],
        ["p2p-copy: Interrupted. Run the same command again to continue."],  # it has begun
    )


def test_a_signal_that_is_ignored_stays_ignored(relay: str, tree: Path) -> None:
    sender = subprocess.Popen(
        ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *PYTHON_M, "send", str(tree), "--server", relay],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    line_of(sender.stdout)
    sender.send_signal(signal.SIGHUP)
    sender.send_signal(signal.SIGTERM)
    assert finish(sender)[0] == 143


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_the_normal_end_of_a_relay(number: signal.Signals) -> None:
    process = start("run-relay-server", "localhost", "0", "--no-tls")
    assert re.search(r" Relay listening on ws://localhost:[1-9]", line_of(process.stdout))
    process.send_signal(number)
    assert finish(process)[0] == 0


@pytest.mark.parametrize("words", [[], ["--certfile", "c.pem"], ["--keyfile", "k.pem"]])
def test_a_relay_without_a_certificate_says_what_to_do(words: list[str]) -> None:
    code, out, err = run("run-relay-server", "localhost", "0", *words)
    assert (code, out) == (2, "")
    for way in ("--certfile", "--keyfile", "--no-tls"):
        assert way in err


def test_a_certificate_without_tls_is_a_contradiction() -> None:
    code, _, err = run("run-relay-server", "localhost", "0", "--no-tls", "--certfile", "c.pem")
    assert code == 2
    assert "--no-tls" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["send"], "at least one"),
        (["send", "a"], "--server"),
        (["receive"], "--server"),
        (["receive", "--server", "ws://127.0.0.1:1"], "--code-file"),
        (["receive", "nodash", "--server", "ws://127.0.0.1:1"], "ROOM-SECRET"),
        (["send", "ws://127.0.0.1:1", "nodash", "a"], "ROOM-SECRET"),
        (["send", "--serve", "a", "--quiet", "--code", "nodash"], "ROOM-SECRET"),
        (["send", "a", "--serve=nonsense"], "HOST:PORT"),
        (["send", "ws://127.0.0.1:1", CODE, "a", "--serve"], "--serve"),
        (["sedn"], "send"),
        (["send", "--simlinks", "copy", "a"], "--symlinks"),
        (["receive", "--wait", "soon"], "--wait"),
        (["receive", "--config", "none.toml"], "none.toml"),
        (["run-relay-server", "localhost", "http", "--no-tls"], "PORT"),
        (["demo", "/no/such/directory"], "directory"),
    ],
)
def test_a_wrong_command_line_is_answered_with_a_sentence_and_exit_code_2(
    words: list[str], said: str
) -> None:
    code, out, err = run(*words)
    assert (code, out) == (2, ""), err
    assert err.startswith("p2p-copy: ")
    assert said in err


@pytest.mark.fault(80, "reader gone")
def test_an_output_without_a_reader_does_not_stop_a_transfer(relay: str, tree: Path, tmp_path: Path) -> None:
    env = {"P2P_COPY_SERVER": relay, "P2P_COPY_CODE": CODE}
    sender = start("send", str(tree), env=env)
    receiver = start("receive", "--out", str(tmp_path / "out"), env=env)
    for process in (sender, receiver):
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()
    assert (sender.wait(60), receiver.wait(60)) == (0, 0)
    assert contents(tmp_path / "out") == contents(tree.parent)
    for process in (sender, receiver):
        assert process.stdin is not None
        process.stdin.close()


def test_the_demo_imports_nothing_from_the_current_directory(tree: Path, tmp_path: Path) -> None:
    for name in ("selectors", "trio", "p2p_copy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the current directory')")
    # The demo is started like an installed program: without the current directory on its path.
    program = [sys.executable, "-P", "-m", "p2p_copy", "demo", str(tree)]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "imported" not in done.stderr


def test_the_demo_copies_a_directory_and_leaves_nothing_behind(tree: Path, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    code, out, err = run("demo", str(tree), env={"TMPDIR": str(temporary)})
    assert code == 0, err
    assert out == "It works: 3 files, 2.0 KiB, copied and compared: all is equal.\n"
    for command in ("run-relay-server", "send", "receive"):
        assert f"$ p2p-copy {command} " in err
    assert list(temporary.iterdir()) == []


def test_a_misspelt_path_is_reported_before_connecting(tree: Path) -> None:
    code, _, err = run("send", str(tree), "misspelt", "--server", "ws://127.0.0.1:1")
    assert code == RelayUnreachable.exit_code
    assert 0 <= err.index("misspelt' does not exist") < err.index("Connecting")


def test_paths_that_cannot_be_sent_leave_nothing_behind(tmp_path: Path) -> None:
    for parent in ("a", "b"):
        (tmp_path / parent).mkdir()
        (tmp_path / parent / "x").touch()
    state = tmp_path / "state"
    words = ("--server", "ws://127.0.0.1:1", "--state-dir", str(state))
    code, _, err = run("send", str(tmp_path / "a" / "x"), str(tmp_path / "b" / "x"), *words)
    assert (code, f"{tmp_path}/a/x" in err, f"{tmp_path}/b/x" in err) == (2, True, True)
    assert run("send", "/", *words)[0] == NothingToSend.exit_code
    assert run("resume", "--state-dir", str(state))[1] == "No unfinished transfers.\n"


@pytest.mark.parametrize("words", [("send", "-"), ("receive", CODE, "--out", "-")])
def test_patterns_in_the_configuration_are_for_files_and_do_not_stop_a_pipe(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[{words[0]}]\nexclude = ["*"]\n', encoding="utf-8")
    code, _, err = run(*words, "--server", "ws://127.0.0.1:1", "--config", str(config), "--patience", "0")
    assert code == RelayUnreachable.exit_code, err


@pytest.mark.parametrize("words", [("send", "x"), ("receive", CODE)])
def test_a_token_that_cannot_be_read_leaves_nothing_behind(tmp_path: Path, words: tuple[str, str]) -> None:
    (tmp_path / "x").touch()
    state = tmp_path / "state"
    command, word = words
    word = str(tmp_path / word) if command == "send" else word
    options = ("--server", "ws://127.0.0.1:1", "--token-file", "missing", "--state-dir", str(state))
    code, _, err = run(command, word, *options)
    assert (code, "The token file 'missing' cannot be read: No such file" in err) == (2, True)
    assert not state.exists()


def test_a_code_that_is_shown_again_is_said_to_be_old(relay: str, tree: Path, tmp_path: Path) -> None:
    words = ("send", str(tree), "--server", relay, "--state-dir", str(tmp_path / "state"))

    def interrupted() -> tuple[str, str]:
        process = start(*words)
        code = line_of(process.stdout)
        process.terminate()
        return code, finish(process)[2]

    code, said = interrupted()
    assert "Using the code of" not in said
    again, said = interrupted()
    assert again == code
    (id_,) = re.findall(r"Using the code of .* p2p-copy forget ([0-9a-f]+), and start the command", said)
    assert run("forget", id_, "--state-dir", str(tmp_path / "state"))[0] == 0
    new, said = interrupted()
    assert new != code
    assert "Using the code of" not in said
