"""Streams from standard input to standard output of one process, over a real relay and links that are cut."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.lowlevel

from p2p_copy.errors import (
    NoSpace,
    P2PCopyError,
    PeerFailed,
    PeerLost,
    PipeFailed,
    RelayLost,
    TooMuch,
    UsageError,
)
from p2p_copy.files import limits as files_limits, stdio
from p2p_copy.files.state.facts import Facts
from p2p_copy.files.state.store import States
from p2p_copy.options import Conflict
from p2p_copy.peer import limits as peer_limits
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.transfer import limits
from p2p_copy.transfer.conversation import Conversation
from p2p_copy.transfer.stream import receiver, sender
from p2p_copy.transfer.stream.receiver import StreamReceiver
from p2p_copy.transfer.stream.sender import StreamSender
from p2p_copy.units import KIB, MIB
from tests.files.receipts.samples import differences
from tests.support.lossy_relay import lossy_relay
from tests.support.transfers import CODE, Both, Told, copy, receive, send
from tests.support.trees import leftovers, make_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from p2p_copy.observer import Report
    from tests.support.lossy_relay import LossyRelay

WINDOW = 4 * MIB
READ = 256 * KIB


@pytest.fixture(autouse=True)
def small_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Smaller numbers: a few MB are a long stream."""
    monkeypatch.setattr(protocol_limits, "STREAM_WINDOW", WINDOW)
    monkeypatch.setattr(files_limits, "STREAM_READ", READ)
    monkeypatch.setattr(limits, "STREAM_ACKNOWLEDGE", MIB)
    monkeypatch.setattr(protocol_limits, "SEGMENT", MIB)
    monkeypatch.setattr(peer_limits, "RETURN_AFTER", (0.02, 0.1))
    monkeypatch.setattr(peer_limits, "ROOM_TURN", 0.2)
    monkeypatch.setattr(limits, "RECEIPT_LINGER", 2.0)
    monkeypatch.setattr(limits, "GOODBYE_LINGER", 1.0)


class Ends:
    """The test's ends of the pipes that are standard input and output of this process."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        read, self.into = os.pipe()
        self.out, write = os.pipe()
        self._theirs = os.fdopen(read), os.fdopen(write, "w")
        # Not those of `sys` itself, which pytest restores.
        self.streams = SimpleNamespace(platform=sys.platform, stdin=self._theirs[0], stdout=self._theirs[1])
        patch.setattr(stdio, "sys", self.streams)
        self.taken = bytearray()
        self._threads: list[threading.Thread] = []

    def give(self, data: bytes, *, end: bool = True) -> None:
        """Write all of it in a thread, and close the pipe."""

        def work() -> None:
            view = memoryview(data)
            try:
                while view:
                    view = view[os.write(self.into, view) :]
                if end:
                    self.end()
            except OSError:
                return  # closed, perhaps with the test

        self._start(work)

    def end(self) -> None:
        into, self.into = self.into, -1
        os.close(into)

    def take(self) -> None:
        """Read all of it in a thread."""

        def work() -> None:
            with suppress(OSError):  # closed, perhaps with the test
                while data := os.read(self.out, 65536):
                    self.taken += data

        self._start(work)

    def _start(self, work: Callable[[], None]) -> None:
        self._threads.append(threading.Thread(target=work, daemon=True))
        self._threads[-1].start()

    def all_taken(self) -> bytes:
        """Return what has come, once the other side has closed."""
        self.close_theirs()
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()
        return bytes(self.taken)

    def close_theirs(self) -> None:
        for stream in self._theirs:
            stream.close()

    def stop_reading(self) -> None:
        out, self.out = self.out, -1
        os.close(out)

    def close(self) -> None:
        self.close_theirs()
        fds, self.into, self.out = (
            (self.into, self.out),
            -1,
            -1,
        )  # a thread that still runs must not use their numbers
        for fd in fds:
            if fd >= 0:
                os.close(fd)


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ends]:
    both = Ends(monkeypatch)
    yield both
    both.close()


async def pipe(out: Any = "-", **more: Any) -> Both:
    return await copy(["-"], out, **more)


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """Measure the most bytes that either side ever has in memory."""
    most = {"sender": 0, "receiver": 0}

    class WatchedSender(StreamSender):
        async def read(self) -> None:
            put = self.window.put

            def noting(data: bytes) -> None:
                put(data)
                most["sender"] = max(most["sender"], self.window.size)

            self.window.put = noting  # type: ignore[method-assign]
            await super().read()

    class WatchedReceiver(StreamReceiver):
        async def write(self) -> None:
            put = self.window.put

            def noting(data: bytes) -> None:
                put(data)
                most["receiver"] = max(most["receiver"], self.window.size)

            self.window.put = noting  # type: ignore[method-assign]
            await super().write()

    with monkeypatch.context() as patch:
        patch.setattr(sender, "StreamSender", WatchedSender)
        patch.setattr(receiver, "StreamReceiver", WatchedReceiver)
        yield most


# Success


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
    assert "'stdin' is left out by --only or --exclude." in str(both.received)
    assert "'stdin' is left out by --only or --exclude there." in str(both.sent)
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


# Lost links


@pytest.mark.parametrize("to_file", [False, True])
async def test_a_stream_goes_on_where_its_link_was_cut(
    ends: Ends, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to_file: bool
) -> None:
    data = os.urandom(6 * WINDOW)
    ends.give(data)
    ends.take()
    out = tmp_path / "out" if to_file else "-"
    lasting = {"patience": 20.0}
    with watched(monkeypatch) as most:
        async with lossy_relay() as it:
            it.cut_after(200_000, 3_000_000, 5_000_000, 4_000_000)
            both = await pipe(out, relay=it.address, sending=lasting, receiving=lasting)
    assert it.cuts == 4, (both.sent, both.received, it.upstream)
    assert both.reports[0].size == both.reports[1].size == len(data)
    got = ends.all_taken()
    assert ((tmp_path / "out" / "stdin").read_bytes() if to_file else got) == data
    assert max(most.values()) <= WINDOW
    assert it.upstream < len(data) + 4 * (WINDOW + MIB) + MIB


async def test_a_stream_that_waits_for_its_reader_survives_cuts(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receiver's output takes nothing while links are lost and opened again."""
    data = os.urandom(3 * WINDOW)
    ends.give(data)
    lasting = {"patience": 20.0}
    with watched(monkeypatch) as most:
        async with lossy_relay() as it, trio.open_nursery() as nursery:

            async def cut_and_read() -> None:
                while most["receiver"] < WINDOW - 2 * READ:  # noqa: ASYNC110
                    await trio.sleep(0.002)
                for _ in range(3):
                    before = len(both.receiver.states)
                    it.cut()
                    while "paired" not in both.receiver.states[before:]:  # noqa: ASYNC110
                        await trio.sleep(0.002)
                ends.take()

            both = Both()
            nursery.start_soon(cut_and_read)
            await pipe(relay=it.address, both=both, sending=lasting, receiving=lasting)
    assert both.reports[1].size == len(data)
    assert ends.all_taken() == data


class Party:
    """Two sides that can be started, stopped and started again."""

    def __init__(self, at: LossyRelay, tmp_path: Path) -> None:
        self._wire = at
        self._tmp = tmp_path
        self.outcome: dict[str, Report | P2PCopyError] = {}
        self.told = {role: Told() for role in ("sender", "receiver")}

    async def start(self, role: str) -> None:
        options: Any = {
            "relay": self._wire.address,
            "code": CODE,
            "patience": 20.0,
            "observer": self.told[role],
        }
        try:
            done = await (send(["-"], **options) if role == "sender" else receive("-", **options))
        except P2PCopyError as error:
            self.outcome[role] = error
        else:
            self.outcome[role] = done


@pytest.mark.parametrize("killed", ["sender", "receiver"])
async def test_a_side_that_is_restarted_in_the_middle_ends_both_and_both_say_why(
    ends: Ends, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: str
) -> None:
    ends.give(os.urandom(3 * WINDOW), end=False)
    ends.take()

    async def silent(*_: object) -> None:
        """Say nothing, as a process that is killed."""

    async with lossy_relay() as it:
        parties = Party(it, tmp_path)
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(parties.start, {"sender": "receiver", "receiver": "sender"}[killed])
                with monkeypatch.context() as patch:
                    async with trio.open_nursery() as mortal:
                        mortal.start_soon(parties.start, killed)
                        while len(ends.taken) < 2 * WINDOW:  # noqa: ASYNC110
                            await trio.sleep(0.002)
                        patch.setattr(Conversation, "part_ways", silent)
                        mortal.cancel_scope.cancel()
                it.cut()
                await parties.start(killed)
    assert {type(each) for each in parties.outcome.values()} == {PipeFailed}
    for error in parties.outcome.values():
        assert f"{killed} " in str(error)
        assert "started again" in str(error)


@pytest.mark.parametrize("stopped", ["sender", "receiver"])
async def test_a_side_that_is_stopped_tells_the_other_one_that_the_stream_is_over(
    ends: Ends, tmp_path: Path, stopped: str
) -> None:
    ends.give(os.urandom(WINDOW), end=False)
    ends.take()
    other = {"sender": "receiver", "receiver": "sender"}[stopped]
    async with lossy_relay() as it:
        parties = Party(it, tmp_path)
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(parties.start, other)
                async with trio.open_nursery() as mortal:
                    mortal.start_soon(parties.start, stopped)
                    while len(ends.taken) < WINDOW:  # noqa: ASYNC110
                        await trio.sleep(0.002)
                    mortal.cancel_scope.cancel()
    assert set(parties.outcome) == {other}
    assert isinstance(parties.outcome[other], PipeFailed)
    assert "stopped" in str(parties.outcome[other])


async def test_without_patience_a_cut_is_the_end(ends: Ends) -> None:
    ends.give(os.urandom(2 * WINDOW))
    ends.take()
    async with lossy_relay() as it:
        it.cut_after(2_000_000)
        both = await pipe(relay=it.address)
    assert isinstance(both.sent, PeerLost | RelayLost)
    assert isinstance(both.received, PeerLost | RelayLost)


# Errors


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
async def test_a_full_disk_behind_standard_output_ends_both_sides(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends.give(os.urandom(WINDOW))
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        ends.streams.stdout = Stream(full)
        both = await pipe()
    finally:
        os.close(full)
    assert isinstance(both.received, NoSpace)
    assert isinstance(both.sent, PeerFailed)


async def test_standard_input_that_cannot_be_read_ends_both_sides(
    ends: Ends, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
        assert "--out DIR" in str(error)
    assert ends.all_taken() == b""


async def test_a_name_that_is_taken_is_not_overwritten(ends: Ends, tmp_path: Path) -> None:
    (tmp_path / "stdin").write_text("old")
    ends.give(b"new")
    both = await pipe(tmp_path)
    for error in (both.sent, both.received):
        assert isinstance(error, PipeFailed)
        assert "exists already" in str(error)
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


async def test_nothing_is_remembered_of_a_stream_beyond_its_processes(ends: Ends, tmp_path: Path) -> None:
    """Whether a file is made of it, or a file is sent to standard output."""
    states = States(str(tmp_path / "state"))
    ends.give(os.urandom(WINDOW))
    async with lossy_relay() as it:
        it.cut_after(1_000_000)
        both = await pipe(
            tmp_path / "out", relay=it.address, receiving={"state": states.create("0" * 32, Facts())}
        )
    assert isinstance(both.received, PeerLost | RelayLost)
    assert list(states.all()) == []
    assert os.listdir(tmp_path / "out") == []


DRY = "Nothing moves: nothing comes from standard input"
THERE = "Nothing moves: the sender's standard input, or the connection from it, brings nothing"


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
