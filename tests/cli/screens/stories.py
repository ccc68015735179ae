"""The stories whose screens are kept: those of the documentation, and those that only the tests need."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from docs.figures import screens
from docs.figures.screens import LIVE, RECEIVER, SENDER, SERVER, WAITING
from p2p_copy.cli.app import app

if TYPE_CHECKING:
    from docs.figures.screens import Screen, Stage, Story
    from docs.figures.terminal import Terminal

HERE: Final = Path(__file__).parent
WIDTHS: Final = (80, 40)

_RATE: Final = "24M"
_LARGE: Final = 96_000_000
"""Bytes that take some seconds at this rate."""

_MANY: Final = 43
"""Files that exist at the receiver already: more than are named one by one."""


def path_of(screen: Screen, columns: int) -> Path:
    """Return where the text of a screen is kept."""
    return HERE / str(columns) / f"{screen.name}.txt"


def _moving(stage: Stage) -> tuple[Terminal, Terminal, Terminal]:
    """Return a relay, and a sender and a receiver in the middle of a transfer through it."""
    stage.write("results/measured.h5", _LARGE)
    relay = stage.relay("--rate", _RATE)
    sender = stage.sender()
    receiver = stage.receiver(f"receive --server {SERVER} --out incoming --yes")
    for side in (sender, receiver):
        side.read_until(rf"\r{LIVE}")
    return relay, sender, receiver


def relay_lost(stage: Stage) -> None:
    """Stop the relay in the middle."""
    relay, sender, receiver = _moving(stage)
    stage.keep("receive-progress", RECEIVER, receiver, cursor=True)
    relay.kill()
    for side in (sender, receiver):
        side.read_until(r"\rReconnecting, [^\r\n]*")
    stage.keep("send-reconnects", SENDER, sender, cursor=True)
    stage.keep("receive-reconnects", RECEIVER, receiver, cursor=True)


def interrupted_by_keys(stage: Stage) -> None:
    """Press Ctrl-C at the receiver in the middle, and at the sender that waits for it then."""
    _, sender, receiver = _moving(stage)
    for side, name, title in ((receiver, "receive", RECEIVER), (sender, "send", SENDER)):
        if side is sender:
            side.read_until(WAITING)
        side.type("\x03")
        stage.ended(side)
        stage.keep(f"{name}-interrupted", title, side)


def stalled(stage: Stage) -> None:
    """Let the receiver's machine sleep in the middle: after a while the sender says for whom it waits."""
    _, sender, receiver = _moving(stage)
    receiver.pause()
    sender.read_until(r"Nothing moves: .*\rStalled[^\r\n]*")
    stage.keep("send-stalled", SENDER, sender, cursor=True)
    receiver.go_on()


def declined(stage: Stage) -> None:
    """Say no, and let the sender wait for another try."""
    stage.relay()
    sender = stage.sender()
    receiver = stage.receiver(f"receive --server {SERVER} --out incoming")
    receiver.read_until(r"Receive this\? \[y/N\] ")
    sender.read_until(r"\rWaiting [^\r\n]*a(?:ccept|nswer) \([0-9]+ s\) *")
    stage.keep("send-asks", SENDER, sender, cursor=True)
    receiver.type("n\n")
    stage.ended(receiver)
    sender.read_until(rf"declined.*{WAITING}")
    stage.keep("receive-declined", RECEIVER, receiver)
    stage.keep("send-declined", SENDER, sender, cursor=True)


def receiver_first(stage: Stage) -> None:
    """Begin with the receiver, with a code that both know already; before anything is sent the words are compared."""
    stage.relay()
    stage.code = "lab7-a long passphrase"
    (stage.home / "ada" / "code.txt").write_text(stage.code)
    receiver = stage.receiver(f"receive --server {SERVER} --out incoming --verify")
    receiver.read_until(WAITING)
    stage.keep("receive-waits", RECEIVER, receiver, cursor=True)
    sender = stage.run(f"send results --server {SERVER} --code-file code.txt")
    receiver.read_until(r"Do both sides show \S+ \S+\? \[y/N\] ")
    sender.read_until(r"\rWaiting for (?:the receiver to compare the words|an answer) \([^)]+\) *")
    stage.keep("receive-compares", RECEIVER, receiver, cursor=True)
    stage.keep("send-compares", SENDER, sender, cursor=True)


def _received_once(stage: Stage) -> None:
    """Have a tree of three small files at the receiver."""
    stage.relay()
    (stage.home / "ada" / "tree").mkdir()
    for name in ("changes", "goes", "stays"):
        stage.write(f"tree/{name}.txt", 5)
    sender = stage.sender("tree")
    receiver = stage.receiver(f"receive --server {SERVER} --out incoming --yes")
    for side in (receiver, sender):
        side.finish()


def updated(stage: Stage) -> None:
    """Send a tree again in which one file has changed, and delete at the receiver what is no longer there."""
    _received_once(stage)
    stage.write("tree/changes.txt", 7)
    (stage.home / "ada" / "tree" / "goes.txt").unlink()
    sender = stage.sender("tree")
    receiver = stage.receiver(f"receive --server {SERVER} --out incoming --on-conflict update --delete")
    for question in (r"Receive this\? \[y/N\] ", r"Delete them\? \[y/N\] "):
        receiver.read_until(question)
        receiver.type("y\n")
    for side, name, title in ((receiver, "receive", RECEIVER), (sender, "send", SENDER)):
        stage.ended(side)
        stage.keep(f"{name}-update", title, side)


def asked_for_each(stage: Stage) -> None:
    """Decide for each file that is there already: this one, and none of the others."""
    _received_once(stage)
    sender = stage.sender("tree")
    receiver = stage.receiver(f"receive --server {SERVER} --out incoming --on-conflict ask")
    for question, answer in (
        (r"Receive this\? \[y/N\] ", "y"),
        (r"changes.txt exists already\. Replace it\? \[y/N, all, none\] ", "y"),
        (r"goes.txt exists already\. Replace it\? \[y/N, all, none\] ", "none"),
    ):
        receiver.read_until(question)
        receiver.type(f"{answer}\n")
    stage.ended(receiver)
    stage.keep("receive-ask", RECEIVER, receiver)
    sender.finish()


def many_exist(stage: Stage, conflict: str) -> None:
    """Receive files most of which exist already."""
    stage.relay()
    (stage.home / "bob" / "incoming" / "tree").mkdir(parents=True)
    (stage.home / "ada" / "tree").mkdir()
    for number in range(_MANY):
        name = f"tree/{number:02}.txt"
        (stage.home / "bob" / "incoming" / name).write_text("mine")
        (stage.home / "ada" / name).write_text(f"{number}")
    (stage.home / "ada" / "tree" / "new.txt").write_text("new")
    sender = stage.sender("tree")
    receiver = stage.receiver(f"receive --server {SERVER} --out incoming --yes --on-conflict {conflict}")
    for side, name, title in ((receiver, "receive", RECEIVER), (sender, "send", SENDER)):
        stage.ended(side)
        stage.keep(f"{name}-{conflict}", title, side)


def guessed(stage: Stage) -> None:
    """Guess at a code: what the guesser sees."""
    stage.relay()
    sender = stage.run(f"send results --server {SERVER} --code 'lab7-a long passphrase'")
    sender.read_until(WAITING)
    guess = stage.run(f"receive --server {SERVER} --yes --code 'lab7-a wrong passphrase'")
    stage.ended(guess)
    sender.finish()
    stage.keep("receive-wrong-code", RECEIVER, guess)


def no_relay(stage: Stage) -> None:
    """Name a relay that does not run."""
    stage.server = "wss://127.0.0.100:99"
    sender = stage.run(f"send results --server {SERVER}")
    stage.ended(sender)
    stage.keep("send-no-relay", SENDER, sender)


def resumable(stage: Stage) -> None:
    """List ten transfers that are not finished: each side was killed while it waited."""
    stage.relay()
    for number in range(5):
        (stage.home / "ada" / f"data-{number}").mkdir()
        receive = f"receive --code 'lab{number}-a long passphrase' --server {SERVER} --out in-{number}"
        for command in (f"send data-{number} --server {SERVER}", receive):
            begun = stage.run(command, stage.terminal("ada"))
            begun.read_until(WAITING)
            begun.kill()  # one after the other: they are listed in this order
    listed = stage.run("resume")
    listed.finish()
    stage.keep("resume-ten", SENDER, listed)


def helped(stage: Stage, command: str) -> None:
    """Ask for the help of one command."""
    shown = stage.run(f"{command} --help")
    shown.finish()
    stage.keep(f"help-{command.replace(' ', '-')}", "any machine", shown)


ONLY_TEXT: Final[dict[str, Story]] = {
    "relay_lost": relay_lost,
    "interrupted_by_keys": interrupted_by_keys,
    "stalled": stalled,
    "declined": declined,
    "receiver_first": receiver_first,
    "updated": updated,
    "asked_for_each": asked_for_each,
    **{f"many_{conflict}": partial(many_exist, conflict=conflict) for conflict in ("refuse", "skip")},
    "guessed": guessed,
    "no_relay": no_relay,
    "resumable": resumable,
    **{
        f"help_{command.replace(' ', '_')}": partial(helped, command=command)
        for command in ("config path", "config show", *sorted(app))
        if re.fullmatch(r"[a-z][a-z -]*", command)
    },
}

STORIES: Final[dict[str, Story]] = {story.__name__: story for story in screens.STORIES} | ONLY_TEXT
