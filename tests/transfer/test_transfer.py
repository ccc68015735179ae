from __future__ import annotations

import os
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import trio

from p2p_copy.errors import (
    NothingToSend,
    OutputNotWritable,
    PeerFailed,
    PeerLost,
    PeerTimeout,
    RelayUnreachable,
    TooMuch,
    WrongCode,
)
from p2p_copy.options import Conflict, Names, Symlinks
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.code import Code
from p2p_copy.transfer import limits
from p2p_copy.transfer.tree.consumer import TreeConsumer
from tests.support.transfers import CODE, Both, Told, copy, running_relay, send
from tests.support.trees import leftovers, make_tree, snapshot

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_tree_arrives_with_everything_it_has(tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    both = await copy([tree], tmp_path / "out")
    sent, received = both.reports
    assert snapshot(tmp_path / "out" / "a tree") == snapshot(tree)
    assert (tmp_path / "out" / "a tree").stat().st_mtime_ns == tree.stat().st_mtime_ns
    assert (sent.files, sent.size, sent.failures, sent.skipped) == (
        10,
        700_001 + 550_000 + 4 + 1 + 1 + 10 + 4 + 5 + 13,
        0,
        0,
    )
    assert (sent.files, sent.size, sent.root) == (received.files, received.size, received.root)
    assert both.sender.states == ["connecting", "waiting", "paired", "verifying"]
    assert both.receiver.states == ["connecting", "waiting", "paired"]
    assert not both.sender.problems
    assert not both.receiver.problems


async def test_files_and_directories_named_together_arrive_side_by_side(tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    (tmp_path / "one.bin").write_bytes(b"1")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "two.bin").write_bytes(b"22")
    both = await copy([tmp_path / "one.bin", tree, tmp_path / "other" / "two.bin"], tmp_path / "out")
    assert both.reports[0].failures == 0
    assert sorted(os.listdir(tmp_path / "out")) == ["a tree", "one.bin", "two.bin"]


@pytest.mark.parametrize(
    "size",
    [
        0,
        1,
        limits.CHUNK - 1,
        limits.CHUNK,
        limits.CHUNK + 1,
        2 * limits.RECORD_TARGET,
        protocol_limits.SEGMENT,
        protocol_limits.SEGMENT + 1,
    ],
)
@pytest.mark.parametrize("kind", ["random", "zero"])
async def test_files_of_every_edge_size_arrive(tmp_path: Path, size: int, kind: str) -> None:
    data = os.urandom(size) if kind == "random" else bytes(size)
    (tmp_path / "file").write_bytes(data)
    both = await copy([tmp_path / "file"], tmp_path / "out")
    assert (tmp_path / "out" / "file").read_bytes() == data
    assert both.reports[0].size == size


async def test_many_small_files_arrive(tmp_path: Path) -> None:
    tree = tmp_path / "many"
    tree.mkdir()
    for number in range(3_000):
        (tree / f"{number}").write_bytes(b"%d" % number * (number % 7))
    both = await copy([tree], tmp_path / "out")
    assert snapshot(tmp_path / "out" / "many") == snapshot(tree)
    assert both.reports[1].files == 3_000


async def test_a_deep_tree_arrives_and_what_is_deeper_is_reported(tmp_path: Path) -> None:
    deep = tmp_path / "deep"
    path = deep
    for _ in range(protocol_limits.MAX_DEPTH + 5):
        path.mkdir()
        (path / "f").write_text("x")
        path = path / "d"
    both = await copy([deep], tmp_path / "out")
    sent, received = both.reports
    assert sent.failures == received.failures > 0
    assert sent.files == protocol_limits.MAX_DEPTH - 1


@pytest.mark.fault(43, "wrong secret")
async def test_wrong_codes_end_both_sides_and_move_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"secret")
    both = await copy([tmp_path / "file"], tmp_path / "out", receiver_code=Code("lab", "another passphrase"))
    assert isinstance(both.sent, WrongCode)
    assert isinstance(both.received, WrongCode)
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.fault(77, "patience")
async def test_the_other_side_does_not_come(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    async with running_relay() as relay:
        with pytest.raises(PeerTimeout):
            await send([str(tmp_path / "file")], relay=relay, code=CODE, wait=0.1)


async def test_no_relay_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    async with running_relay() as relay:
        pass
    both = await copy([tmp_path / "file"], tmp_path / "out", relay=relay)
    assert isinstance(both.sent, RelayUnreachable)
    assert isinstance(both.received, RelayUnreachable)


async def test_nothing_to_send_is_said_before_the_relay_is_called(tmp_path: Path) -> None:
    with pytest.raises(NothingToSend):
        await send([str(tmp_path / "missing")], relay="ws://127.0.0.1:1", code=CODE)


async def test_a_missing_source_is_reported_and_the_rest_arrives(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("x")
    both = await copy([tmp_path / "there", tmp_path / "missing"], tmp_path / "out")
    sent, received = both.reports
    assert (sent.files, sent.failures) == (received.files, received.failures) == (1, 1)
    assert len(both.sender.problems) == len(both.receiver.problems) == 1


async def test_an_output_directory_that_is_a_file_is_refused_before_the_relay_is_called(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "out").touch()
    async with running_relay() as relay:
        both = await copy([tmp_path / "file"], tmp_path / "out", relay=relay, sending={"wait": 0.3})
    assert isinstance(both.received, OutputNotWritable)
    assert isinstance(both.sent, PeerTimeout)


async def test_too_much_is_refused_before_it_flows(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(2_000_000))
    both = await copy([tmp_path / "file"], tmp_path / "out", receiving={"max_size": 1_000_000})
    assert isinstance(both.received, TooMuch)
    assert isinstance(both.sent, PeerFailed)
    for error in (both.received, both.sent):
        assert "1000000 bytes" in str(error)
        assert "`max_size`" in str(error)
        assert "disk" not in str(error)
    assert os.listdir(tmp_path / "out") == []


async def test_a_receipt_that_never_comes_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RECEIPT_TIMEOUT", 0.3)
    (tmp_path / "file").write_text("x")
    finish = TreeConsumer.finish
    both = Both()

    def late(self: TreeConsumer) -> list[bytes]:
        until = time.monotonic() + 30
        while both.sent is None:
            assert time.monotonic() < until
            time.sleep(0.01)
        return finish(self)

    monkeypatch.setattr(TreeConsumer, "finish", late)
    await copy([tmp_path / "file"], tmp_path / "out", both=both)
    assert isinstance(both.sent, PeerLost)
    assert "confirm" in str(both.sent)


async def test_the_relays_own_patience_ends_as_ours_does_and_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told = Told()
    async with running_relay(wait=1) as relay:
        with pytest.raises(PeerTimeout):
            await send([str(tmp_path / "file")], relay=relay, code=CODE, observer=told)
    assert told.notices


# Conflicts


def occupied(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "same.txt").write_text("new")
    (tmp_path / "tree" / "big").write_bytes(bytes(3_000_000))
    (tmp_path / "tree" / "fresh").write_text("fresh")
    out = tmp_path / "out"
    (out / "tree").mkdir(parents=True)
    (out / "tree" / "same.txt").write_text("old")
    (out / "tree" / "big").write_text("old")
    return tmp_path / "tree", out


@pytest.mark.fault(59, "file")
async def test_what_exists_is_kept_and_reported_and_the_rest_arrives(tmp_path: Path) -> None:
    tree, out = occupied(tmp_path)
    both = await copy([tree], out)
    sent, received = both.reports
    assert (sent.files, sent.failures) == (received.files, received.failures) == (1, 2)
    assert set(both.sender.problems) == set(both.receiver.problems) == {"tree/same.txt", "tree/big"}
    assert (out / "tree" / "same.txt").read_text() == (out / "tree" / "big").read_text() == "old"
    assert (out / "tree" / "fresh").read_text() == "fresh"
    assert not leftovers(out)


@pytest.mark.fault(59, "overwrite")
async def test_overwrite_replaces(tmp_path: Path) -> None:
    tree, out = occupied(tmp_path)
    both = await copy([tree], out, receiving={"conflict": Conflict.OVERWRITE})
    assert both.reports[0].failures == 0
    assert snapshot(out / "tree") == snapshot(tree)


async def test_rename_keeps_both(tmp_path: Path) -> None:
    tree, out = occupied(tmp_path)
    both = await copy([tree], out, receiving={"conflict": Conflict.RENAME})
    assert both.reports[0].failures == 0
    assert (out / "tree" / "same.txt").read_text() == "old"
    assert (out / "tree" / "same (1).txt").read_text() == "new"


async def test_a_tree_without_a_place_is_missing_even_if_files_may_be_skipped(tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a tree").write_text("in the way")
    both = await copy([tree], tmp_path / "out", receiving={"conflict": Conflict.SKIP})
    sent, received = both.reports
    assert (sent.failures, sent.skipped) == (received.failures, received.skipped) == (1, 0)


async def test_skip_leaves_alone_and_is_no_failure(tmp_path: Path) -> None:
    tree, out = occupied(tmp_path)
    both = await copy([tree], out, receiving={"conflict": Conflict.SKIP})
    sent, received = both.reports
    assert (sent.files, sent.failures, sent.skipped) == (1, 0, 2)
    assert (received.files, received.failures, received.skipped) == (1, 0, 2)
    assert set(both.sender.left) == set(both.receiver.left) == {"tree/same.txt", "tree/big"}
    assert (out / "tree" / "same.txt").read_text() == "old"


@pytest.mark.fault(59, "file")
async def test_a_directory_where_a_file_is_is_refused_with_all_that_lies_in_it(tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    out = tmp_path / "out"
    (out / "a tree").mkdir(parents=True)
    (out / "a tree" / "d").write_text("in the way")
    both = await copy([tree], out)
    sent, received = both.reports
    assert sent.failures == received.failures == 1
    assert sent.files == received.files == 8
    assert (out / "a tree" / "d").read_text() == "in the way"


@pytest.mark.fault(58, "link at a parent")
async def test_a_link_in_the_output_is_never_followed(tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    out = tmp_path / "out"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    out.mkdir()
    (out / "a tree").symlink_to(elsewhere)
    for conflict in (Conflict.REFUSE, Conflict.OVERWRITE):
        both = await copy([tree], out, receiving={"conflict": conflict})
        assert both.reports[0].files == 0
        assert both.reports[0].failures == 1
        assert os.listdir(elsewhere) == []


# Symlinks


async def test_links_that_lead_outside_are_reported(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tmp_path / "outside").write_text("x")
    (tree / "up").symlink_to("../outside")
    (tree / "absolute").symlink_to(tmp_path / "outside")
    both = await copy([tree], tmp_path / "out")
    sent, received = both.reports
    assert sent.failures == received.failures == 2
    assert os.listdir(tmp_path / "out" / "tree") == []


async def test_links_may_be_copied_or_skipped(tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    (tree / "dangling").unlink()
    both = await copy([tree], tmp_path / "copied", sending={"symlinks": Symlinks.COPY})
    assert both.reports[0].failures == 0
    copied = snapshot(tmp_path / "copied" / "a tree")
    assert copied["link to file"][0] == "file"
    assert copied["link to directory"][0] == "directory"
    both = await copy([tree], tmp_path / "skipped", sending={"symlinks": Symlinks.SKIP})
    assert both.reports[0].failures == 0
    assert not [path for path, seen in snapshot(tmp_path / "skipped").items() if seen[0] == "link"]


# Names


@pytest.mark.fault(65, "progress")
@pytest.mark.fault(74, "newline")
async def test_names_that_are_not_portable_are_reported_and_the_rest_arrives(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("12:00.log", "README", "readme", "con.c", "fine", "new\nline"):
        (tree / name).write_text(name)
    both = await copy([tree], tmp_path / "out")
    sent, received = both.reports
    assert sent.failures == received.failures == 4
    assert len(os.listdir(tmp_path / "out" / "tree")) == 2
    assert all("\n" not in path for path in [*both.sender.problems, *both.receiver.problems])


async def test_the_receiver_may_take_the_names_of_its_system(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("12:00.log", "README", "readme", "con.c", "back\\slash"):
        (tree / name).write_text(name)
    both = await copy([tree], tmp_path / "out", receiving={"names": Names.SYSTEM})
    assert both.reports[0].failures == 0
    assert snapshot(tmp_path / "out" / "tree") == snapshot(tree)


@pytest.mark.fault(74, "not UTF-8")
async def test_names_that_are_not_text_are_reported(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    try:
        (tree / "bad\udcff").write_text("x")
    except OSError:
        pytest.skip("this file system takes no such names")
    both = await copy([tree], tmp_path / "out", receiving={"names": Names.SYSTEM})
    assert both.reports[0].failures == 1


# Progress


async def test_both_sides_learn_the_total_and_the_progress(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(40_000_000))
    both: Both = await copy([tmp_path / "file"], tmp_path / "out")
    assert both.reports[0].size == 40_000_000
    assert both.sender.totals == [(1, 40_000_000)]
    assert both.receiver.totals == [(1, 40_000_000)]
    assert both.receiver.last == (1, 40_000_000)


async def test_both_sides_learn_which_file_is_under_way(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    for name in ("a", "b\x1b"):
        (tmp_path / "tree" / name).write_bytes(os.urandom(20_000_000))
    both: Both = await copy([tmp_path / "tree"], tmp_path / "out")
    for told in (both.sender, both.receiver):
        assert set(told.paths) <= {"tree/a", r"tree/b\x1b", ""}
        assert any(told.paths)
    assert not both.receiver.paths[-1], "all is here"


async def test_a_receiver_reports_its_progress_twenty_times_a_second_and_at_the_end(tmp_path: Path) -> None:
    """A report for each record would cost a fast transfer more than its user sees."""
    (tmp_path / "file").write_bytes(os.urandom(40_000_000))
    at: list[float] = []
    both = Both()
    both.receiver.on_progress = lambda files, size: at.append(trio.current_time())
    await copy([tmp_path / "file"], tmp_path / "out", both=both)
    assert both.receiver.last == (1, 40_000_000)
    pauses = [later - earlier for earlier, later in pairwise(at)]
    assert min(pauses[:-1], default=1) >= limits.OBSERVER_INTERVAL
