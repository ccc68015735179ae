"""The question to a receiver's user at a terminal, and the effect of each answer."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

import pytest

from p2p_copy.cli.ui.prompt import described
from p2p_copy.errors import Declined, PeerMisbehaved
from p2p_copy.observer import PreviewEntry, TransferPreview
from p2p_copy.options import Conflict
from p2p_copy.protocol.messages import Ask, Offer, Preview, Total
from p2p_copy.protocol.state_machine import SenderState
from tests.cli.processes import ENOUGH, contents, finish, line_of, run, start
from tests.cli.test_on_a_terminal import Screen, screen
from tests.support.keys import both_sessions

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

__all__ = ["screen"]


def told(process: subprocess.Popen[str], words: str) -> None:
    """Wait until a process has written a sentence to standard error."""
    assert process.stderr is not None
    for line in process.stderr:
        if words in line:
            return
    raise AssertionError(f"{words} was never said")


class Sides:
    """A sender, and a receiver whose terminal shows the question."""

    def __init__(self, relay: str, tree: Path, out: Path, screen: Screen, *words: str) -> None:
        self.sender = start("send", str(tree), "--server", relay, *words)
        self.code = line_of(self.sender.stdout).strip().removeprefix("Code: ")
        self._relay = relay
        self.screen = screen
        self.receiver = screen.attach(
            start("receive", *self.words(out), stdin=screen.there, stderr=screen.there)
        )
        screen.read_until(r"Receive this\? \[y/N\] $")

    def words(self, out: Path) -> tuple[str, ...]:
        return self.code, "--server", self._relay, "--out", str(out)

    def end(self) -> int:
        """Return the receiver's exit code."""
        assert self.receiver.stdout is not None
        self.receiver.stdout.close()
        return self.receiver.wait(ENOUGH)


def test_after_a_yes_the_files_are_received(relay: str, tree: Path, tmp_path: Path, screen: Screen) -> None:
    (tmp_path / "out" / "tree").mkdir(parents=True)
    sides = Sides(relay, tree, tmp_path / "out", screen)
    assert "The sender has 3 files, 2.0 KiB." in screen.seen
    assert "\n  tree/  (exists)\r\n" in screen.seen
    assert "\n    größe  2.0 KiB\r\n" in screen.seen
    assert "1 of these names already exists. Existing files are kept" in screen.seen
    told(sides.sender, "Waiting for the receiver to accept.")
    screen.type("y\n")
    screen.read_until(r"Received 3 files")
    assert (sides.end(), finish(sides.sender)[0]) == (0, 0)
    assert contents(tmp_path / "out") == contents(tree.parent)


@pytest.mark.parametrize(
    ("typed", "code"),
    [("n\n", Declined.exit_code), ("\n", Declined.exit_code), ("\x04", Declined.exit_code), ("", 130)],
)
def test_after_anything_else_the_sender_waits_for_the_next_try(
    relay: str, tree: Path, tmp_path: Path, screen: Screen, typed: str, code: int
) -> None:
    sides = Sides(relay, tree, tmp_path / "out", screen)
    if typed:
        screen.type(typed)
    else:
        sides.receiver.send_signal(2)  # Ctrl-C
    assert sides.end() == code
    told(sides.sender, "The receiver declined. You can use the same code again for")
    assert not (tmp_path / "out").exists()
    assert run("receive", *sides.words(tmp_path / "other"), "--exclude", "deep")[0] == 0
    assert finish(sides.sender)[0] == 0
    assert sorted(contents(tmp_path / "other" / "tree")) == ["empty directory", "empty file", "größe"]


def test_a_question_ends_with_the_sender(relay: str, tree: Path, tmp_path: Path, screen: Screen) -> None:
    sides = Sides(relay, tree, tmp_path / "out", screen, "--patience", "0")
    sides.sender.kill()
    finish(sides.sender)
    screen.read_until("Reconnecting")
    sides.receiver.send_signal(2)
    assert sides.end() == 130


def test_with_yes_there_is_no_question(relay: str, tree: Path, tmp_path: Path, screen: Screen) -> None:
    sender = start("send", str(tree), "--server", relay)
    code = line_of(sender.stdout).strip().removeprefix("Code: ")
    words = ("receive", code, "--server", relay, "--out", str(tmp_path / "out"), "--yes")
    receiver = screen.attach(start(*words, stdin=screen.there, stderr=screen.there))
    screen.read_until(r"Received 3 files")
    assert "Receive this" not in screen.seen
    assert (finish(receiver)[0], finish(sender)[0]) == (0, 0)


def test_the_description_before_the_question() -> None:
    top = (PreviewEntry(0, "a", True, 0, True), PreviewEntry(1, "b", False, 2048, False))
    lines = list(described(TransferPreview(7, 3000, False, 40, top, 1, 1000, 5, True), Conflict.RENAME))
    assert lines == [
        (
            "The sender has at least 7 files, 2.9 KiB. The sender is still counting. --only and --exclude leave out "
            "some of it here."
        ),
        "  a/  (exists)",
        "    b  2.0 KiB",
        "  ... and 39 more at the top level",
        "1 of these names already exists. Both are kept; the new files get a number.",
        "Free space here: 1.0 KiB, room for 5 more files. That is not enough.",
    ]


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


@pytest.mark.fault(108, "names as lines")
@pytest.mark.parametrize(
    "name",
    [
        "a" + " " * 200 + "Free space here: 9.9 TiB.",
        "a" * 73 + "  Receive this? [y/N] y",
        "名" * 80,
        "e" + "\u0301" * 100,
        '" 1 B  (exists)',
        "x" * 255,
    ],
    ids=["blanks", "letters", "wide", "combining", "quote", "long"],
)
@pytest.mark.parametrize("depth", [0, 1, 60])
def test_no_name_fills_its_line(name: str, depth: int) -> None:
    top = (PreviewEntry(depth, name, True, 2**60, True),)
    lines = list(described(TransferPreview(1, 2**60, True, 0, top, 1, 2**60, None, False), Conflict.REFUSE))
    assert len(lines) == 4
    assert sum(map(_columns, lines[1])) <= 80
    assert lines[1].endswith("  (exists)")
    assert lines[1].count("  ") == 1 + min(depth + 1, 4)  # only ours
    if " " in name:
        assert lines[1].strip()[0] == '"' == lines[1].removesuffix("/  (exists)")[-1]


@pytest.mark.fault(108, "totals")
async def test_totals_do_not_scroll_the_question_away(tmp_path: Path) -> None:
    """While the user is asked, a sender may send one total, and nothing else."""
    sender, receiver = both_sessions()
    sender.say(Offer("s"))
    receiver.hear(sender.record())
    receiver.say(Ask(True))
    sender.hear(receiver.record())
    sender.say(Preview(1, 1, False, 0, ()))
    sender.say(Total(1, 1))
    receiver.hear(sender.record())
    with pytest.raises(AssertionError):
        sender.say(Total(2, 2))
    sender._our_state = SenderState.SHOWN
    sender.say(Total(2, 2))
    with pytest.raises(PeerMisbehaved, match="Total when it may not"):
        receiver.hear(sender.record())


def test_a_pipe_has_no_length() -> None:
    top = (PreviewEntry(0, "stdin", False, 0, False),)
    lines = list(
        described(TransferPreview(1, 0, False, 1, top, 0, 1000, None, False, stream=True), Conflict.REFUSE)
    )
    assert lines == ["The sender has a pipe of unknown length.", "  stdin", "Free space here: 1.0 KiB."]
