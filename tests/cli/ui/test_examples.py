"""The examples of help are commands that the program takes."""

from __future__ import annotations

import re
import shlex

import pytest

from p2p_copy.cli.app import app
from p2p_copy.cli.options.arguments import with_serve_value, with_standard_input
from p2p_copy.cli.ui.examples import EXAMPLES
from p2p_copy.cli.ui.help import example_lines

NO_CHOICE = {"version"}
"""Commands without words and options need no examples."""

COMMANDS = [example.command for examples in EXAMPLES.values() for example in examples]


@pytest.mark.parametrize("command", dict.fromkeys(COMMANDS))
def test_the_program_takes(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P2P_COPY_CONFIG", "/dev/null")
    (words,) = re.findall(r"\bp2p-copy ([^|>&)]*)", command)
    app.parse_args(
        with_standard_input(with_serve_value(shlex.split(words))), exit_on_error=False, print_error=False
    )


def test_every_command_has_three() -> None:
    commands = {name for name in app if not name.startswith("-")} - NO_CHOICE
    commands |= {f"config {name}" for name in app["config"] if not name.startswith("-")}
    assert {name: len(examples) for name, examples in EXAMPLES.items()} == dict.fromkeys({"", *commands}, 3)


@pytest.mark.parametrize("command", EXAMPLES)
def test_a_broken_line_is_the_same_command(command: str) -> None:
    text = "\n".join(example_lines(command, 40))
    joined = re.sub(r" \\\n +", " ", text)
    assert re.findall(r"^    (\S.*)$", joined, re.MULTILINE) == [one.command for one in EXAMPLES[command]]
