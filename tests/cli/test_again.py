"""A transfer that is run again and again, as commands: what is said, asked and refused."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.processes import ENOUGH, contents, finish, run, start
from tests.cli.test_on_a_terminal import Screen, screen

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["screen"]

CODE = {"P2P_COPY_CODE": "lab7-a long passphrase"}


def again(relay: str, tree: Path, out: Path, *words: str) -> tuple[int, str, str]:
    """Run both sides; return the receiver's exit code, output and errors."""
    env = {**CODE, "P2P_COPY_SERVER": relay}
    sender = start("send", str(tree), env=env)
    done = finish(start("receive", "--out", str(out), *words, env=env))
    assert finish(sender)[0] == 0
    return done


def test_a_second_run_says_that_all_was_up_to_date(relay: str, tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for words in (("--on-conflict", "update"), ("--on-conflict", "update", "--checksum")):
        assert again(relay, tree, out, *words)[0] == 0
        code, _, errors = again(relay, tree, out, *words)
        assert code == 0
        assert "3 of 3 files were already up to date." in errors
        assert contents(out) == contents(tree.parent)


def test_deletion_is_asked_for_at_a_terminal(relay: str, tree: Path, tmp_path: Path, screen: Screen) -> None:
    out = tmp_path / "out"
    assert again(relay, tree, out)[0] == 0
    (out / "tree" / "ol\x1bd").write_text("x")
    (out / "tree" / "dir").mkdir()
    env = {**CODE, "P2P_COPY_SERVER": relay}
    sender = start("send", str(tree), env=env)
    receiver = screen.attach(
        start(
            *("receive", "--out", str(out), "--on-conflict", "update", "--delete"),
            env=env,
            stdin=screen.there,
            stderr=screen.there,
        )
    )
    screen.read_until(r"\(--delete\); you are asked again before that\.\r\nReceive this\? \[y/N\] $")
    screen.type("y\n")
    screen.read_until(
        r"2 entries here that the sender does not have:\r\n(  tree/.*\r\n){2}Delete them\? \[y/N\] $"
    )
    assert os.path.exists(out / "tree" / "dir")
    assert "\x1bd" not in screen.seen
    screen.type("y\n")
    screen.read_until(r"2 entries deleted that the sender does not have:")
    assert receiver.stdout is not None
    receiver.stdout.close()
    assert (receiver.wait(ENOUGH), finish(sender)[0]) == (0, 0)
    assert contents(out) == contents(tree.parent)


def test_a_resumed_receiver_that_may_not_ask_deletes_nothing(
    relay: str, tree: Path, tmp_path: Path, screen: Screen
) -> None:
    out = tmp_path / "out"
    (out / "tree").mkdir(parents=True)
    (out / "tree" / "old").write_text("x")
    env = {**CODE, "P2P_COPY_SERVER": relay}
    sender = start("send", str(tree), env=env)
    at_terminal: dict[str, Any] = {"stdin": screen.there, "stdout": screen.there, "stderr": screen.there}
    state = ("--state-dir", str(tmp_path / "state"))
    words = ("--out", str(out), "--on-conflict", "update", "--delete", *state)
    receiver = start("receive", *words, env=env, **at_terminal)
    screen.read_until(r"Receive this\? \[y/N\] $")
    screen.type("y\n")
    screen.read_until(r"Delete them\? \[y/N\] $")
    receiver.kill()
    receiver.wait(ENOUGH)
    id_ = run("resume", *state)[1].splitlines()[1].split()[0]
    resumed = screen.attach(start("resume", id_, "--no-input", *state, **at_terminal))
    assert (resumed.wait(ENOUGH), finish(sender)[0]) == (0, 0)
    _, resuming, after = screen.rest().partition("Resuming the transfer")
    assert resuming
    assert "Delete them?" not in after
    assert "Nothing was deleted here." in after
    assert (out / "tree" / "old").exists()


def test_a_script_deletes_with_yes_and_never_without(relay: str, tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert again(relay, tree, out)[0] == 0
    (out / "tree" / "old").write_text("x")
    words = ("--on-conflict", "update", "--delete")
    code, _, errors = run("receive", "--out", str(out), *words, env={**CODE, "P2P_COPY_SERVER": relay})
    assert code == 2
    assert "but there is no terminal to ask at. Pass --yes to delete unasked." in errors
    code, _, errors = again(relay, tree, out, *words, "--yes")
    assert code == 0
    assert "1 entry deleted that the sender does not have:" in errors
    assert contents(out) == contents(tree.parent)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--checksum",), "--checksum says what --on-conflict update compares"),
        (("--delete", "--yes"), "add --on-conflict update, or overwrite"),
        (("--delete", "--yes", "--on-conflict", "rename"), "add --on-conflict update, or overwrite"),
    ],
)
def test_what_has_no_effect_is_refused(words: tuple[str, ...], says: str) -> None:
    code, _, errors = run("receive", *words, env={**CODE, "P2P_COPY_SERVER": "ws://127.0.0.1:1"})
    assert code == 2
    assert says in errors


def test_each_existing_file_is_asked_for(relay: str, tree: Path, tmp_path: Path, screen: Screen) -> None:
    out = tmp_path / "out"
    (out / "tree").mkdir(parents=True)
    for name in sorted(os.listdir(tree)):
        if (tree / name).is_file():
            (out / "tree" / name).write_text("mine")
    names = sorted(os.listdir(out / "tree"))
    env = {**CODE, "P2P_COPY_SERVER": relay}
    sender = start("send", str(tree), env=env)
    receiver = screen.attach(
        start(
            *("receive", "--out", str(out), "--on-conflict", "ask", "--yes"),
            env=env,
            stdin=screen.there,
            stderr=screen.there,
        )
    )
    first = screen.read_until(r'"?tree/([^"]+)"? exists already\. Replace it\? \[y/N, all, none\] $')[1]
    screen.type("y\n")
    screen.seen = ""
    screen.read_until(r"exists already\. Replace it\? \[y/N, all, none\] $")
    screen.type("none\n")
    screen.read_until(r"Received \d files?")
    assert receiver.stdout is not None
    receiver.stdout.close()
    assert (receiver.wait(ENOUGH), finish(sender)[0]) == (0, 0)
    assert first in names
    for name in names:
        theirs = (tree / name).read_bytes() if name == first else b"mine"
        assert (out / "tree" / name).read_bytes() == theirs


def test_without_a_terminal_nothing_can_be_asked() -> None:
    env = {**CODE, "P2P_COPY_SERVER": "ws://127.0.0.1:1"}
    code, _, errors = run("receive", "--on-conflict", "ask", env=env)
    assert code == 2
    assert "In scripts use update, overwrite, rename, skip or refuse." in errors
