"""Help is fast and complete."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from p2p_copy.cli.app import app
from p2p_copy.cli.ui.help import Printed
from p2p_copy.protocol.code import Code
from tests.cli.processes import run

COMMANDS = [name for name in app if not name.startswith("-")]
HEAVY = [
    "trio",
    "cryptography",
    "rich.progress",
    "blake3",
    "p2p_copy.transfer.send",
    "p2p_copy.relay.server",
    "p2p_copy.doctor",
]


@pytest.mark.parametrize("words", [["--help"], *([command, "--help"] for command in COMMANDS), ["sedn"]])
def test_help_and_mistakes_are_answered_before_anything_heavy_is_imported(words: list[str]) -> None:
    program = (
        "import sys; from p2p_copy.cli.main import main; code = main(sys.argv[2:]); "
        "print('imported:', *set(sys.argv[1].split()) & set(sys.modules)); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, " ".join(HEAVY), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == (2 if words == ["sedn"] else 0), done.stderr
    assert done.stdout.splitlines()[-1].strip() == "imported:"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_starts_with_the_usage(command: str) -> None:
    code, out, err = run(command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: p2p-copy {command}")


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize("words", [[], *([command] for command in COMMANDS)], ids=" ".join)
def test_help_fits_and_breaks_no_name(
    words: list[str], columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    printed = Printed()
    app([*words, "--help"], console=printed.console)
    lines = printed.text().splitlines()
    assert not [line for line in lines if len(line) > columns]
    assert not [line for line in lines if line.endswith("-")], "a name is broken at its hyphen"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_stands_under_a_heading_of_its_own_kind(command: str) -> None:
    printed = Printed()
    app([command, "--help"], console=printed.console)
    assert "\nParameters:\n" not in printed.text()


def test_short_options_are_their_long_ones() -> None:
    short = app.parse_args(["receive", "-c", "a-code", "-n", "-y", "-q", "-o", "x"])[1].arguments
    long_ = ["receive", "--code", "a-code", "--dry-run", "--yes", "--quiet", "--out", "x"]
    assert short == app.parse_args(long_)[1].arguments
    assert app.parse_args(["receive", "-nyq"])[1] == app.parse_args(["receive", "-n", "-y", "-q"])[1]


@pytest.mark.parametrize("word", ["--version", "-V"])
def test_the_version_is_printed(word: str) -> None:
    code, out, _ = run(word)
    assert code == 0
    assert re.fullmatch(r"p2p-copy [0-9]\S+\n", out)


def test_the_readme_shows_codes_that_exist() -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"[a-z]+\.[a-z]+-[a-z]+\.[a-z]+\.[a-z]+", readme))
    (code,) = shown
    assert Code.parse(code).text == code
