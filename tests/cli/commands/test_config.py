"""`p2p-copy config` says which values count and where they come from, and hides secrets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from p2p_copy.cli.main import main
from p2p_copy.cli.options.config_file import default_path
from tests.cli.options.test_config_file import write

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = """
server = "work"
token-file = "/top/token"
[relay.work]
url = "wss://relay.example:443"
token-file = "/secret/token"
[relay.home]
url = "ws://192.0.2.1:8765"
[receive]
max-size = "10G"
code = "a-code-in-the-file"
"""


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, tuple[str, str]]:
    """Return value and origin of each option that the command shows."""
    assert main(["config", "show", *words]) == 0
    out = capsys.readouterr().out
    return {
        name: (value, origin)
        for name, value, origin in re.findall(r"^  (--\S+) +(\S+) +(\S.*)$", out, re.MULTILINE)
    }


def test_each_origin_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(default_path(), SETTINGS)
    rows = shown(capsys, "receive", "--wait", "5m", "-n")
    assert rows["--wait"] == ("5m", "command line")
    assert rows["--dry-run"] == ("on", "command line")
    assert rows["--server"] == ("wss://relay.example:443", path)
    assert rows["--token-file"] == ("/secret/token", f"{path} [relay.work]")
    assert rows["--max-size"] == ("10G", f"{path} [receive]")
    assert rows["--patience"] == ("12h", "default")
    assert rows["--yes"] == ("off", "default")
    monkeypatch.setenv("P2P_COPY_SERVER", "home")
    rows = shown(capsys, "receive")
    assert rows["--server"] == ("ws://192.0.2.1:8765", "environment, P2P_COPY_SERVER")
    assert rows["--token-file"] == ("/top/token", path)


def test_secrets_are_hidden(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    write(default_path(), SETTINGS)
    assert shown(capsys, "receive")["--code"][0] == "(hidden)"
    assert shown(capsys, "receive", "--code", "hush-hush")["--code"] == ("(hidden)", "command line")
    monkeypatch.setenv("P2P_COPY_CODE", "hush-hush")
    monkeypatch.setenv("P2P_COPY_TOKEN", "hush-hush")
    assert main(["config", "show"]) == 0
    said = capsys.readouterr()
    assert "hush-hush" not in said.out + said.err
    assert "a-code-in-the-file" not in said.out
    assert re.search(r"--code +\(hidden\) +environment, P2P_COPY_CODE", said.out)
    assert shown(capsys, "resume")["--token-file"] == ("(hidden)", "environment, P2P_COPY_TOKEN")


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        ("http://me:hush-hush@proxy:1", "http://***@proxy:1"),
        ("me:hush-hush@proxy:1", "***@proxy:1"),
        ("socks5://me:hush@hush/hush@proxy:1", "socks5://***@proxy:1"),
        ("http://proxy:1", "http://proxy:1"),
    ],
)
def test_a_password_of_a_proxy_is_hidden(written: str, seen: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(default_path(), f'proxy = "{written}"')
    assert shown(capsys, "send")["--proxy"] == (seen, path)


def test_a_password_in_a_url_is_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        shown(capsys, "send", "--server", "wss://me:hush-hush@relay.example")["--server"][0]
        == "wss://***@relay.example"
    )


def test_without_a_command_only_what_is_set_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("P2P_COPY_STATE_DIR", raising=False)
    path = write(default_path(), "[send]\nwait = 60\n[run-relay-server]\nmax-connections = 7")
    assert main(["config", "show"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines() == [
        "send:",
        f"  --wait  60  {path} [send]",
        "",
        "receive:",
        "  nothing but defaults",
        "",
        "resume:",
        "  nothing but defaults",
        "",
        "run-relay-server:",
        f"  --max-connections  7  {path} [run-relay-server]",
        "",
        f"Configuration file: {path}",
    ]


def test_the_path_is_that_of_the_file_that_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "path"]) == 0
    assert capsys.readouterr().out == f"{default_path()}\n"
    monkeypatch.setenv("P2P_COPY_CONFIG", str(tmp_path / "other.toml"))
    assert main(["config", "path"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'other.toml'}\n"


def test_a_missing_file_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show"]) == 0
    assert capsys.readouterr().out.endswith(f"Configuration file: {default_path()} (there is none)\n")


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        ("[receive]\nonconflict = 'skip'", ["receive"], "Did you mean on-conflict?"),
        ("", ["recieve"], "Did you mean receive?"),
        ("", ["receive", "--otu", "x"], "Did you mean --out?"),
        (SETTINGS, ["send", "--server", "wrok"], "Did you mean work?"),
    ],
)
def test_what_is_wrong_is_an_error(
    text: str, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(default_path(), text)
    assert main(["config", "show", *words]) == 2
    assert said in capsys.readouterr().err
