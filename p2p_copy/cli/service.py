"""A relay as a service: signals from the outside, word to the service manager.

SIGHUP reloads. The first SIGTERM or Ctrl-C lets pairings come to their end, the second one ends them, the third one
ends the process. The end that was asked for is a success.
"""

from __future__ import annotations

import os
import signal
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from p2p_copy import limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from p2p_copy.relay.server import Relay
    from p2p_copy.relay.systemd import Notifier

_ENDING: Final = (signal.SIGINT, signal.SIGTERM)


async def run_service(
    relay: Relay, notifier: Notifier, *, drain: float, announce: Callable[[list[str]], None]
) -> None:
    """Run a relay until signals have ended it.

    Args:
        relay: has not run yet.
        notifier: is told what happens.
        drain: seconds in which pairings may come to their end after the first signal.
        announce: is called once with the relay's URLs, as soon as clients are served.

    Raises:
        CannotListen: in a group.

    """
    async with trio.open_nursery() as helpers:
        await helpers.start(_obey, relay, notifier, drain)
        async with trio.open_nursery() as serving:
            await serving.start(relay.run)
            announce(relay.urls)
            notifier.ready()
            helpers.start_soon(notifier.attend, partial(_status, relay))
        helpers.cancel_scope.cancel()


async def _obey(
    relay: Relay,
    notifier: Notifier,
    drain: float,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    # A signal that is ignored stays ignored, for background jobs of a shell; but a reload harms nobody.
    heeded = [number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    hang_up = getattr(signal, "SIGHUP", None)  # Windows has none
    if hang_up is not None:
        heeded.append(hang_up)
    orders = 0
    async with trio.open_nursery() as reloads:
        with trio.open_signal_receiver(*heeded) as signals:
            task_status.started()
            async for number in signals:
                if number == hang_up:
                    reloads.start_soon(_reload, relay, notifier)
                    continue
                orders += 1
                if orders == 1:
                    notifier.stopping()
                    relay.drain(drain if number == signal.SIGTERM else min(drain, limits.RELAY_DRAIN_SHORT))
                elif orders == 2:
                    relay.stop(limits.RELAY_HURRY)
                else:
                    os._exit(128 + number)


async def _reload(relay: Relay, notifier: Notifier) -> None:
    async with notifier.reloading():
        await relay.reload()


def _status(relay: Relay) -> str:
    counts = relay.counts
    doing = "stopping" if relay.draining else "serving"
    return f"{doing}: {counts.pairings} pairs, {counts.waiting} waiting, {counts.served} pairs served"
