"""Runs that are started from the command line, and how they are stopped."""

from __future__ import annotations

import io
import signal
import subprocess
import sys

import pytest
import trio

from p2p_copy.cli.run import run, run_transfer
from p2p_copy.cli.ui.errors import Interrupted, first_of
from p2p_copy.cli.ui.progress import Progress
from p2p_copy.cli.ui.terminal import Terminal
from p2p_copy.errors import WrongCode
from p2p_copy.observer import Report

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
    assert isinstance(first_of(caught.value), WrongCode)


def test_a_signal_that_comes_when_all_is_done_changes_nothing() -> None:
    """The state is gone by then, so the same command would begin anew and wait for nobody."""
    report = Report(1, 5, 0, 0, "00", 0.1)

    async def story() -> Report:
        with trio.CancelScope(shield=True):  # as the state is removed
            signal.raise_signal(signal.SIGTERM)
            await trio.sleep(0.01)
        return report

    progress = Progress(Terminal(io.StringIO(), io.StringIO()), verb="Sent")
    assert run_transfer(story, progress, None, lasts=True) is report


def test_a_signal_that_comes_before_ends_a_transfer() -> None:
    async def story() -> Report:
        signal.raise_signal(signal.SIGTERM)
        await trio.sleep_forever()
        raise AssertionError

    progress = Progress(Terminal(io.StringIO(), io.StringIO()), verb="Sent")
    with pytest.raises(Interrupted):
        run_transfer(story, progress, None, lasts=True)


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
