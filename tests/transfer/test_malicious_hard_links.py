"""What a sender may not say of files with several names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from p2p_copy.errors import PeerMisbehaved
from p2p_copy.observer import Report
from p2p_copy.options import Preserve
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.digest import RootDigest
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
from tests.support.malicious_sender import Attack, attack, contents, digest, directory, file, link
from tests.support.trees import names_of_files

if TYPE_CHECKING:
    from pathlib import Path


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
