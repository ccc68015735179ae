"""Help is fast and complete."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from p2p_copy.protocol.code import Code
from tests.cli.processes import run

COMMANDS = ["send", "receive", "verify", "run-relay-server", "relay-token", "relay-admin", "demo"]
HEAVY = ["trio", "cryptography", "rich.progress", "blake3", "p2p_copy.transfer.send", "p2p_copy.relay.server"]


@pytest.mark.parametrize("words", [["--help"], *([command, "--help"] for command in COMMANDS), ["sedn"]])
def test_help_and_mistakes_are_answered_before_anything_heavy_is_imported(words: list[str]) -> None:
    program = (
        "import sys; from p2p_copy.cli.app import main; code = main(sys.argv[2:]); "
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


def test_the_version_is_printed() -> None:
    code, out, _ = run("--version")
    assert code == 0
    assert re.fullmatch(r"p2p-copy [0-9]\S+\n", out)


def test_the_readme_shows_codes_that_exist() -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"[a-z]+\.[a-z]+-[a-z]+\.[a-z]+\.[a-z]+", readme))
    (code,) = shown
    assert Code.parse(code).text == code
