"""Receipts of whole transfers, compared with what was received."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from p2p_copy.errors import NoSpace, PeerFailed, TooMuch, UsageError
from p2p_copy.files.receipts.receipt_file import ReceiptFile, receipt_file
from p2p_copy.files.receipts.writer import ReceiptWriter
from p2p_copy.observer import Report
from p2p_copy.options import Conflict
from p2p_copy.protocol.digest import RootDigest, file_digest
from p2p_copy.protocol.messages import Entry, Kind
from tests.files.receipts.samples import differences, parsed
from tests.support.transfers import CODE, Both, copy, receive, send
from tests.support.trees import leftovers, make_tree

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NOWHERE = "ws://127.0.0.1:1"


def documents(tmp_path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    sent, received = (parsed(tmp_path / name) for name in ("sent.json", "received.json"))
    return sent, received


async def receipted(paths: Sequence[Path], tmp_path: Path, **receiving: Any) -> Both:
    return await copy(
        paths,
        tmp_path / "out",
        sending={"receipt": str(tmp_path / "sent.json")},
        receiving={"receipt": str(tmp_path / "received.json"), **receiving},
    )


async def test_both_sides_receipts_are_equal_and_right(tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    both = await receipted([tree], tmp_path)
    report, _ = both.reports
    sent, received = documents(tmp_path)
    assert (sent["role"], received["role"]) == ("sender", "receiver")
    for document in (sent, received):
        assert document["root"] == report.root
        assert document["program"].startswith("p2p-copy ")
        assert document["started"] <= document["ended"]
        assert (document["files"], document["size"], document["failures"], document["skipped"]) == (
            report.files,
            report.size,
            0,
            0,
        )
    for entry in received["entries"]:
        assert entry.pop("given_mode", entry["mode"]) == entry["mode"]
    assert sent["entries"] == received["entries"]
    assert len(sent["entries"]) == 1 + sum(len(names) + len(files) for _, names, files in os.walk(tree))
    for name in ("sent.json", "received.json"):
        verdict, told = differences(tmp_path / name, tmp_path / "out", times=True, strict=True)
        assert not told
        assert (verdict.files, verdict.size) == (report.files, report.size)
    assert not leftovers(tmp_path)


async def test_receipts_of_a_tree_and_of_its_copy_have_the_same_lines(tmp_path: Path) -> None:
    names = ["b", "C", "10", "9", "ä", "a.b", "a"]
    lines: list[list[str]] = []
    for place, order in (("one", names), ("other", names[::-1])):
        for name in order:
            (tmp_path / place / "tree" / name).mkdir(parents=True)
            for inner in order:
                (tmp_path / place / "tree" / name / inner).write_text(inner)
                os.utime(tmp_path / place / "tree" / name / inner, (0, 0))
        for path in (tmp_path / place / "tree").rglob("*"):
            os.utime(path, (0, 0))
        os.utime(tmp_path / place / "tree", (0, 0))
        receipt = tmp_path / place / "receipt"
        await copy([tmp_path / place / "tree"], tmp_path / place / "out", receiving={"receipt": str(receipt)})
        lines.append(receipt.read_text().splitlines()[:-1])  # the last one says when
    assert lines[0] == lines[1]
    paths = [json.loads(line)["path"] for line in lines[0][1:]]
    expected = [
        [f"tree/{name}", *(f"tree/{name}/{inner}" for inner in sorted(names))] for name in sorted(names)
    ]
    assert paths == ["tree", *(path for group in expected for path in group)]


async def test_a_receipt_may_lie_in_the_output_directory_and_a_missing_source_is_counted(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("x")
    receipt = tmp_path / "out" / "receipt"
    both = await copy(
        [tmp_path / "file", tmp_path / "missing"], tmp_path / "out", receiving={"receipt": str(receipt)}
    )
    assert both.reports[1].failures == 1
    verdict, told = differences(receipt, tmp_path / "out", strict=True)
    assert (verdict.files, verdict.failures, told) == (1, 1, {})


# Entries whose names are taken


def crowded(tmp_path: Path) -> Path:
    """Make a tree and an output directory in which most of its names are taken."""
    tree, there = tmp_path / "tree", tmp_path / "out" / "tree"
    for folder in (tree / "directory" / "deep", there):
        folder.mkdir(parents=True)
    (tree / "big").write_bytes(bytes(3_000_000))
    (tree / "small").write_text("new")
    (tree / "fresh").write_text("fresh")
    (tree / "link").symlink_to("fresh")
    (tree / "directory" / "deep" / "inside").write_text("in a directory that has no place")
    for name in ("big", "small", "link", "directory"):
        (there / name).write_text("old")
    return tree


def by_place(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {entry["path"]: entry for entry in document["entries"]}


@pytest.mark.parametrize("conflict", [Conflict.REFUSE, Conflict.SKIP, Conflict.OVERWRITE])
async def test_what_was_refused_or_skipped_is_in_the_receipt_as_not_delivered(
    tmp_path: Path, conflict: Conflict
) -> None:
    both = await receipted([crowded(tmp_path)], tmp_path, conflict=conflict)
    report = both.reports[1]
    _, received = documents(tmp_path)
    missing = {path for path, entry in by_place(received).items() if not entry.get("delivered", True)}
    expected = {"tree/directory"}
    if conflict is not Conflict.OVERWRITE:
        expected |= {"tree/big", "tree/small", "tree/link"}
    named = {path for path in missing if not path.startswith("tree/directory/")}
    assert named == expected
    assert (received["failures"], received["skipped"]) == (report.failures, report.skipped)
    assert received["failures"] + received["skipped"] == len(expected)
    verdict, told = differences(tmp_path / "received.json", tmp_path / "out")
    assert not told
    assert verdict.files == report.files
    verdict, told = differences(tmp_path / "sent.json", tmp_path / "out")
    assert not told, "the sender was told of what was refused when all of it had been sent"
    assert verdict.files == report.files


async def test_what_was_renamed_is_found_under_its_other_name(tmp_path: Path) -> None:
    both = await receipted([crowded(tmp_path)], tmp_path, conflict=Conflict.RENAME)
    sent, received = documents(tmp_path)
    assert both.reports[0].failures == 0
    entries = by_place(received)
    assert {path: entry["name"] for path, entry in entries.items() if "name" in entry} == {
        "tree/big (1)": "big",
        "tree/small (1)": "small",
        "tree/link (1)": "link",
        "tree/directory (1)": "directory",
    }
    assert "tree/directory (1)/deep/inside" in entries
    assert sent["root"] == received["root"]
    verdict, told = differences(tmp_path / "received.json", tmp_path / "out")
    assert not told
    assert verdict.files == 4
    assert set(differences(tmp_path / "sent.json", tmp_path / "out")[1]) == {
        *(f"tree/{name}" for name in ("big", "small", "link", "directory")),
        "tree/directory/deep",
        "tree/directory/deep/inside",
    }, "the sender cannot know"


@pytest.mark.parametrize("conflict", [Conflict.REFUSE, Conflict.RENAME])
async def test_a_tree_whose_name_is_taken_is_in_the_receipt(tmp_path: Path, conflict: Conflict) -> None:
    tree = make_tree(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / tree.name).write_text("in the way")
    await receipted([tree], tmp_path, conflict=conflict)
    _, received = documents(tmp_path)
    first = received["entries"][0]
    if conflict is Conflict.RENAME:
        assert (first["path"], first["name"]) == ("a tree (1)", "a tree")
    else:
        assert not any(entry["delivered"] for entry in received["entries"])
    verdict, told = differences(tmp_path / "received.json", tmp_path / "out")
    assert (verdict.files, told) == (received["files"], {})


# Receipts that cannot be written


@pytest.mark.parametrize("path", ["taken", "no/such/directory"])
async def test_a_path_that_cannot_be_written_is_reported_before_the_relay_is_called(
    tmp_path: Path, path: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(UsageError, match="receipt"):
        await send([str(tmp_path / "file")], relay=NOWHERE, code=CODE, receipt=str(tmp_path / path))
    with pytest.raises(UsageError, match="receipt"):
        await receive(str(tmp_path / "out"), relay=NOWHERE, code=CODE, receipt=str(tmp_path / path))
    assert (tmp_path / "taken").read_text() == "mine"
    assert not leftovers(tmp_path)


async def test_a_transfer_that_failed_leaves_no_receipt(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(2_000_000))
    both = await receipted([tmp_path / "file"], tmp_path, max_size=1_000_000)
    assert isinstance(both.received, TooMuch)
    assert isinstance(both.sent, PeerFailed)
    assert sorted(os.listdir(tmp_path)) == ["file", "out"]


@pytest.mark.parametrize("method", ["add", "publish"])
async def test_a_transfer_goes_on_if_its_receipt_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def full(self: ReceiptWriter, *args: object, **more: object) -> None:
        raise NoSpace

    monkeypatch.setattr(ReceiptWriter, method, full)
    tree = make_tree(tmp_path)
    both = await copy([tree], tmp_path / "out", receiving={"receipt": str(tmp_path / "received.json")})
    assert isinstance(both.sent, Report)
    assert isinstance(both.received, NoSpace)
    both = await copy([tree], tmp_path / "out 2", sending={"receipt": str(tmp_path / "sent.json")})
    assert isinstance(both.sent, NoSpace)
    assert isinstance(both.received, Report)
    assert sorted(os.listdir(tmp_path)) == ["a tree", "out", "out 2"]


# One receipt for several conversations


class Conversations:
    """Adds one file to a receipt, in one conversation after another."""

    def __init__(self, path: Path) -> None:
        self.file = ReceiptFile(str(path), "receiver", "test")

    def tell(self, content: bytes, *, to_its_end: bool = True) -> str:
        entry = Entry(Kind.FILE, 0, "file", 0o644, 0, len(content))
        root = RootDigest()
        root.add(entry, file_digest(content))
        report = Report(1, len(content), 0, 0, root.digest().hex(), 0.0)
        self.file.begin()
        self.file.add("file", entry, file_digest(content), delivered=True)
        if to_its_end:
            self.file.publish(report)
        self.file.discard()
        return report.root


def test_a_later_conversation_with_other_contents_replaces_the_receipt(tmp_path: Path) -> None:
    receipts = Conversations(tmp_path / "receipt")
    receipts.tell(b"cut", to_its_end=False)
    assert os.listdir(tmp_path) == []
    first = receipts.tell(b"first")
    written = (tmp_path / "receipt").stat()
    receipts.tell(b"cut", to_its_end=False)
    assert receipts.tell(b"first") == first
    assert (tmp_path / "receipt").stat() == written
    second = receipts.tell(b"changed meanwhile")
    receipts.file.check()
    assert parsed(tmp_path / "receipt")["root"] == second
    assert os.listdir(tmp_path) == ["receipt"]


def test_a_receipt_whose_name_was_taken_meanwhile_is_reported_as_missing(tmp_path: Path) -> None:
    receipts = Conversations(tmp_path / "receipt")
    receipts.file.probe()
    (tmp_path / "receipt").write_text("mine")
    receipts.tell(b"content")
    with pytest.raises(UsageError):
        receipts.file.check()
    receipts.file.begin()  # the sender comes back to say goodbye only
    receipts.file.discard()
    with pytest.raises(UsageError):
        receipts.file.check()
    assert (tmp_path / "receipt").read_text() == "mine"
    assert os.listdir(tmp_path) == ["receipt"]


def test_the_receipt_of_an_earlier_process_that_completed_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "receipt").touch()
    there = str(tmp_path / "receipt")
    assert receipt_file(there, role="receiver", program="test", over=True) is None
    assert receipt_file(there, role="receiver", program="test", over=False) is not None
    late = receipt_file(f"{there} 2", role="receiver", program="test", over=True)
    assert late is not None
    with pytest.raises(UsageError, match="too late"):
        late.check()
