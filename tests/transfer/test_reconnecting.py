"""Transfers that are resumed after a loss: links cut, relays gone for a while."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import trio

from p2p_copy.errors import NotARelay, PeerLost, RelayLost, RelayUnreachable
from p2p_copy.files.state.store import States
from p2p_copy.peer import limits as peer_limits
from p2p_copy.peer.backoff import backoff
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.transfer import send as sender
from tests.support.lossy_relay import lossy_relay
from tests.support.numbers import home_of
from tests.support.transfers import copy
from tests.support.trees import leftovers, make_tree, snapshot
from tests.support.two_sides import TwoSides, half_way, through

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from p2p_copy.protocol.messages import Accept
    from p2p_copy.transfer.conversation import Conversation

pytestmark = pytest.mark.usefixtures("small_segments")


@pytest.mark.fault(77, "lost link")
async def test_a_large_file_goes_on_where_its_link_was_cut(tmp_path: Path) -> None:
    data = os.urandom(12_000_000)
    (tmp_path / "file").write_bytes(data)
    async with lossy_relay() as it:
        it.cut_after(3_000_000, 3_000_000, 3_000_000)
        both = await through(it, tmp_path / "file", tmp_path / "out")
    sent, received = both.reports
    assert it.cuts == 3
    assert (tmp_path / "out" / "file").read_bytes() == data
    assert (sent.files, sent.size, sent.root) == (received.files, received.size, received.root)
    assert not leftovers(tmp_path / "out")
    assert it.upstream < 28_000_000, "both clients' bytes: the file, and for each cut what was in the buffers"


async def test_both_sides_know_what_was_there_when_they_met_again(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(40_000_000))
    (tmp_path / "small").write_bytes(os.urandom(1000))
    async with lossy_relay() as it:
        it.cut_after(38_000_000)
        both = await copy(
            [tmp_path / "small", tmp_path / "file"],
            tmp_path / "out",
            relay=it.address,
            sending={"patience": 20.0},
            receiving={"patience": 20.0},
        )
    assert it.cuts == 1
    assert both.reports[0].files == 2
    assert both.sender.saved == both.receiver.saved
    assert both.receiver.saved > protocol_limits.SEGMENT
    assert (both.receiver.saved - 1000) % protocol_limits.SEGMENT == 0


async def test_a_tree_goes_on_where_its_link_was_cut(tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    (tree / "more").mkdir()
    for number in range(2_000):
        (tree / "more" / f"{number}").write_bytes(os.urandom(1_000))
    async with lossy_relay() as it:
        it.cut_after(200_000, 900_000, 400_000, 500_000, 300_000)
        both = await through(it, tree, tmp_path / "out")
    assert it.cuts == 5
    assert both.reports[0].failures == 0
    assert snapshot(tmp_path / "out" / tree.name) == snapshot(tree)
    assert not leftovers(tmp_path / "out")


async def test_a_login_page_where_the_relay_was_is_waited_for_like_any_loss(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data := os.urandom(5_000_000))
    async with lossy_relay() as it:

        def to_the_login() -> None:
            it.portals = 5

        it.on_cut = to_the_login
        it.cut_after(2_000_000)
        both = await through(it, tmp_path / "file", tmp_path / "out")
    assert (it.cuts, it.portals) == (1, 0)
    assert both.reports[0].failures == 0
    assert (tmp_path / "out" / "file").read_bytes() == data


@pytest.mark.parametrize("role", ["sender", "receiver"])
async def test_a_side_that_ended_for_a_reason_of_its_own_meets_the_other_again(
    tmp_path: Path, role: str
) -> None:
    (tmp_path / "file").write_bytes(data := os.urandom(12_000_000))
    other = {"sender": "receiver", "receiver": "sender"}[role]
    async with lossy_relay() as it:
        again = TwoSides(tmp_path, it, tmp_path / "file")
        await half_way(again, 3_000_000)
        it.portals = 1
        with trio.fail_after(30):
            with pytest.raises(NotARelay):
                await again.start(role)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(again.start, other)
                await again.start(role)
    assert (tmp_path / "out" / "file").read_bytes() == data
    assert not again.remembered()


async def test_without_patience_a_cut_is_the_end(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(5_000_000))
    async with lossy_relay() as it:
        it.cut_after(2_000_000)
        both = await copy([tmp_path / "file"], tmp_path / "out", relay=it.address)
    assert isinstance(both.sent, PeerLost | RelayLost)
    assert isinstance(both.received, PeerLost | RelayLost)
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.fault(77, "patience")
async def test_patience_ends(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(5_000_000))
    async with lossy_relay() as it:

        def stay_away() -> None:
            it.up = False

        it.cut_after(2_000_000)
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                while not it.cuts:  # noqa: ASYNC110
                    await trio.sleep(0.001)
                stay_away()

            nursery.start_soon(watch)
            both = await copy(
                [tmp_path / "file"],
                tmp_path / "out",
                relay=it.address,
                sending={"patience": 0.5},
                receiving={"patience": 0.5},
            )
    for error in (both.sent, both.received):
        assert isinstance(error, PeerLost | RelayLost | RelayUnreachable)
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.fault(77, "pauses")
def test_pauses_grow_up_to_a_bound_and_are_never_the_same() -> None:
    least, most = peer_limits.RETURN_AFTER
    first, *_, last = ([next(pauses) for _ in range(20)] for pauses in (backoff(), backoff()))
    assert first != last
    for seconds in (first, last):
        assert 0.5 * least <= seconds[0] <= 1.5 * least
        assert all(0.5 * most <= each <= 1.5 * most for each in seconds[10:])


@pytest.mark.parametrize("killed", [(), ("sender",), ("receiver",), ("sender", "receiver")])
@pytest.mark.parametrize("answered", [False, True])
async def test_a_link_that_is_lost_when_both_have_just_met_is_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answered: bool, killed: Sequence[str]
) -> None:
    """One side has the ticket then, and the other one does not, or does not know whether the first one has it."""
    (tmp_path / "file").write_bytes(data := os.urandom(1_000_000))
    lost = trio.Event()
    offer = sender._Story._offer

    def receiver_has_met() -> bool:
        on_disk = States(str(tmp_path / "receiver")).all()
        return "paired" in again.told["receiver"].states and not any(each.facts.spent for each in on_disk)

    async def lose(story: sender._Story, conversation: Conversation) -> Accept:
        if answered:
            await offer(story, conversation)
        while not receiver_has_met():  # noqa: ASYNC110 - a kill before that has used up the code
            await trio.sleep(0.005)
        monkeypatch.undo()
        for name, value in {"RETURN_AFTER": (0.1, 0.2), "ROOM_TURN": 0.5, "GOODBYE_LINGER": 1.0}.items():
            monkeypatch.setattr(home_of(name), name, value)
        lost.set()
        it.cut()
        await conversation.hear()
        raise AssertionError("nothing comes any more")

    monkeypatch.setattr(sender._Story, "_offer", lose)
    async with lossy_relay() as it:
        again = TwoSides(tmp_path, it, tmp_path / "file")

        async def run(role: str) -> None:
            if role in killed:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(again.start, role)
                    # At once: a side that is killed during the next key exchange has used up the code.
                    await lost.wait()
                    nursery.cancel_scope.cancel()
            await again.start(role)

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run, "sender")
                nursery.start_soon(run, "receiver")
    assert (tmp_path / "out" / "file").read_bytes() == data
    assert not again.remembered()
