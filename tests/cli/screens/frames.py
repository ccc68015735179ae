"""The live line of one transfer, phase by phase, in terminals of all kinds: what is seen after each event.

The events are told to `Progress` in this process, with a clock of their own, so that a phase which lasts for an instant
only is seen as well, and every number is the same each time.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from p2p_copy.api import events
from p2p_copy.api.report import Report
from p2p_copy.cli.ui.progress import Progress
from p2p_copy.cli.ui.terminal import Terminal
from p2p_copy.units import GIB, MIB
from tests.support.terminals import ShownTerminal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HERE: Final = Path(__file__).parent
LINES: Final = 60

CLOCK: Final = re.compile(r"(?<![0-9:])[0-9]:[0-9]{2}\b")
"""A duration as a clock shows it. Times of day have two digits for the hour."""

WRONG_PLURAL: Final = re.compile(r"(?<![0-9.,])1 (?!of)[a-z]+s\b(?<!bytes)(?<!1 s)(?<!1 was)(?<!1 exists)")


class Kind(NamedTuple):
    """A terminal.

    Attributes:
        columns: its width.
        env: its environment, beside `TERM`.

    """

    columns: int
    env: Mapping[str, str] = MappingProxyType({})


KINDS: Final[dict[str, Kind]] = {
    "80-columns": Kind(80),
    "40-columns": Kind(40),
    "20-columns": Kind(20),
    "120-columns": Kind(120),
    "no-color": Kind(80, {"NO_COLOR": "1"}),
    "dumb": Kind(80, {"TERM": "dumb"}),
    "c-locale": Kind(80, {"LC_ALL": "C"}),
    "no-terminal": Kind(0),
}

_TOTAL: Final = 60.8 * MIB

_REPORT: Final = Report(
    files=3,
    size=int(_TOTAL),
    failed=44,
    failures=(),
    skipped=1,
    excluded=0,
    up_to_date=0,
    deleted=0,
    root="0123456789abcdef" * 4,
    seconds=65.0,
)


def _phases() -> Iterator[tuple[str, tuple[events.Event, ...], float]]:
    """Yield phases: a name, the events that begin it, and how many seconds later it is looked at."""
    yield "connecting", (events.Connecting("wss://relay.example:443"),), 2
    yield "waiting", (events.Waiting("wss://relay.example:443", 3600),), 75
    yield "asked", (events.Paired(("hairy", "onion")), events.Asked()), 8
    begun = events.Progress(0, 0, total_files=3, total_size=int(_TOTAL), path="results/größe.h5")
    yield "begins", (events.Accepted(), begun), 1
    yield "moves", (replace(begun, size=int(36.7 * MIB), files=1),), 3
    yield (
        "stalled",
        (events.Stalled("Nothing moves: the receiver's machine does not answer the relay", 10),),
        10,
    )
    yield "moves again", (events.Moving(), replace(begun, size=int(37.7 * MIB), files=1)), 1
    lost = events.Reconnecting(
        "The connection to the relay broke before the transfer was complete.", 43_200, 0.5
    )
    yield "lost", (lost,), 1
    refused = "wss://relay.example:443 refuses connections. Check host and port, and whether the relay runs."
    yield "reconnecting", (events.Reconnecting(refused, 43_100, 8),), 3
    resumed = replace(begun, size=int(36.7 * MIB), resumed=int(36.7 * MIB), files=1)
    yield "resumed", (events.Paired(("hairy", "onion")), events.Resumed(resumed.resumed), resumed), 1
    yield "verifying", (replace(resumed, size=int(_TOTAL), files=3, path=""), events.Verifying()), 4


def _huge() -> Iterator[tuple[str, tuple[events.Event, ...], float]]:
    """Yield phases of a transfer that needs all the room that numbers may need."""
    huge = events.Progress(
        123_456,
        int(999.8 * GIB),
        total_files=3_456_789,
        total_size=int(2.9 * 1024 * GIB),
        links=4,
        path="a/b.h5",
    )
    yield "huge begins", (events.Paired(("hairy", "onion")), replace(huge, size=huge.size - 5 * 120 * MIB)), 1
    yield "huge", (huge,), 3


def _play(terminal: Terminal) -> Iterator[str]:
    """Show a whole transfer and its end; yield the name of each phase when it is shown."""
    now = 1000.0
    for phases in (_huge, _phases):
        progress = Progress(terminal, sends=False)
        for name, told, seconds in phases():
            for event in told:
                progress.show(event)
            for step in (0, seconds):
                if progress.lacks_bar:
                    progress.load_bar()
                progress.draw(now + step)
            now += seconds
            yield name
    for number in range(43):
        progress.show(
            events.Problem(f"tree/{number:02}", "already exists at the receiver; see 'receive `on_conflict`'")
        )
    progress.show(events.Problem("notes.txt", "changed while it was being sent"))
    progress.show(events.Skipped("a name"))
    progress.close()
    progress.done(_REPORT)
    yield "done"


def path_of(kind: str) -> Path:
    """Return where the frames of a kind of terminal are kept."""
    return HERE / "frames" / f"{kind}.txt"


def text(kind: str) -> str:
    """Return what a terminal of this kind shows after each phase, from a process of its own."""
    env = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "HOME", "TMPDIR") if name in os.environ}
    env |= {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "TZ": "UTC"} | dict(KINDS[kind].env)
    done = subprocess.run(
        [sys.executable, "-m", "tests.cli.screens.frames", kind], env=env, stdout=subprocess.PIPE, check=True
    )
    return re.sub(r"until ([A-Z][a-z]+ )?[0-9:]{5}", "until 15:03", done.stdout.decode())


def _frames(kind: str) -> Iterator[str]:
    """Yield the lines that each phase adds to the screen, and the live line."""
    columns = KINDS[kind].columns
    if not columns:
        said = io.StringIO()
        seen = 0
        for name in _play(Terminal(io.StringIO(), said)):
            yield f"--- {name}\n{said.getvalue()[seen:]}"
            seen = len(said.getvalue())
        return
    with closing(ShownTerminal(columns, LINES)) as shown:
        terminal = Terminal(io.StringIO(), shown.stderr)
        for name in _play(terminal):
            terminal.flush(60)
            lines = "\n".join(line.rstrip() for line in shown.look().display).rstrip("\n")
            yield f"--- {name}\n{lines}\n"
            shown.clear()  # the next frame begins with an empty screen


if __name__ == "__main__":
    sys.stdout.buffer.write("".join(_frames(sys.argv[1])).encode())
