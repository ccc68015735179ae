"""What a user sees and types at a pseudo-terminal."""

from __future__ import annotations

import codecs
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from p2p_copy.errors import RelayUnreachable
from p2p_copy.protocol.code import Code
from tests.cli.processes import ENOUGH, code_of, contents, finish, line_of, start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")
termios = pytest.importorskip("termios", reason="this system has no pseudo-terminals")


OWN = "lab7-a long passphrase"
"""A code of the user's own."""


class Screen:
    """The user's side of a pseudo-terminal."""

    def __init__(self) -> None:
        self.here, self.there = pty.openpty()
        self.seen = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()  # a read may end inside a character

    def read_until(self, pattern: str) -> re.Match[str]:
        while not (match := re.search(pattern, self.seen)):
            try:
                data = os.read(self.here, 4096)
            except OSError:  # how Linux reports that the other side is closed
                data = b""
            assert data, f"{pattern} was never shown, but {self.seen!r}"
            self.seen += self._decoder.decode(data)
        return match

    def rest(self) -> str:
        """Return everything shown, once all writers have ended."""
        while True:
            try:
                data = os.read(self.here, 4096)
            except OSError:
                return self.seen
            if not data:
                return self.seen
            self.seen += self._decoder.decode(data)

    def type(self, text: str) -> None:
        os.write(self.here, text.encode())

    def attach(self, process: subprocess.Popen[str]) -> subprocess.Popen[str]:
        os.close(self.there)
        return process

    def close(self) -> None:
        os.close(self.here)


@pytest.fixture
def screen() -> Iterator[Screen]:
    screen = Screen()
    yield screen
    screen.close()


def test_receive_asks_for_the_code_and_shows_a_live_line(
    relay: str, tree: Path, tmp_path: Path, screen: Screen
) -> None:
    sender = start("send", str(tree), "--server", relay)
    code = line_of(sender.stdout).strip().removeprefix("Code: ")
    receiver = screen.attach(
        start(
            "receive",
            "--server",
            relay,
            "--out",
            str(tmp_path / "out"),
            stdin=screen.there,
            stderr=screen.there,
        )
    )
    screen.read_until(r"Code: $")
    room, secret = code.split("-")
    screen.type(f"{room}-x{secret}\n")
    screen.read_until(rf"Did you mean {re.escape(code)}\?\r\n.*: $")
    screen.type("\n")
    screen.read_until(r"Receive this\? \[y/N\] $")
    screen.type("yes\n")
    screen.read_until(r"Received 3 files")
    assert (receiver.wait(ENOUGH), finish(sender)[0]) == (0, 0)
    assert contents(tmp_path / "out") == contents(tree.parent)
    assert receiver.stdout is not None
    receiver.stdout.close()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no readline")
class TestCompletion:
    CODE = "sloppy.scone-folic.monthly.explicit"

    def at_prompt(self, relay: str, out: Path, screen: Screen) -> subprocess.Popen[str]:
        """Start a receiver whose streams are all the terminal; return it when it asks for the code."""
        there = screen.there
        words = ("receive", "--server", relay, "--out", str(out), "--yes")
        receiver = start(*words, env={"TERM": "xterm"}, stdin=there, stdout=there, stderr=there)
        screen.read_until(r"Code: $")
        return receiver

    def test_tab_completes_the_words_of_a_code(
        self, relay: str, tree: Path, tmp_path: Path, screen: Screen
    ) -> None:
        sender = start("send", str(tree), "--server", relay, env={"P2P_COPY_CODE": self.CODE})
        before = termios.tcgetattr(screen.there)
        receiver = self.at_prompt(relay, tmp_path / "out", screen)
        screen.type("slo\t")
        screen.read_until(r"Code: slo\x07")  # several words begin so
        screen.type("ppy.SCON\t")
        screen.read_until(r"scone-")
        screen.type("folic.mont\t")
        screen.read_until(r"monthly\.")
        screen.type("explic\t")
        screen.read_until(r"explicit")
        screen.type("\n")
        screen.read_until(r"Received 3 files")
        assert (receiver.wait(ENOUGH), finish(sender)[0]) == (0, 0)
        assert termios.tcgetattr(screen.there) == before

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_a_signal_gives_the_terminal_back(
        self, relay: str, tmp_path: Path, screen: Screen, number: signal.Signals
    ) -> None:
        before = termios.tcgetattr(screen.there)
        receiver = self.at_prompt(relay, tmp_path / "out", screen)
        assert termios.tcgetattr(screen.there) != before, "readline has the terminal"
        ended = None
        while (
            ended is None
        ):  # Python hears of a signal only while readline waits, so the first may come too early
            receiver.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                ended = receiver.wait(0.5)
        assert ended in {128 + number, -number}
        assert termios.tcgetattr(screen.there) == before

    def test_the_end_of_input_is_no_code(self, relay: str, tmp_path: Path, screen: Screen) -> None:
        receiver = self.at_prompt(relay, tmp_path / "out", screen)
        screen.type("\x04")
        screen.read_until("p2p-copy: No code was typed.")
        assert receiver.wait(ENOUGH) == 2


def test_a_waiting_sender_shows_a_live_line_and_ctrl_c_wipes_it(
    relay: str, tree: Path, screen: Screen
) -> None:
    sender = screen.attach(
        start("send", str(tree), "--server", relay, stdin=subprocess.DEVNULL, stderr=screen.there)
    )
    screen.read_until(r"\rWaiting for the receiver at 127\.0\.0\.1:[0-9]+ until (\w+ )?[0-9:]{5} \([01] s\)")
    sender.send_signal(2)
    screen.read_until(r"\r +\rp2p-copy: Interrupted\. Run the same command again to continue\.\r\n$")
    assert finish(sender)[0] == 130


@pytest.fixture
def other_screen() -> Iterator[Screen]:
    screen = Screen()
    yield screen
    screen.close()


def verifying(
    relay: str, tree: Path, out: Path, screen: Screen, other_screen: Screen
) -> tuple[subprocess.Popen[str], subprocess.Popen[str]]:
    """Start a sender and a receiver at a terminal each; return them when both ask about the same words."""
    sender = screen.attach(
        start("send", str(tree), "--server", relay, "--verify", stdin=screen.there, stderr=screen.there)
    )
    there = other_screen.there
    words = ("receive", "--server", relay, "--out", str(out), "--verify", "--yes")
    receiver = other_screen.attach(start(*words, env=code_of(sender), stdin=there, stderr=there))
    asked = [
        each.read_until(r"Do both sides show (\w+ \w+)\? \[y/N\] $")[1] for each in (screen, other_screen)
    ]
    assert asked[0] == asked[1]
    assert f"Connected; the codes match. Both sides show: {asked[0]}." in screen.seen
    return sender, receiver


def test_both_sides_compare_words(
    relay: str, tree: Path, tmp_path: Path, screen: Screen, other_screen: Screen
) -> None:
    sender, receiver = verifying(relay, tree, tmp_path / "out", screen, other_screen)
    screen.type("y\n")
    screen.read_until("Waiting for the receiver to compare the words")
    assert not (tmp_path / "out").exists()
    other_screen.type("y\n")
    other_screen.read_until(r"Received 3 files")
    assert (finish(receiver)[0], finish(sender)[0]) == (0, 0)
    assert contents(tmp_path / "out") == contents(tree.parent)


def test_a_user_who_sees_other_words_ends_both_sides(
    relay: str, tree: Path, tmp_path: Path, screen: Screen, other_screen: Screen
) -> None:
    sender, receiver = verifying(relay, tree, tmp_path / "out", screen, other_screen)
    other_screen.type("n\n")
    other_screen.read_until(
        "p2p-copy: You said that the two sides show different words. Nothing was transferred."
    )
    screen.read_until("p2p-copy: The receiver's user did not confirm that both sides show the same words.")
    assert (finish(receiver)[0], finish(sender)[0]) == (23, 23)
    assert not (tmp_path / "out").exists()


def test_a_transfer_that_was_stopped_before_the_question_is_not_resumed_without_it(
    relay: str, tree: Path, tmp_path: Path, screen: Screen, other_screen: Screen
) -> None:
    states, out = tmp_path / "states", tmp_path / "out"
    saved = ("--state-dir", str(states))
    words = ("send", str(tree), "--server", relay, "--verify", *saved)
    first = screen.attach(start(*words, stdin=screen.there, stderr=screen.there))
    code = code_of(first)
    screen.read_until("Waiting for the receiver")
    first.terminate()
    assert finish_on(screen, first) == 143
    (document,) = states.glob("*.json")
    resuming = ("resume", document.stem, *saved)
    there = other_screen.there
    second = other_screen.attach(start(*resuming, stdin=there, stderr=there))
    receiver = start("receive", "--server", relay, "--out", str(out), "--yes", env=code)
    other_screen.read_until(r"Do both sides show \w+ \w+\? \[y/N\] $")
    assert not (out / tree.name).exists()
    other_screen.type("y\n")
    other_screen.read_until("Sent 3 files")
    assert (finish_on(other_screen, second), finish(receiver)[0]) == (0, 0)
    assert contents(out) == contents(tree.parent)


@pytest.mark.parametrize("words", [["send", "."], ["receive"]])
def test_without_a_terminal_words_cannot_be_compared(words: list[str]) -> None:
    code, out, err = finish(
        start(*words, "--server", "ws://127.0.0.1:1", "--verify", env={"P2P_COPY_CODE": "lab-a code of mine"})
    )
    assert (code, out) == (2, "")
    assert err == "p2p-copy: --verify asks a question, but there is no terminal to ask at.\n"


@pytest.mark.parametrize("option", ["--no-input", "--json"])
@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["receive"], None, r"Which code\? With {} nothing is asked, so .*--code-file FILE"),
        (["receive"], OWN, "Whether to receive is a question at a terminal, but {}. Pass --yes"),
        (["receive", "--verify"], OWN, "--verify asks a question, but {}"),
        (["send", "--verify", "."], OWN, "--verify asks a question, but {}"),
        (
            ["receive", "--delete", "--on-conflict", "update"],
            OWN,
            "--delete asks before it deletes, but {}. Pass --yes",
        ),
        (
            ["receive", "--on-conflict", "ask"],
            OWN,
            "--on-conflict ask asks about each file, but {}. In scripts",
        ),
    ],
)
def test_at_a_terminal_nothing_is_asked_if_that_is_ruled_out(
    option: str, words: list[str], code: str | None, says: str, screen: Screen
) -> None:
    """What would be a question is an error that names the option, and says what to pass if anything helps."""
    env = {"P2P_COPY_SERVER": "ws://127.0.0.1:1", **({"P2P_COPY_CODE": code} if code else {})}
    process = start(*words, option, env=env, stdin=screen.there, stderr=screen.there)
    assert finish_on(screen, process) == 2
    os.close(screen.there)
    why = option if "With {}" in says else f"with {option} nothing is asked"
    assert re.search(says.format(why), screen.rest())


def finish_on(screen: Screen, process: subprocess.Popen[str]) -> int:
    """Return the exit code of a process that types nothing to wait for."""
    assert process.stdout is not None
    process.stdout.read()
    process.stdout.close()
    return process.wait(ENOUGH)


def test_without_progress_there_is_no_live_line(
    relay: str, tree: Path, tmp_path: Path, screen: Screen
) -> None:
    env = {"P2P_COPY_SERVER": relay, "P2P_COPY_CODE": OWN}
    sender = screen.attach(
        start("send", str(tree), "--no-progress", env=env, stdin=subprocess.DEVNULL, stderr=screen.there)
    )
    screen.read_until(r"Waiting for the receiver at")
    receiver = start("receive", "--out", str(tmp_path / "out"), env=env)
    assert finish(receiver)[0] == finish(sender)[0] == 0
    assert re.search(r"\r(?!\n)", screen.rest()) is None, "each line is written once"
    assert "Sent 3 files" in screen.seen


@pytest.mark.parametrize("is_own", [False, True])
def test_a_typo_in_an_argument_is_answered_with_a_suggestion(screen: Screen, is_own: bool) -> None:
    code = Code.generate(lambda below: below // 3).text
    receiver = screen.attach(
        start(
            "receive",
            code.replace(".", "/", 1) if is_own else "x" + code,
            "--yes",
            "--server",
            "ws://127.0.0.1:1",
            stdin=subprocess.DEVNULL,
            stderr=screen.there,
        )
    )
    screen.read_until(rf"Did you mean {re.escape(code)}\?")
    assert finish(receiver)[0] == (RelayUnreachable.exit_code if is_own else 2)


TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[-+][0-9]{2}:[0-9]{2}"


def relay_at(screen: Screen, host: str, *options: str, **variables: str) -> tuple[subprocess.Popen[str], str]:
    """Start a relay that logs to this screen; return it and its URL once it accepts clients."""
    words = ("run-relay-server", host, "0", "--no-tls", *options)
    relay = screen.attach(
        start(*words, env=variables, stdin=subprocess.DEVNULL, stdout=screen.there, stderr=screen.there)
    )
    return relay, screen.read_until(r"Relay listening on (ws://[^\r]+)\r\n")[1]


def served_and_stopped(relay: subprocess.Popen[str], url: str, tree: Path, tmp_path: Path) -> None:
    env = {"P2P_COPY_SERVER": url, "P2P_COPY_CODE": OWN}
    sender = start("send", str(tree), env=env)
    assert finish(start("receive", "--out", str(tmp_path / "out"), env=env))[0] == finish(sender)[0] == 0
    relay.terminate()
    assert relay.wait(ENOUGH) == 0
    relay.communicate()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_trial_relay_at_a_terminal_prints_one_line(
    host: str, tree: Path, tmp_path: Path, screen: Screen
) -> None:
    relay, url = relay_at(screen, host)
    served_and_stopped(relay, url, tree, tmp_path)
    assert re.fullmatch(rf"{TIME} info Relay listening on {re.escape(url)}\r\n", screen.rest())


@pytest.mark.parametrize(
    ("host", "options", "variables"),
    [
        ("127.0.0.1", ("--log-level", "info"), {}),
        ("127.0.0.1", ("--log-format", "text"), {}),
        ("127.0.0.1", ("--log-addresses",), {}),
        ("127.0.0.1", ("--admin", "127.0.0.1:0"), {}),
        ("127.0.0.1", ("--trusted-proxy", "192.0.2.1"), {}),
        ("127.0.0.1", (), {"NOTIFY_SOCKET": "@nobody/listens/here"}),
    ],
)
def test_a_relay_that_is_more_than_a_try_logs_at_a_terminal_too(
    host: str, options: tuple[str, ...], variables: dict[str, str], screen: Screen
) -> None:
    relay, _ = relay_at(screen, host, *options, **variables)
    relay.terminate()
    assert relay.wait(ENOUGH) == 0
    relay.communicate()
    said = screen.rest()
    assert re.search(rf"(^|\n){TIME} info Relay listening on ws://", said)
    assert " stopped: pairs served: 0" in said
