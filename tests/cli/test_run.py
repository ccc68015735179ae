"""Trio runs of commands, and how signals stop them."""

from __future__ import annotations

import io
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trio
import trio.lowlevel

from p2p_copy.api.callers import TrioCaller
from p2p_copy.api.transfer import Transfer, TransferTask, running
from p2p_copy.cli.main import main
from p2p_copy.cli.run import run, run_transfer
from p2p_copy.cli.ui.errors import Interrupted, explanation, main_error
from p2p_copy.cli.ui.progress import Progress
from p2p_copy.cli.ui.terminal import Terminal
from p2p_copy.errors import PartialTransfer, WrongCode
from p2p_copy.observer import Report

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from p2p_copy.observer import Observer
    from p2p_copy.transfer.lifecycle import Helpers

STUBBORN = """
import trio
from p2p_copy.cli.run import run
async def story():
    print("here", flush=True)
    try:
        await trio.sleep_forever()
    finally:
        print("cleaning", flush=True)
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()
run(story)
"""


def opened(work: Callable[[Observer], Awaitable[Report]]) -> AbstractAsyncContextManager[Transfer]:
    """Return a transfer that does this work, as `AsyncClient.open_send` does."""

    async def observed(observer: Observer, _beside: Helpers) -> Report:
        return await work(observer)

    return running(Transfer(TrioCaller(), TransferTask(observed, TrioCaller())))


def test_a_story_gives_its_result() -> None:
    async def story() -> int:
        await trio.lowlevel.checkpoint()
        return 7

    assert run(story) == 7


def test_an_error_of_a_story_comes_out() -> None:
    async def story() -> None:
        await trio.lowlevel.checkpoint()
        raise WrongCode()

    with pytest.raises(BaseExceptionGroup) as caught:
        run(story)
    assert isinstance(main_error(caught.value), WrongCode)


def test_a_signal_that_comes_when_all_is_done_changes_nothing() -> None:
    """The saved state is gone by then: the same command would start over, and wait in vain."""

    async def story(_observer: Observer) -> Report:
        with trio.CancelScope(shield=True):  # like the removal of the state
            signal.raise_signal(signal.SIGTERM)
            await trio.sleep(0.01)
        return Report(1, 5, 0, 0, "00", 0.1)

    progress = Progress(Terminal(io.StringIO(), io.StringIO()), sends=True)
    assert run_transfer(opened(story), progress, None, resume_id="6ff1") == 0
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def test_a_signal_that_comes_before_ends_a_transfer() -> None:
    async def story(_observer: Observer) -> Report:
        signal.raise_signal(signal.SIGTERM)
        await trio.sleep_forever()
        raise AssertionError

    progress = Progress(Terminal(io.StringIO(), io.StringIO()), sends=True)
    with pytest.raises(Interrupted) as caught:
        run_transfer(opened(story), progress, None, resume_id="6ff1")
    assert explanation(caught.value).sentence == "Interrupted. Run the same command again to continue."


@pytest.mark.parametrize(
    ("resume_id", "advice"),
    [
        ("6ff1", "Run the same command again, or `p2p-copy resume 6ff1`, to continue."),
        (None, "This transfer cannot be resumed; start both sides again."),
    ],
)
def test_who_interrupts_a_transfer_is_told_how_to_go_on(resume_id: str | None, advice: str) -> None:
    async def story(observer: Observer) -> Report:
        observer.paired(("acid", "zoom"), False)
        await trio.lowlevel.checkpoint()
        signal.raise_signal(signal.SIGINT)
        await trio.sleep_forever()
        raise AssertionError

    progress = Progress(Terminal(io.StringIO(), io.StringIO()), sends=True)
    with pytest.raises(Interrupted) as caught:
        run_transfer(opened(story), progress, None, resume_id=resume_id)
    assert explanation(caught.value).sentence == f"Interrupted. {advice}"


@pytest.mark.parametrize("deadline", [None, 0.01])
def test_what_a_transfer_says_while_it_is_stopped_is_shown(deadline: float | None) -> None:
    async def story(observer: Observer) -> Report:
        if deadline is None:
            signal.raise_signal(signal.SIGTERM)
        try:
            await trio.sleep_forever()
            raise AssertionError
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.01)
            observer.notice("Progress cannot be saved.")

    progress = Progress(Terminal(io.StringIO(), err := io.StringIO()), sends=True)
    with pytest.raises((Interrupted, BaseExceptionGroup)):
        run_transfer(opened(story), progress, deadline, resume_id="6ff1")
    assert err.getvalue() == "Progress cannot be saved.\n"


def test_an_error_of_a_transfer_comes_after_its_events() -> None:
    async def story(observer: Observer) -> Report:
        await trio.lowlevel.checkpoint()
        observer.connecting("ws://relay:1")
        raise WrongCode

    progress = Progress(Terminal(io.StringIO(), err := io.StringIO()), sends=True)
    with pytest.raises(BaseExceptionGroup) as caught:
        run_transfer(opened(story), progress, None, resume_id="6ff1")
    assert isinstance(main_error(caught.value), WrongCode)
    assert err.getvalue() == "Connecting to ws://relay:1.\n"


def test_a_transfer_that_is_not_complete_fails_after_it_has_shown_its_result() -> None:
    async def story(_observer: Observer) -> Report:
        await trio.lowlevel.checkpoint()
        return Report(1, 5, 2, 0, "00", 0.1)

    err = io.StringIO()
    with pytest.raises(PartialTransfer, match=r"2 of 3 files were not delivered \(see above\)\."):
        run_transfer(
            opened(story), Progress(Terminal(io.StringIO(), err), sends=True), None, resume_id="6ff1"
        )
    assert err.getvalue().startswith("Sent 1 file, 5 B in 0.1 s")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_even_a_story_that_cannot_be_cancelled(number: signal.Signals) -> None:
    process = subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    process.send_signal(number)
    assert process.stdout.readline() == "cleaning\n"
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    process.stdout.close()


@pytest.mark.parametrize(
    ("words", "timed"), [(["-v"], True), (["--verbose"], True), ([], False), (["--", "-v"], False)]
)
def test_with_details_the_last_line_has_its_time_too(
    words: list[str], timed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["receive", "--no-such-option", *words]) == 2
    first = capsys.readouterr().err.splitlines()[0]
    assert bool(re.match(r"\d\d:\d\d:\d\d p2p-copy: ", first)) is timed
