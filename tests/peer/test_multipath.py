"""One transfer over several links: divided among them, and not ended when links are lost, stuck or refused."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import pytest
import trio

from p2p_copy.observer import Observer
from p2p_copy.options import RelayAccess
from p2p_copy.peer import limits
from p2p_copy.peer.connect import meet
from p2p_copy.peer.meeting import ConnectOptions, Meeting
from p2p_copy.protocol import keys, limits as protocol_limits
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.units import MIB
from tests.support.lossy_relay import LossyRelay, lossy_relay
from tests.support.transfers import CODE, Both, Told, copy, running_relay
from tests.support.trees import leftovers, make_tree, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

SEGMENT = 1 * MIB


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything happens sooner, and a few MB are enough for a long transfer."""
    monkeypatch.setattr(protocol_limits, "SEGMENT", SEGMENT)
    monkeypatch.setattr(limits, "RETURN_AFTER", (0.02, 0.1))
    # A busy machine must not pass for a link that is stuck.
    monkeypatch.setattr(limits, "RETRANSMIT_AFTER", 60.0)


def wishing(ours: int | None, theirs: int | None, **more: Any) -> dict[str, Any]:
    return {"sending": {"links": ours, **more}, "receiving": {"links": theirs, **more}}


async def held_until(both: Both, it: LossyRelay, when: Callable[[], bool], then: Callable[[], None]) -> None:
    """Wait until `when` is true, then call `then` and let the held bytes pass."""
    with trio.fail_after(20):
        while not when():  # noqa: ASYNC110
            await trio.sleep(0.001)
    then()
    it.dam_each = math.inf


async def over(
    it: LossyRelay,
    path: Path,
    out: Path,
    *,
    links: int,
    then: Callable[[], None] = lambda: None,
    **options: Any,
) -> Both:
    """Copy over a relay that holds most bytes until there are as many links and `then` was called."""
    both = Both()
    it.dam_each = 500_000

    def spread() -> bool:
        return all(links in told.widths for told in (both.sender, both.receiver))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(held_until, both, it, spread, then)
        await copy([path], out, relay=it.address, both=both, **options)
    return both


def meetings(both: Both) -> Sequence[int]:
    return [told.states.count("paired") for told in (both.sender, both.receiver)]


async def test_a_large_file_is_divided_among_the_links(tmp_path: Path) -> None:
    data = os.urandom(20_000_000)
    (tmp_path / "file").write_bytes(data)
    async with lossy_relay() as it:
        both = await over(it, tmp_path / "file", tmp_path / "out", links=4, **wishing(4, None))
        upstream = it.upstream
    sent, received = both.reports
    assert (tmp_path / "out" / "file").read_bytes() == data
    assert (sent.files, sent.size, sent.root) == (received.files, received.size, received.root)
    assert meetings(both) == [1, 1]
    assert upstream < 22_000_000, "nothing was sent twice"


async def test_a_tree_is_divided_among_the_links(tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    (tree / "more").mkdir()
    for number in range(1_000):
        (tree / "more" / f"{number}").write_bytes(os.urandom(3_000))
    async with lossy_relay() as it:
        both = await over(it, tree, tmp_path / "out", links=3, **wishing(None, 3))
    assert both.reports[0].failures == 0
    assert snapshot(tmp_path / "out" / tree.name) == snapshot(tree)
    assert meetings(both) == [1, 1]


@pytest.mark.parametrize("number", [0, 1, -1], ids=["first of a side", "first of the other side", "last"])
async def test_the_loss_of_one_link_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(protocol_limits, "MULTIPATH_BYTES", 8 * MIB)
    data = os.urandom(20_000_000)
    (tmp_path / "file").write_bytes(data)
    async with lossy_relay() as it:
        both = await over(
            it, tmp_path / "file", tmp_path / "out", links=4, then=lambda: it.cut_one(number), **wishing(4, 4)
        )
        upstream = it.upstream
    assert [report.files for report in both.reports] == [1, 1]
    assert (tmp_path / "out" / "file").read_bytes() == data
    assert meetings(both) == [1, 1], "without patience a second one would be an error"
    for told in (both.sender, both.receiver):
        assert 3 in told.widths[told.widths.index(4) :], "one was lost"
    assert upstream < 22_000_000 + protocol_limits.MULTIPATH_BYTES


async def test_a_link_that_was_lost_is_opened_again(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(5_000_000))
    both = Both()
    again = trio.Event()

    async with lossy_relay() as it, trio.open_nursery() as nursery:

        def has_come_back(told: Told, times: int) -> bool:
            """Return whether both links are there after so many losses, or more: a busy machine may lose one, too."""
            return told.widths[-1:] == [2] and told.widths.count(1) >= times

        async def play() -> None:
            for cuts in range(3):
                while not all(has_come_back(told, cuts) for told in (both.sender, both.receiver)):  # noqa: ASYNC110
                    await trio.sleep(0.001)
                if cuts < 2:
                    it.cut_one(-3)  # of the older link; before the last four may be one that is lost already
            again.set()
            it.dam_each = math.inf

        it.dam_each = 500_000
        nursery.start_soon(play)
        await copy([tmp_path / "file"], tmp_path / "out", relay=it.address, both=both, **wishing(2, 2))
        nursery.cancel_scope.cancel()
    assert again.is_set()
    assert both.reports[0].files == 1
    assert meetings(both) == [1, 1]


async def test_when_all_links_are_lost_both_sides_come_back_with_all_of_them(tmp_path: Path) -> None:
    data = os.urandom(30_000_000)
    (tmp_path / "file").write_bytes(data)
    async with lossy_relay() as it:
        both = await over(
            it,
            tmp_path / "file",
            tmp_path / "out",
            links=4,
            then=lambda: it.cut_after(8_000_000, 8_000_000),
            **wishing(4, 4, patience=20.0),
        )
    assert it.cuts == 2
    assert both.reports[0].files == 1
    assert (tmp_path / "out" / "file").read_bytes() == data
    assert meetings(both) == [3, 3]
    assert not leftovers(tmp_path / "out")


async def test_the_smaller_number_counts(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(3_000_000))
    async with lossy_relay() as it:
        both = await over(it, tmp_path / "file", tmp_path / "out", links=2, **wishing(5, 2))
    assert both.reports[0].files == 1
    assert max(both.sender.widths + both.receiver.widths) == 2


@pytest.mark.parametrize(("ours", "theirs"), [(1, 4), (4, 1), (None, None)])
async def test_one_link_stays_one(tmp_path: Path, ours: int | None, theirs: int | None) -> None:
    (tmp_path / "file").write_bytes(os.urandom(3_000_000))
    both = await copy([tmp_path / "file"], tmp_path / "out", **wishing(ours, theirs))
    assert both.reports[0].files == 1
    assert both.sender.widths == both.receiver.widths == []


async def test_a_relay_that_refuses_further_links_is_no_error(tmp_path: Path) -> None:
    data = os.urandom(5_000_000)
    (tmp_path / "file").write_bytes(data)
    async with running_relay(max_connections=2) as relay:
        both = await copy([tmp_path / "file"], tmp_path / "out", relay=relay, **wishing(4, 4))
    assert both.reports[0].files == 1
    assert (tmp_path / "out" / "file").read_bytes() == data
    assert both.sender.widths == [] or set(both.sender.widths) == {1}
    assert both.sender.notices == both.receiver.notices == []


async def spreads(relay: str, links: int) -> None:
    """Let two sides meet and open this many links; each side has one end of each."""
    full = {role: trio.Event() for role in Role}
    claims = {Role.SENDER: "5e" * 16, Role.RECEIVER: "ec" * 16}

    class Watcher(Observer):
        def __init__(self, role: Role) -> None:
            self._role = role

        def links(self, count: int) -> None:
            if count == links:
                full[self._role].set()

    async def side(role: Role) -> None:
        partner = ConnectOptions(role, [RelayAccess(relay)], CODE, 10, Watcher(role), links)
        at = Meeting(keys.room_id(CODE.room), CODE.secret, claims[role])
        async with meet(partner, at, 10) as (bundle, _):
            bundle.spread(links)
            for event in full.values():
                await event.wait()

    async with trio.open_nursery() as nursery:
        for role in Role:
            nursery.start_soon(side, role)


@pytest.mark.parametrize("links", range(2, protocol_limits.MAX_LINKS + 1))
async def test_both_sides_have_all_their_links_at_once(links: int) -> None:
    """However many they are: neither side waits in a room while the other one waits in another."""
    async with running_relay() as relay:
        with trio.fail_after(limits.LINK_WAIT / 2):
            await spreads(relay, links)
