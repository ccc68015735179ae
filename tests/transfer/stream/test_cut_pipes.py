"""A stream goes on after its links were cut, but not in other processes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.lowlevel

from p2p_copy.errors import (
    P2PCopyError,
    PeerLost,
    PipeFailed,
    RelayLost,
)
from p2p_copy.files.state.facts import Facts
from p2p_copy.files.state.store import States
from p2p_copy.transfer.conversation import Conversation
from p2p_copy.units import MIB
from tests.support.lossy_relay import lossy_relay
from tests.support.pipes import READ, WINDOW, Ends, pipe, watched
from tests.support.transfers import CODE, Both, Told, receive, send

if TYPE_CHECKING:
    from pathlib import Path

    from p2p_copy.observer import Report
    from tests.support.lossy_relay import LossyRelay


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

    def __init__(self, at: LossyRelay) -> None:
        self._wire = at
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
    ends: Ends, monkeypatch: pytest.MonkeyPatch, killed: str
) -> None:
    ends.give(os.urandom(3 * WINDOW), end=False)
    ends.take()

    async def silent(*_: object) -> None:
        """Say nothing, as a process that is killed."""

    async with lossy_relay() as it:
        parties = Party(it)
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
    ends: Ends, stopped: str
) -> None:
    ends.give(os.urandom(WINDOW), end=False)
    ends.take()
    other = {"sender": "receiver", "receiver": "sender"}[stopped]
    async with lossy_relay() as it:
        parties = Party(it)
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
