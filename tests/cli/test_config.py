"""Which value an option has when several places name one, and what a wrong configuration file is answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cyclopts import CycloptsError

from p2p_copy.cli.app import app
from p2p_copy.cli.config import default_path
from p2p_copy.errors import UsageError
from p2p_copy.options import Conflict, Links


def write(path: str | Path, text: str) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")
    return str(path)


def parse(*argv: str) -> dict[str, Any]:
    """Return what the command would be called with, the options of the clients among the rest."""
    _, bound, _ = app.parse_args(list(argv), exit_on_error=False, print_error=False)
    bound.apply_defaults()
    values = dict(bound.arguments)
    for group in (values.pop("options", None), values.pop("its", None)):
        values |= {name: getattr(group, name) for name in (group.__slots__ if group else ())}
    return values


def test_the_command_line_comes_before_the_environment_and_the_environment_before_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(default_path(), 'server = "ws://file"')
    assert parse("receive")["server"] == "ws://file"
    monkeypatch.setenv("P2P_COPY_SERVER", "ws://environment")
    assert parse("receive")["server"] == "ws://environment"
    assert parse("receive", "--server", "ws://option")["server"] == "ws://option"


def test_options_come_from_the_table_of_their_command() -> None:
    write(
        default_path(),
        """
        server = "ws://shared"
        ca-file = "shared.pem"
        [send]
        links = "copy"
        wait = 60
        serve = ":99"
        [receive]
        server = "ws://own"
        on-conflict = "rename"
        max-size = "2K"
        quiet = true
        [run-relay-server]
        tls = false
        """,
    )
    send = parse("send", "a")
    assert (send["server"], send["ca_file"], send["wait"]) == ("ws://shared", "shared.pem", 60.0)
    assert (send["links"], send["serve"]) == (Links.COPY, ":99")
    receive = parse("receive")
    assert (receive["server"], receive["ca_file"], receive["quiet"]) == ("ws://own", "shared.pem", True)
    assert (receive["on_conflict"], receive["max_size"]) == (Conflict.RENAME, 2048)
    assert parse("run-relay-server", "localhost", "1")["tls"] is False


def test_an_option_overrides_the_file_even_to_say_no() -> None:
    write(default_path(), "[run-relay-server]\ntls = false")
    assert parse("run-relay-server", "localhost", "1", "--tls")["tls"] is True


def test_the_file_is_named_by_an_option_or_else_by_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(default_path(), 'server = "ws://default"')
    monkeypatch.setenv("P2P_COPY_CONFIG", write(tmp_path / "b.toml", 'server = "ws://b"'))
    assert parse("receive")["server"] == "ws://b"
    other = write(tmp_path / "c.toml", 'server = "ws://c"')
    assert parse("receive", "--config", other)["server"] == "ws://c"


def test_no_configuration_file_is_needed() -> None:
    assert not Path(default_path()).exists()
    assert parse("receive")["server"] is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('serverr = "ws://x"', "serverr"),
        ("[recieve]", "recieve"),
        ('[receive]\nonconflict = "skip"', "onconflict"),
        ('[receive]\nconfig = "x"', "config"),
        ('[receive]\nCODE = "x"', "CODE"),
        ("[receive.out]\nx = 1", "out"),
        ("server = 5", "server must be a text"),
        ("receive = 5", "receive must be a table"),
        ('server = "ws://x', "not TOML"),
        ('[receive]\non-conflict = "never"', "never"),
        ("[receive]\nwait = 0", "wait"),
        ('[receive]\nmax-size = "many"', "max-size"),
    ],
)
def test_a_wrong_file_is_an_error_that_names_file_and_key(text: str, said: str) -> None:
    path = write(default_path(), text)
    with pytest.raises((UsageError, CycloptsError)) as caught:
        parse("receive")
    assert path in str(caught.value)
    assert said in str(caught.value)


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml"):
        parse("receive", "--config", str(tmp_path / "none.toml"))
    with pytest.raises(UsageError, match="cannot be read"):
        parse("receive", "--config", str(tmp_path))


@pytest.mark.parametrize("key", ["code", "code-file"])
def test_a_code_in_the_file_gives_way_to_every_other(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    write(default_path(), f'[send]\n{key} = "x"\n[receive]\n{key} = "x"')
    name = key.replace("-", "_")
    assert parse("send", "a")[name] == "x"
    assert parse("receive")[name] == "x"
    assert parse("receive", "ws://relay")[name] == "x"
    assert parse("send", "ws://relay", "code", "a")[name] is None
    assert parse("receive", "code")[name] is None
    assert parse("receive", "ws://relay", "code")[name] is None
    assert (parse("receive", "--code", "y")["code"], parse("receive", "--code", "y")["code_file"]) == (
        "y",
        None,
    )
    assert parse("send", "a", "--code-file", "y")["code"] is None
    monkeypatch.setenv("P2P_COPY_CODE", "z")
    assert parse("send", "a")[name] is None
    assert parse("receive")[name] is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("12", 12), ("12B", 12), ("1K", 1024), ("2 MiB", 2 << 20), ("3g", 3 << 30), ("1TiB", 1 << 40)],
)
def test_a_size_may_have_a_unit(text: str, expected: int) -> None:
    assert parse("receive", "--max-size", text)["max_size"] == expected


@pytest.mark.parametrize("text", ["", "1.5G", "-1", "G", "1X", "1 000"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(CycloptsError, match="--max-size"):
        parse("receive", f"--max-size={text}")
