"""Where relay, code and token come from, and what the user is told if one is missing."""

from __future__ import annotations

import io
import os
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from p2p_copy.cli import limits
from p2p_copy.cli.options.inputs import access_token, ask_for_code, relays_of, written_code
from p2p_copy.cli.ui.terminal import Terminal
from p2p_copy.errors import UsageError
from p2p_copy.protocol.code import Code, CodeTypo

if TYPE_CHECKING:
    from pathlib import Path

GENERATED = Code.generate(lambda below: below // 3)


class Tty(io.StringIO):
    """A text stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def person(monkeypatch: pytest.MonkeyPatch, *answers: str) -> tuple[Terminal, Tty]:
    """Return a terminal with these typed lines, and the stream that shows what is written to it."""
    monkeypatch.setattr(sys, "stdin", Tty("".join(f"{answer}\n" for answer in answers)))
    shown = Tty()
    return Terminal(io.StringIO(), shown), shown


def mistyped() -> str:
    words = GENERATED.text
    return words.replace(words[2], "x" if words[2] != "x" else "y", 1)


def test_a_relay_in_the_words_comes_before_the_option() -> None:
    assert relays_of("ws://word:1", ("ws://option:1",)) == ("ws://word:1",)
    assert relays_of(None, ("wss://option", "ws://other", "wss://option")) == ("wss://option", "ws://other")


def test_without_a_relay_the_message_names_all_ways_to_give_one() -> None:
    with pytest.raises(UsageError) as caught:
        relays_of(None, ())
    for way in ("--server", "P2P_COPY_SERVER", "configuration file", "--serve"):
        assert way in str(caught.value)


@pytest.mark.parametrize(
    "address",
    ["relay.example", "https://relay.example", "wss://", "wss://:443", "ws://host:port", "ws://host:70000"],
)
def test_a_wrong_address_of_a_relay_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="wss://"):
        relays_of(None, ("ws://host:1", address))


def test_a_code_comes_from_the_word_the_option_the_file_or_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "code"
    file.write_text("from-the file\nsecond line\n", encoding="utf-8")
    assert written_code(None, None, None) is None
    monkeypatch.setenv("P2P_COPY_CODE", "from-the environment")
    assert written_code(None, None, None) == "from-the environment"
    assert written_code(None, None, str(file)) == "from-the file"
    assert written_code(None, "from-the option", None) == "from-the option"
    assert written_code("from-the word", None, None) == "from-the word"


def test_a_dash_as_code_file_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first line is read even if standard input is non-blocking and comes in pieces; the rest stays unread."""
    ours, theirs = os.pipe()
    if hasattr(os, "set_blocking"):
        os.set_blocking(ours, False)

    def type_it() -> None:
        for piece in (b"from-stan", b"dard input\nnot ", b"this\n"):
            time.sleep(0.02)
            os.write(theirs, piece)
        os.close(theirs)

    typing = threading.Thread(target=type_it)
    typing.start()
    with os.fdopen(ours) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert written_code(None, None, "-") == "from-standard input"
        typing.join()
        assert stdin.readline() == "not this\n"


@pytest.mark.parametrize("blank", [" {} ", "\t{}\r\n", "\ufeff{}"])
def test_pasted_text_may_have_blanks_line_ends_and_marks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, blank: str
) -> None:
    assert relays_of(None, (blank.format("ws://host:1"),)) == ("ws://host:1",)
    assert written_code(None, blank.format("lab7-a code"), None) == "lab7-a code"
    monkeypatch.setenv("P2P_COPY_CODE", blank.format("lab7-a code"))
    monkeypatch.setenv("P2P_COPY_TOKEN", blank.format("a-token"))
    assert written_code(None, None, None) == "lab7-a code"
    assert access_token(None) == "a-token"
    file = tmp_path / "file"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        file.write_text(f"{blank.format('Code: lab7-a code')}\r\n", encoding=encoding)
        assert written_code(None, None, str(file)) == "lab7-a code"
        file.write_text(blank.format("Token: a-token"), encoding=encoding)
        assert access_token(str(file)) == "a-token"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ws://host:99999", "from 1 to 65535"),
        ("ws://host:0", "from 1 to 65535"),
        ("ws://host:12x", "from 1 to 65535"),
        ("ws://::1:443", "brackets"),
        ("https://host", "wss:// for https://"),
        ("host:443", "looks like wss://"),
        ("wss://ho st", "without spaces"),
    ],
)
def test_a_wrong_address_is_explained(address: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        relays_of(None, ("ws://host:1", address))


@pytest.mark.parametrize("given", [("a", "b", None), ("a", None, "b"), (None, "a", "b")])
def test_two_codes_are_refused(given: tuple[str | None, str | None, str | None]) -> None:
    with pytest.raises(UsageError, match="twice"):
        written_code(*given)


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"\xef\xbb\xbf\r\n", b"\x80"])
def test_a_file_without_a_code_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "code"
    file.write_bytes(content)
    with pytest.raises(UsageError, match="The code file"):
        written_code(None, None, str(file))
    with pytest.raises(UsageError, match=os.strerror(2)):
        written_code(None, None, str(tmp_path / "none"))


def test_a_person_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, shown = person(monkeypatch, GENERATED.text)
    assert ask_for_code(terminal) == GENERATED
    assert shown.getvalue() == "Code: "


def test_a_typo_is_answered_with_a_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CodeTypo) as caught:
        Code.parse(mistyped())
    assert caught.value.suggestion == GENERATED
    terminal, shown = person(monkeypatch, mistyped(), "")
    assert ask_for_code(terminal) == GENERATED
    assert f"Did you mean {GENERATED.text}?" in shown.getvalue()


def test_dashes_and_a_typo_are_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a text may be an own code: typed twice it is one."""
    typed = mistyped().replace(".", "-")
    terminal, shown = person(monkeypatch, typed, "")
    assert ask_for_code(terminal) == GENERATED
    assert f"Did you mean {GENERATED.text}?" in shown.getvalue()
    terminal, shown = person(monkeypatch, typed, typed)
    assert ask_for_code(terminal).text == typed
    assert shown.getvalue().count("type it again") == 1


def test_a_person_may_try_three_times(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, _ = person(monkeypatch, "wrong", "wrong", GENERATED.text)
    assert ask_for_code(terminal) == GENERATED
    terminal, _ = person(monkeypatch, *["wrong"] * limits.CODE_TRIES, GENERATED.text)
    with pytest.raises(UsageError):
        ask_for_code(terminal)


def test_a_person_may_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, _ = person(monkeypatch)
    with pytest.raises(UsageError, match="No code"):
        ask_for_code(terminal)


@pytest.mark.parametrize("ears", [True, False])
def test_without_a_terminal_the_message_names_all_ways_to_give_a_code(
    monkeypatch: pytest.MonkeyPatch, ears: bool
) -> None:
    terminal, shown = person(monkeypatch, GENERATED.text)
    if ears:
        terminal = Terminal(io.StringIO(), io.StringIO())
    else:
        monkeypatch.setattr(sys, "stdin", io.StringIO(GENERATED.text))
    with pytest.raises(UsageError) as caught:
        ask_for_code(terminal)
    for way in ("--code-file", "P2P_COPY_CODE", "receive CODE"):
        assert way in str(caught.value)
    assert shown.getvalue() == ""
