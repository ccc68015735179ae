"""`python -m p2p_copy.load`: one process that makes load, as `test` starts it.

Its standard input has one line of JSON, how to reach the relay and the share of the load, and ends when the process is
to stop. To its standard output it writes lines of JSON: every `PROGRESS_INTERVAL` seconds how far it is, and at the end
its figures, or the error that has ended it.
"""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import trio

from p2p_copy.errors import P2PCopyError
from p2p_copy.load import limits
from p2p_copy.load.generator import Generator
from p2p_copy.load.plan import Plan
from p2p_copy.options import RelayAccess

if TYPE_CHECKING:
    import io


def main() -> None:
    """Make load until its time is over, or standard input ends."""
    said = json.loads(sys.stdin.buffer.readline())
    access = RelayAccess(**said["access"], variables=os.environ)
    generator = Generator(access, Plan(**said["plan"]))
    try:
        trio.run(_run, generator)
    except P2PCopyError as error:
        _tell({"error": type(error).__name__, "sentence": str(error)})
    else:
        _tell({"figures": generator.figures.as_json()})


async def _run(generator: Generator) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_at_the_end_of_input, nursery.cancel_scope)
        nursery.start_soon(_tell_progress, generator)
        await generator.run(partial(_tell_now, generator, is_over=True))
        nursery.cancel_scope.cancel()


async def _stop_at_the_end_of_input(scope: trio.CancelScope) -> None:
    # Unbuffered: the interpreter cannot end while a thread holds the lock of a buffer.
    stdin = cast("io.BufferedReader", sys.stdin.buffer).raw
    await trio.to_thread.run_sync(stdin.read, abandon_on_cancel=True)
    scope.cancel()


async def _tell_progress(generator: Generator) -> None:
    while True:
        await trio.sleep(limits.PROGRESS_INTERVAL)
        await trio.to_thread.run_sync(_tell_now, generator)


def _tell_now(generator: Generator, *, is_over: bool = False) -> None:
    figures = generator.figures
    progress = {
        "waiting": figures.waiting,
        "paired": figures.paired,
        "received": figures.received,
        "failed": figures.failures.total(),
        "is_whole": figures.is_whole and not is_over,
    }
    _tell({"progress": progress})


def _tell(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
