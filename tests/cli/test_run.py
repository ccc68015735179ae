"""Runs that are started from the command line, and how they are stopped."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
import trio

from p2p_copy.cli.failure import first_of
from p2p_copy.cli.run import run
from p2p_copy.errors import WrongCode

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
