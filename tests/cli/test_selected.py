"""`--only` and `--exclude` on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli.processes import code_of, command_in, contents, finish, line_of, run, start

if TYPE_CHECKING:
    from pathlib import Path


def test_each_side_applies_its_patterns_and_counts_what_they_exclude(
    relay: str, tree: Path, tmp_path: Path
) -> None:
    sender = start("send", str(tree), "--server", relay, "--exclude", "gr*", "--exclude", "nothing")
    env = code_of(sender)
    words = command_in(line_of(sender.stdout))
    only = ("--only", "file", "--only", "/tree/empty*")
    code, _, told = run(*words, "--out", str(tmp_path / "out"), *only, env=env)
    assert code == 0
    assert "Received 2 files" in told
    assert "Left out" not in told
    code, _, told = finish(sender)
    assert code == 0
    assert "Excluded by --only or --exclude: 1." in told
    expected = {name: data for name, data in contents(tree).items() if not name.startswith("gr")}
    assert contents(tmp_path / "out" / "tree") == expected


@pytest.mark.parametrize(
    "words", [["send", "."], ["receive", "lab-a long passphrase"]], ids=["send", "receive"]
)
def test_a_bad_pattern_is_a_mistake_in_the_command(words: list[str]) -> None:
    code, _, told = run(*words, "--server", "ws://127.0.0.1:1", "--only", "a[")
    assert code == 2
    expected = "p2p-copy: --only 'a[' matches nothing: patterns are written as in a .gitignore file."
    assert told.splitlines()[-1] == expected
