"""Streams from standard input to standard output of one process, over a real relay."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import trio
import trio.lowlevel

from p2p_copy.errors import (
    PipeFailed,
)
from p2p_copy.transfer import limits
from p2p_copy.units import MIB
from tests.files.receipts.samples import differences
from tests.support.pipes import READ, WINDOW, Ends, pipe, watched
from tests.support.transfers import Both, copy
from tests.support.trees import leftovers

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("size", [0, 1, READ - 1, READ, READ + 1, MIB, 3 * MIB, WINDOW, 3 * WINDOW + 7])
async def test_a_stream_of_any_length_goes_through(ends: Ends, size: int) -> None:
    data = os.urandom(size)
    ends.give(data)
    ends.take()
    sent, received = (await pipe()).reports
    assert ends.all_taken() == data
    assert (sent.files, sent.size, sent.root) == (received.files, received.size, received.root)
    assert sent.size == size


async def test_a_stream_becomes_a_file(ends: Ends, tmp_path: Path) -> None:
    data = os.urandom(2 * WINDOW)
    ends.give(data)
    receipts = {role: tmp_path / f"{role}.json" for role in ("sender", "receiver")}
    both = await pipe(
        tmp_path / "out",
        sending={"name": "tree.tar", "receipt": str(receipts["sender"])},
        receiving={"receipt": str(receipts["receiver"])},
    )
    assert both.reports[0].failures == both.reports[1].failures == 0
    assert (tmp_path / "out" / "tree.tar").read_bytes() == data
    assert (tmp_path / "out" / "tree.tar").stat().st_mode & 0o777 == 0o600
    assert not leftovers(tmp_path)
    for receipt in receipts.values():
        assert not differences(receipt, tmp_path / "out")[1]


async def test_a_stream_that_is_left_out_by_its_name_is_not_taken(ends: Ends, tmp_path: Path) -> None:
    ends.give(b"data")
    both = await pipe(tmp_path / "out", receiving={"only": ["*.txt"]})
    assert isinstance(both.received, PipeFailed)
    assert "'stdin' is left out by `only` or `exclude`." in str(both.received)
    assert "'stdin' is left out by `only` or `exclude` there." in str(both.sent)
    assert os.listdir(tmp_path / "out") == []


async def test_one_file_goes_to_standard_output(ends: Ends, tmp_path: Path) -> None:
    data = os.urandom(WINDOW + 3)
    (tmp_path / "file").write_bytes(data)
    ends.take()
    both = await copy([tmp_path / "file"], "-")  # type: ignore[arg-type]
    assert both.reports[0].size == len(data)
    assert ends.all_taken() == data


async def test_a_slow_reader_slows_the_other_end_and_memory_is_bounded(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(4 * WINDOW)
    ends.give(data)
    with watched(monkeypatch) as most:
        async with trio.open_nursery() as nursery:

            async def read_late() -> None:
                while most["sender"] + READ <= WINDOW:  # noqa: ASYNC110
                    await trio.sleep(0.002)
                ends.take()

            nursery.start_soon(read_late)
            both = await pipe()
    assert both.reports[0].size == len(data)
    assert ends.all_taken() == data
    assert WINDOW - READ < most["sender"] <= WINDOW
    assert most["receiver"] <= WINDOW


DRY = "Nothing moves: nothing comes from standard input"

THERE = "Nothing moves: the sender's standard input, or the connection from it, delivers no data"


async def test_a_producer_that_gives_nothing_is_named_and_no_error(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STALL", 0.05)
    monkeypatch.setattr(limits, "PROGRESS_INTERVAL", 0.02)
    monkeypatch.setattr(limits, "HEARTBEAT", 0.02)
    ends.take()
    both = Both()
    async with trio.open_nursery() as nursery:

        async def give_late() -> None:
            while DRY not in both.sender.stalls or THERE not in both.receiver.stalls:  # noqa: ASYNC110
                await trio.sleep(0.002)
            ends.give(b"at last")

        nursery.start_soon(give_late)
        await pipe(both=both)
    assert both.reports[0].size == len(b"at last")
