"""Measures a real transfer that is interrupted twice: `python -m docs.figures measure` writes `resumed.json` anew.

Relay and sender run in this process, the receiver is the command in a process of its own, so that it can be killed. The
relay limits the rate, so that the curve shows the interruptions and not how busy this machine is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import AsyncExitStack, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import trio

import p2p_copy as p2p

FILE: Final = Path(__file__).with_name("resumed.json")

SIZE: Final = 320 * 2**20
RATE: Final = 16 * 2**20
CODE: Final = "figure-a passphrase for one picture"

STEP: Final = 0.1
"""Seconds between two samples."""

KILLED, RESTARTED = "receiver killed", "same command again"
STOPPED, BACK = "relay stopped", "relay started again"
TIMES: Final = ((6.0, KILLED), (9.0, RESTARTED), (15.0, STOPPED), (17.0, BACK))
"""What happens, and how many seconds after both sides were connected."""


@dataclass
class Measured:
    """One transfer.

    Attributes:
        size: its bytes.
        limit: the relay's rate limit in bytes per second.
        samples: seconds, bytes that were written at the receiver, and bytes that have moved in this transfer.
        events: seconds, and what happened.

    """

    size: int
    limit: int
    samples: list[tuple[float, int, int]]
    events: list[tuple[float, str]]


class _Moved:
    """Counts what has moved, over all connections; what was at the receiver before does not move again."""

    def __init__(self) -> None:
        self.connected, self.sent = trio.Event(), trio.Event()
        self.written = 0
        self._before = self._now = 0

    @property
    def moved(self) -> int:
        return self._before + self._now

    def see(self, event: p2p.Event) -> None:
        match event:
            case p2p.Paired():
                self._before, self._now = self.moved, 0
                self.connected.set()
            case p2p.Progress(size=size, resumed=resumed):
                self.written = size or self.written  # 0 comes first, before the receiver has looked
                self._now = max(size - resumed, 0)


def measure() -> None:
    """Run the transfer, and save what was measured."""
    FILE.write_text(json.dumps(asdict(trio.run(_measured))) + "\n", "utf-8")


def load() -> Measured:
    """Return what was measured last."""
    return Measured(**json.loads(FILE.read_text("utf-8")))


async def _measured() -> Measured:
    measured = Measured(SIZE, RATE, [], [])
    moved = _Moved()
    with tempfile.TemporaryDirectory() as home, ExitStack() as ended:
        source = f"{home}/measured.h5"
        contents = os.urandom(SIZE)
        await trio.Path(source).write_bytes(contents)
        async with trio.open_nursery() as nursery, AsyncExitStack() as relay:
            url = (await relay.enter_async_context(p2p.Relay(rate=RATE))).urls[0]
            port = int(url.rpartition(":")[2])
            receiver = _receiver(url, home)
            ended.callback(lambda: receiver.kill())
            nursery.start_soon(_sample, measured, moved)
            nursery.start_soon(_send, source, url, moved)
            await moved.connected.wait()
            begin = trio.current_time()
            for seconds, event in TIMES:
                await trio.sleep_until(begin + seconds)
                if event == KILLED:
                    receiver.kill()
                    receiver.wait()
                elif event == RESTARTED:
                    receiver = _receiver(url, home)
                elif event == STOPPED:
                    await relay.aclose()
                else:
                    await relay.enter_async_context(p2p.Relay(port=port, rate=RATE))
                measured.events.append((round(trio.current_time() - begin, 2), event))
            await moved.sent.wait()
            nursery.cancel_scope.cancel()
        if receiver.wait(10) != 0 or await trio.Path(home, "out", "measured.h5").read_bytes() != contents:
            raise RuntimeError("the transfer has failed")
    return measured


def _receiver(url: str, home: str) -> subprocess.Popen[bytes]:
    words = ("receive", CODE, "--server", url, "--out", str(Path(home, "out")), "--yes", "--quiet")
    return subprocess.Popen([sys.executable, "-m", "p2p_copy", *words], env=os.environ | {"HOME": home})


async def _send(source: str, url: str, moved: _Moved) -> None:
    await p2p.AsyncClient(url).send(source, code=p2p.Code.parse(CODE), on_event=moved.see)
    moved.sent.set()


async def _sample(measured: Measured, moved: _Moved) -> None:
    await moved.connected.wait()
    begin = trio.current_time()
    try:
        while True:
            measured.samples.append((round(trio.current_time() - begin, 2), moved.written, moved.moved))
            await trio.sleep(STEP)
    finally:
        measured.samples.append((round(trio.current_time() - begin, 2), moved.written, moved.moved))
