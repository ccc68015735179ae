"""A relay as a service: signals from the outside, word to the service manager.

SIGHUP reloads. The first SIGTERM or Ctrl-C lets pairings come to their end, the second one ends them, the third one
ends the process. The end that was asked for is a success.
"""

from __future__ import annotations

import math
import signal
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from p2p_copy.cli import limits
from p2p_copy.cli.ui.terminal import Terminal
from p2p_copy.relay.admin.http_api import Admin

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from p2p_copy.relay.admin.systemd import Notifier
    from p2p_copy.relay.config import Place
    from p2p_copy.relay.server import Relay

ENDING: Final = (signal.SIGINT, signal.SIGTERM)
"""What orders the end."""


async def run_service(
    relay: Relay,
    notifier: Notifier,
    *,
    drain: float,
    announce: Callable[[list[str]], None],
    attend: Callable[[], Awaitable[None]] = trio.sleep_forever,
    admin: Place | None = None,
) -> None:
    """Run a relay until signals have ended it.

    Args:
        relay: has not run yet.
        notifier: is told what happens.
        drain: seconds in which pairings may come to their end after the first signal.
        announce: is called once with the relay's URLs, as soon as clients are served.
        attend: runs beside the relay, until it has ended.
        admin: where the operator asks and gives orders.

    Raises:
        CannotListen: in a group.

    """
    async with trio.open_nursery() as helpers:
        helpers.start_soon(attend)
        orders = Orders(relay, notifier, drain)
        await helpers.start(_obey, orders)
        if admin is not None:
            await helpers.start(Admin(relay, orders.drain, orders.reload).serve, admin)
        async with trio.open_nursery() as serving:
            await serving.start(relay.run)
            announce(relay.urls)
            notifier.ready()
            helpers.start_soon(notifier.attend, partial(_status, relay))
        helpers.cancel_scope.cancel()


class Orders:
    """What signals and the admin address can order; the service manager is told."""

    def __init__(self, relay: Relay, notifier: Notifier, drain: float) -> None:
        """Order `relay`; `drain` is in seconds."""
        self.relay = relay
        self._notifier = notifier
        self._drain = drain

    def drain(self, seconds: float = math.inf) -> None:
        """Let pairings come to their end within `seconds`, or less if the operator has said so."""
        self._notifier.stopping()
        self.relay.drain(min(self._drain, seconds))

    async def reload(self) -> bool:
        """Read files again; return whether they could be used."""
        async with self._notifier.reloading():
            return await self.relay.reload()


async def _obey(orders: Orders, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    # A signal that is ignored stays ignored, for background jobs of a shell; but a reload harms nobody.
    heeded = [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    hang_up = getattr(signal, "SIGHUP", None)  # Windows has none
    if hang_up is not None:
        heeded.append(hang_up)
    stops = 0
    for each in heeded:
        # What trio puts back at the end: an order that comes late must not make a failure of a success.
        signal.signal(each, _too_late)
    async with trio.open_nursery() as reloads:
        with trio.open_signal_receiver(*heeded) as signals:
            task_status.started()
            async for number in signals:
                if number == hang_up:
                    reloads.start_soon(orders.reload)
                    continue
                stops += 1
                if stops == 1:
                    orders.drain(math.inf if number == signal.SIGTERM else limits.RELAY_DRAIN_SHORT)
                elif stops == 2:
                    orders.relay.stop(limits.RELAY_HURRY)
                else:
                    Terminal.standard().leave(128 + number)


def _too_late(_number: int, _frame: object) -> None:
    """Do nothing: it is all over."""


def _status(relay: Relay) -> str:
    counts = relay.counts
    doing = "stopping" if relay.draining else "serving"
    return f"{doing}: {counts.pairings} pairs, {counts.waiting} waiting, {counts.served} pairs served"
