"""What people see at their terminals: real commands, run here, in pictures whose text can be selected.

A story runs the commands of one situation, each at a terminal of its own, with a relay of its own that speaks TLS. What
differs from run to run is replaced (`_replacements`), and nothing else: the words, their order, the wrapping and the
exit codes are the program's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import shake_256
from typing import TYPE_CHECKING, Final

import trustme

from docs.figures import terminal
from docs.figures.terminal import Terminal

if TYPE_CHECKING:
    from pathlib import Path

    from pyte import Screen as Layout

    from docs.figures.theme import Theme

SERVER: Final = "wss://relay.example:443"
CODE: Final = "flypaper.zodiac-confess.helpful.bullwhip"

SENDER: Final = "the sender's machine"
RECEIVER: Final = "the receiver's machine"

_FILES: Final = {"results/measured.h5": 3_000_000, "plots/noise.svg": 41_000, "notes.txt": 812}
"""What is sent, with its bytes. No directory has two entries: their order would be the file system's."""

_LARGE: Final = 96_000_000
"""Bytes of a file that takes long enough to be interrupted, at this rate of the relay; the journal is a second old."""
_RATE: Final = "24M"

_LIVE: Final = (
    r"Transferring: +[45678][0-9] %  \S+ \S+ of 91\.6 MiB  [0-9] of 3 files  \S+ \S+/s(?:  \S+ left)? *"
)
"""The live line in the middle of a transfer. Its numbers depend on the moment."""
_MIDDLE: Final = "Transferring:   64 %  58.6 MiB of 91.6 MiB  0 of 3 files  23.9 MiB/s  0:01 left"
_RESUMED: Final = "58.6 MiB of it already there, in 1.4 s (23.6 MiB/s)"
"""What stands for it, and for the result after that."""

_PAIR: Final = "complete, 3 MB from the sender, 400 B from the receiver, 0 s, 50 MB/s"
"""What the relay of the demo says of its pair; it counts bytes and rounds seconds."""

_DEMO_LINE: Final = r"   (relay|sender|receiver): |   \$ p2p-copy (send|receive) "
_DEMO_ORDER: Final = (
    "$ p2p-copy",
    "Connecting",
    "On the other",
    "Waiting",
    "Connected",
    "pair ended",
    "Received",
    "Sent",
)
"""Lines of the demo's processes, and the stages they belong to. The processes are not synchronized, so their lines come
in a different order each time; the picture has them by stage."""


@dataclass(frozen=True)
class Screen:
    """One screen at the end of a story.

    Attributes:
        name: of the picture.
        title: whose terminal it is.
        layout: the characters.
        cursor: whether the command still runs, and the cursor shows where it writes.

    """

    name: str
    title: str
    layout: Layout
    cursor: bool

    def svg(self, theme: Theme) -> str:
        """Return the picture."""
        return terminal.picture(self.layout, self.title, theme, cursor=self.cursor)


class Stage:
    """A directory with files to send, a relay, and terminals; the screens that were kept."""

    def __init__(self, home: Path, stack: ExitStack) -> None:
        """Make two home directories in `home`, an empty directory: `ada` has the files, `bob` has none."""
        self.home, self._stack = home, stack
        for name in ("ada/results", "ada/plots", "bob"):
            (home / name).mkdir(parents=True)
        for name, size in _FILES.items():
            self.write(name, size)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(home / "ca.pem")
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(home / "relay.pem")
        # Nothing else of this environment: a proxy, a token or a width would change what is shown.
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "TMPDIR") if name in os.environ}
        self._env = kept | {
            "TERM": "xterm-256color",
            "LC_ALL": "C.UTF-8",
            "SSL_CERT_FILE": str(home / "ca.pem"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.server = self.code = ""
        self.screens: list[Screen] = []

    def write(self, name: str, size: int) -> None:
        """Write a file for the sender: nothing to compress, and always the same."""
        (self.home / "ada" / name).write_bytes(shake_256(name.encode()).digest(size))

    def terminal(self, user: str) -> Terminal:
        """Open one, which is closed at the end."""
        opened = Terminal(self._env | {"HOME": str(self.home / user)}, self.home / user)
        self._stack.callback(opened.close)
        return opened

    def relay(self, *options: str) -> None:
        """Start the relay."""
        relay = self.terminal("ada")
        pem = str(self.home / "relay.pem")
        tls = ("--certfile", pem, "--keyfile", pem)
        relay.start("run-relay-server", "127.0.0.1", "0", *tls, *options, shown="")
        self.server = relay.read_until(r"Relay listening on (\S+)\r\n")[1]

    def sender(self) -> Terminal:
        """Start a sender with a new code; return it when it waits."""
        sender = self.run(f"send results plots notes.txt --server {SERVER}")
        sender.read_until(r"\rWaiting for the receiver, \S+ *")
        match = re.search(r"Code: (\S+)", sender.seen)
        assert match
        self.code = match[1]
        return sender

    def run(self, command: str, at: Terminal | None = None) -> Terminal:
        """Start `p2p-copy command`; the relay and the code of the pictures stand for those that are used here."""
        at = at or self.terminal("bob" if command.startswith("receive") else "ada")
        words = [
            {SERVER: self.server or SERVER, CODE: self.code or CODE}.get(word, word).replace("'", "")
            for word in re.findall(r"'[^']+'|\S+", command)
        ]
        at.start(*words, shown=f"p2p-copy {command}")
        return at

    def receiver(self, command: str, at: Terminal | None = None) -> Terminal:
        """Start a receiver, and type the code that it asks for."""
        at = at or self.terminal("bob")
        asked = at.seen.count("\nCode: ")
        self.run(command, at)
        at.read_until(rf"(?:[\s\S]*\nCode: ){{{asked + 1}}}")
        at.type(f"{self.code}\n")
        return at

    def keep(self, name: str, title: str, at: Terminal, *, cursor: bool = False) -> None:
        """Keep what this terminal shows now."""
        layout = terminal.laid_out(at.seen, self._replacements())
        self.screens.append(Screen(name, title, layout, cursor))

    def ended(self, at: Terminal) -> None:
        """Wait for the end of a command, and ask the shell for its exit code."""
        exit_code = at.finish()
        at.seen += f"{terminal.PROMPT}echo $?\r\n{exit_code}\r\n"

    def _replacements(self) -> list[tuple[str, str]]:
        """Return the patterns of what differs from run to run, and what stands in the pictures for it."""
        return [
            *([(re.escape(self.server), SERVER)] if self.server else []),
            *(
                [(re.escape(self.server.partition("//")[2]), SERVER.partition("//")[2])]
                if self.server
                else []
            ),
            *([(re.escape(self.code), CODE)] if self.code else []),
            (re.escape(str(self.home)), "/home"),
            (r"ws://127\.0\.0\.1:[0-9]+", "ws://127.0.0.1:40123"),
            (r"\(127\.0\.0\.1:[0-9]+, since", "(127.0.0.1:40123, since"),
            (r"/\S*/p2p-copy-demo-\w+", "/tmp/p2p-copy-demo-b7x_q2mf"),
            (r"complete, .* from the sender, .* from the receiver, .*/s", _PAIR),
            (r"Both sides show: [a-z]+ [a-z]+\.", "Both sides show: coping sterile."),
            (r"digest [0-9a-f]{16}", "digest 4c1e98affec23ee3"),
            (r"since [0-9]{2}:[0-9]{2}", "since 14:03"),
            (r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2},[0-9]{3}", "2026-03-02 14:03:21,506"),
            (r"(\rWaiting for the (?:receiver|sender)), [0-9:]+( *)\Z", r"\1, 0:07\2"),
            (r" in [0-9.]+ s \(\S+ \S+/s\)", " in 0.3 s (9.7 MiB/s)"),
            (r"\S+ \S+ of it already there, in \S+ s \(\S+ \S+/s\)", _RESUMED),
            (r"(Sent 3 files, 91\.6 MiB).* in \S+ s \(\S+ \S+/s\)", r"\1 in 5.2 s (17.6 MiB/s)"),
            (r"[0-9a-f]{8}(?=  [0-9]{4}-)", "62fa6138"),
            (r"forget [0-9a-f]{8}", "forget 62fa6138"),
            (r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}(?=[ .])", "2026-03-02 14:03"),
            (r"\S+ \S+ free, [0-9]+ files can", "51.0 GiB free, 15834141 files can"),
            (_LIVE + r"(?=\r\nKilled|\Z)", _MIDDLE.ljust(terminal.COLUMNS - 1)),
        ]


# --- The stories ---


def first_copy(stage: Stage) -> None:
    """Send with a new code, receive by typing it."""
    stage.relay()
    sender = stage.sender()
    stage.keep("send-waits", SENDER, sender, cursor=True)
    receiver = stage.receiver(f"receive --server {SERVER} --out incoming")
    receiver.read_until(r"Receive this\? \[y/N\] ")
    stage.keep("receive-asks", RECEIVER, receiver, cursor=True)
    receiver.type("y\n")
    receiver.finish()
    sender.finish()
    stage.keep("receive", RECEIVER, receiver)
    stage.keep("send", SENDER, sender)


def dry_runs(stage: Stage) -> None:
    """Look before anything is sent."""
    stage.relay()
    alone = stage.run("send --dry-run results plots notes.txt --exclude '*.svg'")
    alone.finish()
    stage.keep("send-dry-run", SENDER, alone)
    stage.sender()
    looking = stage.receiver(f"receive --server {SERVER} --dry-run")
    looking.finish()
    stage.keep("receive-dry-run", RECEIVER, looking)


def interrupted(stage: Stage) -> None:
    """Kill the receiver in the middle, and start its command again."""
    stage.write("results/measured.h5", _LARGE)
    stage.relay("--rate", _RATE)
    sender = stage.sender()
    command = f"receive --server {SERVER} --out incoming --yes"
    receiver = stage.receiver(command)
    sender.read_until(r"\r" + _LIVE)
    stage.keep("send-progress", SENDER, sender, cursor=True)
    receiver.read_until(r"\r" + _LIVE)
    receiver.kill()
    sender.read_until(r"Reconnecting for up to .*Waiting for the receiver \(.*")
    listed = stage.run("resume", receiver)
    listed.finish()
    stage.receiver(command, receiver)
    receiver.finish()
    sender.finish()
    stage.keep("receive-resumed", RECEIVER, receiver)
    stage.keep("send-resumed", SENDER, sender)


def refused(stage: Stage) -> None:
    """Leave existing files alone."""
    stage.relay()
    (stage.home / "bob" / "incoming").mkdir()
    (stage.home / "bob" / "incoming" / "notes.txt").write_text("older notes\n")
    sender = stage.sender()
    receiver = stage.receiver(f"receive --server {SERVER} --out incoming --yes")
    stage.ended(receiver)
    sender.finish()
    stage.keep("receive-exists", RECEIVER, receiver)


def wrong_code(stage: Stage) -> None:
    """Guess at a code, which uses it up."""
    stage.relay()
    sender = stage.run(f"send results --server {SERVER} --code 'lab7-a long passphrase'")
    sender.read_until(r"\rWaiting for the receiver, \S+ *")
    guess = stage.run(f"receive --server {SERVER} --yes --code 'lab7-a wrong passphrase'")
    stage.ended(guess)
    stage.ended(sender)
    stage.keep("send-wrong-code", SENDER, sender)


def mistyped(stage: Stage) -> None:
    """Mistype a code, and take what is suggested."""
    receiver = stage.run(f"receive --server {SERVER}")
    receiver.read_until("Code: ")
    receiver.type(CODE.replace("flypaper", "flypapr") + "\n")
    receiver.read_until(r"Did you mean .*: ")
    stage.keep("receive-mistyped", RECEIVER, receiver, cursor=True)


def demo(stage: Stage) -> None:
    """Try everything on one machine."""
    shown = stage.run("demo results")
    shown.finish()
    lines = shown.seen.split("\r\n")
    sides = [number for number, line in enumerate(lines) if re.match(_DEMO_LINE, line)][1:]
    shown.seen = "\r\n".join(
        lines[: sides[0]]
        + sorted((lines[number] for number in sides), key=_demo_stage)
        + lines[sides[-1] + 1 :]
    )
    stage.keep("demo", "one machine", shown)


def _demo_stage(line: str) -> tuple[int, str]:
    return next(number for number, words in enumerate(_DEMO_ORDER) if words in line), line


def helped(stage: Stage) -> None:
    """Ask for help."""
    shown = stage.run("--help")
    shown.finish()
    stage.keep("help", "any machine", shown)


Story = Callable[[Stage], None]

STORIES: Final[tuple[Story, ...]] = (
    first_copy,
    dry_runs,
    interrupted,
    refused,
    wrong_code,
    mistyped,
    demo,
    helped,
)


def told(story: Story, home: Path) -> list[Screen]:
    """Run a story in an empty directory; return its screens."""
    with ExitStack() as stack:
        stage = Stage(home, stack)
        story(stage)
        return stage.screens
