"""Runs a relay as a service: obeys signals, and reports to the service manager.

SIGHUP reloads, and SIGUSR2 replaces the workers of a relay that has some. The first SIGTERM or Ctrl-C lets pairings
finish, the second one cuts them, the third one ends the process. Being stopped by a signal is a success.
"""

from __future__ import annotations

import math
import signal
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol

import trio

from p2p_copy.cli import limits
from p2p_copy.cli.signals import RELOAD_RELAY, STOP_RELAY, UPGRADE_RELAY
from p2p_copy.cli.ui.terminal import Terminal
from p2p_copy.relay.admin.http_api import Admin, Administered
from p2p_copy.relay.log import events
from p2p_copy.relay.log.redact import where_raised

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from p2p_copy.acme.keeper import CertificateKeeper
    from p2p_copy.relay.admin.systemd import Notifier
    from p2p_copy.relay.config import Place
    from p2p_copy.relay.tally import Counts


class Served(Administered, Protocol):
    """A relay of one process, or of several."""

    async def run(self, *, task_status: trio.TaskStatus[list[tuple[str, int]]]) -> None:
        """Serve until it is stopped. Reports where it listens."""

    def drain(self, seconds: float) -> None:
        """Take no more clients, and end with the last pairing, or after some seconds."""

    def stop(self, within: float) -> None:
        """End everything within some seconds."""

    async def reload(self) -> bool:
        """Read files again; return False if one cannot be used."""

    @property
    def counts(self) -> Counts:
        """What it has done and is doing."""


async def run_service(
    relay: Served,
    notifier: Notifier,
    *,
    drain: float,
    announce: Callable[[list[str]], None],
    attend: Callable[[], Awaitable[None]] = trio.sleep_forever,
    admin: Place | None = None,
    upgrade: Callable[[], Awaitable[bool]] | None = None,
    keeper: CertificateKeeper | None = None,
) -> None:
    """Run a relay until signals have ended it.

    Args:
        relay: the relay, not yet started.
        notifier: reports readiness, status and stopping to the service manager.
        drain: seconds for pairings to finish after the first signal.
        announce: is called once with the relay's URLs, as soon as it accepts clients.
        attend: runs beside the relay until it has ended.
        admin: address of the admin interface.
        upgrade: replaces the workers of a relay that has some.
        keeper: gets the relay's certificate, if it does so by itself. What is on the disk is in use before the relay
            listens, and nothing is ordered before that: a relay that cannot start has used up nothing.

    Raises:
        CannotListen: the relay cannot start; in an exception group.

    """
    async with trio.open_nursery() as helpers:
        helpers.start_soon(attend)
        orders = Orders(relay, notifier, drain, keeper)
        await helpers.start(_obey, orders, upgrade)
        if admin is not None:
            renewal = None if keeper is None else lambda: keeper.status
            await helpers.start(Admin(relay, orders.drain, orders.reload, upgrade, renewal).serve, admin)
        if keeper is not None:
            keeper.pause()
            await helpers.start(_keep, keeper)
        async with trio.open_nursery() as serving:
            await serving.start(relay.run)
            announce(relay.urls)
            notifier.ready()
            orders.begin()
            helpers.start_soon(notifier.attend, partial(_status, relay))
        helpers.cancel_scope.cancel()


async def _keep(
    keeper: CertificateKeeper, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Run a keeper, and again if a bug ends it: a relay does not end for the sake of its next certificate."""
    is_known = False
    while True:
        try:
            await keeper.run(task_status=trio.TASK_STATUS_IGNORED if is_known else task_status)
        except Exception as error:
            events.RENEWAL_BUG.log((), where=where_raised(error), seconds=round(limits.KEEPER_PAUSE))
            with suppress(RuntimeError):  # it has started
                task_status.started()
        is_known = True
        await trio.sleep(limits.KEEPER_PAUSE)


class Orders:
    """Stops and reloads a relay, by a signal or the admin interface, and reports it to the service manager."""

    def __init__(
        self, relay: Served, notifier: Notifier, drain: float, keeper: CertificateKeeper | None = None
    ) -> None:
        """Control `relay`, and `keeper` with it; `drain` is the seconds that pairings have to finish."""
        self.relay = relay
        self._notifier = notifier
        self._drain = drain
        self._keeper = keeper

    def begin(self) -> None:
        """Let the keeper order: an authority can reach the relay now."""
        if self._keeper is not None and not self.relay.draining:
            self._keeper.resume()

    def drain(self, seconds: float = math.inf) -> None:
        """Let pairings finish within `seconds`, or within --drain if that is less."""
        self._notifier.stopping()
        if self._keeper is not None:
            self._keeper.pause()
        self.relay.drain(min(self._drain, seconds))

    async def reload(self) -> bool:
        """Read certificate and tokens again, and try now what is late; return whether the files could be used."""
        async with self._notifier.reloading():
            if self._keeper is not None:
                self._keeper.try_now()
            return await self.relay.reload()


async def _obey(
    orders: Orders,
    upgrade: Callable[[], Awaitable[bool]] | None,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    # A signal that is ignored stays ignored, for background jobs of a shell. SIGHUP is obeyed all the same: it reloads.
    heeded = [number for number in STOP_RELAY if signal.getsignal(number) is not signal.SIG_IGN]
    if RELOAD_RELAY is not None:
        heeded.append(RELOAD_RELAY)
    if UPGRADE_RELAY is not None and upgrade is not None:
        heeded.append(UPGRADE_RELAY)
    stops = 0
    for each in heeded:
        # Trio restores this handler at the end: a late signal must not turn success into failure.
        signal.signal(each, _too_late)
    async with trio.open_nursery() as reloads:
        with trio.open_signal_receiver(*heeded) as signals:
            task_status.started()
            async for number in signals:
                if number == RELOAD_RELAY:
                    reloads.start_soon(orders.reload)
                    continue
                if upgrade is not None and number == UPGRADE_RELAY:
                    reloads.start_soon(upgrade)
                    continue
                stops += 1
                if stops == 1:
                    orders.drain(math.inf if number == signal.SIGTERM else limits.RELAY_DRAIN_SHORT)
                elif stops == 2:
                    orders.relay.stop(limits.RELAY_HURRY)
                else:
                    Terminal.standard().leave(128 + number)


def _too_late(_number: int, _frame: object) -> None:
    """Do nothing: the relay has ended."""


def _status(relay: Served) -> str:
    counts = relay.counts
    certificates = relay.certificates
    waits = certificates is not None and certificates.expires is None
    doing = "stopping" if relay.draining else "without a certificate yet" if waits else "serving"
    return f"{doing}: {counts.pairings} pairs, {counts.waiting} waiting, {counts.served} pairs served"
