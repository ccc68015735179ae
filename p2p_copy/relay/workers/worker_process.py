"""One worker process, as the supervisor sees it: from its start to its end."""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import trio

from p2p_copy.relay import limits
from p2p_copy.relay.log import events
from p2p_copy.relay.log.abuse import Abuse
from p2p_copy.relay.log.redact import WORKER
from p2p_copy.relay.snapshot import Snapshot
from p2p_copy.relay.workers.channel import FORM, Channel, ChannelLost
from p2p_copy.relay.workers.worker import unpacked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from p2p_copy.relay.access.admission import Client
    from p2p_copy.relay.workers.channel import Tell

_EVENTS = {event.name: event for event in (*events.EVENTS, *(kind.event for kind in Abuse))}


class WorkerProcess:
    """A worker.

    Attributes:
        number: its number, in the log; no other worker has had it.
        place: which rooms it has: those whose first byte, divided by the number of workers, leaves this.
        channel: the way to it.
        ready: it has said that it is.
        clients: the clients that it has, by their numbers.
        untaken: duplicates of the connections that it was sent and has not taken yet, by the numbers of their clients.
        waiting: how many of them wait for their other side, as far as known.
        last: its last report.
        ending: it was told to end, or another one has its place.
        lost: how many clients it had when it ended.
        kill_at: Trio's time at which it is killed, if it still runs.

    """

    def __init__(self, number: int, place: int, on_gone: Callable[[WorkerProcess], None]) -> None:
        """Prepare it; `on_gone` is called as soon as it does not answer any more, and before it has ended."""
        self.number = number
        self.place = place
        self._on_gone = on_gone
        self.ready = trio.Event()
        self.clients: dict[int, Client] = {}
        self.untaken: dict[int, socket.socket] = {}
        self.waiting = 0
        self.last = Snapshot()
        self.ending = False
        self.kill_at = math.inf
        self.lost = 0
        self._heard_at = math.inf
        self._why: str | None = None
        own: dict[str, Tell] = {
            "ready": self._be_ready,
            "failed": self._fail,
            "report": self._hear_report,
            "waiting": self._hear_waiting,
            "log": self._log,
            "taken": self.release,
        }
        ours, self._theirs = socket.socketpair()
        self.channel = Channel(ours)
        self.channel.hear(own, {})
        self._process: trio.Process | None = None

    async def run(self, command: Sequence[str], start: Mapping[str, Any]) -> str:
        """Run the process until its end; return how it ended, in words.

        Args:
            command: the program and its arguments, to which the number of a descriptor is added.
            start: what it has to know.

        Raises:
            OSError: it cannot be started.

        """
        if sys.platform == "win32":
            raise AssertionError("there are no workers there")
        descriptor = self._theirs.fileno()
        try:
            self._process = await trio.lowlevel.open_process(
                [*command, str(descriptor)],
                pass_fds=[descriptor],
                stdin=subprocess.DEVNULL,
                env={name: value for name, value in os.environ.items() if name not in _OF_THE_SUPERVISOR},
            )
        except OSError:
            self.channel.close()
            raise
        finally:
            self._theirs.close()
        self._heard_at = trio.current_time() + limits.WORKER_START - limits.WORKER_SILENT
        self.channel.tell("start", **start)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._talk)
                await self._process.wait()
                nursery.cancel_scope.cancel()
        finally:
            if self._process.returncode is None:
                # The supervisor was cancelled. The worker sees the end of the channel, and says goodbye to its clients.
                with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.STOP_TIMEOUT):
                    await self._process.wait()
                self.kill()
        return self._why or _in_words(self._process.returncode or 0)

    async def _talk(self) -> None:
        try:
            await self.channel.run()
        finally:
            self._on_gone(self)
        self.kill_at = min(self.kill_at, trio.current_time() + limits.STOP_TIMEOUT + limits.WORKER_KILL)

    async def ask(self, do: str, **fields: Any) -> Any:
        """Ask the worker; None if it does not answer in time."""
        with trio.move_on_after(limits.CONTROL_ANSWER):
            with suppress(ChannelLost):
                return await self.channel.ask(do, **fields)
        return None

    def drain(self, seconds: float) -> None:
        """Let it end with its last pairing, or after `seconds`."""
        self.ending = True
        self.channel.tell("drain", seconds=seconds)
        self.kill_at = min(
            self.kill_at, trio.current_time() + seconds + limits.STOP_TIMEOUT + limits.WORKER_KILL
        )

    def stop(self, within: float) -> None:
        """Let it end within some seconds."""
        self.ending = True
        self.channel.tell("stop", within=within)
        self.kill_at = min(self.kill_at, trio.current_time() + within + limits.WORKER_KILL)

    def keep(self, number: int, descriptor: int) -> None:
        """Keep a duplicate of a client's connection until the worker has taken it.

        If the process dies before, nobody has read of the connection, and another one can have it.
        """
        with suppress(OSError):  # no descriptor is left: the connection goes without
            self.untaken[number] = socket.fromfd(descriptor, -1, -1)

    def release(self, number: int) -> None:
        """Close the duplicate of a client's connection, if there is one."""
        if (kept := self.untaken.pop(number, None)) is not None:
            kept.close()

    def check(self, now: float) -> None:
        """Kill it if it should have ended, or has been silent for too long."""
        if now - self._heard_at > limits.WORKER_SILENT:
            token = WORKER.set(self.number)
            events.WORKER_HANGS.log((), seconds=round(limits.WORKER_SILENT))
            WORKER.reset(token)
            self.kill()
        elif now > self.kill_at:
            self.kill()

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    @property
    def pid(self) -> int:
        """Its number as a process, once it is started."""
        return self._process.pid if self._process is not None else 0

    def _be_ready(self, form: int) -> None:
        if form != FORM:
            self._fail("it is of a version that the first process does not understand; restart the relay")
            self.stop(0)
            return
        self.ready.set()

    def _fail(self, why: str) -> None:
        self._why = why

    def _hear_report(self, **facts: Any) -> None:
        self.last = Snapshot.of(facts)
        self.waiting = self.last.waiting
        self._heard_at = trio.current_time()

    def _hear_waiting(self, count: int) -> None:
        self.waiting = count

    def _log(self, event: str, facts: dict[str, Any], addresses: list[str]) -> None:
        token = WORKER.set(self.number)
        _EVENTS[event].log(tuple(addresses), **unpacked(facts))
        WORKER.reset(token)


_OF_THE_SUPERVISOR = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}
"""Variables by which a service manager knows the first process."""


def _in_words(returncode: int) -> str:
    if returncode < 0:
        with suppress(ValueError):
            return f"killed by {signal.Signals(-returncode).name}"
    return f"exit status {returncode}"
