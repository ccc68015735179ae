"""A whole load test: asks the relay whether it may be loaded, has processes make the load, and watches.

Processes of their own make the load (`__main__`): one of them may be too slow for a relay. This process keeps one
pairing, over which it sends a small message now and then. So it measures the round trip, however busy the others are,
and notices when the relay is gone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import trio

from p2p_copy.errors import P2PCopyError, RelayLost, SystemFailed, leaves
from p2p_copy.load import limits
from p2p_copy.load.client import Clients, NotAllowed, failure_of, hear_paired, new_room
from p2p_copy.load.figures import Failure, Figures, together
from p2p_copy.load.plan import low_limits
from p2p_copy.load.report import LoadReport, report_of
from p2p_copy.protocol.rendezvous import Role, Welcome
from p2p_copy.transport.link import LINK_ERRORS
from p2p_copy.transport.timeouts import within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from p2p_copy.load.plan import LowLimit, Plan
    from p2p_copy.options import RelayAccess
    from p2p_copy.transport.link import Link

_MALLOC: Final = {"MALLOC_MMAP_THRESHOLD_": str(2**24), "MALLOC_TRIM_THRESHOLD_": str(2**25)}
"""Makes glibc reuse the memory of messages, as clients do; other C libraries ignore it."""

if sys.platform == "win32":
    _APART: Final[dict[str, Any]] = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
else:
    _APART: Final[dict[str, Any]] = {"start_new_session": True}
"""Keeps Ctrl-C from the processes that make load: this one stops them."""

_ECHO: Final = b"how long does this take?"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a load test is: what waits and is paired now, bytes that have arrived, failures, whether it is whole."""

    waiting: int = 0
    paired: int = 0
    received: int = 0
    failed: int = 0
    is_whole: bool = False


class LoadTest:
    """One load test: `run` it once, then take the `report`, also if it was cancelled.

    Attributes:
        welcome: the relay's terms; set before the load begins.

    """

    def __init__(self, access: RelayAccess, plan: Plan, processes: int, *, debug: bool = False) -> None:
        """Prepare; nothing is opened before `run`. With `debug` the other processes show what is wrong with them.

        Raises:
            UsageError: the address or the pin has the wrong form.

        """
        self._debug = debug
        self.welcome: Welcome | None = None
        self._access = access
        self._plan = plan
        self._processes = processes
        self._own = Figures()
        self._clients = Clients(access, self._own)
        self._round_trips: list[tuple[bool, float]] = []
        self._progress: dict[int, Progress] = {}
        self._figures: list[Figures] = []
        self._failures: Counter[Failure] = Counter()
        self._is_gone = False

    async def run(self, on_welcome: Callable[[], None], on_progress: Callable[[Progress], None]) -> None:
        """Make the load until its time is over, or the relay is gone.

        Args:
            on_welcome: is called when the relay's terms are known, before the load begins.
            on_progress: is called now and then.

        Raises:
            NotAllowed: the relay does not say that it may be loaded.
            P2PCopyError: there is no connection to it, or this machine cannot make the load.
            LinkBroken, EndOfStream: the first connection was lost at once.

        """
        try:
            async with trio.open_nursery() as nursery:
                self.welcome = await nursery.start(self._measure_round_trips, nursery.cancel_scope)
                on_welcome()
                async with trio.open_nursery() as processes:
                    for number in range(self._processes):
                        processes.start_soon(self._make_load, number, on_progress)
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            for error in leaves(group):
                if isinstance(error, P2PCopyError | LINK_ERRORS[0] | LINK_ERRORS[1]):
                    raise error from None
            raise

    @property
    def low_limits(self) -> tuple[LowLimit, ...]:
        """The relay's limits that are too low for this load."""
        if self.welcome is None or self.welcome.load_test is None:
            return ()
        return low_limits(self._plan, self.welcome.load_test)

    def report(self) -> LoadReport:
        """Return what was measured until now."""
        total = together(self._figures)
        total.failures += self._failures
        whole = [seconds for is_whole, seconds in self._round_trips if is_whole]
        return report_of(
            self._access.url,
            total,
            round_trips=whole or [seconds for _, seconds in self._round_trips],
            low=self.low_limits,
            processes=self._processes,
            is_gone=self._is_gone,
        )

    # The pairing of this process

    async def _measure_round_trips(
        self, whole: trio.CancelScope, *, task_status: trio.TaskStatus[Welcome] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Keep one pairing, again and again if it is lost; cancel `whole` if the relay is gone."""
        async with self._paired() as (one, other, welcome):
            task_status.started(welcome)
            lost = await self._echo(one, other)
        gone_at = trio.current_time() + limits.GONE_AFTER
        while True:
            self._failures[lost] += 1
            await trio.sleep(limits.DIAL_AGAIN)
            try:
                async with self._paired() as (one, other, _):
                    lost = await self._echo(one, other)
                gone_at = trio.current_time() + limits.GONE_AFTER
            except NotAllowed:
                raise
            except (P2PCopyError, *LINK_ERRORS) as error:
                lost = failure_of(error)
                if trio.current_time() >= gone_at and lost.kind != "refused":  # else it is there
                    self._is_gone = True
                    whole.cancel()

    @asynccontextmanager
    async def _paired(self) -> AsyncIterator[tuple[Link, Link, Welcome]]:
        room = new_room()
        async with (
            self._clients.welcomed(Role.SENDER, room) as (one, welcome),
            self._clients.welcomed(Role.RECEIVER, room) as (other, _),
        ):
            await hear_paired(other)
            await hear_paired(one)
            yield one, other, welcome

    async def _echo(self, one: Link, other: Link) -> Failure:
        """Send a message there and back, and take the time; return what has ended that."""
        try:
            while True:
                began = trio.current_time()
                with within(limits.TAIL_TIMEOUT) as deadline:
                    await one.send(_ECHO)
                    await other.send(await other.receive())
                    await one.receive()
                if deadline.is_over:
                    return Failure("late", "", f"A small message took more than {limits.TAIL_TIMEOUT:.0f} s.")
                self._round_trips.append((self._now().is_whole, trio.current_time() - began))
                await trio.sleep_until(began + limits.ROUND_TRIP_INTERVAL)
        except LINK_ERRORS as error:
            return failure_of(error)

    # The processes that make the load

    async def _make_load(self, number: int, on_progress: Callable[[Progress], None]) -> None:
        """Run one process to its end. If this is cancelled, have it stop and hand over its figures."""
        process = await trio.lowlevel.open_process(
            # -P: Python must not import modules from the current directory, which others may be able to write to.
            [sys.executable, "-P", "-m", "p2p_copy.load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if self._debug else subprocess.DEVNULL,
            env=os.environ | _MALLOC,
            **_APART,
        )
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            order = {
                "access": self._access_as_json(),
                "plan": asdict(self._plan.share(number, self._processes)),
            }
            said = _Lines(process.stdout)
            with suppress(trio.BrokenResourceError):  # it has ended, which the end of its output shows
                await process.stdin.send_all(json.dumps(order).encode() + b"\n")
            try:
                await self._hear_all(number, said, on_progress)
            except trio.Cancelled:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.STOP_TIMEOUT):
                    await process.stdin.aclose()  # tells it to stop
                    await self._hear_all(number, said, on_progress)
                raise
            if await process.wait():
                raise SystemFailed(
                    f"A process that made load has died (exit code {process.returncode}). This machine may have too "
                    "little memory."
                )
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()

    def _access_as_json(self) -> dict[str, str | None]:
        """Return how to reach the relay, without the environment, which those processes have as well."""
        access = self._access
        ca_file = None if access.ca_file is None else os.fspath(access.ca_file)
        return {
            "url": access.url,
            "ca_file": ca_file,
            "pin": access.pin,
            "token": access.token,
            "proxy": access.proxy,
        }

    async def _hear_all(self, number: int, said: _Lines, on_progress: Callable[[Progress], None]) -> None:
        while lines := await said.read():
            for line in lines:
                self._hear(number, json.loads(line), on_progress)

    def _hear(self, number: int, said: dict[str, Any], on_progress: Callable[[Progress], None]) -> None:
        if "progress" in said:
            self._progress[number] = Progress(**said["progress"])
            on_progress(self._now())
        elif "figures" in said:
            self._figures.append(Figures.from_json(said["figures"]))
        else:
            raise (NotAllowed if said["error"] == NotAllowed.__name__ else RelayLost)(said["sentence"])

    def _now(self) -> Progress:
        now = self._progress.values()
        return Progress(
            sum(one.waiting for one in now),
            sum(one.paired for one in now),
            sum(one.received for one in now),
            sum(one.failed for one in now),
            len(now) == self._processes and all(one.is_whole for one in now),
        )


class _Lines:
    """Splits what a process writes into lines. Cancelling loses nothing."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._rest = b""

    async def read(self) -> list[bytes]:
        """Return the next whole lines, at least one; none at the end."""
        while data := await self._stream.receive_some():
            *lines, self._rest = (self._rest + data).split(b"\n")
            if lines:
                return lines
        return []
