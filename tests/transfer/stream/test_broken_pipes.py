"""When a pipe, a disk or an option ends a stream, both sides say why."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from p2p_copy.errors import (
    NoSpace,
    P2PCopyError,
    PeerFailed,
    PipeFailed,
    TooMuch,
    UsageError,
)
from p2p_copy.options import Conflict
from tests.support.pipes import WINDOW, Ends, pipe
from tests.support.transfers import CODE, copy, receive, send
from tests.support.trees import make_tree

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_reader_that_has_seen_enough_ends_both_sides(ends: Ends) -> None:
    ends.give(os.urandom(3 * WINDOW))
    ends.stop_reading()
    both = await pipe()
    assert isinstance(both.sent, PipeFailed)
    assert isinstance(both.received, PipeFailed)
    assert "reads standard output here has ended" in str(both.received)
    assert "reads its standard output has ended" in str(both.sent)


class Stream:
    """A standard stream, as far as it is used."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd


@pytest.mark.skipif(sys.platform != "linux", reason="there is no disk that is always full")
async def test_a_full_disk_behind_standard_output_ends_both_sides(ends: Ends) -> None:
    ends.give(os.urandom(WINDOW))
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        ends.streams.stdout = Stream(full)
        both = await pipe()
    finally:
        os.close(full)
    assert isinstance(both.received, NoSpace)
    assert isinstance(both.sent, PeerFailed)


async def test_standard_input_that_cannot_be_read_ends_both_sides(ends: Ends, tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    ends.streams.stdin = Stream(fd)
    try:
        both = await pipe(receiving={"wait": 1.0})
    finally:
        os.close(fd)
    assert isinstance(both.sent, PipeFailed)
    assert "Standard input here cannot be read" in str(both.sent)
    assert isinstance(both.received, P2PCopyError)


async def test_a_tree_does_not_go_to_standard_output_and_both_sides_are_told_what_does(
    ends: Ends, tmp_path: Path
) -> None:
    both = await copy([make_tree(tmp_path)], "-")  # type: ignore[arg-type]
    for error in (both.sent, both.received):
        assert isinstance(error, PipeFailed)
        assert "tar c" in str(error)
        assert "`out`" in str(error)
    assert ends.all_taken() == b""


async def test_a_name_that_is_taken_is_not_overwritten(ends: Ends, tmp_path: Path) -> None:
    (tmp_path / "stdin").write_text("old")
    ends.give(b"new")
    both = await pipe(tmp_path)
    for error in (both.sent, both.received):
        assert isinstance(error, PipeFailed)
        assert "already exists" in str(error)
    assert (tmp_path / "stdin").read_text() == "old"
    assert os.listdir(tmp_path) == ["stdin"]


async def test_a_name_that_is_taken_is_overwritten_when_asked(ends: Ends, tmp_path: Path) -> None:
    (tmp_path / "stdin").write_text("old")
    ends.give(b"new")
    both = await pipe(tmp_path, receiving={"conflict": Conflict.OVERWRITE})
    assert both.reports[1].files == 1
    assert (tmp_path / "stdin").read_text() == "new"


async def test_a_stream_that_is_longer_than_allowed_leaves_nothing(ends: Ends, tmp_path: Path) -> None:
    ends.give(os.urandom(2 * WINDOW))
    both = await pipe(tmp_path / "out", receiving={"max_size": WINDOW})
    assert isinstance(both.received, TooMuch)
    assert isinstance(both.sent, PeerFailed)
    assert f"{WINDOW} bytes" in str(both.sent)
    assert os.listdir(tmp_path / "out") == []


async def test_standard_input_goes_alone(ends: Ends, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="alone"):
        await send(["-", str(tmp_path)], relay="ws://127.0.0.1:1", code=CODE)
    with pytest.raises(UsageError, match="name"):
        await send(["-"], name="a/b", relay="ws://127.0.0.1:1", code=CODE)


async def test_a_missing_standard_stream_is_an_error(ends: Ends) -> None:
    ends.streams.stdin = ends.streams.stdout = None
    with pytest.raises(UsageError, match="Standard input is closed"):
        await send(["-"], relay="ws://127.0.0.1:1", code=CODE)
    with pytest.raises(UsageError, match="Standard output is closed"):
        await receive("-", relay="ws://127.0.0.1:1", code=CODE)
