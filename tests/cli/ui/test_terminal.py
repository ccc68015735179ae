"""The rules of the terminal."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import pytest

from p2p_copy.cli.ui.terminal import Terminal
from tests.cli.options.test_inputs import Tty

if TYPE_CHECKING:
    from typing import TextIO


def text_pipe(encoding: str = "utf-8") -> tuple[int, TextIO]:
    reader, writer = os.pipe()
    return reader, os.fdopen(writer, "w", encoding=encoding)


def test_results_and_words_for_people_go_different_ways() -> None:
    out, err = io.StringIO(), io.StringIO()
    terminal = Terminal(out, err)
    terminal.result("result")
    terminal.say("word")
    terminal.error("error")
    terminal.live("never seen")
    assert (out.getvalue(), err.getvalue()) == ("result\n", "word\nerror\n")


def test_quiet_leaves_results_and_errors() -> None:
    out, err = io.StringIO(), Tty()
    terminal = Terminal(out, err, quiet=True)
    terminal.result("result")
    terminal.hint("hint")
    terminal.say("word")
    terminal.live("live")
    terminal.error("error")
    assert (out.getvalue(), err.getvalue()) == ("result\n", "error\n")


def test_the_live_line_is_wiped_before_anything_else_is_written() -> None:
    err = Tty()
    terminal = Terminal(io.StringIO(), err)
    terminal.live("long live")
    terminal.live("short")
    terminal.say("word")
    assert err.getvalue() == "\rlong live\rshort      \r       \rword\n", "and ^C, which a terminal echoes"


def test_a_live_line_never_wraps() -> None:
    err = Tty()
    Terminal(io.StringIO(), err).live("x" * 500)
    assert err.getvalue() == "\r" + "x" * 79


@pytest.mark.fault(80, "narrow")
@pytest.mark.parametrize("columns", [1, 2, 10, 40])
def test_a_live_line_fits_the_narrowest_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setattr(os, "get_terminal_size", lambda _fd: os.terminal_size((columns, 5)))
    monkeypatch.setattr(Tty, "fileno", lambda _self: 2, raising=False)
    err = Tty()
    terminal = Terminal(io.StringIO(), err)
    terminal.live("x" * 500)
    terminal.live("y" * 500)
    assert all(len(line) < columns for line in err.getvalue().split("\r"))


def test_a_dumb_terminal_gets_no_live_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    terminal = Terminal(io.StringIO(), Tty())
    assert terminal.is_interactive
    assert not terminal.is_live


def test_lines_are_flushed_at_once() -> None:
    reader, out = text_pipe()
    with out:
        Terminal(out, io.StringIO()).result("result")
        assert os.read(reader, 100) == b"result\n"
    os.close(reader)


@pytest.mark.fault(80, "reader gone")
def test_a_reader_that_went_away_is_no_error() -> None:
    reader, out = text_pipe()
    os.close(reader)
    terminal = Terminal(out, out)
    for _ in range(3):
        terminal.result("result")
        terminal.say("word")
    out.close()  # flushes: the rest of the buffer must not fail here either


@pytest.mark.fault(80, "closed")
def test_a_closed_stream_is_no_error() -> None:
    out = io.StringIO()
    terminal = Terminal(out, out)
    out.close()
    terminal.result("result")


@pytest.mark.fault(80, "encoding")
@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("ascii", b"\\xe9\\u20ac\\udcff\n"), ("utf-8", b"\xc3\xa9\xe2\x82\xac\\udcff\n")],
)
def test_characters_that_a_terminal_cannot_show_are_escaped(encoding: str, expected: bytes) -> None:
    reader, out = text_pipe(encoding)
    with out:
        Terminal(out, io.StringIO()).result("é€\udcff")
        assert os.read(reader, 100) == expected
    os.close(reader)
