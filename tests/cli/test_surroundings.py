"""Real commands in odd environments: they end with a sentence and an exit code, never with "This is a bug"."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from p2p_copy.errors import RelayUnreachable, SystemFailed, UsageError
from tests.cli.processes import ENOUGH, PYTHON_M

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(sys.platform == "win32", reason="needs a shell, and what POSIX allows"),
]

NOWHERE = ("--server", "ws://127.0.0.1:1")


def ended(words: Sequence[str], env: Mapping[str, str], cwd: Path | None = None) -> tuple[int, str]:
    """Run a command with these environment variables only; return its exit code and what it wrote to people."""
    done = subprocess.run(
        words,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=ENOUGH,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def said(words: Sequence[str], env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Run a command; return its exit code and its one error message."""
    code, errors = ended(words, os.environ | (env or {}))
    sentences = [line for line in errors.splitlines() if line.startswith("p2p-copy: ")]
    assert len(sentences) == 1, errors
    assert "bug" not in sentences[0]
    return code, sentences[0]


def in_shell(script: str, *words: str) -> list[str]:
    """Return the words that run these at the `exec "$@"` of a shell script."""
    return ["bash", "-c", f'{script} && exec "$@"', "bash", *words]


def test_a_key_log_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    words = [*PYTHON_M, "send", str(tmp_path / "file"), "--server", "wss://127.0.0.1:1"]
    code, sentence = said(words, {"SSLKEYLOGFILE": str(tmp_path / "none" / "keys")})
    assert code == UsageError.exit_code
    assert "SSLKEYLOGFILE" in sentence


@pytest.mark.parametrize(
    "words",
    [("send", "file"), ("send", "file", "--dry-run"), ("receive", "--code", "lab7-a long passphrase")],
)
def test_a_working_directory_that_was_removed(tmp_path: Path, words: tuple[str, ...]) -> None:
    where = tmp_path / "gone"
    code, sentence = said(
        in_shell(f"mkdir '{where}' && cd '{where}' && rmdir '{where}'", *PYTHON_M, *words, *NOWHERE)
    )
    assert code == SystemFailed.exit_code
    assert "The current directory was removed" in sentence


@pytest.mark.parametrize("command", ["send", "receive"])
def test_a_home_that_is_no_absolute_path(tmp_path: Path, command: str) -> None:
    (tmp_path / "file").touch()
    words = [*PYTHON_M, command, *(["file"] if command == "send" else ["--out", "out"]), *NOWHERE]
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("P2P_COPY_", "XDG_")) and name != "HOME"
    }
    code, errors = ended(words, env | {"HOME": "~", "P2P_COPY_CODE": "lab7-a long passphrase"}, tmp_path)
    assert code == RelayUnreachable.exit_code
    assert errors.count("cannot be saved: this user has no home directory") == 1
    assert {path.name for path in tmp_path.iterdir()} <= {"file", "out"}


def test_a_home_in_which_nothing_can_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".local").touch()
    code, errors = ended(
        [*PYTHON_M, "send", str(tmp_path / "file"), *NOWHERE],
        {**os.environ, "HOME": str(tmp_path / "home"), "P2P_COPY_STATE_DIR": "", "XDG_STATE_HOME": ""},
    )
    assert code == RelayUnreachable.exit_code
    assert f"cannot be saved in {tmp_path / 'home' / '.local'}" in errors


def without_threads(*words: str) -> list[str]:
    """Return the words that run these as a user at the limit of threads, which does not bind root."""
    limited = in_shell("ulimit -u 1", *words)
    if os.geteuid():
        return limited
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("setpriv is needed to be another user")
    rights = "-all,+dac_read_search,+dac_override"  # to reach Python and the sources in any directory
    kinds = [f"--{kind}={rights}" for kind in ("inh-caps", "ambient-caps", "bounding-set")]
    return [setpriv, "--reuid=54321", "--regid=54321", "--clear-groups", *kinds, *limited]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux counts threads as processes of a user")
@pytest.mark.parametrize("command", ["send", "receive"])
def test_a_user_at_the_limit_of_threads(tmp_path: Path, command: str) -> None:
    (tmp_path / "file").touch()
    paths = [str(tmp_path / "file")] if command == "send" else ["--out", str(tmp_path / "out")]
    words = [*PYTHON_M, command, *paths, "--server", "ws://localhost:1"]
    code, sentence = said(without_threads(*words), {"P2P_COPY_CODE": "lab7-a long passphrase"})
    assert code == SystemFailed.exit_code
    assert "no more threads" in sentence


def test_more_paths_than_a_state_can_hold(tmp_path: Path) -> None:
    """All of them are sent, but the transfer is not saved."""
    (tmp_path / "file").touch()
    names = [f"{tmp_path}/{'x' * 200}{number}" for number in range(6000)]
    code, errors = ended([*PYTHON_M, "send", str(tmp_path / "file"), *names, *NOWHERE], os.environ)
    assert code == RelayUnreachable.exit_code, errors
    assert "cannot be saved: too many paths are named" in errors
