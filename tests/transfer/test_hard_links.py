"""Files with several names: sent once, and one file with these names at the receiver, also after a cut or a kill."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest
import trio

from p2p_copy.files.directory import Directory
from p2p_copy.options import Conflict, Preserve
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.transfer import limits
from tests.files.receipts.samples import differences
from tests.support.lossy_relay import lossy_relay
from tests.support.transfers import Both, copy
from tests.support.trees import leftovers, names_of_files, snapshot
from tests.support.two_sides import TwoSides, half_way, through

if TYPE_CHECKING:
    from pathlib import Path


KEEP = {"preserve": [Preserve.HARD_LINKS]}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with files that have several names, in the same and other directories; one has a name outside the tree."""
    top = tmp_path / "tree"
    for name in ("a", "b/c"):
        (top / name).mkdir(parents=True)
    (top / "a" / "small").write_bytes(b"some words")
    (top / "a" / "large").write_bytes(os.urandom(3 * limits.CHUNK))
    (top / "a" / "empty").touch()
    for name in ("small", "large", "empty"):
        for other in ("a/other ", "b/c/third ", "b/fourth "):
            os.link(top / "a" / name, top / f"{other}{name}")
    (top / "outside").write_bytes(b"has its other name elsewhere")
    os.link(top / "outside", tmp_path / "elsewhere")
    (top / "single").write_bytes(b"x")
    return top


async def keeping(tree: Path, out: Path, **more: Any) -> Both:
    return await copy(
        [tree],
        out,
        sending={**KEEP, **more.pop("sending", {})},
        receiving={**KEEP, **more.pop("receiving", {})},
        **more,
    )


async def test_names_of_one_file_stay_names_of_one_file(tree: Path, tmp_path: Path) -> None:
    async with lossy_relay() as it:
        both = await keeping(tree, tmp_path / "out", relay=it.address)
    assert names_of_files(tmp_path / "out" / "tree") == names_of_files(tree)
    assert snapshot(tmp_path / "out" / "tree") == snapshot(tree)
    sent, received = both.reports
    assert (sent.files, sent.size, sent.root) == (received.files, received.size, received.root)
    assert (sent.files, sent.failures) == (14, 0)
    assert it.upstream < 2 * 3 * limits.CHUNK
    assert not leftovers(tmp_path / "out")
    assert both.sender.notices == both.receiver.notices == []


@pytest.mark.parametrize("role", ["sending", "receiving"])
async def test_nothing_is_kept_that_only_one_side_asks_for(tree: Path, tmp_path: Path, role: str) -> None:
    both = await copy([tree], tmp_path / "out", **{role: KEEP})  # type: ignore[arg-type]
    assert snapshot(tmp_path / "out" / "tree") == snapshot(tree)
    assert all(len(names) == 1 for names in names_of_files(tmp_path / "out"))
    told, quiet = (both.sender, both.receiver) if role == "sending" else (both.receiver, both.sender)
    assert [notice for notice in told.notices if "`preserve` hard-links" in notice]
    assert not quiet.notices


async def test_no_more_files_are_remembered_than_may_be(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol_limits, "MAX_NAMED_AGAIN", 1)
    both = await keeping(tree, tmp_path / "out")
    assert both.reports[0].failures == 0
    assert snapshot(tmp_path / "out" / "tree") == snapshot(tree)
    assert sorted(map(len, names_of_files(tmp_path / "out")))[-2:] == [1, 4]


async def test_where_files_have_one_name_only_each_name_becomes_a_file(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Directory, "hard_link", refuse)
    both = await keeping(tree, tmp_path / "out")
    assert both.reports[0].failures == 0
    assert snapshot(tmp_path / "out" / "tree") == snapshot(tree)
    assert [notice for notice in both.receiver.notices if "no hard links" in notice]


async def test_a_name_that_one_directory_cannot_take_is_reported(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Directory.hard_link

    def refuse(self: Directory, name: str, where: Directory, new: str) -> None:
        if where.name == "c":
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        real(self, name, where, new)

    monkeypatch.setattr(Directory, "hard_link", refuse)
    both = await copy([tree / "a", tree / "b"], tmp_path / "out", sending=KEEP, receiving=KEEP)
    assert set(both.sender.problems) == {f"b/c/third {name}" for name in ("small", "large", "empty")}
    assert both.sender.problems == both.receiver.problems
    assert not leftovers(tmp_path / "out")


@pytest.mark.parametrize("conflict", [each for each in Conflict if each is not Conflict.ASK])
async def test_what_is_there_already_is_treated_as_asked(
    tree: Path, tmp_path: Path, conflict: Conflict
) -> None:
    out = tmp_path / "out"
    for name in ("a/other small", "b/c/third large"):
        (out / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (out / "tree" / name).write_bytes(b"old")
    both = await keeping(tree, out, receiving={"conflict": conflict})
    report = both.reports[0]
    large = out / "tree" / "b" / "c" / "third large"
    if conflict in {Conflict.OVERWRITE, Conflict.UPDATE}:
        assert names_of_files(out / "tree") == names_of_files(tree)
        assert report.failures == 0
    else:
        assert large.read_bytes() == b"old"
        expected = {Conflict.REFUSE: (2, 0), Conflict.SKIP: (0, 2), Conflict.RENAME: (0, 0)}[conflict]
        assert (report.failures, report.skipped) == expected
    if conflict is Conflict.RENAME:
        assert (out / "tree" / "a" / "large").samefile(large.with_name("third large (1)"))
    assert not leftovers(out)


async def test_names_of_a_file_whose_first_name_is_not_taken_have_its_contents(
    tree: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "a").mkdir(parents=True)
    for name in ("small", "large", "empty", "other small", "other large", "other empty"):
        (out / "a" / name).write_bytes(b"old")
    both = await copy([tree / "a", tree / "b"], out, sending=KEEP, receiving=KEEP)
    assert set(both.sender.problems) == {f"a/{name}" for name in os.listdir(out / "a")}
    assert snapshot(out / "b") == snapshot(tree / "b")
    assert not leftovers(out)


async def test_names_of_a_file_whose_first_name_is_left_out_are_names_of_one_file(
    tree: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    both = await copy([tree / "a", tree / "b"], out, sending=KEEP, receiving={**KEEP, "exclude": ["a"]})
    assert both.reports[0].failures == 0
    assert snapshot(out / "b") == snapshot(tree / "b")
    assert names_of_files(out / "b") == names_of_files(tree / "b")


@pytest.mark.parametrize("size", [0, 3, limits.CHUNK + 1])
@pytest.mark.parametrize("how", ["left out", "taken"])
async def test_names_in_one_page_with_a_first_name_that_is_not_taken_are_names_of_one_file(
    tmp_path: Path, size: int, how: str
) -> None:
    tree, out = tmp_path / "tree", tmp_path / "out"
    tree.mkdir()
    (tree / "1").write_bytes(bytes(size))
    for name in "2345":
        (tree / name).hardlink_to(tree / "1")
    first, second, *others = (entry.name for entry in os.scandir(tree))
    receiving: dict[str, Any] = dict(KEEP)
    if how == "left out":
        receiving["exclude"] = [first, second]
    else:
        for name in (first, second):
            (out / "tree").mkdir(parents=True, exist_ok=True)
            (out / "tree" / name).write_text("theirs")
    both = await copy([tree], out, sending=KEEP, receiving=receiving)
    assert both.reports[0].failures == (0 if how == "left out" else 2)
    assert len({(out / "tree" / name).stat().st_ino for name in others}) == 1
    assert {(out / "tree" / name).read_bytes() for name in others} == {bytes(size)}


async def test_a_receipt_has_what_the_root_covers(tree: Path, tmp_path: Path) -> None:
    both = await keeping(
        tree,
        tmp_path / "out",
        sending={"receipt": str(tmp_path / "sent")},
        receiving={"receipt": str(tmp_path / "received")},
    )
    for name in ("sent", "received"):
        verdict, different = differences(tmp_path / name, tmp_path / "out", strict=True)
        assert (verdict.files, different) == (14, {})
        assert verdict.root == both.reports[0].root


# Resuming


@pytest.mark.usefixtures("small_segments")
async def test_names_are_kept_when_the_link_is_cut(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(40):
        (tree / f"{number:02}").write_bytes(os.urandom(200_000))
        os.link(tree / f"{number:02}", tree / f"{number:02} again")
    async with lossy_relay() as it:
        it.cut_after(2_000_000, 2_500_000, 2_500_000)
        both = await through(it, tree, tmp_path / "out", sending=KEEP, receiving=KEEP)
    assert it.cuts == 3
    assert both.reports[0].failures == 0
    assert names_of_files(tmp_path / "out" / "tree") == names_of_files(tree)
    assert snapshot(tmp_path / "out" / "tree") == snapshot(tree)
    assert not leftovers(tmp_path / "out")
    assert it.upstream < 24_000_000


@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize("role", ["sender", "receiver"])
async def test_names_are_kept_after_a_kill(tmp_path: Path, role: str) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(40):
        (tree / f"{number:02}").write_bytes(os.urandom(200_000))
        os.link(tree / f"{number:02}", tree / f"{number:02} again")
    other = {"sender": "receiver", "receiver": "sender"}[role]
    async with lossy_relay() as it:
        again = TwoSides(tmp_path, it, tree)
        again.options = {"sender": KEEP, "receiver": KEEP}
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(again.start, other)
                await again.kill(role, 4_000_000)
                report = await again.start(role)
    assert report.failures == 0
    assert names_of_files(tmp_path / "out" / "tree") == names_of_files(tree)
    assert snapshot(tmp_path / "out" / "tree") == snapshot(tree)
    assert not leftovers(tmp_path / "out")


@pytest.mark.usefixtures("small_segments")
async def test_a_first_name_that_is_gone_meanwhile_is_sent_again_with_the_others(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(20):
        (tree / f"{number:02}").write_bytes(os.urandom(400_000))
        os.link(tree / f"{number:02}", tree / f"{number:02} again")
    async with lossy_relay() as it:
        again = TwoSides(tmp_path, it, tree)
        again.options = {"sender": KEEP, "receiver": KEEP}
        await half_way(again, 4_000_000)
        there = sorted((tmp_path / "out" / "tree").glob("[0-9]*"))
        assert there
        there[0].unlink()
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(again.start, "receiver")
                report = await again.start("sender")
    assert report.failures == 0
    assert names_of_files(tmp_path / "out" / "tree") == names_of_files(tree)
    assert not leftovers(tmp_path / "out")
