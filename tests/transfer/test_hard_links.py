"""Files with several names: sent once, one file with these names at the receiver, none of them another file's."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
import trio

from p2p_copy.errors import PeerMisbehaved
from p2p_copy.files import system
from p2p_copy.files.directory import Directory
from p2p_copy.files.source.entry import SourceEntry, SourceTrees
from p2p_copy.files.source.hardlinks import FirstNames
from p2p_copy.files.source.walk import walk
from p2p_copy.files.target.target import Target
from p2p_copy.observer import Report
from p2p_copy.options import Conflict, Preserve
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.digest import RootDigest, file_digest
from p2p_copy.protocol.messages import (
    Data,
    Entry,
    Extra,
    FileEnd,
    FileFail,
    Finish,
    Goodbye,
    Message,
    Page,
    Reason,
    Reject,
)
from p2p_copy.transfer import limits
from tests.files.helpers import a_file, deliver, refusal
from tests.files.receipts.samples import differences
from tests.support.lossy_relay import lossy_relay
from tests.support.malicious_sender import Attack, attack, contents, digest, directory, file, link
from tests.support.transfers import Both, copy
from tests.support.trees import leftovers, snapshot
from tests.support.two_sides import TwoSides, half_way, through

if TYPE_CHECKING:
    from pathlib import Path

    from p2p_copy.protocol.manifest import Item


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


def names_of_files(root: Path) -> set[frozenset[str]]:
    """Return the names of all files in a tree, in groups: each group is one file."""
    found: dict[int, set[str]] = {}
    for folder, _, files in os.walk(root):
        for name in files:
            path = os.path.join(folder, name)
            found.setdefault(os.lstat(path).st_ino, set()).add(os.path.relpath(path, root))
    return {frozenset(names) for names in found.values()}


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
    assert [notice for notice in told.notices if "--preserve hard-links" in notice]
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


@pytest.mark.parametrize("conflict", list(Conflict))
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
    if conflict is Conflict.OVERWRITE:
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


def test_a_name_that_leads_to_another_file_by_now_comes_with_its_contents(tmp_path: Path) -> None:
    """Device and inode are not enough: here, as on FUSE, another file has got them meanwhile."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a").write_text("one")
    (tree / "b").hardlink_to(tree / "a")
    names = FirstNames()
    found = [each for each in walk(SourceTrees([str(tree)])) if isinstance(each, SourceEntry)]
    for number, each in enumerate(found):
        each.index = number
        names.add(each)
    _, first, second = found
    names.record_sent(first, bytes(32))
    assert names.digest_sent(second) == bytes(32)
    status = os.stat(second.path)
    os.unlink(second.path)
    with open(second.path, "w") as file:
        file.write("two")
    os.utime(second.path, ns=(0, status.st_mtime_ns))
    assert names.digest_sent(second) is None


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


# The receiver's disk


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return Target(str(tmp_path / "out"), conflict=Conflict.REFUSE)


def named_again(name: str, parent: Item | None = None) -> Item:
    item = a_file(name, parent)
    item.entry = item.entry._replace(extra=Extra(named_again=True))
    return item


def other_name(name: str, original: Item) -> Item:
    item = a_file(name)
    item.entry = item.entry._replace(extra=Extra(original=original.index))
    item.original = original
    return item


@pytest.mark.parametrize("ways", ["handles", "paths"])
def test_a_file_that_was_changed_or_replaced_gets_no_other_name(
    tmp_path: Path, target: Target, monkeypatch: pytest.MonkeyPatch, ways: str
) -> None:
    if ways == "paths":
        monkeypatch.setattr(system, "HANDLES", False)
    (tmp_path / "secret").write_text("xyz")
    for number, how in enumerate(("written to", "swapped", "a link", "gone", "untouched")):
        first = named_again(f"file {number}")
        deliver(target, first)
        path = tmp_path / "out" / first.name
        match how:
            case "written to":
                path.write_text("longer")
            case "swapped":
                path.unlink()
                path.write_text("new")
            case "a link":
                path.unlink()
                path.symlink_to(tmp_path / "secret")
            case "gone":
                path.unlink()
        other = other_name(f"other {number}", first)
        if how == "untouched":
            target.hard_links.make(other)
            assert os.path.samefile(path, tmp_path / "out" / other.name)
        else:
            assert refusal(lambda item=other: target.hard_links.make(item)) is Reason.ORIGINAL  # type: ignore[misc]
            assert not os.path.lexists(tmp_path / "out" / other.name)
    assert (tmp_path / "secret").stat().st_nlink == 1
    target.close()
    assert not leftovers(tmp_path / "out")


def test_a_file_that_has_another_number_by_now_gets_its_other_name(tmp_path: Path, target: Target) -> None:
    first = named_again("file")
    first.digest = file_digest(b"new")
    deliver(target, first)
    path = tmp_path / "out" / "file"
    shutil.copy2(path, tmp_path / "again")  # as FUSE does when the kernel has dropped a file from its cache
    (tmp_path / "again").rename(path)
    other = other_name("other", first)
    other.digest = first.digest
    target.hard_links.make(other)
    assert os.path.samefile(path, tmp_path / "out" / "other")
    target.close()


@pytest.mark.parametrize("conflict", [Conflict.REFUSE, Conflict.OVERWRITE])
def test_a_copy_under_the_other_name_is_no_other_name(tmp_path: Path, conflict: Conflict) -> None:
    """It may have the same contents and time, from an earlier transfer for example, and still is another file."""
    first = named_again("file")
    first.digest = file_digest(b"new")
    with closing(Target(str(tmp_path / "out"), conflict=conflict)) as target:
        deliver(target, first)
        path, theirs = tmp_path / "out" / "file", tmp_path / "out" / "other"
        shutil.copy2(path, theirs)
        other = other_name("other", first)
        other.digest = first.digest
        if conflict is Conflict.REFUSE:
            assert refusal(lambda: target.hard_links.make(other)) is Reason.EXISTS
        else:
            target.hard_links.make(other)
        assert os.path.samefile(path, theirs) is (conflict is Conflict.OVERWRITE)


def test_a_file_that_is_swapped_in_the_last_instant_gets_no_other_name(
    tmp_path: Path, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = named_again("file")
    deliver(target, first)
    (tmp_path / "secret").write_text("xyz")
    real = Directory.hard_link

    def swap(self: Directory, name: str, where: Directory, new: str) -> None:
        (tmp_path / "out" / name).unlink()
        os.link(tmp_path / "secret", tmp_path / "out" / name)
        real(self, name, where, new)

    monkeypatch.setattr(Directory, "hard_link", swap)
    assert refusal(lambda: target.hard_links.make(other_name("other", first))) is Reason.ORIGINAL
    assert os.listdir(tmp_path / "out") == ["file"]
    target.close()


def test_a_file_of_the_users_own_gets_no_other_name(tmp_path: Path, target: Target) -> None:
    (tmp_path / "out" / "theirs").write_text("old")
    first = named_again("theirs")
    assert refusal(lambda: deliver(target, first)) is Reason.EXISTS
    assert refusal(lambda: target.hard_links.make(other_name("other", first))) is Reason.ORIGINAL
    assert os.listdir(tmp_path / "out") == ["theirs"]
    target.close()


# Malicious senders


def first(name: str, size: int = 1, depth: int = 0) -> Entry:
    return file(depth, name, size)._replace(extra=Extra(named_again=True))


def again(name: str, original: int, size: int = 1, depth: int = 0) -> Entry:
    return file(depth, name, size)._replace(extra=Extra(original=original))


async def against(out: Path, *records: list[Message]) -> Attack:
    return await attack(out, *records, preserve=[Preserve.HARD_LINKS])


@pytest.mark.parametrize(
    "entries",
    [
        (again("a", 0),),
        (again("a", 1), first("b")),
        (again("a", 2**32 - 1),),
        (file(0, "a", 1), again("b", 0)),
        (directory(0, "a"), again("b", 0)),
        (directory(0, "d"), link(1, "l", "x"), again("b", 1)),
        (first("a"), again("b", 0), again("c", 1)),
        (first("a", 2), again("b", 0, 1)),
        (directory(0, "d")._replace(extra=Extra(named_again=True)),),
        (directory(0, "d"), link(1, "l", "x")._replace(extra=Extra(original=0))),
    ],
    ids=[
        "itself", "a later one", "none", "one that is not named again", "a directory", "a link", "another name",
        "another size", "a directory with names", "a link with another name",
    ],
)  # fmt: skip
async def test_only_a_file_that_was_named_has_other_names(tmp_path: Path, entries: tuple[Entry, ...]) -> None:
    one = await against(tmp_path / "out", [Page(entries)])
    assert isinstance(one.outcome, PeerMisbehaved)
    assert os.listdir(tmp_path / "out") == []


async def test_more_files_than_are_remembered_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol_limits, "MAX_NAMED_AGAIN", 2)
    one = await against(tmp_path / "out", [Page(tuple(first(name) for name in "abc"))])
    assert isinstance(one.outcome, PeerMisbehaved)


async def test_names_that_were_not_asked_for_are_refused(tmp_path: Path) -> None:
    one = await attack(tmp_path / "out", [Page((first("a"), again("b", 0)))])
    assert isinstance(one.outcome, PeerMisbehaved)


@pytest.mark.parametrize(
    "messages",
    [
        [FileEnd(1, digest(b"x"))],
        [FileFail(0, Reason.CHANGED), FileEnd(1, digest(b"x"))],
        [*contents(0, b"x"), FileEnd(1, digest(b"y"))],
        [*contents(0, b"x"), Data(1, 0, b"xy")],
        [*contents(0, b"x"), FileEnd(1, digest(b"x")), FileEnd(1, digest(b"x"))],
    ],
    ids=["first", "of one that failed", "with another digest", "with more", "twice"],
)
async def test_a_name_without_its_file_is_refused(tmp_path: Path, messages: list[Message]) -> None:
    one = await against(tmp_path / "out", [Page((first("a"), again("b", 0))), *messages])
    assert isinstance(one.outcome, PeerMisbehaved)


async def test_another_name_may_come_with_contents_of_its_own(tmp_path: Path) -> None:
    entries = (first("a"), again("b", 0), again("c", 0))
    root = RootDigest()
    for entry, data in zip(entries, (b"x", b"y", b"x"), strict=True):
        root.add(entry, digest(data))
    one = await against(
        tmp_path / "out",
        [Page(entries), *contents(0, b"x"), *contents(1, b"y"), FileEnd(2, digest(b"x"))],
        [Finish(3, 3, 3, 0, root.digest())],
        [Goodbye()],
    )
    assert isinstance(one.outcome, Report)
    assert names_of_files(tmp_path / "out") == {frozenset("ac"), frozenset("b")}


async def test_a_name_of_a_file_that_the_receiver_refused_is_rejected(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a").write_text("old")
    entries = (first("a"), again("b", 0))
    root = RootDigest()
    for entry in entries:
        root.add(entry, digest(b"x"))
    one = await against(
        out,
        [Page(entries), *contents(0, b"x"), FileEnd(1, digest(b"x")), Finish(2, 2, 2, 0, root.digest())],
        [Goodbye()],
    )
    assert isinstance(one.outcome, Report)
    assert Reject(1, Reason.ORIGINAL, "b") in one.heard
    assert os.listdir(out) == ["a"]
    assert (out / "a").read_text() == "old"
