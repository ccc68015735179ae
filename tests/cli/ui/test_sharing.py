"""A code as a link, as a QR code on the terminal, and in the clipboard: `send --link`, `--qr` and `--copy`."""

from __future__ import annotations

import base64
import json
import os
import re
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pyte
import pytest
import segno

from p2p_copy.cli.ui.sharing import drawn, page_at
from p2p_copy.errors import UsageError
from tests.cli.processes import finish, start
from tests.cli.test_on_a_terminal import Screen, screen

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["screen"]

CODE = "sloppy.scone-folic.monthly.explicit"
MODULES = [list(map(bool, row)) for row in segno.make(CODE, micro=False, error="m").matrix_iter(border=2)]


def layout(text: str, lines: int) -> pyte.Screen:
    shown = pyte.Screen(80, lines)
    pyte.Stream(shown).feed(text.replace("\r\n", "\n").replace("\n", "\r\n"))
    return shown


def modules_of(shown: pyte.Screen, width: int, first: int = 0) -> list[list[bool]]:
    """Read the dark modules from the halves of characters, which must be black on white."""
    rows: list[list[bool]] = []
    for line in range(first, first + (width + 1) // 2):
        cells = [shown.buffer[line][column] for column in range(width)]
        assert {(cell.fg, cell.bg) for cell in cells} == {("000000", "ffffff")}
        rows += [[cell.data in "▀█" for cell in cells], [cell.data in "▄█" for cell in cells]]
    return rows[:width]


def test_each_character_has_two_modules_black_on_white() -> None:
    width = len(MODULES)
    assert width <= 39, "it fits into a terminal of 40 columns"
    assert modules_of(layout(drawn(MODULES, "utf-8"), width), width) == MODULES


def test_without_such_characters_a_module_is_two_blanks() -> None:
    width = len(MODULES)
    text = drawn(MODULES, "ascii")
    assert text.isascii()
    shown = layout(text, width + 1)
    found = [
        [shown.buffer[row][2 * column].bg == "000000" for column in range(width)] for row in range(width)
    ]
    assert found == MODULES


def test_a_sender_draws_its_code(relay: str, tree: Path, screen: Screen) -> None:
    sender = screen.attach(
        start("send", str(tree), "--server", relay, "--qr", stdin=subprocess.DEVNULL, stderr=screen.there)
    )
    assert sender.stdout is not None
    code = sender.stdout.readline().strip().removeprefix("Code: ")
    screen.read_until(r"(?s)\x1b\[38;5;16.*Waiting for the receiver")
    sender.send_signal(2)
    assert finish(sender)[0] == 130
    expected = [
        list(map(bool, row)) for row in segno.make(code, micro=False, error="m").matrix_iter(border=2)
    ]
    text = screen.seen[screen.seen.index("\x1b[38;5;16") :]
    assert modules_of(layout(text, 60), len(expected)) == expected


def test_without_a_terminal_nothing_is_drawn_and_nothing_starts(tree: Path) -> None:
    code, out, err = finish(start("send", str(tree), "--server", "ws://127.0.0.1:1", "--qr"))
    assert (code, out) == (2, "")
    assert err == "p2p-copy: --qr draws on a terminal, and standard error is none.\n"


@pytest.mark.parametrize(
    ("option", "module", "extra"), [("--qr", "segno", "qr"), ("--copy", "pyperclip", "clipboard")]
)
def test_without_the_library_the_command_to_install_it_is_told_before_anything_starts(
    tree: Path, tmp_path: Path, screen: Screen, option: str, module: str, extra: str
) -> None:
    (tmp_path / f"{module}.py").write_text("raise ImportError")
    words = ("send", str(tree), "--server", "ws://127.0.0.1:1", option)
    env = {"PYTHONPATH": str(tmp_path)}
    sender = screen.attach(start(*words, env=env, stdin=subprocess.DEVNULL, stderr=screen.there))
    code, out, _ = finish(sender)
    assert (code, out) == (2, "")
    assert f"{option} needs a library" in screen.rest()
    assert f"pip install 'p2p-copy[{extra}]'" in screen.seen
    assert "Connecting" not in screen.seen


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no program that can be replaced")
def test_the_code_is_put_into_the_clipboard(relay: str, tree: Path, tmp_path: Path) -> None:
    """The program that sets the clipboard gets the code by its standard input, not as an argument."""
    program = tmp_path / "bin" / "xclip"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\ncat > {tmp_path}/copied\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    env = {"PATH": f"{program.parent}:{os.environ['PATH']}", "DISPLAY": ":9", "WAYLAND_DISPLAY": ""}
    sender = start("send", str(tree), "--server", relay, "--copy", env=env)
    assert sender.stdout is not None
    code = sender.stdout.readline().strip().removeprefix("Code: ")
    sender.send_signal(2)
    ended, _, err = finish(sender)
    assert (ended, (tmp_path / "copied").read_text()) == (130, code)
    assert code not in (tmp_path / "arguments").read_text()
    assert "The code is in the clipboard." in err


def test_over_ssh_the_terminal_sets_the_clipboard(relay: str, tree: Path, screen: Screen) -> None:
    words = ("send", str(tree), "--server", relay, "--copy")
    env = {"SSH_TTY": "/dev/pts/9"}
    sender = screen.attach(start(*words, env=env, stdin=subprocess.DEVNULL, stderr=screen.there))
    assert sender.stdout is not None
    code = sender.stdout.readline().strip().removeprefix("Code: ")
    given = screen.read_until("\x1b\\]52;c;([A-Za-z0-9+/=]+)\x07")[1]
    sender.send_signal(2)
    assert finish(sender)[0] == 130
    assert base64.b64decode(given).decode() == code
    assert re.search("not every terminal takes it", screen.rest())


def test_without_a_clipboard_nothing_starts(tree: Path) -> None:
    env = {"DISPLAY": "", "WAYLAND_DISPLAY": "", "PATH": "/nonexistent"}
    code, out, err = finish(start("send", str(tree), "--server", "ws://127.0.0.1:1", "--copy", env=env))
    assert (code, out) == (2, "")
    assert "--copy finds no clipboard here" in err


def page_of(relay: str) -> str:
    return relay.replace("ws://", "http://") + "/"


def test_a_sender_shows_a_link_and_draws_it(relay: str, tree: Path, screen: Screen) -> None:
    words = ("send", str(tree), "--server", relay, "--link")
    sender = screen.attach(start(*words, stdin=subprocess.DEVNULL, stderr=screen.there))
    assert sender.stdout is not None
    code = sender.stdout.readline().strip().removeprefix("Code: ")
    assert sender.stdout.readline().startswith("On the other machine: p2p-copy receive --server ")
    link = sender.stdout.readline().strip().removeprefix("Or in a browser: ")
    assert link == f"{page_of(relay)}#{code}", "the words of a code need no escapes"
    screen.read_until(r"(?s)\x1b\[38;5;16.*Waiting for the receiver")
    sender.send_signal(2)
    assert finish(sender)[0] == 130
    expected = [
        list(map(bool, row)) for row in segno.make(link, micro=False, error="m").matrix_iter(border=2)
    ]
    text = screen.seen[screen.seen.index("\x1b[38;5;16") :]
    assert modules_of(layout(text, 60), len(expected)) == expected


def test_without_a_terminal_a_link_is_text(relay: str, tree: Path) -> None:
    sender = start("send", str(tree), "--server", relay, "--link")
    assert sender.stdout is not None
    code, _, link = (sender.stdout.readline().strip().partition(": ")[2] for _ in range(3))
    sender.send_signal(2)
    ended, _, err = finish(sender)
    assert (ended, link) == (130, f"{page_of(relay)}#{code}")
    assert "\x1b" not in err
    assert code not in err


def test_a_program_gets_the_link_in_the_first_object(relay: str, tree: Path) -> None:
    sender = start("send", str(tree), "--server", relay, "--link", "--json")
    assert sender.stdout is not None
    first = json.loads(sender.stdout.readline())
    sender.send_signal(2)
    assert finish(sender)[0] == 130
    assert first["event"] == "started"
    assert first["link"] == f"{page_of(relay)}#{first['code']}"


def test_without_the_option_there_is_no_link(relay: str, tree: Path) -> None:
    sender = start("send", str(tree), "--server", relay, "--json")
    assert sender.stdout is not None
    assert json.loads(sender.stdout.readline())["link"] is None
    sender.send_signal(2)
    assert finish(sender)[0] == 130


def test_a_link_has_a_code_of_ones_own_in_escapes(relay: str, tree: Path) -> None:
    env = {"P2P_COPY_CODE": "lab7-Käse & /#?"}
    sender = start("send", str(tree), "--server", relay, "--link", "--quiet", env=env)
    assert sender.stdout is not None
    sender.stdout.readline()
    link = sender.stdout.readline().strip()
    sender.send_signal(2)
    assert finish(sender)[0] == 130
    assert link == f"Or in a browser: {page_of(relay)}#lab7-K%C3%A4se%20%26%20%2F%23%3F"


def test_the_link_is_drawn_only_with_the_library(
    relay: str, tree: Path, tmp_path: Path, screen: Screen
) -> None:
    (tmp_path / "segno.py").write_text("raise ImportError")
    words = ("send", str(tree), "--server", relay, "--link")
    env = {"PYTHONPATH": str(tmp_path)}
    sender = screen.attach(start(*words, env=env, stdin=subprocess.DEVNULL, stderr=screen.there))
    screen.read_until("Waiting for the receiver")
    sender.send_signal(2)
    ended, out, _ = finish(sender)
    assert ended == 130
    assert "Or in a browser: " in out
    assert "python3 -m pip install 'p2p-copy[qr]'" in screen.seen
    assert "38;5;16" not in screen.seen


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no program that can be replaced")
def test_the_clipboard_gets_the_link(relay: str, tree: Path, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "xclip"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncat > {tmp_path}/copied\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    env = {"PATH": f"{program.parent}:{os.environ['PATH']}", "DISPLAY": ":9", "WAYLAND_DISPLAY": ""}
    sender = start("send", str(tree), "--server", relay, "--copy", "--link", env=env)
    assert sender.stdout is not None
    code = sender.stdout.readline().strip().removeprefix("Code: ")
    sender.send_signal(2)
    ended, _, err = finish(sender)
    assert (ended, (tmp_path / "copied").read_text()) == (130, f"{page_of(relay)}#{code}")
    assert "The link is in the clipboard." in err


@pytest.mark.parametrize(
    ("relay", "page"),
    [
        ("wss://relay.example", "https://relay.example/"),
        ("wss://relay.example:443", "https://relay.example/"),
        ("wss://relay.example:8443/", "https://relay.example:8443/"),
        ("wss://relay.example/files", "https://relay.example/files/"),
        ("wss://[2001:db8::1]:8443", "https://[2001:db8::1]:8443/"),
        ("ws://localhost:8765", "http://localhost:8765/"),
        ("ws://127.0.0.1", "http://127.0.0.1/"),
    ],
)
def test_the_page_is_where_the_relay_is(relay: str, page: str) -> None:
    assert page_at([relay]) == page


def test_a_link_that_could_not_work_is_refused_before_anything_starts(tree: Path) -> None:
    code, out, err = finish(start("send", str(tree), "--server", "ws://relay.example", "--link"))
    assert (code, out) == (2, "")
    assert "--link needs a relay with TLS (wss://)" in err
    with pytest.raises(UsageError, match="--link is a link to one relay"):
        page_at(["wss://one.example", "wss://two.example"])
