"""Runs Trio for a command: a signal ends the run cleanly, and a transfer shows its progress and result.

The process reuses freed memory and collects garbage as suits a command that moves records; see `tune_memory`.
"""

from __future__ import annotations

import ctypes
import gc
import math
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

import trio

from p2p_copy.api.events import Paired
from p2p_copy.cli import limits
from p2p_copy.cli.signals import STOP_TRANSFER
from p2p_copy.cli.ui.errors import Interrupted
from p2p_copy.cli.ui.terminal import Terminal
from p2p_copy.errors import DeadlineReached, PartialTransfer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from p2p_copy.api.report import Report
    from p2p_copy.api.transfer import Transfer
    from p2p_copy.cli.ui.displays import Display

T = TypeVar("T")

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
"""Parameters of glibc's mallopt(3)."""

_SLOW_STOP: Final = (
    "Stopping: telling the other side, after data already on its way. A second signal stops at once."
)
_CAN_RESUME: Final = "The deadline was reached. What is done is kept: run the same command again to resume."
_CANNOT_RESUME: Final = (
    "The deadline was reached, and this transfer cannot be resumed. Start both sides again."
)


def run(main: Callable[[], Awaitable[T]], slow: Callable[[], None] = lambda: None) -> T:
    """Run `main` under Trio to its end, or until a signal asks to stop; a second signal ends the process.

    `slow` is called when stopping takes long.

    Raises:
        Interrupted: a signal came, and `main` was cancelled and has cleaned up.

    """
    tune_memory()
    gc.set_threshold(*limits.CLIENT_COLLECTIONS)
    return trio.run(_until_signal, main, slow)


def tune_memory() -> None:
    """Make the C library reuse freed blocks, and turn the garbage collector on; it skips all objects so far.

    A record is larger than glibc's threshold for blocks that are mapped, zeroed page by page and unmapped each time,
    which costs more than encrypting them. Other C libraries are left as they are.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(_MMAP_THRESHOLD, limits.MAP_BLOCKS_FROM)
            mallopt(_TRIM_THRESHOLD, limits.KEEP_FREED)
    gc.freeze()
    gc.enable()


async def _until_signal(main: Callable[[], Awaitable[T]], slow: Callable[[], None]) -> T:
    stopped: list[int] = []
    stopping = trio.Event()
    results: list[T] = []
    try:
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                nursery.start_soon(_call_if_slow, stopping, slow)
                await nursery.start(_listen, scope, stopped, stopping)
                results.append(await main())
            nursery.cancel_scope.cancel()
    except Exception:
        if not stopped:
            raise  # an error while stopping tells the user nothing
    if results:
        return results[0]
    raise Interrupted(stopped[0])


async def _call_if_slow(stopping: trio.Event, slow: Callable[[], None]) -> None:
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
    """Cancel the scope at the first signal, end the process at the second."""
    # A signal that is ignored stays ignored: nohup and a shell's background jobs rely on it.
    heeded = [number for number in STOP_TRANSFER if signal.getsignal(number) is not signal.SIG_IGN]
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


def run_transfer(
    opened: AbstractAsyncContextManager[Transfer],
    display: Display,
    deadline: float | None,
    *,
    resume_id: str | None,
) -> int:
    """Run a transfer to its end, or for `deadline` seconds, show its events and result, and return exit code 0.

    Args:
        opened: runs the transfer beside the body of its block.
        display: shows events and report, and is drawn while it runs.
        deadline: seconds; None for no limit.
        resume_id: by what another process can resume the transfer; None if none can.

    Raises:
        PartialTransfer: not everything was delivered.
        Interrupted: a signal came before the transfer was complete.
        DeadlineReached: the time is over, and the transfer was stopped cleanly.
        P2PCopyError: the transfer failed, or the new code could not be written.
        BrokenPipeError: the reader of the code has closed its pipe.

    """
    reports: list[Report] = []
    has_met = False

    async def follow(transfer: Transfer) -> None:
        events = transfer.events()
        while True:
            # If it is cancelled it ends soon, and what it says until then is shown.
            with trio.CancelScope(shield=True):
                event = await anext(events, None)
            if event is None:
                break
            nonlocal has_met
            has_met = has_met or isinstance(event, Paired)
            display.show(event)
            await _wait_for_reader(display)
        with suppress(RuntimeError):  # it was cancelled
            reports.append(transfer.report)

    async def draw_and_transfer() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_draw, display)
            with trio.move_on_after(math.inf if deadline is None else deadline):
                async with opened as transfer:
                    await follow(transfer)
            nursery.cancel_scope.cancel()
        if not reports:
            raise DeadlineReached(_CANNOT_RESUME if resume_id is None else _CAN_RESUME)

    try:
        run(draw_and_transfer, lambda: display.notice(_SLOW_STOP))
    except Interrupted as interrupted:
        if not reports:  # else it came after all was done, when no saved state is left to resume from
            raise Interrupted(interrupted.number, _how_to_go_on(resume_id, has_met=has_met)) from None
    finally:
        display.close()
    for number in STOP_TRANSFER:  # the work is done: no signal may change the exit code any more
        signal.signal(number, signal.SIG_IGN)
    (report,) = reports
    display.done(report)
    try:
        report.raise_for_failures()
    except PartialTransfer as error:
        raise PartialTransfer(f"{str(error).removesuffix('.')} (see above).") from None
    return 0


def _how_to_go_on(resume_id: str | None, *, has_met: bool) -> str:
    """Return what a user can do who has interrupted a transfer, in which both sides may have met."""
    if resume_id is None:
        return "This transfer cannot be resumed; start both sides again." if has_met else ""
    if has_met:
        return f"Run the same command again, or `p2p-copy resume {resume_id}`, to continue."
    return "Run the same command again to continue."


async def _wait_for_reader(display: Display) -> None:
    """Wait until the reader of the events has made room, or this is cancelled. The transfer does not wait for it."""
    while display.is_full and trio.current_effective_deadline() > trio.current_time():
        with trio.CancelScope(shield=True):
            await trio.sleep(limits.OUTPUT_RETRY)


async def _draw(display: Display) -> None:
    """Draw at regular intervals; not at once, since a short transfer needs no live line, and nothing that draws it."""
    while True:
        await trio.sleep(limits.DRAW_INTERVAL)
        if display.lacks_bar:
            await trio.to_thread.run_sync(display.load_bar, abandon_on_cancel=True)
        display.draw(trio.current_time())
