"""Writing never blocks; lost lines are counted; a lost result is a failure.

Pipes, terminals and full files are real. A pipe without a reader is filled first, so that the first line is stuck.
"""

from __future__ import annotations

import io
import os
import re
import sys
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from p2p_copy.cli import limits
from p2p_copy.cli.ui.output import Writer, writers
from p2p_copy.cli.ui.terminal import Terminal
from p2p_copy.errors import ResultNotWritten
from tests.cli.pipes import STUFFING, drain, full_pipe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import TextIO

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="pipes are filled and read in the ways of Unix"
)

LONG = 30.0
"""Seconds in which all that can be written is written, on any machine."""


@contextmanager
def stuck_writer() -> Iterator[tuple[int, Writer]]:
    """Yield the reading end of a full pipe, and a writer at its other end."""
    reader, full = full_pipe()
    with os.fdopen(full, "w") as stream:
        yield reader, Writer(stream)
    os.close(reader)


@pytest.fixture
def full_device() -> Iterator[TextIO]:
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no device that is always full")
    with open("/dev/full", "w") as stream:
        yield stream


def test_a_text_longer_than_the_queue_is_written_and_so_is_the_next_one() -> None:
    reader, end = os.pipe()
    with os.fdopen(end, "w") as stream:
        writer = Writer(stream)
        writer.put("x" * limits.OUTPUT_QUEUE + "\n")
        writer.put("dropped\n")
        assert drain(reader, until="... 1 line was dropped\n").startswith("xxx")
        writer.put("the end\n")
        assert drain(reader, until="the end\n")
    os.close(reader)


@pytest.mark.fault(80, "full pipe")
def test_a_full_pipe_blocks_no_caller_and_dropped_lines_are_counted_in_their_place() -> None:
    line = "x" * 99 + "\n"
    with stuck_writer() as (reader, writer):
        count = 3 * limits.OUTPUT_QUEUE // len(line)
        for _ in range(count):
            writer.put(line)
        written = drain(reader, until="dropped\n")
        writer.put("next\n")
        written += drain(reader, until="next\n")
    *lines, note, last = written.removeprefix(STUFFING).splitlines()
    dropped = re.fullmatch(r"\.\.\. ([0-9]+) lines were dropped", note)
    assert dropped
    assert set(lines) == {line.strip()}
    assert (len(lines) + int(dropped[1]), last) == (count, "next")
    assert len(lines) >= limits.OUTPUT_QUEUE // len(line)


@pytest.mark.fault(80, "full pipe")
def test_results_are_never_dropped() -> None:
    with stuck_writer() as (reader, writer):
        for number in range(3 * limits.OUTPUT_QUEUE // 1000):
            writer.put(f"{number} {'x' * 1000}\n", is_result=True)
        writer.put("the end\n", is_result=True)
        written = drain(reader, until="the end\n").removeprefix(STUFFING)
        writer.wait_for_results()
        writer.check()
    numbers = [int(line.split()[0]) for line in written.splitlines()[:-1]]
    assert numbers == list(range(3 * limits.OUTPUT_QUEUE // 1000))


@pytest.mark.fault(80, "full pipe")
def test_a_pipe_that_does_not_block_is_waited_for_as_one_that_does() -> None:
    reader, full = full_pipe()
    os.set_blocking(full, False)
    with os.fdopen(full, "w") as stream:
        writer = Writer(stream)
        writer.put("x" * 200_000 + "\n", is_result=True)
        assert drain(reader, until="\n") == STUFFING + "x" * 200_000 + "\n"
        writer.wait_for_results()
        writer.check()
    os.close(reader)


@pytest.mark.fault(80, "full pipe")
def test_the_end_waits_for_a_full_pipe_for_a_bounded_time() -> None:
    reader, full = full_pipe()
    with os.fdopen(full, "w") as stream:
        terminal = Terminal(stream, stream)
        terminal.say("stuck")
        terminal.flush(0.01)
        assert drain(reader, until="stuck\n")
    os.close(reader)


def test_only_the_newest_state_of_a_live_line_is_written_to_a_terminal_that_was_stopped() -> None:
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    here, there = pty.openpty()
    termios.tcflow(there, termios.TCOOFF)
    with os.fdopen(there, "w") as stream:
        writer = Writer(stream)
        for number in range(1000):
            writer.live(f"state {number:03}", 9)
        termios.tcflow(there, termios.TCOON)
        shown = drain(here, until="999")
        writer.flush(LONG)
    os.close(here)
    assert len(re.findall("state", shown)) <= 2, "one may have been on its way"


@pytest.mark.fault(80, "full disk")
def test_a_full_disk_costs_the_lines_that_did_not_fit(tmp_path: Path) -> None:
    """A limit of the file's size simulates the full disk: half of the second line fits, and nothing of the third."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with (tmp_path / "log").open("w") as stream:
        writer = Writer(stream)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (len("first\nsec"), hard))
            for line in ("first\n", "second\n", "third\n"):
                writer.put(line)
            writer.flush(LONG)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        writer.put("fourth\n")
        writer.put("fifth\n")
        writer.flush(LONG)
    assert (tmp_path / "log").read_text() == "first\nsec\n... 2 lines were dropped\nfourth\nfifth\n"


@pytest.mark.fault(80, "result lost")
def test_a_lost_result_is_reported_once_and_other_lines_are_not(full_device: TextIO) -> None:
    writer = Writer(full_device)
    writer.put("line\n")
    writer.flush(LONG)
    writer.check()
    writer.put("result\n", is_result=True)
    writer.wait_for_results()
    with pytest.raises(ResultNotWritten, match="No space left on device"):
        writer.check()
    writer.check()


@pytest.mark.fault(80, "result lost")
def test_a_forgiven_result_cannot_be_lost(full_device: TextIO) -> None:
    writer = Writer(full_device)
    writer.put("result\n", is_result=True)
    writer.flush(LONG)
    writer.forgive_lost_results()
    writer.check()
    with stuck_writer() as (reader, stuck):
        stuck.put("result\n", is_result=True)
        stuck.forgive_lost_results()
        stuck.wait_for_results()
        assert drain(reader, until="result\n")


@pytest.mark.fault(80, "result lost")
def test_a_lost_verdict_is_a_failure_unless_quiet(full_device: TextIO) -> None:
    terminal = Terminal(io.StringIO(), full_device)
    terminal.verdict("All is well.")
    with pytest.raises(ResultNotWritten):
        terminal.finish()
    quiet = Terminal(io.StringIO(), full_device, quiet=True)
    quiet.verdict("All is well.")
    quiet.finish()


@pytest.mark.fault(80, "result lost")
def test_a_result_for_a_reader_that_went_away_is_a_broken_pipe() -> None:
    reader, full = os.pipe()
    os.close(reader)
    with os.fdopen(full, "w") as stream:
        terminal = Terminal(stream, stream)
        terminal.result("result")
        with pytest.raises(BrokenPipeError):
            terminal.finish()


@pytest.mark.fault(80, "closed")
def test_a_stream_that_was_closed_from_the_start_swallows_lines_and_loses_results() -> None:
    terminal = Terminal(None, None)
    terminal.say("line")
    terminal.live("live")
    terminal.check()
    terminal.result("result")
    with pytest.raises(ResultNotWritten, match="closed"):
        terminal.finish()


def test_streams_that_end_in_the_same_place_keep_their_order() -> None:
    reader, one = os.pipe()
    with os.fdopen(one, "w") as out, os.fdopen(os.dup(one), "w") as err:
        terminal = Terminal(out, err)
        for number in range(100):
            terminal.result(f"result {number}")
            terminal.say(f"word {number}")
        written = drain(reader, until="word 99\n").splitlines()
        assert written == [f"{what} {number}" for number in range(100) for what in ("result", "word")]
        assert writers(out, err) is not None
        assert writers(out, err)[0] is writers(out, err)[1]
    os.close(reader)


def test_without_threads_the_end_writes_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test cannot use up all threads of the system, so starting one is made to fail."""

    def refuse(_thread: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Thread, "start", refuse)
    reader, full = os.pipe()
    with os.fdopen(full, "w") as stream:
        writer = Writer(stream)
        writer.put("line\n")
        writer.put("result\n", is_result=True)
        writer.wait_for_results()
        assert os.read(reader, 100) == b"line\nresult\n"
    os.close(reader)
