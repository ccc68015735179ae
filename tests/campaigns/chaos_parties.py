"""The three of a round: a relay, a sender and a receiver, as processes that are ended and started again."""

from __future__ import annotations

import math
import re
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import urlopen

import trio
import trustme

from tests.bench import proc
from tests.campaigns.chaos_network import NAME
from tests.campaigns.chaos_plan import Who
from tests.support.processes import QUICK, environment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.campaigns.chaos_network import Place

DRAIN = 3
"""Seconds that a relay gives its transfers when it is told to end: each round has minutes only."""

ENDING = 30.0
"""Seconds within which a process that is told to end has to have ended, on a busy machine."""

LAST_WORDS = 12
"""Lines of what a process said, for the person who wonders what happened."""

MET = "The other side is there"
"""What clients say when they have met; from then on they remember the transfer until all is done."""

NOTE = "----- "
"""What our own lines in their logs begin with."""

CLEAN = {signal.SIGTERM: {143, -signal.SIGTERM}, signal.SIGINT: {130, -signal.SIGINT}}
"""How a client ends when it is told to; as a negative number if Python had not begun yet."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What all processes of one round share.

    Attributes:
        program: p2p-copy.
        folder: for what they keep while they run.
        logs: for what they say.
        patience: seconds in which clients shall not give up.
        links: over how many links each transfer goes; None for what clients choose.

    """

    program: str
    place: Place
    folder: Path
    logs: Path
    code: str
    source: Path
    rate: int
    tls: bool
    patience: float
    links: int | None = None

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def state(self, who: Who) -> Path:
        return self.folder / f"state of {who}"

    def remembers(self, who: Who) -> bool:
        """Return whether something of the transfer is remembered."""
        return any(self.state(who).glob("*.json"))

    @property
    def authority(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def certificate(self) -> Path:
        """The relay's certificate and key, in one file."""
        return self.folder / "relay.pem"

    def prepare(self) -> None:
        """Make the directories, and write the certificates."""
        for made in (self.logs, self.out):
            made.mkdir(parents=True)
        authority = trustme.CA()
        issued = authority.issue_cert(NAME, "127.0.0.1")
        authority.cert_pem.write_to_path(str(self.authority))
        issued.private_key_and_cert_chain_pem.write_to_path(str(self.certificate))


def client_words(setting: Setting, who: Who, offered: str) -> list[str]:
    """Return the command of a sender or receiver, the same for each of its runs.

    Args:
        setting: of the round.
        who: one of the two.
        offered: what its help says; options that this version does not have are left out.

    """
    url = f"{'wss' if setting.tls else 'ws'}://{setting.place.host}:{setting.place.listen[1]}"
    words = [setting.program, *(("send", str(setting.source)) if who is Who.SENDER else ("receive",))]
    words += ["--server", url]
    if who is Who.RECEIVER:
        words += ["--out", str(setting.out)]
    if setting.tls:
        words += ["--ca-file", str(setting.authority)]
    if "--patience" in offered:
        words += ["--patience", f"{math.ceil(setting.patience / 60)}m"]
    if "--state-dir" in offered:
        words += ["--state-dir", str(setting.state(who))]
    if setting.links is not None:
        words += ["--links", str(setting.links)]
    return words


def relay_words(setting: Setting) -> list[str]:
    tls = ["--certfile", str(setting.certificate), "--keyfile", str(setting.certificate)]
    return [
        *(
            setting.program,
            "run-relay-server",
            *setting.place.listen,
            *(tls if setting.tls else ["--no-tls"]),
        ),
        *(
            "--rate",
            str(setting.rate),
            "--drain",
            str(DRAIN),
            "--log-level",
            "debug",
            "--admin",
            "127.0.0.1:0",
        ),
    ]


def help_of(program: str, command: str) -> str:
    return subprocess.run(
        [program, command, "--help"], capture_output=True, text=True, check=True, env=environment()
    ).stdout


class Party:
    """One of the three.

    Attributes:
        runs: processes that were started so far.
        peak: the most memory that any of them was seen to have, in KiB.
        ended: is set when its work is done.
        lock: held by the task that has ended it, until it has been started again.

    """

    may_end = True
    """Whether there is an end that is a success."""

    def __init__(self, who: Who, words: Sequence[str], setting: Setting, fail: Callable[[str], None]) -> None:
        self.who = who
        self.runs = self.peak = 0
        self.ended = trio.Event()
        self.lock = trio.Lock()
        self._words = [*setting.place.inside(who), *words]
        self._environment = environment(P2P_COPY_CODE=setting.code, P2P_COPY_DEBUG="1")
        self._log = setting.logs / f"{who}.log"
        self._log.touch()
        self._setting = setting
        self._fail = fail
        self._process: trio.Process | None = None
        self._victim: trio.Process | None = None
        self._started = trio.Event()

    def note(self, text: str) -> None:
        """Write a line of ours between its own."""
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"{NOTE}{text}\n")

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def look_at_memory(self) -> None:
        if self._process is not None:
            with suppress(OSError, StopIteration):  # it has ended
                self.peak = max(self.peak, proc.peak(self._process.pid))

    @property
    def said(self) -> str:
        """All that its runs have said."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(line for line in lines if not line.startswith(NOTE))

    @property
    def last_words(self) -> str:
        return "\n".join(self.said.splitlines()[-LAST_WORDS:])

    async def start(self) -> None:
        self.runs += 1
        self.note(f"run {self.runs}: {' '.join(self._words)}")
        with self._log.open("ab") as log:
            self._process = await trio.lowlevel.open_process(
                self._words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )
        self._started.set()
        self._started = trio.Event()

    async def live(self) -> None:
        """Watch the process until its transfer is done. The task that kills the process starts it again."""
        try:
            while True:
                process, started = self._process, self._started
                assert process is not None
                code = await process.wait()
                if code == 0 and self.may_end:
                    self.ended.set()
                    return
                if process is not self._victim:
                    self._fail(f"the {self.who} ended by itself, with {code}")
                    return
                await started.wait()
                if self.ended.is_set():
                    return
        finally:
            await self.remove()

    async def remove(self) -> None:
        """Leave nothing of it."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            with trio.CancelScope(shield=True):
                await self._process.wait()

    async def end(self, number: signal.Signals) -> bool:
        """End it. Return False if its work is done. The lock is the caller's.

        A client has done its work when it has forgotten a transfer that it has known, even if it was ended on its last
        steps to exit code 0: with the same command it would begin another transfer.
        """
        process = self._victim = self._process
        assert process is not None
        process.send_signal(number)
        with trio.move_on_after(ENDING) as patience:
            await process.wait()
        if patience.cancelled_caught:
            self._fail(f"the {self.who} did not end in {ENDING:g} s after {number.name}")
            await trio.lowlevel.checkpoint()  # the round is cancelled
        code = process.returncode
        if code == 0 and self.may_end:
            return False
        if code not in self._proper(number):
            self._fail(f"the {self.who} ended with {code} after {number.name}")
        if self.may_end and MET in self.said and not self._setting.remembers(self.who):
            self.ended.set()
            self._started.set()  # no task starts it again
            return False
        return True

    def _proper(self, number: signal.Signals) -> set[int]:
        return CLEAN.get(number, {-number})


class RelayParty(Party):
    """The relay."""

    may_end = False

    def _proper(self, number: signal.Signals) -> set[int]:
        return {-number} if number is signal.SIGKILL else {0}

    async def start(self) -> None:
        """Start it, and wait until it serves."""
        before = self._log.stat().st_size
        await super().start()
        with trio.move_on_after(QUICK):
            while self.running:
                with self._log.open("rb") as log:
                    log.seek(before)
                    said = log.read()
                if b"Relay listening on " in said:
                    self._admin = re.findall(rb"admin address: (\S+)", said)[-1].decode()
                    return
                await trio.sleep(0.05)
        self._fail("the relay did not start")

    async def took(self) -> int:
        """Return the bytes that this run of it has had from senders. The connection is on the loopback.

        Raises:
            OSError: it does not run.

        """

        def ask() -> str:
            with urlopen(f"http://{self._admin}/metrics", timeout=QUICK) as answer:
                return str(answer.read(), "utf-8")

        try:
            metrics = await trio.to_thread.run_sync(ask)
        except HTTPError as error:
            self._fail(f"the relay counts nothing for us: {error}. Is prometheus-client where it runs?")
            return 0
        found = re.search(
            r'^p2p_copy_relay_bytes_total\{direction="from_sender"\} (\S+)$', metrics, re.MULTILINE
        )
        return int(float(found[1])) if found else 0
