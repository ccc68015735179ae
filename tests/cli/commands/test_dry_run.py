"""`--dry-run` of both commands, in real processes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from p2p_copy.errors import NothingToSend, PartialTransfer, TooMuch, UsageError
from tests.cli.processes import contents, finish, line_of, run, start

if TYPE_CHECKING:
    from pathlib import Path


def test_a_sender_lists_what_it_would_send_without_connecting(tree: Path) -> None:
    (tree / "link").symlink_to("größe")
    code, out, err = run("send", "--dry-run", str(tree), "--exclude", "deep")
    assert code == 0
    assert out.splitlines() == [
        "tree/",
        "tree/empty directory/",
        "tree/empty file",
        "tree/größe",
        "tree/link -> größe",
    ]
    assert (
        err
        == "Would send 2 files, 2.0 KiB, 2 directories and 1 symlink. Excluded by --only or --exclude: 1.\n"
    )


def test_entries_that_cannot_be_sent_are_listed_beforehand(tree: Path) -> None:
    os.mkfifo(tree / "pipe")
    (tree / "con").touch()
    (tree / "secret").touch()
    (tree / "secret").chmod(0)
    code, out, err = run("send", "--dry-run", str(tree), str(tree / "missing"))
    assert code == PartialTransfer.exit_code
    assert "tree/größe" in out.splitlines()
    assert "Cannot be sent: tree/pipe is not a regular file, directory or symlink\n" in err
    assert "Cannot be sent: tree/con has a name" in err
    assert "Cannot be sent: missing does not exist" in err
    if os.geteuid():  # root can read everything
        assert "Cannot be sent: tree/secret cannot be read" in err
    assert run("send", "--dry-run", str(tree / "missing"))[0] == NothingToSend.exit_code
    assert run("send", "--dry-run", str(tree), "--only", "a[")[0] == UsageError.exit_code


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((), 0),
        (("--max-size", "1K"), TooMuch.exit_code),
        (("--max-files", "2"), TooMuch.exit_code),
        (("--max-files", "3"), 0),
        (("--only", "deep"), 0),
    ],
)
def test_a_receiver_looks_and_the_sender_waits_on(
    relay: str, tree: Path, tmp_path: Path, words: tuple[str, ...], code: int
) -> None:
    sender = start("send", str(tree), "--server", relay)
    common = (
        line_of(sender.stdout).strip().removeprefix("Code: "),
        "--server",
        relay,
        "--out",
        str(tmp_path / "out"),
    )
    ended, out, err = run("receive", *common, "--dry-run", *words)
    assert ended == code, err
    assert out.startswith("The sender has 3 files, 2.0 KiB.")
    assert "\n  tree/\n" in out
    assert not (tmp_path / "out").exists()
    assert run("receive", *common)[0] == 0
    assert finish(sender)[0] == 0
    assert contents(tmp_path / "out") == contents(tree.parent)
