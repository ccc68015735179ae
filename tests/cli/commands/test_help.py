"""`p2p-copy help` explains commands and topics; what it says is true of the program."""

from __future__ import annotations

import importlib.metadata
import re
from typing import TYPE_CHECKING

import pytest

from p2p_copy import errors
from p2p_copy.cli.app import app
from p2p_copy.cli.main import main
from p2p_copy.cli.options import client
from p2p_copy.cli.ui.errors import DEBUG_VARIABLE
from p2p_copy.cli.ui.topics import FORMS, PATTERNS, VARIABLES, topics
from p2p_copy.files.selection import Selection
from p2p_copy.options import STATE_VARIABLE
from p2p_copy.units import parse_duration, parse_rate, parse_size
from p2p_copy.version import DOCUMENTATION
from tests.cli.processes import run

if TYPE_CHECKING:
    from pathlib import Path


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["help", *words]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    "command", [name for name in app if not name.startswith("-") and name not in topics()]
)
def test_help_of_a_command_is_its_help_option(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = said(capsys, command)
    assert main([command, "--help"]) == 0
    assert shown == capsys.readouterr().out


def test_help_alone_is_the_help_of_all(capsys: pytest.CaptureFixture[str]) -> None:
    shown = said(capsys)
    assert main(["--help"]) == 0
    assert shown == capsys.readouterr().out
    assert "p2p-copy help topics" in shown


def test_the_list_of_topics_has_all_and_each_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    listed = said(capsys, "topics")
    for name, topic in topics().items():
        assert re.search(rf"^ +{name} +{re.escape(topic.about)}$", listed, re.MULTILINE)
        assert len(said(capsys, name).splitlines()) > 10


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize("topic", ["topics", *topics()])
def test_a_topic_fits(
    topic: str, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    text = said(capsys, topic).replace("flypaper.zodiac-confess.helpful.bullwhip", "")
    assert "`" not in text
    assert max(map(len, text.splitlines())) <= columns


def test_every_exit_code_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "exit-codes")
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.P2PCopyError):
            assert re.search(rf"^ +{kind.exit_code} ", text, re.MULTILINE)


def test_the_patterns_that_are_explained_are_patterns() -> None:
    for words, _ in PATTERNS:
        for pattern in re.findall("`(.+?)`", words):
            Selection(exclude=["*", pattern])


def test_the_forms_that_are_explained_are_forms() -> None:
    parsers = {"a time": parse_duration, "a size": parse_size, "a rate": parse_rate}
    for what, text in FORMS:
        for form in re.findall(r"`(\d[^`]*)`", text):
            assert parsers[what](form) > 0


def test_the_example_of_the_configuration_file_is_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = next(part for part in topics()["config"].parts if not isinstance(part, str))
    written = "\n".join(left.strip("`") for left, _ in rows)
    (tmp_path / "c.toml").write_text(written, encoding="utf-8")
    assert main(["config", "show", "receive", "--config", str(tmp_path / "c.toml")]) == 0
    shown = capsys.readouterr().out
    for value in re.findall('= "(?!work")(.*)"', written):
        assert value in shown


def test_the_variables_that_are_explained_are_those_that_are_read() -> None:
    ours = {getattr(client, name) for name in dir(client) if name.endswith("_VARIABLE")}
    assert {name.strip("`") for name, _ in VARIABLES} == ours | {DEBUG_VARIABLE, STATE_VARIABLE}


@pytest.mark.parametrize(
    ("words", "meant"),
    [(["sned"], "send"), (["exit-code"], "exit-codes"), (["json"], None), (["a", "b"], None)],
)
def test_an_unknown_topic_is_an_error_with_what_was_meant(
    words: list[str], meant: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["help", *words]) == 2
    said = capsys.readouterr().err
    assert (f"Did you mean {meant}?" in said) == (meant is not None)
    assert ("Did you mean" in said) == (meant is not None)


def test_the_command_version_prints_what_the_option_does() -> None:
    assert run("version") == run("--version")


def test_the_documentation_on_the_web_is_named_where_the_package_names_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    urls = importlib.metadata.metadata("p2p-copy").get_all("Project-URL") or []
    assert f"Documentation, {DOCUMENTATION}" in urls
    assert said(capsys, "topics").rstrip().endswith(DOCUMENTATION)
