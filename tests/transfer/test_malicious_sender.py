"""A malicious sender that speaks the protocol: nothing of it is written, inside or outside the directory."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from p2p_copy.errors import NoSpace, PeerFailed, PeerMisbehaved
from p2p_copy.observer import Report
from p2p_copy.options import Conflict, Names
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.digest import RootDigest
from p2p_copy.protocol.messages import (
    Abort,
    Data,
    Entry,
    FileEnd,
    FileFail,
    Finish,
    Goodbye,
    Kind,
    Message,
    Page,
    Reason,
    Receipt,
    Reject,
)
from p2p_copy.transfer import limits
from tests.support.malicious_sender import BAD_NAMES, attack, contents, digest, directory, file, link
from tests.support.trees import leftovers

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.fault(56, "file", "directory")
@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES.keys())
async def test_a_bad_name_is_refused_wherever_it_stands_and_nothing_is_created(
    tmp_path: Path, name: str
) -> None:
    out = tmp_path / "inner" / "out"
    for entries in (
        [file(0, "good", 1), file(0, name, 1)],
        [directory(0, "good"), directory(0, name), file(1, "x")],
        [directory(0, "good"), file(1, name)],
    ):
        one = await attack(
            out, [Page(tuple(entries)), *contents(0, b"1")] if entries[0].size else [Page(tuple(entries))]
        )
        assert isinstance(one.outcome, PeerMisbehaved)
        assert str(one.outcome).isprintable()
        assert os.listdir(out) == []
        assert os.listdir(tmp_path) == ["inner"]
        assert os.listdir(tmp_path / "inner") == ["out"]


STRUCTURES: dict[str, list[Entry]] = {
    "same twice": [file(0, "a"), file(0, "a")],
    "case": [file(0, "README"), file(0, "readme")],
    "accents": [file(0, "\u00e9"), file(0, "e\u0301")],
    "sharp s": [file(0, "ß"), file(0, "ss")],
    "kelvin": [file(0, "K"), file(0, "\u212a")],
    "file and directory": [file(0, "a"), directory(0, "a")],
    "directory twice": [directory(0, "a"), file(1, "x"), directory(0, "A")],
    "in a file": [file(0, "a"), file(1, "b")],
    "in a link": [directory(0, "t"), link(1, "a", "."), file(2, "b")],
    "orphan": [file(3, "a")],
    "too deep": [directory(depth, "d") for depth in range(protocol_limits.MAX_DEPTH + 1)],
    "too long": [directory(depth, "n" * 255) for depth in range(17)],
    "link at the top": [link(0, "a", "b")],
    "link up": [directory(0, "t"), link(1, "a", "../x")],
    "link absolute": [directory(0, "t"), link(1, "a", "/etc")],
    "link through a link": [
        directory(0, "t"),
        directory(1, "u"),
        link(2, "a", ".."),
        link(1, "b", "u/a/../../.."),
    ],
    "link of control characters": [directory(0, "t"), link(1, "a", "x\x1b[2J")],
    "link to nothing": [directory(0, "t"), link(1, "a", "")],
    "size of a directory": [Entry(Kind.DIRECTORY, 0, "a", size=5)],
    "size beyond off_t": [file(0, "a", 2**63)],
    "sizes that overflow": [file(0, f"f{number}", 2**62) for number in range(5)],
}


@pytest.mark.fault(57, "normal form", "case", "file and directory")
@pytest.mark.fault(62, "too deep", "too many bytes")
@pytest.mark.parametrize("entries", STRUCTURES.values(), ids=STRUCTURES.keys())
async def test_a_bad_structure_is_refused_and_nothing_is_created(
    tmp_path: Path, entries: list[Entry]
) -> None:
    out = tmp_path / "out"
    one = await attack(out, [Page((file(0, "first"), *entries))])
    assert isinstance(one.outcome, PeerMisbehaved)
    assert os.listdir(out) == []
    assert os.listdir(tmp_path) == ["out"]


ORDERS: dict[str, list[Message]] = {
    "data first": [Data(0, 0, b"x")],
    "gap": [Page((file(0, "a", 9),)), Data(0, 1, b"x")],
    "offset beyond": [Page((file(0, "a", 9),)), Data(0, 2**63, b"x")],
    "too many bytes": [Page((file(0, "a", 2),)), Data(0, 0, b"xxx")],
    "bytes for an empty file": [Page((file(0, "a"),)), Data(0, 0, b"x")],
    "same bytes twice": [Page((file(0, "a", 9),)), Data(0, 0, b"x"), Data(0, 0, b"x")],
    "of a directory": [Page((directory(0, "a"),)), Data(0, 0, b"x")],
    "end of a directory": [Page((directory(0, "a"),)), FileEnd(0, digest(b""))],
    "unknown number": [Page((file(0, "a", 1),)), Data(77, 0, b"x")],
    "ended too early": [Page((file(0, "a", 2),)), Data(0, 0, b"x"), FileEnd(0, digest(b"x"))],
    "wrong digest": [Page((file(0, "a", 1),)), Data(0, 0, b"x"), FileEnd(0, digest(b"y"))],
    "wrong digest of an empty file": [Page((file(0, "a"),)), FileEnd(0, digest(b"y"))],
    "mixed files": [Page((file(0, "a", 2), file(0, "b", 2))), Data(0, 0, b"x"), Data(1, 0, b"y")],
    "finish without the bytes": [Page((file(0, "a", 2),)), Finish(1, 1, 2, 0, bytes(32))],
    "finish with another root": [Page((directory(0, "a"),)), Finish(1, 0, 0, 0, bytes(32))],
    "finish of nothing with a wrong sum": [Finish(1, 0, 0, 0, RootDigest().digest())],
}


@pytest.mark.fault(60, "beyond the size", "offsets", "order", "unknown file")
@pytest.mark.fault(51, "short count")
@pytest.mark.parametrize("messages", ORDERS.values(), ids=ORDERS.keys())
async def test_a_bad_order_is_refused_and_no_file_is_left(tmp_path: Path, messages: list[Message]) -> None:
    out = tmp_path / "out"
    one = await attack(out, messages)
    assert isinstance(one.outcome, PeerMisbehaved)
    assert not [name for name in os.listdir(out) if (out / name).is_file()]
    assert any(isinstance(message, Abort) and message.reason is Reason.MISBEHAVED for message in one.heard)


@pytest.mark.fault(60, "twice")
@pytest.mark.parametrize(
    "again",
    [
        [Data(1, 0, b"y")],
        contents(1, b"x"),
        contents(1, b"xy"),
        [FileEnd(1, digest(b"x"))],
        [FileFail(1, Reason.OTHER)],
        [*contents(2, b""), FileEnd(2, digest(b""))],
        [*contents(2, b""), FileFail(2, Reason.OTHER)],
    ],
    ids=["data", "whole", "more", "end", "failure", "empty", "failure of an empty one"],
)
async def test_a_file_is_not_sent_twice(tmp_path: Path, again: list[Message]) -> None:
    page = Page((directory(0, "top"), file(1, "a", 1), file(1, "b"), file(1, "c", 1)))
    for records in ([[page, *contents(1, b"x"), *again]], [[page, *contents(1, b"x")], again]):
        out = tmp_path / str(len(records))
        one = await attack(out, *records)
        assert isinstance(one.outcome, PeerMisbehaved)
        assert (out / "top" / "a").read_bytes() == b"x"
        assert set(os.listdir(out / "top")) <= {"a", "b"}


async def test_a_small_file_before_it_does_not_hide_that_two_files_are_mixed(tmp_path: Path) -> None:
    entries = (file(0, "a", 1), file(0, "b", 2), file(0, "c", 2))
    one = await attack(
        tmp_path / "out", [Page(entries), *contents(0, b"x"), Data(1, 0, b"y")], contents(2, b"zz")
    )
    assert isinstance(one.outcome, PeerMisbehaved)
    assert os.listdir(tmp_path / "out") == ["a"]


@pytest.mark.fault(63, "more than the disk holds")
async def test_more_than_the_disk_holds_is_refused_before_it_flows(tmp_path: Path) -> None:
    one = await attack(tmp_path / "out", [Page((file(0, "a", 10 * 2**50),))])
    assert isinstance(one.outcome, NoSpace)
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.fault(62, "too many entries", "memory")
async def test_pages_without_end_are_refused_in_bounded_memory(tmp_path: Path) -> None:
    pages = [
        [Page(tuple(file(0, f"{page}-{number}", 1) for number in range(protocol_limits.MAX_PAGE_ENTRIES)))]
        for page in range(10)
    ]
    one = await attack(tmp_path / "out", *pages)
    assert isinstance(one.outcome, PeerMisbehaved)
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.fault(65, "words of the other side")
async def test_a_sender_that_leaves_in_the_middle_leaves_no_file(tmp_path: Path) -> None:
    for last in (Abort(Reason.OTHER, "bye \x1b[2J"), None):
        messages: list[Message] = [Page((file(0, "a", 5),)), Data(0, 0, b"xyz")]
        one = await attack(
            tmp_path / "out", messages, *([[last]] if last else [[Finish(0, 0, 0, 0, bytes(32))]])
        )
        assert isinstance(one.outcome, PeerFailed if last else PeerMisbehaved)
        assert str(one.outcome).isprintable()
        assert os.listdir(tmp_path / "out") == []


@pytest.mark.fault(66, "mode", "time")
async def test_special_bits_and_strange_times_are_made_harmless(tmp_path: Path) -> None:
    entries = (
        file(0, "setuid", 1, mode=0o4777),
        file(0, "sticky", 1, mode=0o1644),
        file(0, "before", 1, mtime_ns=-(2**63)),
        file(0, "after", 1, mtime_ns=2**63 - 1),
    )
    root = RootDigest()
    for entry in entries:
        root.add(entry, digest(b"x"))
    one = await attack(
        tmp_path / "out",
        [Page(entries), *(message for index in range(4) for message in contents(index, b"x"))],
        [Finish(4, 4, 4, 0, root.digest())],
        [Goodbye()],
    )
    assert isinstance(one.outcome, Report)
    assert (tmp_path / "out" / "setuid").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "out" / "sticky").stat().st_mode & 0o7777 == 0o644
    assert sorted(os.listdir(tmp_path / "out")) == ["after", "before", "setuid", "sticky"]


async def test_what_the_receiver_refuses_may_still_come_and_is_thrown_away(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a").write_text("old")
    root = RootDigest()
    root.add(file(0, "a", 3), digest(b"new"))
    one = await attack(
        out,
        [Page((file(0, "a", 3),)), *contents(0, b"new")],
        [Finish(1, 1, 3, 0, root.digest())],
        [Goodbye()],
    )
    assert isinstance(one.outcome, Report)
    assert (one.outcome.files, one.outcome.failures) == (0, 1)
    assert (out / "a").read_text() == "old"
    assert Reject(0, Reason.EXISTS, "a") in one.heard
    assert any(isinstance(message, Receipt) and message.files == 0 for message in one.heard)


async def test_a_file_that_the_sender_says_was_not_wanted_counts_if_it_was_not_refused(
    tmp_path: Path,
) -> None:
    root = RootDigest()
    root.add(file(0, "a", 3), None)
    one = await attack(
        tmp_path / "out",
        [Page((file(0, "a", 3),)), FileFail(0, Reason.NOT_WANTED), Finish(1, 0, 0, 0, root.digest())],
    )
    assert isinstance(one.outcome, PeerMisbehaved)


@pytest.mark.fault(58, "link at the target")
@pytest.mark.fault(59, "directory", "fifo", "socket", "overwrite")
@pytest.mark.parametrize(
    "planted", ["link to a file", "link to a directory", "fifo", "socket", "directory", "dangling link"]
)
@pytest.mark.parametrize("conflict", [Conflict.REFUSE, Conflict.OVERWRITE, Conflict.SKIP])
async def test_what_is_planted_at_the_target_is_never_followed_nor_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: str, conflict: Conflict
) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (elsewhere / "victim").write_text("untouched")
    match planted:
        case "link to a file":
            (out / "a").symlink_to(elsewhere / "victim")
        case "link to a directory":
            (out / "a").symlink_to(elsewhere)
        case "fifo":
            os.mkfifo(out / "a")
        case "socket":
            with socket.socket(socket.AF_UNIX) as one_end:
                monkeypatch.chdir(out)  # its path must be short
                one_end.bind("a")
        case "directory":
            (out / "a").mkdir()
        case "dangling link":
            (out / "a").symlink_to(elsewhere / "new")
    root = RootDigest()
    root.add(file(0, "a", 3), digest(b"new"))
    one = await attack(
        out,
        [Page((file(0, "a", 3),)), *contents(0, b"new"), Finish(1, 1, 3, 0, root.digest())],
        [Goodbye()],
        conflict=conflict,
    )
    assert isinstance(one.outcome, Report)
    assert (elsewhere / "victim").read_text() == "untouched"
    assert os.listdir(elsewhere) == ["victim"]
    assert not leftovers(out)
    if conflict is not Conflict.OVERWRITE:
        assert one.outcome.files == 0


async def test_system_names_open_no_way_out(tmp_path: Path) -> None:
    for name in ("..", "a/b", "/etc/x", "", ".", "a\x00b", "a\nb", "\u202ex", ".p2p-copy-1"):
        one = await attack(tmp_path / "out", [Page((file(0, name, 1),))], names=Names.SYSTEM)
        assert isinstance(one.outcome, PeerMisbehaved)
        assert os.listdir(tmp_path / "out") == []


async def test_silence_after_the_end_is_no_way_to_keep_a_receiver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RECEIPT_LINGER", 0.2)
    one = await attack(tmp_path / "out", [Finish(0, 0, 0, 0, RootDigest().digest())])
    assert isinstance(one.outcome, Report)
