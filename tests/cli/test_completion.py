"""What the shells complete, in real shells on a terminal, with the scripts that `--install-completion` writes."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from p2p_copy import default_state_dir
from p2p_copy.cli.main import main
from p2p_copy.files.state.facts import Facts
from p2p_copy.files.state.store import States
from tests.support.commands import send_command
from tests.support.processes import CODE, STATE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")

ENOUGH = 30
"""Seconds for which a shell may take to answer."""

SHELLS = {
    "bash": (["bash", "--noprofile", "-i"], ""),
    "zsh": (["zsh", "-i"], "autoload -Uz compinit; compinit -u; "),
    "fish": (["fish", "-i", "--private"], ""),
}
"""How each shell starts, and what turns its completion on."""

PROGRAM = """\
#!/bin/sh
[ "$1" = __complete ] && exec '{python}' -m p2p_copy "$@"
printf '<%s>' "$@"
echo
"""
"""A p2p-copy that prints its words, but completes as the real one does."""

FILES = ("notes.txt", "numbers and more.txt", "photos/a.jpg")


class Shell:
    """An interactive shell on a terminal of its own."""

    def __init__(self, name: str, terminal: int) -> None:
        self.name = name
        self.terminal = terminal
        self.seen = ""

    def completed(self, typed: str) -> list[str]:
        """Return the words of `p2p-copy`, after `typed` and a Tab."""
        self.seen = ""
        tabs = (
            2 if self.name == "zsh" and typed.split()[-1].startswith("--") else 1
        )  # zsh shows what it means first
        self.type(f"p2p-copy {typed}" + "\t" * tabs)
        time.sleep(0.5)  # readline shows nothing that says it is done, where nothing fits
        self.type("\r")
        line = self.wait_for(r"(?:<[^>\r\n]*>)+\r*\n")
        return re.findall("<([^>]*)>", line)

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def wait_for(self, pattern: str) -> str:
        deadline = time.monotonic() + ENOUGH
        while not (found := re.search(pattern, self.seen)):
            assert time.monotonic() < deadline, self.seen
            if select.select([self.terminal], [], [], 0.1)[0]:
                self.seen += os.read(self.terminal, 65536).decode(errors="replace")
        return found[0]


@contextmanager
def shell(name: str, home: Path) -> Iterator[Shell]:
    words, prepare = SHELLS[name]
    for file in FILES:
        path = home / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    programs = home / "bin"
    programs.mkdir()
    (programs / "p2p-copy").write_text(PROGRAM.format(python=sys.executable))
    (programs / "p2p-copy").chmod(0o755)
    environment = {
        **{key: value for key, value in os.environ.items() if key.startswith(("LANG", "LC_"))},
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(home),
        "TERM": "xterm",
        "INPUTRC": "/dev/null",
        "XDG_CONFIG_HOME": str(home / ".config"),
    }
    run = "import os, sys; os.login_tty(0); os.execvp(sys.argv[1], sys.argv[1:])"
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", run, *words], stdin=theirs, env=environment, cwd=home)
    os.close(theirs)
    try:
        it = Shell(name, ours)
        it.type(f"{prepare}echo re''ady\r")
        it.wait_for(r"ready\r*\n")
        yield it
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Install completion for a shell into a home of its own, which is returned."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("ZSH", "ZSH_CUSTOM", "XDG_CONFIG_HOME", "XDG_STATE_HOME", STATE):
        monkeypatch.delenv(variable, raising=False)

    def done(name: str) -> Path:
        assert main(["--install-completion", name]) == 0
        config = tmp_path / ".config" / "p2p-copy" / "config.toml"
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text('[relay.workplace]\nurl = "wss://relay.example"\n')
        return tmp_path

    return done


@pytest.mark.slow  # a shell calls the program for some words, and is given time to do so
@pytest.mark.parametrize("name", SHELLS)
def test_a_shell_completes(name: str, install: Callable[[str], Path]) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    with shell(name, install(name)) as it:
        assert it.completed("rec") == ["receive"]
        assert it.completed("receive --on-conflict ren") == ["receive", "--on-conflict", "rename"]
        assert it.completed("receive --patie") == ["receive", "--patience"]
        assert it.completed("send not") == ["send", "notes.txt"]
        assert it.completed("send num") == ["send", "numbers and more.txt"]
        *words, directory = it.completed("receive --out pho")
        assert (words, directory.rstrip("/")) == (["receive", "--out"], "photos")  # zsh takes the slash back
        assert it.completed("send --server workp") == ["send", "--server", "workplace"]
        assert it.completed("help exit") == ["help", "exit-codes"]
        assert it.completed("config sh") == ["config", "show"]
        States(default_state_dir()).create("ab" * 16, Facts(command=send_command("/a"), code=CODE)).close()
        assert it.completed("resume ab") == ["resume", "abababab"]


def test_an_unknown_shell_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--install-completion", "tcsh"]) == 2
    assert "tcsh" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".local").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["--install-completion", "bash"]) == 2
    assert "Completion was not installed" in capsys.readouterr().err
