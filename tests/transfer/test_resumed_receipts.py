"""Receipts of transfers that are resumed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import trio

from p2p_copy.errors import PeerLost, RelayLost, UsageError
from p2p_copy.options import Conflict
from tests.files.receipts.samples import differences, parsed
from tests.support.lossy_relay import lossy_relay
from tests.support.transfers import copy
from tests.support.trees import leftovers, make_tree
from tests.support.two_sides import TwoSides, through

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = pytest.mark.usefixtures("small_segments")


async def test_receipts_hold_after_cuts_wherever_things_were_put(tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    (tree / "more").mkdir()
    for number in range(1_000):
        (tree / "more" / f"{number:04}").write_bytes(os.urandom(1_000))
    (tmp_path / "out" / tree.name / "more").mkdir(parents=True)
    for name in ("d", "more/0000", "more/0999", "script", "dangling"):
        (tmp_path / "out" / tree.name / name).write_text("in the way")
    receipts = [tmp_path / "sent", tmp_path / "received"]
    async with lossy_relay() as it:
        it.cut_after(200_000, 600_000, 400_000, 500_000)
        both = await through(
            it,
            tree,
            tmp_path / "out",
            sending={"receipt": str(receipts[0])},
            receiving={"receipt": str(receipts[1]), "conflict": Conflict.RENAME},
        )
    assert it.cuts == 4
    sent, received = both.reports
    verdict, told = differences(receipts[1], tmp_path / "out")
    assert not told
    assert (verdict.files, verdict.root) == (received.files, sent.root)
    documents = [parsed(receipt) for receipt in receipts]
    assert [document["root"] for document in documents] == [sent.root, sent.root]
    assert all(document["started"] < document["ended"] for document in documents)
    renamed = {entry["path"] for entry in documents[1]["entries"] if "name" in entry}
    assert renamed == {f"a tree/{name} (1)" for name in ("d", "more/0000", "more/0999", "script", "dangling")}
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("role", ["sender", "receiver"])
async def test_a_side_that_is_started_again_looks_at_its_receipt_first_and_goes_on_with_another(
    tmp_path: Path, role: str
) -> None:
    (tmp_path / "file").write_bytes(os.urandom(24_000_000))
    other = {"sender": "receiver", "receiver": "sender"}[role]
    receipts = {name: tmp_path / f"{name}.json" for name in (role, other)}
    async with lossy_relay() as it:
        again = TwoSides(tmp_path, it, tmp_path / "file")
        again.options = {name: {"receipt": str(path)} for name, path in receipts.items()}
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(again.start, other)
                await again.until_sent(role, 16_000_000)
                assert not receipts[role].exists()
                receipts[role].write_text("mine")
                with pytest.raises(UsageError):
                    await again.start(role)
                receipts[role].unlink()
                await again.start(role)
    assert it.upstream < 36_000_000, "it went on where it was; from the beginning it would be 40"
    for path in receipts.values():
        verdict, told = differences(path, tmp_path / "out", strict=True)
        assert (verdict.files, told) == (1, {})
    assert not leftovers(tmp_path)
    assert not again.remembered()


async def test_patience_that_ended_leaves_no_receipt(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(5_000_000))
    async with lossy_relay() as it:
        it.cut_after(2_000_000)
        both = await copy(
            [tmp_path / "file"],
            tmp_path / "out",
            relay=it.address,
            sending={"receipt": str(tmp_path / "sent")},
            receiving={"receipt": str(tmp_path / "received")},
        )
    assert isinstance(both.sent, PeerLost | RelayLost)
    assert sorted(os.listdir(tmp_path)) == ["file", "out"]
