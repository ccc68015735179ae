"""Trio runs of commands, and how signals stop them."""

from __future__ import annotations

import io
import signal
import subprocess
import sys

import pytest
import trio

from p2p_copy.cli.run import run, run_transfer
from p2p_copy.cli.ui.errors import Interrupted, main_error
from p2p_copy.cli.ui.progress import Progress
from p2p_copy.cli.ui.terminal import Terminal
from p2p_copy.errors import PartialTransfer, WrongCode
from p2p_copy.observer import Report
from p2p_copy.protocol.rendezvous import Role

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
    assert isinstance(main_error(caught.value), WrongCode)


def test_a_signal_that_comes_when_all_is_done_changes_nothing() -> None:
    """The saved state is gone by then: the same command would start over, and wait in vain."""

    async def story() -> Report:
        with trio.CancelScope(shield=True):  # like the removal of the state
            signal.raise_signal(signal.SIGTERM)
            await trio.sleep(0.01)
        return Report(1, 5, 0, 0, "00", 0.1)

    progress = Progress(Terminal(io.StringIO(), io.StringIO()), Role.SENDER)
    assert run_transfer(story, progress, None, can_resume=True) == 0
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def test_a_signal_that_comes_before_ends_a_transfer() -> None:
    async def story() -> Report:
        signal.raise_signal(signal.SIGTERM)
        await trio.sleep_forever()
        raise AssertionError

    progress = Progress(Terminal(io.StringIO(), io.StringIO()), Role.SENDER)
    with pytest.raises(Interrupted):
        run_transfer(story, progress, None, can_resume=True)


def test_a_transfer_that_is_not_complete_fails_after_it_has_shown_its_result() -> None:
    async def story() -> Report:
        await trio.lowlevel.checkpoint()
        return Report(1, 5, 2, 0, "00", 0.1)

    err = io.StringIO()
    with pytest.raises(PartialTransfer):
        run_transfer(story, Progress(Terminal(io.StringIO(), err), Role.SENDER), None, can_resume=True)
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
