"""A mistyped word is answered with what was meant, and only if that is near."""

from __future__ import annotations

import pytest

from p2p_copy.cli.app import app
from p2p_copy.cli.main import main
from p2p_copy.cli.ui.suggestions import near

OPTIONS = [
    name
    for argument in app["receive"].assemble_argument_collection()
    for name in argument.names
    if argument.show
]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--srver", "--server"),
        ("--quite", "--quiet"),
        ("--otu", "--out"),
        ("--output", "--out"),
        ("--excl", "--exclude"),
        ("--dryrun", "--dry-run"),
        ("--code_file", "--code-file"),
        ("--jsno", "--json"),
        ("--recursive", None),
        ("--force", None),
        ("--ma", None),
        ("--max", None),  # two begin like it
    ],
)
def test_what_was_meant(typed: str, meant: str | None) -> None:
    assert near(typed, OPTIONS) == meant


def test_options_that_look_a_little_alike_are_not_near() -> None:
    assert near("--json", ["--only", "--token-file"]) is None


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["sedn"], 'Unknown command: "sedn". Did you mean send?'),
        (["rsync"], 'Unknown command: "rsync".'),
        (["send", "--srver", "x"], "Unknown option: --srver. Did you mean --server?"),
        (["send", "--zebra=x"], "Unknown option: --zebra."),
        (["verify"], "RECEIPT is missing."),
        (["receive", "--out"], "--out needs a value."),
        (["receive", "-o"], "-o needs a value."),
        (["receive", "-o", "a", "--out", "b"], "--out is given more than once."),
        (["receive", "--quiet=maybe"], "--quiet takes no value."),
        (["resume", "6ff1", "a03e"], 'There is a word too many: "a03e".'),
        (["version", "2"], 'There is a word too many: "2".'),
        (["--jsno"], "Unknown option: --jsno."),
        (["--versoin"], "Unknown option: --versoin. Did you mean --version?"),
    ],
)
def test_the_sentence(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    first, second = said.err.splitlines()
    assert first == f"p2p-copy: {sentence}"
    assert second.startswith("Try: p2p-copy ")
