"""Which value of an option counts if there are several, and errors of a wrong configuration file."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from cyclopts import CycloptsError

from p2p_copy.cli.app import app
from p2p_copy.cli.options.config_file import default_path
from p2p_copy.errors import UsageError
from p2p_copy.options import Conflict, Symlinks


def write(path: str | Path, text: str) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")
    return str(path)


def parse(*argv: str) -> dict[str, Any]:
    """Return the arguments that the command would be called with, including each client option by its name."""
    _, bound, _ = app.parse_args(list(argv), exit_on_error=False, print_error=False)
    bound.apply_defaults()
    values = dict(bound.arguments)
    for name in ("transfer", "client", "sending", "receiving"):
        group = values.pop(name, None)
        values |= {} if group is None else {each.name: getattr(group, each.name) for each in fields(group)}
    return values


def test_the_command_line_comes_before_the_environment_and_the_environment_before_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(default_path(), 'server = "ws://file"')
    assert parse("receive")["server"] == ("ws://file",)
    monkeypatch.setenv("P2P_COPY_SERVER", "ws://environment")
    assert parse("receive")["server"] == ("ws://environment",)
    assert parse("receive", "--server", "ws://option")["server"] == ("ws://option",)


def test_options_come_from_the_table_of_their_command() -> None:
    write(
        default_path(),
        """
        server = "ws://shared"
        ca-file = "shared.pem"
        [send]
        symlinks = "copy"
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
    assert (send["server"], send["ca_file"], send["wait"]) == (("ws://shared",), "shared.pem", 60.0)
    assert (send["symlinks"], send["serve"]) == (Symlinks.COPY, ":99")
    receive = parse("receive")
    assert (receive["server"], receive["ca_file"], receive["quiet"]) == (("ws://own",), "shared.pem", True)
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
    assert parse("receive")["server"] == ("ws://b",)
    other = write(tmp_path / "c.toml", 'server = "ws://c"')
    assert parse("receive", "--config", other)["server"] == ("ws://c",)


def test_no_configuration_file_is_needed() -> None:
    assert not Path(default_path()).exists()
    assert parse("receive")["server"] == ()


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
        ("[receive]\nmax-files = true", "max-files"),
    ],
)
def test_a_wrong_file_is_an_error_that_names_file_and_key(text: str, said: str) -> None:
    path = write(default_path(), text)
    with pytest.raises((UsageError, CycloptsError)) as caught:
        parse("receive")
    assert path in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "value", ['["S3CRET"]', '[["S3CRET"], 1]', '{ S3CRET = "S3CRET" }', "[]", "5", "true"]
)
@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("receive", "code"),
        ("receive", "code-file"),
        ("receive", "proxy"),
        ("receive", "token-file"),
        ("send", "code"),
        ("relay.work", "proxy"),
        ("relay.work", "token-file"),
    ],
)
def test_what_may_be_secret_is_a_text_and_is_not_repeated(table: str, key: str, value: str) -> None:
    relay = '[relay.work]\nurl = "ws://work"\n'
    own = f"{key} = {value}\n"
    path = write(default_path(), relay + (own if table == "relay.work" else f"[{table}]\n{own}"))
    with pytest.raises(UsageError) as caught:
        parse("receive", "--server", "work")
    assert str(caught.value) == f"{path}: {key} in [{table}] must be a text."


@pytest.mark.parametrize("value", ['[["S3CRET"], 1]', '{ S3CRET = "S3CRET" }', "[]", "5", "true"])
@pytest.mark.parametrize("table", ["", "receive"])
def test_a_server_is_a_text_or_texts_and_is_not_repeated(table: str, value: str) -> None:
    path = write(default_path(), (f"[{table}]\n" if table else "") + f"server = {value}\n")
    with pytest.raises(UsageError) as caught:
        parse("receive", "--server", "ws://x")
    where = f" in [{table}]" if table else ""
    assert str(caught.value) == f"{path}: server{where} must be a text, or a list of texts."


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_may_be_written_by_any_editor(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "c.toml"
    file.write_text('server = "ws://x"\r\n', encoding=encoding)
    assert parse("receive", "--config", str(file))["server"] == ("ws://x",)


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
    ("option", "text", "expected"),
    [
        ("wait", "10m", 600),
        ("patience", "1h30m", 5400),
        ("max-size", "1.5G", 3 << 29),
        ("max-size", "1MB", 10**6),
        ("max-files", "1000", 1000),
    ],
)
def test_times_and_sizes_of_a_client_have_one_form(option: str, text: str, expected: float) -> None:
    name = option.replace("-", "_")
    assert parse("receive", f"--{option}", text)[name] == expected
    write(default_path(), f'[receive]\n{option} = "{text}"')
    assert parse("receive")[name] == expected


@pytest.mark.parametrize(
    ("option", "text", "expected"),
    [
        ("drain", "5m", 300),
        ("max-wait", "1h", 3600),
        ("accept-budget", "2.5s", 2.5),
        ("rate", "10MB", 10**7),
        ("rate-per-source", "1.5M/s", 3 << 19),
        ("rate-total", "1GiB/s", 1 << 30),
    ],
)
def test_times_and_rates_of_a_relay_have_the_same_form(option: str, text: str, expected: float) -> None:
    name, words = option.replace("-", "_"), ("run-relay-server", "localhost", "1")

    def value(*more: str) -> float:
        arguments = parse(*words, *more)
        return float(arguments[name] if name in arguments else getattr(arguments["limit"], name))

    assert value(f"--{option}", text) == expected
    write(default_path(), f'[run-relay-server]\n{option} = "{text}"')
    assert value() == expected


@pytest.mark.parametrize(
    ("option", "text", "said"),
    [
        ("max-size", "-1", "1.5G"),
        ("max-size", "1 000", "1.5G"),
        ("max-files", "0", "a number from 1 to"),
        ("max-files", "1e3", "a number from 1 to"),
        ("max-files", "9" * 5000, "a number from 1 to"),
        ("wait", "1h30", "1h30m"),
        ("wait", "0", "wait"),
        ("deadline", "25:00", "no such time of day"),
        ("deadline", "soon", "23:50"),
        ("deadline", "2020-01-01", "in the past"),
    ],
)
def test_other_forms_are_refused_with_an_example(option: str, text: str, said: str) -> None:
    with pytest.raises(CycloptsError) as caught:
        parse("receive", f"--{option}={text}")
    assert f"--{option}" in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "option"), [("P2P_COPY_TOKEN", "token-file"), ("P2P_COPY_STATE_DIR", "state-dir")]
)
def test_a_variable_that_a_command_reads_itself_comes_before_the_file(
    variable: str, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(variable, raising=False)
    write(default_path(), f'[receive]\n{option} = "x"')
    name = option.replace("-", "_")
    assert parse("receive")[name] == "x"
    monkeypatch.setenv(variable, "y")
    assert parse("receive")[name] is None
    assert parse("receive", f"--{option}", "z")[name] == "z"


RELAYS = """
server = "work"
ca-file = "top.pem"
[relay.work]
url = "wss://work.example"
token-file = "work-token"
ca-file = "work.pem"
[relay.home]
url = "ws://home.example:8765"
[send]
token-file = "send-token"
"""


@pytest.mark.parametrize(
    ("words", "url", "token", "authority"),
    [
        (["send", "a"], "wss://work.example", "work-token", "work.pem"),
        (["send", "a", "--server", "home"], "ws://home.example:8765", "send-token", "top.pem"),
        (["send", "a", "--server", "wss://work.example"], "wss://work.example", "work-token", "work.pem"),
        (["send", "a", "--server", "wss://other"], "wss://other", "send-token", "top.pem"),
        (["send", "a", "--token-file", "x"], "wss://work.example", "x", "work.pem"),
        (["receive", "--server", "home"], "ws://home.example:8765", None, "top.pem"),
    ],
)
def test_a_relay_has_a_name_and_what_is_for_it_alone(
    words: list[str], url: str, token: str | None, authority: str
) -> None:
    write(default_path(), RELAYS)
    values = parse(*words)
    assert (values["server"], values["token_file"], values["ca_file"]) == ((url,), token, authority)


def test_the_first_word_may_be_the_url_of_a_named_relay() -> None:
    write(default_path(), RELAYS)
    assert parse("receive", "wss://work.example", "code")["token_file"] == "work-token"
    assert parse("receive", "ws://home.example:8765", "code")["token_file"] is None


def test_the_environment_may_name_a_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    write(default_path(), RELAYS)
    monkeypatch.setenv("P2P_COPY_SERVER", "home")
    assert parse("send", "a")["server"] == ("ws://home.example:8765",)


def test_a_sender_that_is_the_relay_needs_no_named_one() -> None:
    write(default_path(), 'server = "gone"')
    assert parse("send", "--serve=auto", "a")["serve"] == "auto"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[relay.work]", r"[relay.work] needs the URL of the relay"),
        ("[relay.work]\nurl = 'relay.example'", "needs the URL"),
        ("[relay]\nwork = 'wss://x'", "needs the URL"),
        (
            "[relay.work]\nurl = 'wss://x'\ntokn-file = 'x'",
            "unknown key: tokn-file. Did you mean token-file?",
        ),
        ("[relay.work]\nurl = 'wss://x'\nout = 'x'", "unknown key: out."),
        ("relay = 'wss://x'", "relay must be a table"),
        ("sever = 'wss://x'", "unknown key: sever. Did you mean server?"),
        (
            "[receive]\non_conflict = 'skip'",
            "[receive] has an unknown key: on_conflict. Did you mean on-conflict?",
        ),
        ("server = 'wrk'\n[relay.work]\nurl = 'wss://x'", "Did you mean work?"),
    ],
)
def test_a_wrong_relay_or_key_is_an_error_with_what_was_meant(text: str, said: str) -> None:
    path = write(default_path(), text)
    with pytest.raises(UsageError) as caught:
        parse("receive")
    assert path in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("out = 'x'", "unknown key: out. It belongs in [receive]."),
        ("symlinks = 'copy'\n[receive]", "unknown key: symlinks. It belongs in [send]."),
        ("wait = 60", "It belongs in [send], [receive] or [resume]."),
        ("url = 'wss://x'", "It belongs in [relay.NAME]."),
        ("certfile = 'x'", "It belongs in [run-relay-server]."),
        ("on_conflict = 'skip'", "Did you mean on-conflict? It belongs in [receive]."),
        ("zzz = 1", "unknown key: zzz."),
        ("json = true", "unknown key: json."),
        ("[receive]\nserve = ':8765'", "[receive] has an unknown key: serve. It belongs in [send]."),
        ("[receive]\nurl = 'wss://x'", "It belongs in [relay.NAME]."),
        ("[receive]\ncertfle = 'x'", "Did you mean certfile? It belongs in [run-relay-server]."),
        ("[relay.work]\nurl = 'wss://x'\nout = 'x'", "It belongs in [receive]."),
        ("[relay.work]\nurl = 'wss://x'\nserver = 'x'", "It belongs at the top, or in [send] or [receive]."),
    ],
)
def test_a_key_in_the_wrong_place_is_an_error_that_says_where_it_belongs(text: str, said: str) -> None:
    write(default_path(), text)
    with pytest.raises(UsageError) as caught:
        parse("receive")
    assert str(caught.value).endswith(said)


def test_where_a_key_is_said_to_belong_it_is_taken() -> None:
    write(default_path(), "[receive]\nout = 'x'\n[relay.work]\nurl = 'wss://x'\n[send]\nsymlinks = 'copy'")
    assert parse("receive")["out"] == "x"
    assert parse("send", "a")["symlinks"] is Symlinks.COPY


SEVERAL = """
server = ["work", "ws://home.example:8765"]
token-file = "top-token"
[relay.work]
url = "wss://work.example"
token-file = "work-token"
limit-rate = "2M"
[relay.home]
url = "ws://home.example:8765"
proxy = "none"
limit-rate = "1M"
"""


@pytest.mark.parametrize(
    ("words", "urls"),
    [
        ([], ["wss://work.example", "ws://home.example:8765"]),
        (["--server", "home", "--server", "work"], ["ws://home.example:8765", "wss://work.example"]),
        (["--server", "home, work"], ["ws://home.example:8765", "wss://work.example"]),
        (["--server=wss://other", "--server=work"], ["wss://other", "wss://work.example"]),
    ],
)
def test_several_relays_are_named_and_each_has_what_is_for_it_alone(
    words: list[str], urls: list[str]
) -> None:
    write(default_path(), SEVERAL)
    values = parse("receive", *words)
    assert values["server"] == tuple(urls)
    assert values["token_file"] == "top-token"
    own = {"wss://work.example": {"token-file": "work-token"}, "ws://home.example:8765": {"proxy": "none"}}
    assert values["of_relays"].tables == {url: own[url] for url in urls if url in own}
    assert values["limit_rate"] == (1 if "ws://home.example:8765" in urls else 2) << 20


def test_the_command_line_comes_before_what_several_relays_have_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(default_path(), SEVERAL)
    values = parse("receive", "--token-file", "mine", "--limit-rate", "3M")
    assert (values["token_file"], values["limit_rate"]) == ("mine", 3 << 20)
    assert values["of_relays"].tables["wss://work.example"] == {}
    monkeypatch.setenv("P2P_COPY_TOKEN", "a-token")
    assert parse("receive")["of_relays"].tables["wss://work.example"] == {}


@pytest.mark.parametrize("text", ["work home", "work,home", " work , ws://home.example:8765 "])
def test_the_environment_may_name_several_relays(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    write(default_path(), SEVERAL)
    monkeypatch.setenv("P2P_COPY_SERVER", text)
    assert parse("receive")["server"] == ("wss://work.example", "ws://home.example:8765")


def test_what_relays_have_alone_is_no_option() -> None:
    with pytest.raises(CycloptsError, match="no option"):
        parse("receive", "--of-relays", "x")


def test_a_server_that_is_no_relay_is_not_repeated() -> None:
    """It may be a code in the wrong place."""
    with pytest.raises(UsageError) as caught:
        parse("send", "a", "--server", "flypaper.zodiac-confess")
    assert "flypaper" not in str(caught.value)
    assert "wss://relay.example:443" in str(caught.value)


def test_a_path_may_begin_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    write(default_path(), '[receive]\nout = "~/incoming"\ncode = "~/x"')
    assert parse("receive")["out"] == str(tmp_path / "incoming")
    assert parse("receive")["code"] == "~/x"
