"""Owners and extended attributes: set if both sides ask for them, and only on the entry that they belong to."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
import trio

from p2p_copy.errors import PeerMisbehaved, UsageError
from p2p_copy.files import attributes, directory as directories, system
from p2p_copy.files.target.probe import supported
from p2p_copy.observer import Report
from p2p_copy.options import Conflict, Preserve
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.digest import RootDigest, brief
from p2p_copy.protocol.messages import Entry, Extra, Finish, Goodbye, Message, Owner, Page, Preserved
from p2p_copy.transfer import limits
from p2p_copy.transfer.chunk_size import ChunkSize
from tests.files.receipts.samples import differences
from tests.support.lossy_relay import lossy_relay
from tests.support.malicious_sender import Attack, attack, contents, digest, directory, file, link
from tests.support.transfers import Both, copy
from tests.support.trees import leftovers, snapshot
from tests.support.two_sides import TwoSides, through

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from p2p_copy.protocol.messages import Xattrs


XATTRS = {"preserve": [Preserve.XATTRS]}
OWNER = {"preserve": [Preserve.OWNER]}
EVERYTHING = {"preserve": list(Preserve)}

STRANGERS = (54_321, 54_322)
"""Numbers of a user and a group that have no name here."""

root_only = pytest.mark.skipif(not attributes.is_root(), reason="only root gives files to others")


@pytest.fixture
def has_xattrs(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("Python knows extended attributes on Linux only")
    try:
        os.setxattr(tmp_path, "user.test", b"")
        os.removexattr(tmp_path, "user.test")
    except OSError:
        pytest.skip("this file system has no extended attributes")


needs_xattrs = pytest.mark.usefixtures("has_xattrs")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    (top / "inner").mkdir(parents=True)
    (top / "empty").touch()
    (top / "small").write_bytes(b"some words")
    (top / "inner" / "large").write_bytes(os.urandom(3 * limits.CHUNK))
    (top / "link").symlink_to("small")
    return top


def every(top: Path) -> list[Path]:
    return [top, *sorted(top.rglob("*"))]


def mark(top: Path) -> None:
    """Set an extended attribute with a value of its own on everything but symlinks."""
    if sys.platform == "linux":
        for number, path in enumerate(every(top)):
            if not path.is_symlink():
                os.setxattr(path, "user.number", b"%d" % number)
                os.setxattr(path, "user.ünï", bytes(range(256)))


def xattrs_of(top: Path) -> dict[str, dict[str, bytes]]:
    if sys.platform != "linux":
        return {}
    return {
        str(path.relative_to(top)): {name: os.getxattr(path, name) for name in os.listxattr(path)}
        for path in every(top)
        if not path.is_symlink()
    }


def give_away(top: Path) -> None:
    if sys.platform != "win32":
        for path in every(top):
            os.chown(path, *STRANGERS, follow_symlinks=False)


def owners_of(top: Path) -> set[tuple[int, int]]:
    return {(path.lstat().st_uid, path.lstat().st_gid) for path in every(top)}


async def keeping(tree: Path, out: Path, what: dict[str, Any], **more: Any) -> Both:
    """Copy a tree, and check that nothing is missing."""
    both = await copy(
        [tree],
        out,
        sending={**what, **more.get("sending", {})},
        receiving={**what, **more.get("receiving", {})},
    )
    assert both.reports[0].failures == 0
    assert snapshot(out / tree.name) == snapshot(tree)
    assert not leftovers(out)
    return both


# Both sides


@needs_xattrs
@pytest.mark.parametrize("conflict", [Conflict.REFUSE, Conflict.OVERWRITE])
async def test_extended_attributes_are_kept(tree: Path, tmp_path: Path, conflict: Conflict) -> None:
    mark(tree)
    both = await keeping(tree, tmp_path / "out", XATTRS, receiving={"conflict": conflict})
    assert xattrs_of(tmp_path / "out" / "tree") == xattrs_of(tree)
    assert len(xattrs_of(tree)["small"]) == 2
    assert both.sender.notices == both.receiver.notices == []


@root_only
async def test_owners_are_kept_of_files_directories_and_links(tree: Path, tmp_path: Path) -> None:
    give_away(tree)
    both = await keeping(tree, tmp_path / "out", OWNER)
    assert owners_of(tmp_path / "out" / "tree") == {STRANGERS}
    assert both.sender.notices == both.receiver.notices == []


@needs_xattrs
@root_only
async def test_everything_is_kept_at_once_and_receipts_have_what_the_root_covers(
    tree: Path, tmp_path: Path
) -> None:
    os.link(tree / "small", tree / "small again")
    mark(tree)
    give_away(tree)
    out = tmp_path / "out"
    both = await keeping(
        tree,
        out,
        EVERYTHING,
        sending={"receipt": str(tmp_path / "sent")},
        receiving={"receipt": str(tmp_path / "received")},
    )
    assert owners_of(out / "tree") == {STRANGERS}
    assert xattrs_of(out / "tree") == xattrs_of(tree)
    assert (out / "tree" / "small").samefile(out / "tree" / "small again")
    for name in ("sent", "received"):
        text = (tmp_path / name).read_text()
        assert '"uid": 54321, "gid": 54322, "user": "", "group": ""' in text
        assert text.count('"xattrs": "blake3:') == len(xattrs_of(tree))
        verdict, different = differences(tmp_path / name, out, times=True, strict=True)
        assert different == {}
        assert verdict.root == both.reports[0].root
    (tmp_path / "sent").write_text(text.replace('"gid": 54322', '"gid": 54323', 1))
    assert "" in differences(tmp_path / "sent", out)[1], "the root digest covers owners"


@needs_xattrs
@pytest.mark.parametrize("role", ["sending", "receiving"])
async def test_nothing_is_kept_that_only_one_side_asks_for(tree: Path, tmp_path: Path, role: str) -> None:
    mark(tree)
    both = await copy([tree], tmp_path / "out", **{role: XATTRS})  # type: ignore[arg-type]
    assert snapshot(tmp_path / "out" / "tree") == snapshot(tree)
    assert not any(xattrs_of(tmp_path / "out").values())
    told = both.sender if role == "sending" else both.receiver
    assert [notice for notice in told.notices if "`preserve` xattrs" in notice]


async def test_only_root_can_ask_for_owners(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000, raising=False)
    both = await copy([tree], tmp_path / "out", sending={"wait": 0.1}, receiving=OWNER)
    assert isinstance(both.received, UsageError)
    assert "owner" in str(both.received)
    assert not (tmp_path / "out").exists()


@needs_xattrs
@pytest.mark.skipif(sys.platform != "linux", reason="Linux has extended attributes")
async def test_where_there_are_no_extended_attributes_nothing_else_is_missing(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    mark(tree)
    monkeypatch.setattr(os, "setxattr", refuse)
    both = await keeping(tree, tmp_path / "out", XATTRS)
    assert [notice for notice in both.receiver.notices if "no extended attributes" in notice]
    assert len(both.receiver.notices) == 1


@needs_xattrs
@pytest.mark.skipif(sys.platform != "linux", reason="Linux has extended attributes")
async def test_what_the_disk_does_not_take_is_told_once_and_costs_no_file(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark(tree)
    real = os.setxattr

    def refuse(where: Any, name: str, value: bytes) -> None:
        if name == "user.number":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(where, name, value)

    monkeypatch.setattr(os, "setxattr", refuse)
    both = await keeping(tree, tmp_path / "out", XATTRS)
    assert [notice for notice in both.receiver.notices if "did not take" in notice]
    assert len(both.receiver.notices) == 1
    assert set(xattrs_of(tmp_path / "out" / "tree")["small"]) == {"user.ünï"}


@root_only
async def test_an_owner_that_cannot_be_given_is_told_once_and_costs_no_file(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    both = await keeping(tree, tmp_path / "out", OWNER)
    assert [notice for notice in both.receiver.notices if "did not take" in notice]
    assert len(both.receiver.notices) == 1


@needs_xattrs
@pytest.mark.parametrize("how", ["many", "large", "no text"])
async def test_attributes_that_cannot_be_told_are_left_out_and_that_is_said(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    mark(tree)
    if sys.platform == "linux":
        os.setxattr(tree / "small", b"user.\xff" if how == "no text" else "user.more", b"x" * 30)
    if how == "many":
        monkeypatch.setattr(protocol_limits, "MAX_XATTRS", 2)
    elif how == "large":
        monkeypatch.setattr(protocol_limits, "MAX_XATTR_BYTES", 300)
    both = await keeping(tree, tmp_path / "out", XATTRS)
    assert xattrs_of(tmp_path / "out" / "tree") == {**xattrs_of(tree), "small": {}}
    assert len(both.sender.notices) == 1
    assert both.receiver.notices == []


async def test_attributes_of_many_large_entries_fit_into_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = tmp_path / "tree"
    top.mkdir()
    for number in range(40):
        # So that a page follows when a record is almost full.
        (top / str(number)).write_bytes(os.urandom(87_800))
    large = (("user.large", bytes(30_000)),)  # more than many file systems take
    given: list[Xattrs] = []

    def give(_itself: int | str, extra: Extra) -> bool:
        given.append(extra.xattrs)
        return True

    monkeypatch.setattr(attributes, "_read_xattrs_of", lambda _opened: large)
    monkeypatch.setattr("p2p_copy.files.target.probe._has_xattrs", lambda *_: True)
    monkeypatch.setattr(attributes, "give", give)
    for method in ("__init__", "keep"):  # a fast link takes the longest records
        monkeypatch.setattr(ChunkSize, method, lambda pace, *_: setattr(pace, "chunk", limits.MOST_CHUNK))
    await keeping(top, tmp_path / "out", XATTRS)
    assert given == [large] * 41


# Resuming


@needs_xattrs
@pytest.mark.usefixtures("small_segments")
async def test_attributes_are_kept_when_the_link_is_cut(tmp_path: Path) -> None:
    tree = many(tmp_path / "tree")
    async with lossy_relay() as it:
        it.cut_after(2_000_000, 2_500_000)
        both = await through(it, tree, tmp_path / "out", sending=XATTRS, receiving=XATTRS)
    assert it.cuts == 2
    assert both.reports[0].failures == 0
    assert xattrs_of(tmp_path / "out" / "tree") == xattrs_of(tree)
    assert snapshot(tmp_path / "out" / "tree") == snapshot(tree)


@needs_xattrs
@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize("role", ["sender", "receiver"])
async def test_attributes_are_kept_after_a_kill(tmp_path: Path, role: str) -> None:
    tree = many(tmp_path / "tree")
    what = [Preserve.XATTRS]
    if attributes.is_root():
        give_away(tree)
        what.append(Preserve.OWNER)
    other = {"sender": "receiver", "receiver": "sender"}[role]
    async with lossy_relay() as it:
        again = TwoSides(tmp_path, it, tree)
        again.options = {"sender": {"preserve": what}, "receiver": {"preserve": what}}
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(again.start, other)
                await again.kill(role, 3_000_000)
                report = await again.start(role)
    assert report.failures == 0
    assert xattrs_of(tmp_path / "out" / "tree") == xattrs_of(tree)
    assert owners_of(tmp_path / "out" / "tree") == owners_of(tree)
    assert snapshot(tmp_path / "out" / "tree") == snapshot(tree)
    assert not leftovers(tmp_path / "out")


def many(top: Path) -> Path:
    top.mkdir()
    for number in range(30):
        (top / f"{number:02}").write_bytes(os.urandom(200_000))
    mark(top)
    return top


# Malicious senders


def with_xattrs(entry: Entry, *names: str, size: int = 1) -> Entry:
    return entry._replace(extra=Extra(xattrs=tuple((name, b"x" * size) for name in names)))


def with_owner(entry: Entry, uid: int = 1, gid: int = 1) -> Entry:
    return entry._replace(extra=Extra(owner=Owner(uid, gid)))


MANY = [f"user.{number:03}" for number in range(protocol_limits.MAX_XATTRS + 1)]


@needs_xattrs
@pytest.mark.parametrize(
    "entry",
    [
        with_xattrs(file(0, "a"), "security.capability"),
        with_xattrs(file(0, "a"), "system.posix_acl_access"),
        with_xattrs(file(0, "a"), "trusted.overlay.opaque"),
        with_xattrs(file(0, "a"), "user.a", "security.capability"),
        with_xattrs(directory(0, "a"), "system.posix_acl_default"),
        with_xattrs(file(0, "a"), "user."),
        with_xattrs(file(0, "a"), "user.a\0security.capability"),
        with_xattrs(file(0, "a"), "user.a", "user.a"),
        with_xattrs(file(0, "a"), "user.b", "user.a"),
        with_xattrs(file(0, "a"), *MANY),
        with_xattrs(file(0, "a"), "user.a", size=protocol_limits.MAX_XATTR_BYTES),
        with_owner(file(0, "a")),
    ],
    ids=[
        "capability", "access list", "trusted", "capability behind another", "access list of a directory",
        "no name", "nul", "twice", "order", "many", "large", "owner",
    ],
)  # fmt: skip
async def test_what_may_not_be_given_ends_the_transfer_and_nothing_is_made(
    tmp_path: Path, entry: Entry
) -> None:
    one = await attack(tmp_path / "out", [Page((entry,))], **XATTRS)
    assert isinstance(one.outcome, PeerMisbehaved)
    assert os.listdir(tmp_path / "out") == []


@needs_xattrs
async def test_links_have_no_extended_attributes(tmp_path: Path) -> None:
    entries = (directory(0, "d"), with_xattrs(link(1, "l", "x"), "user.a"))
    one = await attack(tmp_path / "out", [Page(entries)], **XATTRS)
    assert isinstance(one.outcome, PeerMisbehaved)
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.parametrize(
    "entry", [with_xattrs(file(0, "a"), "user.a"), with_owner(file(0, "a")), with_owner(directory(0, "a"))]
)
async def test_attributes_that_were_not_asked_for_are_refused(tmp_path: Path, entry: Entry) -> None:
    one = await attack(tmp_path / "out", [Page((entry,))])
    assert isinstance(one.outcome, PeerMisbehaved)
    assert os.listdir(tmp_path / "out") == []


@root_only
@pytest.mark.parametrize("ids", [(2**32 - 1, 0), (0, 2**32 - 1)])
async def test_an_impossible_owner_is_refused(tmp_path: Path, ids: tuple[int, int]) -> None:
    one = await attack(tmp_path / "out", [Page((with_owner(file(0, "a"), *ids),))], **OWNER)
    assert isinstance(one.outcome, PeerMisbehaved)
    assert os.listdir(tmp_path / "out") == []


@root_only
async def test_a_link_gets_the_owner_and_not_what_it_points_to(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "d").mkdir(parents=True)
    (out / "d" / "theirs").write_text("old")
    entries = (directory(0, "d"), with_owner(link(1, "l", "theirs"), *STRANGERS))
    one = await finishing(out, entries, **OWNER)
    assert isinstance(one.outcome, Report)
    assert ((out / "d" / "l").lstat().st_uid, (out / "d" / "theirs").stat().st_uid) == (STRANGERS[0], 0)


@root_only
async def test_a_directory_that_was_there_keeps_its_owner(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "d").mkdir(parents=True)
    one = await finishing(out, (with_owner(directory(0, "d"), *STRANGERS),), **OWNER)
    assert isinstance(one.outcome, Report)
    assert (out / "d").stat().st_uid == 0


@root_only
async def test_names_of_owners_go_before_numbers_and_bad_names_match_no_user(tmp_path: Path) -> None:
    out = tmp_path / "out"
    entries = (
        file(0, "known")._replace(extra=Extra(owner=Owner(*STRANGERS, "root", "root"))),
        file(0, "unknown")._replace(extra=Extra(owner=Owner(*STRANGERS, "no such user", "a\0b"))),
    )
    one = await finishing(out, entries, **OWNER)
    assert isinstance(one.outcome, Report)
    assert [((out / name).stat().st_uid, (out / name).stat().st_gid) for name in ("known", "unknown")] == [
        (0, 0),
        STRANGERS,
    ]


async def finishing(out: Path, entries: Sequence[Entry], **options: Any) -> Attack:
    """Have a sender name these entries, all of them empty, and finish."""
    root, said = RootDigest(), list[Message]()
    for index, entry in enumerate(entries):
        is_file = entry.kind == file(0, "x").kind
        root.add(entry, digest(b"") if is_file else None)
        said += contents(index, b"") if is_file else []
    files = len(said)
    finish = Finish(len(entries), files, 0, 0, root.digest())
    return await attack(out, [Page(tuple(entries)), *said, finish], [Goodbye()], **options)


# No transfer


def test_the_root_covers_extended_attributes_and_a_digest_in_their_place_is_the_same() -> None:
    one, other, short, none = (RootDigest() for _ in range(4))
    xattrs: Xattrs = (("user.a", b"1"), ("user.b", b""))
    entry = file(0, "a")
    whole = entry._replace(extra=Extra(xattrs=xattrs))
    one.add(whole, None)
    other.add(entry._replace(extra=Extra(xattrs=(*xattrs[:1], ("user.b", b"x")))), None)
    assert whole.extra is not None
    short.add(entry._replace(extra=brief(whole.extra)), None)
    none.add(entry, None)
    assert one.digest() == short.digest()
    assert len({one.digest(), other.digest(), none.digest()}) == 3


@needs_xattrs
def test_trying_out_leaves_nothing(tmp_path: Path) -> None:
    top = directories.Directory.top(str(tmp_path))
    assert supported(top, "tag", Preserved.XATTRS) is Preserved.XATTRS
    top.close()
    assert os.listdir(tmp_path) == []


@needs_xattrs
@pytest.mark.parametrize("handles", [True, False])
def test_a_directory_that_is_gone_loses_its_attributes_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, handles: bool
) -> None:
    monkeypatch.setattr(system, "HANDLES", handles)
    top = directories.Directory.top(str(tmp_path))
    inner = top.make("inner", "probe")
    assert not top.attributes_lost
    inner.close()
    (tmp_path / "inner").rename(tmp_path / "elsewhere")
    inner.give(Extra(xattrs=(("user.a", b"1"),)))
    assert top.attributes_lost
    inner.close()
    top.close()
    assert not any(xattrs_of(tmp_path).values())
