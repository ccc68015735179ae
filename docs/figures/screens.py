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
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import trustme

from docs.figures import terminal
from docs.figures.terminal import Replacement, Terminal
from p2p_copy.api.events import Progress, Reconnecting
from p2p_copy.cli.ui.display import displayed
from p2p_copy.cli.ui.live_line import Bar, first_that_fits, moving_line, retry_lines
from p2p_copy.units import MIB

if TYPE_CHECKING:
    from pyte import Screen as Layout

    from docs.figures.theme import Theme

SERVER: Final = "wss://relay.example:443"
CODE: Final = "flypaper.zodiac-confess.helpful.bullwhip"

HOME: Final = "/home/department"
"""What stands for the directory of a story. It is as long, and so is the relay: programs fit both into lines."""

_ADDRESS: Final = "127.0.0.100"

SENDER: Final = "the sender's machine"
RECEIVER: Final = "the receiver's machine"

_FILES: Final = {"results/measured.h5": 3_000_000, "plots/noise.svg": 41_000, "notes.txt": 812}
"""What is sent, with its bytes. No directory has two entries: their order would be the file system's."""

_LARGE: Final = 96_000_000
"""Bytes of a file that takes long enough to be interrupted, at this rate of the relay; the journal is a second old."""
_RATE: Final = "24M"

LIVE: Final = r" ?[0-9]+ %  [^\r\n]*?/s[^\r\n]*"
"""The live line of a running transfer."""
WAITING: Final = r"\rWaiting [^\r\n]*\([0-9]+ s\) *"
"""The live line of a side that waits."""
_MIDDLE: Final = r" [45678][0-9] %  [^\r\n]*?/s[^\r\n]*"
"""The same in the middle. Its numbers depend on the moment."""
_NOW: Final = Progress(0, 61_446_554, total_files=3, total_size=96_041_812, path="results/measured.h5")
_RATE_NOW: Final = 23.9 * MIB
_LOSS: Final = Reconnecting("The connection to the relay broke before the transfer was complete.", 43_140, 8)
_RESUMED: Final = "58.6 MiB of it already {}, in 1.4 s (23.6 MiB/s)"
"""What stands for these lines, and for the result after that: the program draws them, with these numbers."""

_PAIR: Final = "complete, 3 MB from the sender, 400 B from the receiver, 0 s, 50 MB/s"
"""What the relay of the demo says of its pair; it counts bytes and rounds seconds."""

_DEMO_LINE: Final = r"   (relay|sender|receiver): |   \$ p2p-copy (send|receive) "
_DEMO_ORDER: Final = (
    "$ p2p-copy",
    "Connecting",
    "On the other",
    "Waiting",
    "Connected",
    "pairing 1 ended",
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
        is_picture: whether a page has it.

    """

    name: str
    title: str
    layout: Layout
    cursor: bool
    is_picture: bool

    @property
    def text(self) -> str:
        """The characters."""
        return terminal.text(self.layout)

    def svg(self, theme: Theme) -> str:
        """Return the picture."""
        return terminal.picture(self.layout, self.title, theme, cursor=self.cursor)


class Stage:
    """A directory with files to send, a relay, and terminals of one width; the screens that were kept."""

    def __init__(self, home: Path, stack: ExitStack, columns: int = terminal.COLUMNS) -> None:
        """Make two home directories in `home`, an empty directory: `ada` has the files, `bob` has none."""
        self.home, self._stack, self._columns = home, stack, columns
        for name in ("ada/results", "ada/plots", "bob"):
            (home / name).mkdir(parents=True)
        for name, size in _FILES.items():
            self.write(name, size)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(home / "ca.pem")
        authority.issue_cert(_ADDRESS).private_key_and_cert_chain_pem.write_to_path(home / "relay.pem")
        # Nothing else of this environment: a proxy, a token or a width would change what is shown.
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
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
        opened = Terminal(self._env | {"HOME": str(self.home / user)}, self.home / user, self._columns)
        self._stack.callback(opened.close)
        return opened

    def relay(self, *options: str) -> Terminal:
        """Start the relay; return its terminal."""
        relay = self.terminal("ada")
        pem = str(self.home / "relay.pem")
        tls = ("--certfile", pem, "--keyfile", pem)
        relay.start("run-relay-server", _ADDRESS, "0", *tls, *options, shown="")
        self.server = relay.read_until(r"Relay listening on (\S+)\r\n")[1]
        return relay

    def sender(self, what: str = "results plots notes.txt") -> Terminal:
        """Start a sender with a new code; return it when it waits."""
        sender = self.run(f"send {what} --server {SERVER}")
        sender.read_until(WAITING)
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

    def keep(
        self, name: str, title: str, at: Terminal, *, cursor: bool = False, is_picture: bool = True
    ) -> None:
        """Keep what this terminal shows now."""
        layout = terminal.laid_out(at.seen, self._replacements(), self._columns)
        self.screens.append(Screen(name, title, layout, cursor, is_picture))

    def ended(self, at: Terminal) -> None:
        """Wait for the end of a command, and ask the shell for its exit code."""
        exit_code = at.finish()
        at.seen += f"{terminal.PROMPT}echo $?\r\n{exit_code}\r\n"

    def _replacements(self) -> list[Replacement]:
        """Return the patterns of what differs from run to run, and what stands in the pictures for it."""
        room, bar = self._columns - 1, Bar("utf-8")
        return [
            *([(re.escape(self.server), SERVER)] if self.server else []),
            *(
                [(re.escape(self.server.partition("//")[2]), SERVER.partition("//")[2])]
                if self.server
                else []
            ),
            *([(re.escape(self.code), CODE)] if self.code else []),
            # Readline writes the character at the right edge once more, if the code that was typed wraps there.
            (rf"(?<=Code: {re.escape(CODE)})[^\n]+(?=\r\n)", ""),
            (re.escape(str(self.home)), HOME),
            (r"ws://127\.0\.0\.1:[0-9]+", "ws://127.0.0.1:40123"),
            (r" at 127\.0\.0\.1:[0-9]+ until", " at 127.0.0.1:40123 until"),
            (r"/\S*/p2p-copy-demo-\w+", "/tmp/p2p-copy-demo-b7x_q2mf"),
            (r"complete, .* from the sender, .* from the receiver, .*/s", _PAIR),
            (r"(oth sides show:?|see the words) [a-z]+ [a-z]+(?=[.?])", r"\1 coping sterile"),
            (r"digest [0-9a-f]{16}", "digest 4c1e98affec23ee3"),
            (r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}[+-][0-9:]{5}", "2026-03-02T14:03:21+00:00"),
            (r"until (?:[A-Z][a-z]+ )?[0-9]{2}:[0-9]{2}", "until 15:03"),
            (r"(\rWaiting[^\r\n]*\()[^)]+(\) *)\Z", r"\g<1>7 s\2"),
            (r" in [0-9.]+ s \(\S+ \S+/s\)", " in 0.3 s (9.7 MiB/s)"),
            (r"\S+ MiB of it already (there|here), in \S+ s \(\S+ \S+/s\)", _RESUMED.format(r"\1")),
            (r"( B of it already (?:there|here), in )\S+ s(?: \(\S+ \S+/s\))?(?=,)", r"\g<1>0.1 s"),
            (r"[0-9]+% of 91\.6 MiB(?=  |\r)", "57% of 91.6 MiB"),
            # The list of transfers has cut the path to its column.
            (r"/\S*…\S*/incoming", lambda found: displayed(f"{HOME}/bob/incoming", len(found[0]))),
            (r"Resumed: \S+ of 91\.6 MiB", "Resumed: 58.6 of 91.6 MiB"),
            (r"(Sent 3 files, 91\.6 MiB).* in \S+ s \(\S+ \S+/s\)", r"\1 in 5.2 s (17.6 MiB/s)"),
            (r"(?<=\n)[0-9a-f]{8}(?=  )", "62fa6138"),
            (r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}(?=[ .\r])", "2026-03-02 14:03"),
            (r"Free space here: \S+ \S+\.", "Free space here: 51.0 GiB."),
            (r"(?:resume|forget) [0-9a-f]{8}", lambda found: f"{found[0][:6]} 62fa6138"),
            (r"(?<=again for )[0-9 a-z]+(?=\.)", "59 min 50 s"),
            (rf"(?<=\r){LIVE}(?=\r\nKilled|\Z)", moving_line(_NOW, _RATE_NOW, room, bar=bar)[0]),
            (rf"(?<=\r)Stalled  {LIVE}\Z", moving_line(_NOW, 0, room, bar=bar, is_stalled=True)[0]),
            (r"(?<=\r)Reconnecting[^\r\n]*\Z", first_that_fits(retry_lines(_LOSS, 3, room), room)[0]),
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
    sender.read_until(r"\r" + _MIDDLE)
    stage.keep("send-progress", SENDER, sender, cursor=True)
    receiver.read_until(r"\r" + _MIDDLE)
    receiver.kill()
    sender.read_until(rf"Reconnecting; will keep trying for .*{WAITING}")
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
    sender.read_until(WAITING)
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


def told(story: Story, columns: int = terminal.COLUMNS) -> list[Screen]:
    """Run a story in terminals of so many columns; return its screens."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(TemporaryDirectory(dir="/tmp")))
        assert len(str(home)) == len(HOME), "else what is fitted to a terminal has another length"
        stage = Stage(home, stack, columns)
        story(stage)
        return stage.screens
