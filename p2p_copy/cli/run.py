"""Trio runs started from the command line: signals end them cleanly, groups of errors become one error."""

from __future__ import annotations

import math
import signal
from typing import TYPE_CHECKING, Final, TypeVar

import trio

from p2p_copy.cli import limits
from p2p_copy.cli.memory import collect, keep_freed_blocks
from p2p_copy.cli.ui.errors import Interrupted
from p2p_copy.cli.ui.terminal import Terminal
from p2p_copy.errors import DeadlineReached
from p2p_copy.transfer import limits as transfer_limits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from p2p_copy.cli.ui.progress import Progress
    from p2p_copy.observer import Report

T = TypeVar("T")

_STOPPING: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)
)


_TELLING: Final = (
    "The other side is being told, behind what is on its way already. A second signal ends this at once."
)
_LOST: Final = "The deadline is here, and this transfer cannot be gone on with. Start both sides again."


def run(story: Callable[[], Awaitable[T]], slow: Callable[[], None] = lambda: None) -> T:
    """Run `story` to its end under Trio, or until a signal asks to stop; a second signal ends the process.

    `slow` is called when stopping takes long.

    Raises:
        Interrupted: a signal came, and the story was cancelled and has cleaned up.

    """
    keep_freed_blocks()
    collect()
    return trio.run(_watched, story, slow)


async def _watched(story: Callable[[], Awaitable[T]], slow: Callable[[], None]) -> T:
    stopped: list[int] = []
    stopping = trio.Event()
    results: list[T] = []
    try:
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                nursery.start_soon(_say_if_slow, stopping, slow)
                await nursery.start(_listen, scope, stopped, stopping)
                results.append(await story())
            nursery.cancel_scope.cancel()
    except Exception:
        if not stopped:
            raise  # what breaks while we are being stopped is of no interest to anybody
    if results:
        return results[0]
    raise Interrupted(stopped[0])


async def _say_if_slow(stopping: trio.Event, slow: Callable[[], None]) -> None:
    await stopping.wait()
    await trio.sleep(limits.STOP_NOTICE)
    slow()


async def _listen(
    scope: trio.CancelScope,
    stopped: list[int],
    stopping: trio.Event,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Cancel the scope at the first signal, leave at the second."""
    # A signal that is ignored stays ignored: nohup and background jobs of a shell rely on it.
    heeded = [number for number in _STOPPING if signal.getsignal(number) is not signal.SIG_IGN]
    if not heeded:
        task_status.started()
        return
    with trio.open_signal_receiver(*heeded) as signals:
        task_status.started()
        async for number in signals:
            if stopped:
                Terminal.standard().leave(128 + number)
            stopped.append(number)
            stopping.set()
            scope.cancel()


def ignore_signals() -> None:
    """Let no signal change the exit code of a command whose work is done."""
    for number in _STOPPING:
        signal.signal(number, signal.SIG_IGN)


def run_transfer(
    story: Callable[[], Awaitable[Report]], progress: Progress, deadline: float | None, *, lasts: bool
) -> Report:
    """Run a transfer to its end, or for `deadline` seconds, while its progress is drawn.

    Args:
        story: the transfer.
        progress: draws it.
        deadline: seconds; None for as long as it takes.
        lasts: it can be gone on with later.

    Raises:
        Interrupted: a signal came before it was done.
        DeadlineReached: the time is over, and the transfer has stopped in good order.
        P2PCopyError: the transfer failed, or the code that nobody knows yet could not be written.
        BrokenPipeError: whoever was to read the code has gone.

    """
    reports: list[Report] = []

    async def drawn() -> Report:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_draw, progress)
            with trio.move_on_after(math.inf if deadline is None else deadline):
                reports.append(await story())
            nursery.cancel_scope.cancel()
        if not reports:
            raise DeadlineReached(None if lasts else _LOST)
        return reports[0]

    try:
        return run(drawn, lambda: progress.notice(_TELLING))
    except Interrupted:
        if not reports:
            raise
        return reports[0]  # the signal came when all was done, and nothing is remembered with which to go on
    finally:
        progress.close()


async def _draw(progress: Progress) -> None:
    while True:
        progress.draw(trio.current_time())
        await trio.sleep(transfer_limits.PROGRESS_INTERVAL)
