"""The processes of one transfer of the trees campaign: two sides that are ended and started again, and relays."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

import trio

from p2p_copy.files.state.facts import decode
from p2p_copy.options import Conflict, Symlinks
from tests.support.processes import QUICK, environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from tests.campaigns.trees_plan import Plan

PROGRAM: Final = (sys.executable, "-m", "p2p_copy")

PATIENCE: Final = "10m"
"""For longer than any transfer may take."""

POLL: Final = 0.01
"""Seconds between two looks at what a side has said."""

CONNECTING: Final = "Connecting to"
MET: Final = "The other side is there"
WENT_ON: Final = "Resuming the transfer"
BUGS: Final = ("Traceback", "This is a bug")

STOPPED: Final = {signal.SIGTERM: {143, -signal.SIGTERM}, signal.SIGINT: {130, -signal.SIGINT}}
"""How a side ends when it is told to; as a negative number if Python had not begun yet."""

ENDING: Final = 60.0
"""Seconds in which it must have ended then, on a busy machine."""


class Party:
    """One side: the same command, as often as it must be started.

    Attributes:
        runs: how often it was started.
        killed_when_done: it was killed when nothing was left to do, so it need not be started again.

    """

    def __init__(self, name: str, words: Sequence[str], folder: Path, code: str | None) -> None:
        self.name = name
        self.words = [*PROGRAM, *words, "--state-dir", str(folder / f"state of {name}")]
        self.runs = 0
        self.killed_when_done = False
        self._folder = folder
        self._environment = environment(**({"P2P_COPY_CODE": code} if code else {}))
        self._process: trio.Process | None = None
        self._began = 0.0

    @property
    def state(self) -> Path:
        return self._folder / f"state of {self.name}"

    @property
    def log(self) -> Path:
        """What its last run has said."""
        return self._folder / f"{self.name} {self.runs}.log"

    @property
    def logs(self) -> list[str]:
        """What each of its runs has said."""
        paths = (self._folder / f"{self.name} {number}.log" for number in range(1, self.runs + 1))
        return [path.read_text(encoding="utf-8", errors="replace") for path in paths]

    @property
    def code(self) -> int | None:
        """The exit code of its last run; None while it runs."""
        return self._process.poll() if self._process is not None else None

    def says(self, words: str) -> bool:
        """Return whether its last run has said this."""
        return bool(self.runs) and words in self.log.read_text(encoding="utf-8", errors="replace")

    async def start(self) -> None:
        self.runs += 1
        self._process = await _start(self.words, self.log, self._environment)
        self._began = trio.current_time()

    async def ended(self) -> int:
        """Wait until it has ended; return its exit code."""
        assert self._process is not None
        return await self._process.wait()

    async def run_for(self, seconds: float) -> None:
        """Wait until its last run is as old as this."""
        await trio.sleep_until(self._began + seconds)

    async def said(self, words: str, *, unless: Callable[[], bool]) -> None:
        """Wait until its last run has said this or has ended, or it need not be waited for."""
        while self.code is None and not self.says(words) and not unless():  # noqa: ASYNC110  # a file sends no notification
            await trio.sleep(POLL)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def remembers(self) -> bool:
        """Return whether something of the transfer is remembered."""
        return any(self.state.glob("*.json"))

    def end(self) -> None:
        """Kill it, if it runs."""
        if self.code is None and self._process is not None:
            self._process.kill()


def interrupted_early(said: str) -> bool:
    """Return whether Ctrl-C came before Python had begun with our program: then it speaks for itself."""
    return said.rstrip().endswith("KeyboardInterrupt") and "p2p_copy" not in said


def sender_words(plan: Plan, folder: Path, url: str) -> list[str]:
    """Return the command of the sender."""
    asked, source = plan.case.asked, folder / "source"
    words = ["send", *(str(source / top) for top in plan.case.tops), "--server", url, "--patience", PATIENCE]
    if asked.links is not Symlinks.KEEP:
        words += ["--symlinks", asked.links.value]
    words += [f"--only={pattern}" for pattern in asked.sender_only]
    words += [f"--exclude={pattern}" for pattern in asked.sender_exclude]
    return words + _of_both(plan, 0, folder)


def receiver_words(plan: Plan, folder: Path, url: str) -> list[str]:
    """Return the command of the receiver."""
    asked = plan.case.asked
    words = ["receive", "--server", url, "--out", str(folder / "out"), "--patience", PATIENCE]
    if asked.conflict is not Conflict.REFUSE:
        words += ["--on-conflict", asked.conflict.value]
    if not asked.portable:
        words += ["--names", "system"]
    words += [f"--only={pattern}" for pattern in asked.receiver_only]
    words += [f"--exclude={pattern}" for pattern in asked.receiver_exclude]
    return words + _of_both(plan, 1, folder)


def _of_both(plan: Plan, side: int, folder: Path) -> list[str]:
    words = []
    if (links := plan.links[side]) is not None:
        words += ["--links", str(links)]
    if preserve := plan.preserve[side]:
        words += ["--preserve", ",".join(sorted(what.value for what in preserve))]
    if plan.code_in_file[side]:
        words += ["--code-file", str(folder / "code")]
    return words


def facts(party: Party) -> str:
    """Return what a side remembers, without its secrets, to find out what happened."""
    told = []
    for path in party.state.glob("*.json"):
        with suppress(ValueError, OSError):
            told.append(repr(decode(path.read_bytes())))  # it shows no secret
    return "; ".join(told) or "nothing"


async def _start(words: Sequence[str], log: Path, env: dict[str, str]) -> trio.Process:
    with log.open("wb") as file:
        return await trio.lowlevel.open_process(
            words, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=env
        )


class Relay:
    """A relay process on loopback, without TLS, that can be ended and started again at the same port."""

    def __init__(self, folder: Path, name: str, *options: str) -> None:
        self._log = folder / f"{name}.log"
        self._options = options
        self._process: trio.Process | None = None
        self._port = "0"
        self.url = ""

    async def start(self) -> None:
        words = ("run-relay-server", "127.0.0.1", self._port, "--no-tls", *self._options)
        self._process = await _start([*PROGRAM, *words], self._log, environment())
        with trio.fail_after(QUICK):
            while (match := re.search(r"ws://[\d.]+:(\d+)", self.log)) is None:
                assert self._process.poll() is None, self.log
                await trio.sleep(POLL)
        self.url, self._port = match[0], match[1]

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    async def stop(self, number: signal.Signals) -> None:
        """End it by a signal; return when it has ended."""
        assert self._process is not None
        self._process.send_signal(number)
        with trio.fail_after(QUICK):
            await self._process.wait()

    def end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()


@asynccontextmanager
async def relay(folder: Path, name: str, *options: str) -> AsyncIterator[Relay]:
    """Run a relay."""
    running = Relay(folder, name, *options)
    try:
        await running.start()
        yield running
    finally:
        running.end()
