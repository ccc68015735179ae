"""Fault 70: small transfers, whose sender or receiver is ended at any moment and begun again, a hundred times in all.

At every moment a file is either not there or complete. Nothing is left when the transfer is done.
"""

from __future__ import annotations

import os
import random
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.processes import QUICK, Running, receiver, relay, sender
from tests.support.trees import leftovers, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KILLS, EACH = 100, 5
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
FAREWELL = 240
"""Seconds in which both sides end: a side that has everything tries for three minutes to hear the other's goodbye."""

LONGEST = 3.0
"""Seconds after which a process that was started is ended, at most."""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small files, and larger ones, for a second or two."""
    tree = tmp_path_factory.mktemp("source") / "tree"
    tree.mkdir()
    for number in range(300):
        (tree / f"{number}").write_bytes(os.urandom(2_000))
    for number in range(4):
        (tree / f"large {number}").write_bytes(os.urandom(8_000_000))
    return tree


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with relay("--no-tls", "--rate", "16M") as (url, _):
        yield url


@pytest.mark.fault(70, "many times")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(KILLS // EACH))
def test_fault_70_ended_at_random_moments(url: str, tree: Path, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    out, code = tmp_path / "out", f"lab{seed}-a long passphrase"
    whole = snapshot(tree)

    def begin(role: str) -> Running:
        return sender(url, tree, code=code) if role == "sender" else receiver(url, out, code=code)

    sides = {role: begin(role) for role in ("sender", "receiver")}
    for side in sides.values():
        side.wait_for("codes match")  # before that a side waits for no return
    try:
        for _ in range(EACH):
            victim = chance.choice(list(sides))
            number = chance.choice(SIGNALS)
            time.sleep(chance.uniform(0, LONGEST))
            sides[victim].process.send_signal(number)
            ended, _, said = sides.pop(victim).wait(QUICK)
            assert ended in (0, -number, 128 + number), said
            for path in (out / "tree").glob("[!.]*"):
                assert path.read_bytes() == whole[path.name][3]
            if ended == 0:
                break
            sides[victim] = begin(victim)
            sides[victim].wait_for("")  # its first word: before, Python itself is being loaded
        for role in list(sides):
            ended, _, said = sides.pop(role).wait(FAREWELL)
            assert ended == 0, said
    finally:
        for side in sides.values():
            side.kill()
    assert snapshot(out / "tree") == whole
    assert not leftovers(out)
