"""Access tokens on the command line: created, never shown, and used."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from p2p_copy.cli import limits
from p2p_copy.cli.options.client import TOKEN_VARIABLE
from p2p_copy.cli.options.inputs import access_token
from p2p_copy.errors import UsageError
from tests.cli.processes import contents, finish, relay as running, run, start

if TYPE_CHECKING:
    from pathlib import Path

CODE = "lab7-a long passphrase"


def test_a_token_comes_from_its_file_or_else_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert access_token(None) is None
    monkeypatch.setenv(TOKEN_VARIABLE, "from the environment")
    assert access_token(None) == "from the environment"
    (tmp_path / "token").write_text("  from a file \nsecond line\n")
    assert access_token(str(tmp_path / "token")) == "from a file"
    (tmp_path / "typed").write_text("typed\n")
    with (tmp_path / "typed").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert access_token("-") == "typed"


@pytest.mark.parametrize("text", ["", "\n", "x" * (limits.MAX_TOKEN + 1), "a\x1bb"])
def test_a_file_without_a_token_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    (tmp_path / "token").write_text(text)
    with pytest.raises(UsageError, match="token") as caught:
        access_token(str(tmp_path / "token"))
    assert "xxx" not in str(caught.value)


def test_a_token_that_was_made_opens_the_relay_and_no_token_does_not(tree: Path, tmp_path: Path) -> None:
    code, out, _ = run("relay-token", "ann")
    assert code == 0
    token, line = (line.partition(": ")[2] for line in out.splitlines())
    (tmp_path / "token").write_text(token + "\n")
    (tmp_path / "tokens").write_text(f"{line} rate=100M/s quota=1G\n")
    with running("--no-tls", "--tokens-file", str(tmp_path / "tokens")) as relay:
        env = {"P2P_COPY_SERVER": relay, "P2P_COPY_CODE": CODE}
        sender = start("send", str(tree), "--token-file", str(tmp_path / "token"), env=env)
        words = ("receive", "--out", str(tmp_path / "out"))
        received, _, receiver_err = run(*words, env=env | {TOKEN_VARIABLE: token})
        sent, _, sender_err = finish(sender)
        assert (sent, received) == (0, 0), sender_err + receiver_err
        for err in (sender_err, receiver_err):
            assert "Relay limits: at most 100.0 MiB/s, 1.0 GiB more with this token." in err
            assert token not in err
        refused, _, err = run(*words, env=env)
        assert refused == 9
        assert "--token-file" in err
    assert contents(tmp_path / "out") == contents(tree.parent)


def test_a_name_that_cannot_stand_in_the_file_is_refused() -> None:
    code, out, err = run("relay-token", "a b")
    assert (code, out) == (2, "")
    assert "name" in err


def test_limits_of_a_relay_come_from_the_configuration_file(tmp_path: Path) -> None:
    (tmp_path / "config").write_text(
        '[run-relay-server]\nrate = "10M/s"\nmax-per-source = 7\ntrusted-proxy = ["10.0.0.0/8", "192.0.2.1"]\n'
    )
    with running("--no-tls", "--config", str(tmp_path / "config")) as relay:
        assert relay
    (tmp_path / "config").write_text('[run-relay-server]\ntrusted-proxy = ["10.0.0.0/8", "proxy"]\n')
    code, _, err = run("run-relay-server", "127.0.0.1", "0", "--no-tls", "--config", str(tmp_path / "config"))
    assert code == 2
    assert "'proxy' is no network" in err


def test_a_rate_below_the_least_one_is_refused() -> None:
    code, _, err = run("run-relay-server", "127.0.0.1", "0", "--no-tls", "--rate", "1K/s")
    assert code == 2
    assert "rate" in err
