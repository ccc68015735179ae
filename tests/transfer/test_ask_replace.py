"""The receiver's user is asked about each file that exists already."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import trio

from p2p_copy.errors import UsageError
from p2p_copy.options import Conflict
from p2p_copy.transfer import limits
from tests.support.lossy_relay import lossy_relay
from tests.support.transfers import copy
from tests.support.trees import leftovers
from tests.support.two_sides import SEGMENT

if TYPE_CHECKING:
    from pathlib import Path

ASK = {"conflict": Conflict.ASK}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree, of which much exists at the receiver."""
    tree, there = tmp_path / "tree", tmp_path / "out" / "tree"
    for folder in (tree, there, there / "in the way"):
        folder.mkdir(parents=True)
    for name in ("yes", "no", "new", "in the way"):
        (tree / name).write_text(name)
    (tree / "large yes").write_bytes(os.urandom(2_000_000))
    (tree / "link yes").symlink_to("yes")
    for name in ("yes", "no", "large yes", "link yes"):
        (there / name).write_text("mine")
    return tree


async def test_each_answer_counts_for_its_file(tree: Path, tmp_path: Path) -> None:
    asked: list[str] = []

    async def ask(path: str) -> bool:
        asked.append(path)
        await trio.sleep(0.01)
        return path.endswith("yes")

    both = await copy([tree], tmp_path / "out", receiving={**ASK, "ask_replace": ask})
    there = tmp_path / "out" / "tree"
    assert sorted(asked) == ["tree/large yes", "tree/link yes", "tree/no", "tree/yes"]
    assert (there / "yes").read_text() == "yes"
    assert (there / "no").read_text() == "mine"
    assert (there / "new").read_text() == "new"
    assert os.readlink(there / "link yes") == "yes"
    assert (there / "large yes").read_bytes() == (tree / "large yes").read_bytes()
    for report in both.reports:
        assert (report.files, report.skipped, report.failures) == (3, 1, 1), (
            "a directory is in the way of one"
        )
    assert both.receiver.left == ["tree/no"]
    assert not leftovers(tmp_path / "out")


async def test_the_event_loop_goes_on_while_the_user_thinks(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STALL", 0.05)
    monkeypatch.setattr(limits, "PROGRESS_INTERVAL", 0.01)
    turns = 0

    async def ask(_: str) -> bool:
        nonlocal turns
        for _turn in range(20):
            await trio.sleep(0.01)
            turns += 1
        return True

    both = await copy([tree], tmp_path / "out", receiving={**ASK, "ask_replace": ask})
    assert turns == 80
    assert both.reports[0].files == 4
    assert not [said for said in both.receiver.stalls if said != "moving"], (
        "its user is asked, which is no stall"
    )


async def test_a_sender_that_leaves_while_the_user_thinks_ends_the_question(
    tree: Path, tmp_path: Path
) -> None:
    async with lossy_relay() as relay:

        async def ask(_: str) -> bool:
            relay.up = False
            relay.cut()
            await trio.sleep(0.05)
            return True

        both = await copy(
            [tree], tmp_path / "out", relay=relay.address, receiving={**ASK, "ask_replace": ask}
        )
    assert isinstance(both.received, Exception)
    assert isinstance(both.sent, Exception)


async def test_a_receiver_that_is_stopped_while_the_user_thinks_ends(tree: Path, tmp_path: Path) -> None:
    with trio.CancelScope() as scope:

        async def ask(_: str) -> bool:
            scope.cancel()
            await trio.sleep_forever()
            return True

        await copy([tree], tmp_path / "out", receiving={**ASK, "ask_replace": ask})
    assert scope.cancelled_caught
    assert (tmp_path / "out" / "tree" / "yes").read_text() == "mine"


@pytest.mark.usefixtures("small_segments")
async def test_what_was_replaced_is_not_asked_for_again_after_a_lost_link(tmp_path: Path) -> None:
    tree, there = tmp_path / "tree", tmp_path / "out" / "tree"
    tree.mkdir()
    there.mkdir(parents=True)
    for number in range(8):
        (tree / f"{number}").write_bytes(os.urandom(SEGMENT))
        (there / f"{number}").write_text("mine")
    asked: list[str] = []

    async def ask(path: str) -> bool:
        asked.append(path)
        return True

    lasting = {"patience": 20.0}
    async with lossy_relay() as relay:
        relay.cut_after(5 * SEGMENT)
        both = await copy(
            [tree],
            tmp_path / "out",
            relay=relay.address,
            sending=lasting,
            receiving={**ASK, **lasting, "ask_replace": ask},
        )
        assert relay.cuts == 1
    assert both.reports[0].failures == both.reports[1].failures == 0
    assert 8 < len(asked) < 16
    for number in range(8):
        assert (there / f"{number}").read_bytes() == (tree / f"{number}").read_bytes()


async def test_there_must_be_someone_to_ask(tree: Path, tmp_path: Path) -> None:
    both = await copy([tree], tmp_path / "out", receiving=ASK, sending={"wait": 0.1})
    assert isinstance(both.received, UsageError)
