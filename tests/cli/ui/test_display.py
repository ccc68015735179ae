"""Names that the other side has chosen, in lines for people."""

from __future__ import annotations

import io
import unicodedata

import pytest
from hypothesis import example, given, strategies as st

from p2p_copy import SavedTransfer
from p2p_copy.api import events
from p2p_copy.cli import limits
from p2p_copy.cli.saved_transfers import described
from p2p_copy.cli.ui.display import displayed, one_line, with_options
from p2p_copy.cli.ui.errors import explain
from p2p_copy.cli.ui.progress import Progress
from p2p_copy.cli.ui.terminal import Terminal
from p2p_copy.errors import PeerFailed

BLANKS = " " * 300


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("tree/a.txt", "tree/a.txt"),
        ("größe/名.txt", "größe/名.txt"),
        ("back\\slash", "back\\slash"),
        ("", '""'),
        ("two words", '"two words"'),
        (" ", '" "'),
        ("a   b", '"a \\x20\\x20b"'),
        ('say "y"', '"say \\"y\\""'),
        ("a\x1b[2J\nb", "a\\x1b[2J\\nb"),
        ("a\u00a0\u3000b", "a\\xa0\\u3000b"),
    ],
)
def test_names_that_could_be_misread_are_in_quotes(name: str, shown: str) -> None:
    assert displayed(name) == shown


@given(st.text(max_size=400), st.integers(8, 100))
@example('00"' + "\u0300" * 5 + "0", 8)
def test_no_name_is_wider_than_it_may_be(name: str, columns: int) -> None:
    shown = displayed(name, columns)
    assert shown.isprintable()
    assert "  " not in shown
    shows = [each for each in shown if not unicodedata.combining(each)]  # the others take no column
    assert sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in shows) <= columns + 2
    assert len(shown) <= 3 * columns, "and not any number of them is shown"


def test_a_name_of_quotes_is_no_wider_than_others() -> None:
    """Otherwise a name could wrap its line at a chosen place, and look like two lines."""
    shown = displayed('"' * 38 + "x The sender has nothing", limits.NAME_COLUMNS)
    assert len(shown) <= limits.NAME_COLUMNS + 2


def test_a_long_name_keeps_both_ends() -> None:
    assert displayed("begin" + "x" * 1000 + ".tar.gz", 20) == "beginxxxxx…xx.tar.gz"
    assert displayed("名" * 50, 11) == "名名名…名名"


def test_sentences_of_the_other_side_stay_in_one_line() -> None:
    assert one_line(f"It gave up:{BLANKS}Accept? y\r\n") == "It gave up: Accept? y\\r\\n"
    terminal = Terminal(io.StringIO(), err := io.StringIO())
    explain(PeerFailed(f"The sender gave up: a{BLANKS}b"), terminal)
    terminal.flush()
    assert err.getvalue() == "p2p-copy: The sender gave up: a b\n"


@pytest.mark.fault(108, "names in other lines")
def test_no_path_imitates_a_line() -> None:
    name = f"a{BLANKS}p2p-copy: all is well"
    terminal = Terminal(io.StringIO(), err := io.StringIO())
    progress = Progress(terminal, sends=False)
    progress.show(events.Problem(name, "exists"))
    progress.show(events.Skipped("b" * 9000))
    progress.show(events.Connecting("ws://relay\x1b[2J"))
    progress.show(events.Reconnecting(f"It is gone.{BLANKS}Done.", 60, 1))
    progress.close()
    terminal.flush()
    connecting, lost, skipped, problem = err.getvalue().splitlines()
    assert problem.startswith('Not delivered: "a \\x20\\x20')
    assert problem.endswith('p2p-copy: all is well" exists')
    assert len(problem) < limits.PATH_COLUMNS + 30
    assert len(skipped) < limits.PATH_COLUMNS + 30
    assert connecting == "Connecting to ws://relay\\x1b[2J."
    assert lost.startswith("It is gone. Done. Reconnecting")
    listed = described(SavedTransfer("0" * 32, "sender", relays=("x\ny",), paths=(name,)))
    assert listed.isprintable()
    assert BLANKS not in listed


def test_options_are_shown_as_the_command_line_has_them() -> None:
    said = with_options(
        "Raise `max_size`, or see `on_conflict` of `receive`. 'a`b' stays, and so do `A` and `-x`."
    )
    assert said == "Raise --max-size, or see --on-conflict of --receive. 'a`b' stays, and so do `A` and `-x`."
