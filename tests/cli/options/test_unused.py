"""An option without effect is an error, and so is an unknown option."""

from __future__ import annotations

from dataclasses import fields

import pytest
from cyclopts import CycloptsError

from p2p_copy.cli.app import app
from p2p_copy.cli.options.client import ClientArguments, TransferArguments
from p2p_copy.cli.options.unused import _RULES
from p2p_copy.errors import UsageError
from tests.cli.options.test_config_file import parse, write

SEND, RECEIVE, RELAY = ("send", "file"), ("receive",), ("run-relay-server", "127.0.0.1", "0")
VALUES = {
    "--symlinks": "copy",
    "--preserve": "xattrs",
    "--on-conflict": "skip",
    "--limit-rate": "10M",
    "--links": "2",
    "--reload-certs": "auto",
    "--server": "ws://x",
    "--wait": "9",
    "--patience": "9",
    "--deadline": "9",
    "--code-words": "6",
}
FLAGS = {"--checksum", "--delete", "--dry-run", "--link", "--reverify", "--verbose", "--verify"}
CASES = [
    (SEND, "--name"),
    *(
        ((*SEND, "--serve=:0"), option)
        for option in ("--server", "--ca-file", "--pin", "--proxy", "--token-file", "--state-dir", "--link")
    ),
    *((("send", "ws://x", "lab7-a long one", "file"), option) for option in ("--server", "--code-words")),
    ((*SEND, "--code=lab7-a long one"), "--code-words"),
    ((*SEND, "--code-file=x"), "--code-words"),
    *(
        (("send", "--quiet", "--", "-"), option)
        for option in (
            *("--symlinks", "--preserve", "--only", "--exclude", "--dry-run", "--state-dir", "--verify"),
        )
    ),
    (("receive", "ws://x"), "--server"),
    *(
        (("receive", "--out", "-"), option)
        for option in (
            *("--on-conflict", "--preserve", "--only", "--exclude", "--checksum", "--delete", "--dry-run"),
            *("--reverify", "--state-dir"),
        )
    ),
    *(
        (("resume",), option)
        for option in (
            *(
                "--ca-file",
                "--pin",
                "--proxy",
                "--token-file",
                "--wait",
                "--patience",
                "--deadline",
                "--limit-rate",
                "--links",
            ),
            "--receipt",
        )
    ),
    ((*RELAY, "--no-tls"), "--reload-certs"),
    *(
        ((command, *word, other), "--verbose")
        for command, word in (("send", ("file",)), ("receive", ()), ("resume", ("1234",)))
        for other in ("--quiet", "--json")
    ),
]


def with_option(words: tuple[str, ...], option: str) -> list[str]:
    command, *rest = words
    return [command, option if option in FLAGS else f"{option}={VALUES.get(option, 'x')}", *rest]


@pytest.mark.parametrize(("words", "option"), CASES)
def test_an_option_without_effect_is_refused_with_the_reason(words: tuple[str, ...], option: str) -> None:
    parse(*words)
    with pytest.raises(UsageError, match=f"^{option} has no effect here: "):
        parse(*with_option(words, option))


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (SEND, "--symlinks"),
        (SEND, "--code-words"),
        (SEND, "--ca-file"),
        (("send", "--server=wss://x", "file"), "--ca-file"),
        (("receive", "wss://x"), "--ca-file"),
        (("send", "--", "-"), "--name"),
        ((*SEND, "--serve=:0"), "--patience"),
        (("receive", "lab7-a long one"), "--server"),
        (("receive", "--out", "x"), "--reverify"),
        (("receive", "--out", "-"), "--verify"),
        (("resume",), "--state-dir"),
        (("resume", "1234"), "--receipt"),
        (("resume", "1234"), "--wait"),
        (RELAY, "--reload-certs"),
    ],
)
def test_an_option_with_an_effect_is_taken(words: tuple[str, ...], option: str) -> None:
    parse(*with_option(words, option))


def test_every_rule_names_options_of_its_command_and_is_tried_above() -> None:
    tried = {(words[0], option) for words, option in CASES}
    for command, rules in _RULES.items():
        options = {
            name for argument in app[command].assemble_argument_collection() for name in argument.names
        }
        for rule in rules:
            assert set(rule.options) <= options
            assert {(command, option) for option in rule.options} <= tried


def test_defaults_of_the_configuration_and_the_environment_are_used_where_they_apply(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pytest.TempPathFactory
) -> None:
    monkeypatch.setenv("P2P_COPY_SERVER", "ws://environment")
    file = write(
        f"{tmp_path}/c.toml",
        '[send]\nsymlinks = "copy"\nname = "n"\n[receive]\non-conflict = "skip"\n[resume]\nwait = 9',
    )
    parse("send", "--config", file, "--serve=:0", "--", "-")
    parse("send", "--config", file, "a")
    parse("receive", "--config", file, "--out", "-")
    assert parse("resume", "--config", file)["wait"] == 9


@pytest.mark.parametrize("name", [each.name for each in fields(TransferArguments)])
def test_resume_has_no_option_about_what_is_transferred(name: str) -> None:
    option = f"--{name.replace('_', '-')}"
    with pytest.raises(CycloptsError, match=option):
        parse("resume", "1234", option, "x")


def test_resume_has_the_files_of_the_configuration_that_all_clients_have(
    tmp_path: pytest.TempPathFactory,
) -> None:
    file = write(f"{tmp_path}/c.toml", 'server = "ws://x"\nca-file = "ca"\ntoken-file = "token"\n')
    resume = parse("resume", "1234", "--config", file)
    assert (resume["ca_file"], resume["token_file"]) == ("ca", "token")
    assert {each.name for each in fields(ClientArguments)} <= resume.keys()
