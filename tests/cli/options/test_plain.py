"""A plain command line is parsed without cyclopts, and means the same as with it."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import Any

import pytest
from cyclopts import CycloptsError
from hypothesis import given, strategies as st

from p2p_copy.cli.app import app
from p2p_copy.cli.options.arguments import with_serve_value, with_standard_input
from p2p_copy.cli.options.client import (
    SERVER_VARIABLE,
    ClientArguments,
    ReceiveArguments,
    SendArguments,
    TransferArguments,
)
from p2p_copy.cli.options.config_file import CONFIG_VARIABLE
from p2p_copy.cli.options.plain import plain_command
from p2p_copy.errors import UsageError

VALUES = {
    "--server": ["ws://one:1", "wss://two:443", "ws://one:1,wss://two:443", "name", " ws://one:1 "],
    "--code": ["lab7-a long passphrase", "none"],
    "-c": ["x", "None"],
    "--code-file": ["file", "-", "~/file"],
    "--only": ["*.txt", "-x", "a b", "null"],
    "--exclude": ["a/", "!b"],
    "--ca-file": ["./ca.pem", "dir/"],
    "--pin": ["sha256//x="],
    "--proxy": ["http://proxy:1", "none"],
    "--token-file": ["token"],
    "--of-relays": ["x"],
    "--wait": ["5m", "1h30m", "0", "-1", "x", "7"],
    "--patience": ["0", "2d", "1e3"],
    "--deadline": ["tomorrow", "25:00"],
    "--state-dir": ["state"],
    "--links": ["auto", "1", "16", "17", "01"],
    "--limit-rate": ["10M", "1", "20MB/s"],
    "--receipt": ["r.json"],
    "--config": ["c.toml"],
    "--serve": ["", ":8443", "127.0.0.1:0"],
    "--name": ["n", "", "NONE"],
    "--symlinks": ["keep", "KEEP", "copy", "co", "other"],
    "--preserve": ["mode", "mode,owner", "hard-links, xattrs", "all", "HARD_LINKS"],
    "--code-words": ["5", "3", "x"],
    "--out": ["there", "-", "a b/"],
    "-o": ["there"],
    "--on-conflict": ["refuse", "update", "ask", "Skip"],
    "--names": ["portable", "system"],
    "--max-size": ["1.5G", "0", "x"],
    "--max-files": ["1", "0", "1000000001"],
}
FLAGS = """
    --verify --dry-run -n --quiet -q --verbose -v --progress --no-progress --no-input --json --qr --copy --link
    --checksum --delete --yes -y --reverify --no-quiet --unknown -x -qv --help --version
""".split()  # noqa: SIM905 - shorter

WORDS = st.sampled_from(
    ["a", "b c", "./-", "-", "--", "", "none", "ws://one:1", "wss://two", "help", "x=y", "5"]
)
OPTIONS = st.sampled_from([(name, value) for name, values in VALUES.items() for value in values]).flatmap(
    lambda pair: st.sampled_from([list(pair), [f"{pair[0]}={pair[1]}"]])
)
PARTS = st.one_of(WORDS.map(lambda word: [word]), OPTIONS, st.sampled_from(FLAGS).map(lambda flag: [flag]))


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("empty")))
    for name in (CONFIG_VARIABLE, SERVER_VARIABLE):
        monkeypatch.delenv(name, raising=False)


def by_library(words: list[str]) -> tuple[str, tuple[Any, ...]] | None:
    """Return the command and its arguments as cyclopts parses them; None if it refuses them."""
    try:
        command, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    except (CycloptsError, UsageError):
        return None
    bound.apply_defaults()
    return command.__name__, bound.args + tuple(bound.kwargs.values())


def plainly(words: list[str]) -> tuple[str, tuple[Any, ...]] | None:
    plain = plain_command(words)
    return plain and (plain.command, (*plain.words, plain.transfer, plain.client, plain.own))


@given(command=st.sampled_from(["send", "receive"]), parts=st.lists(PARTS, max_size=5))
def test_what_is_plain_means_the_same(command: str, parts: list[list[str]]) -> None:
    words = with_standard_input(with_serve_value([command, *(word for part in parts for word in part)]))
    if (plain := plainly(words)) is not None:
        assert plain == by_library(words)


@pytest.mark.parametrize(
    "line",
    [
        "send a b --server wss://relay:443 -q",
        "send a --server=ws://one:1 --server=ws://two:2 --code-file f --links auto --preserve mode,owner",
        "send - --name n --server ws://one:1",
        "send wss://relay:443 code a --symlinks copy --only *.txt --only *.md --exclude b",
        "receive --server wss://relay:443 -o dir -y --on-conflict update --checksum --wait 5m --max-size 1.5G",
        "receive wss://relay:443 code --out=dir --json --state-dir s --receipt r --no-input",
    ],
)
def test_what_people_write_most_is_plain(line: str) -> None:
    words = with_standard_input(line.split())
    assert plainly(words) == by_library(words)
    assert plainly(words) is not None


@pytest.mark.parametrize("value", ["ws://one:1", " ws://one:1, wss://two:443 ", "", " ", "name"])
def test_the_relay_of_the_environment(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SERVER_VARIABLE, value)
    for words in (["send", "a"], ["send", "a", "--server", "ws://other:1"]):
        if (plain := plainly(words)) is not None:
            assert plain == by_library(words)
    assert (plainly(["send", "a"]) is None) == (not value.strip() or value == "name")


@pytest.mark.parametrize(
    "words", [["send", "a", "--help"], ["receive", "--on-conflict", "x"], ["resume"], [], ["--version"]]
)
def test_all_else_is_not_plain(words: list[str]) -> None:
    assert plain_command(words) is None


def test_a_configuration_file_is_not_plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    words = ["send", "a", "--server", "ws://one:1"]
    assert plain_command(words) is not None
    (tmp_path / "p2p-copy").mkdir()
    (tmp_path / "p2p-copy" / "config.toml").touch()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert plain_command(words) is None
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.setenv(CONFIG_VARIABLE, "file")
    assert plain_command(words) is None
    monkeypatch.setenv(CONFIG_VARIABLE, os.devnull)
    assert plainly(words) == by_library(words)
    assert plain_command(words) is not None


def test_a_moment_is_the_same() -> None:
    words = ["send", "a", "--deadline", "55m"]
    plain = plain_command(words)
    assert plain is not None
    assert plain.client.deadline == 3300


def test_every_option_is_tried_here() -> None:
    kinds = (TransferArguments, ClientArguments, SendArguments, ReceiveArguments)
    names = {f"--{each.name.replace('_', '-')}" for kind in kinds for each in fields(kind)}
    assert names <= {*VALUES, *FLAGS}
