"""Receipts: what is written, and that others can check it from the documentation."""

from __future__ import annotations

import errno
import os
import tracemalloc
from pathlib import Path

import pytest
from blake3 import blake3

from p2p_copy.errors import NoSpace, OutputNotWritable, UsageError
from p2p_copy.files import limits
from p2p_copy.files.receipts.reader import ReceiptReader, Summary
from p2p_copy.files.receipts.writer import ReceiptWriter
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.messages import Entry, Extra, Kind, Owner
from p2p_copy.units import MIB
from tests.files.helpers import open_handles
from tests.files.receipts.samples import (
    A_DIRECTORY,
    A_FILE,
    A_LINK,
    DIGEST,
    EXAMPLE,
    differences,
    parsed,
    publish,
    write_example,
    write_receipt,
)
from tests.support.trees import leftovers


def test_the_format(receipt: Path) -> None:
    write_example(receipt)
    assert receipt.read_text(encoding="utf-8") == EXAMPLE
    assert receipt.stat().st_mode & 0o777 == 0o600
    assert leftovers(receipt.parent) == []
    assert parsed(receipt)["entries"][2]["target"] == "größe"


def test_what_was_written_is_read(receipt: Path) -> None:
    write_example(receipt)
    with ReceiptReader(str(receipt)) as reader:
        directory, file, link, missing = reader.records()
        assert reader.summary == Summary(b"\1" * 32, 1, 3, 1, 0, undelivered=1)
    assert directory == (("tree",), A_DIRECTORY, None, True, False, None)
    assert file == (("tree", "größe"), A_FILE, DIGEST, True, False, None)
    assert link == (("tree", 'a "link"'), A_LINK, None, True, False, None)
    assert missing == (("tree", "größe (1)"), A_FILE, None, False, True, None)


def test_others_can_compute_the_digests_from_the_documentation(top: Path, receipt: Path) -> None:
    write_receipt(receipt, top)
    document = parsed(receipt)
    root = blake3(derive_key_context="p2p-copy/1 root digest")
    seen = set()
    for entry in document["entries"]:
        seen.add(entry["kind"])
        name, target = entry["path"].rpartition("/")[2].encode(), entry.get("target", "").encode()
        at = top / entry["path"]
        root.update(
            bytes([{"directory": 1, "file": 2, "symlink": 3}[entry["kind"]], entry["path"].count("/")])
            + int(entry["mode"], 8).to_bytes(2, "big")
            + at.lstat().st_mtime_ns.to_bytes(8, "big", signed=True)
            + entry.get("size", 0).to_bytes(8, "big")
            + len(name).to_bytes(2, "big") + name + len(target).to_bytes(2, "big") + target
        )  # fmt: skip
        if entry["kind"] != "file":
            root.update(b"\2")
            continue
        data = at.read_bytes()
        digest = blake3(derive_key_context="p2p-copy/1 file digest").update(len(data).to_bytes(8, "big"))
        if data:
            digest.update(blake3(data).digest())
        assert entry["digest"] == "blake3-tree:" + digest.hexdigest()
        root.update(b"\1" + digest.digest())
    assert seen == {"directory", "file", "symlink"}
    assert document["root"] == root.hexdigest()


def test_a_receipt_of_nothing_is_one(receipt: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write_receipt(receipt, tmp_path / "out")
    assert parsed(receipt)["entries"] == []
    assert differences(receipt, tmp_path / "out", strict=True)[1] == {}


@pytest.mark.once
def test_the_number_of_entries_costs_no_memory(tmp_path: Path, receipt: Path) -> None:
    writer = ReceiptWriter(str(receipt))
    tracemalloc.start()
    try:
        for number in range(30_000):
            writer.add(f"{number}", Entry(Kind.FILE, 0, f"{number}", size=number), DIGEST)
        publish(writer, DIGEST)
        assert tracemalloc.get_traced_memory()[1] < MIB
        with ReceiptReader(str(receipt)) as reader:
            assert sum(1 for _ in reader.records()) == 30_000
        assert tracemalloc.get_traced_memory()[1] < 3 * MIB
    finally:
        tracemalloc.stop()


def test_the_longest_entry_fits_into_a_line(receipt: Path) -> None:
    writer = ReceiptWriter(str(receipt))
    path, target = "/".join(["\x7f" * 62] * 64), "\x01" * protocol_limits.MAX_PATH
    owner = Owner(2**32 - 1, 2**32 - 1, "\x01" * protocol_limits.MAX_NAME, "\x01" * protocol_limits.MAX_NAME)
    name = "\x01" * protocol_limits.MAX_NAME
    entry = Entry(Kind.SYMLINK, 63, name, target=target, extra=Extra(owner=owner))
    writer.add("\x01".join(path.split("\x7f")), entry, None)
    publish(writer, DIGEST)
    assert max(map(len, receipt.read_bytes().splitlines())) < limits.RECEIPT_LINE


def test_discarding_leaves_nothing(receipt: Path) -> None:
    writer = ReceiptWriter(str(receipt))
    assert len(os.listdir(receipt.parent)) == 1, "it is begun at once"
    writer.add("tree", A_DIRECTORY, None)
    writer.discard()
    writer.discard()
    assert os.listdir(receipt.parent) == []


def test_discarding_after_publishing_changes_nothing(receipt: Path) -> None:
    before = open_handles()
    write_example(receipt)
    writer = ReceiptWriter(str(receipt.parent / "other"))
    publish(writer, b"\1" * 32)
    writer.discard()
    assert sorted(os.listdir(receipt.parent)) == ["other", "receipt.json"]
    assert open_handles() == before


@pytest.mark.parametrize(
    "path", ["", "out/", "out", "receipt.json", "none/receipt", "receipt.json/x", "x\0", "x" * 300]
)
def test_a_receipt_that_cannot_be_written_is_refused_at_once(
    tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("receipt.json").write_text("mine")
    Path("out").mkdir()
    before = open_handles()
    with pytest.raises(UsageError, match=r"receipt|exists already"):
        ReceiptWriter(path)
    assert open_handles() == before
    assert sorted(os.listdir()) == ["out", "receipt.json"]
    assert Path("receipt.json").read_text() == "mine"


def test_a_symlink_is_not_written_through(receipt: Path) -> None:
    receipt.symlink_to("elsewhere")
    with pytest.raises(UsageError, match="exists already"):
        ReceiptWriter(str(receipt))


def test_a_directory_without_write_permission_is_reported_at_once(commoners_path: Path) -> None:
    commoners_path.chmod(0o500)
    try:
        with pytest.raises(UsageError, match=r"cannot be written to .*: Permission denied"):
            ReceiptWriter(str(commoners_path / "receipt"))
    finally:
        commoners_path.chmod(0o700)


def test_a_name_that_was_taken_meanwhile_is_left_alone(receipt: Path) -> None:
    writer = ReceiptWriter(str(receipt))
    receipt.write_text("another user's")
    with pytest.raises(OutputNotWritable, match="exists by now"):
        publish(writer, DIGEST)
    assert receipt.read_text() == "another user's"
    assert os.listdir(receipt.parent) == [receipt.name]


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.ENOSPC, NoSpace), (errno.EDQUOT, NoSpace), (errno.EIO, OutputNotWritable)],
)
def test_a_disk_that_fails_is_reported_and_nothing_is_left(
    receipt: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
) -> None:
    def fails(fd: int) -> None:
        raise OSError(number, os.strerror(number), "secret name")

    writer = ReceiptWriter(str(receipt))
    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(error, match="receipt") as caught:
        publish(writer, DIGEST)
    assert "secret" not in str(caught.value)
    assert os.listdir(receipt.parent) == []


def test_an_entry_that_is_undelivered_later_is_corrected_with_all_that_lies_in_it(
    tmp_path: Path, receipt: Path
) -> None:
    writer = ReceiptWriter(str(receipt))
    names = ["a", "a/b", "a/b/c", "a/d", "a b", "e"]
    for number, name in enumerate(names):
        kind = Kind.DIRECTORY if name in {"a", "a/b"} else Kind.SYMLINK
        entry = Entry(
            kind, name.count("/"), name.rpartition("/")[2], target="x" if kind is Kind.SYMLINK else ""
        )
        if number == 3:
            writer.undeliver(5)  # before it is written
        writer.add(name, entry, None, delivered=name != "a/b/c")
    writer.undeliver(1)
    writer.undeliver(4)
    publish(writer, DIGEST)
    with ReceiptReader(str(receipt)) as reader:
        found = {"/".join(record.parts): record.delivered for record in reader.records()}
        assert reader.summary.undelivered == 4
    assert found == dict.fromkeys(names, False) | {"a": True, "a/d": True}
    assert leftovers(receipt.parent) == []
    assert receipt.stat().st_mode & 0o777 == 0o600
