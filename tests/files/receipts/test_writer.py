"""Receipts: what is written, what is read of it, and every change of a tree that they give away."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import sys
import tempfile
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from blake3 import blake3
from hypothesis import given, settings, strategies as st

from p2p_copy.errors import NoSpace, OutputNotWritable, UsageError
from p2p_copy.files import directory as directories, limits, system
from p2p_copy.files.receipts.reader import ReceiptReader, Summary
from p2p_copy.files.receipts.verify import Verdict
from p2p_copy.files.receipts.writer import ReceiptWriter
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.digest import RootDigest, brief
from p2p_copy.protocol.escape import escape
from p2p_copy.protocol.messages import Entry, Extra, Kind, Owner
from p2p_copy.protocol.names import refusal
from p2p_copy.units import MIB
from tests.files.helpers import open_handles
from tests.files.receipts.samples import ENDS, differences, digest_of, parsed, write_lines, write_receipt
from tests.support.trees import leftovers, make_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from p2p_copy.files.receipts.reader import Record

A_DIRECTORY = Entry(Kind.DIRECTORY, 0, "tree", 0o755, 1_769_860_800_123_456_789)
A_FILE = Entry(Kind.FILE, 1, "größe", 0o644, -1, 3)
A_LINK = Entry(Kind.LINK, 1, 'a "link"', 0o777, 0, 0, "größe")
DIGEST = bytes(range(32))

HEAD = '{"format": "p2p-copy receipt 1"}\n'

LINES = """\
{"path": "tree", "kind": "directory", "mode": "0755", "mtime": "2026-01-31T12:00:00.123456789Z"}
{"path": "tree/größe", "kind": "file", "mode": "0644", "mtime": "1969-12-31T23:59:59.999999999Z", "size": 3, \
"digest": "blake3-tree:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"}
{"path": "tree/a \\"link\\"", "kind": "symlink", "mode": "0777", "mtime": "1970-01-01T00:00:00.000000000Z", \
"target": "größe"}
{"path": "tree/größe (1)", "kind": "file", "mode": "0644", "mtime": "1969-12-31T23:59:59.999999999Z", "size": 3, \
"digest": null, "name": "größe", "delivered": false}
"""

SUMMARY = """\
{"program": "p2p-copy 0.2.0", "role": "receiver", "started": "2026-01-31T12:00:00.250Z", \
"ended": "2026-01-31T12:00:01.500Z", "files": 1, "size": 3, "failures": 1, "skipped": 0, "undelivered": 1, \
"root": "0101010101010101010101010101010101010101010101010101010101010101"}
"""

EXAMPLE = HEAD + LINES + SUMMARY


@pytest.fixture
def receipt(tmp_path: Path) -> Path:
    return tmp_path / "receipt.json"


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A directory into which a tree with everything was received."""
    top = tmp_path / "out"
    top.mkdir()
    make_tree(top)
    return top


def write_example(path: Path) -> None:
    writer = ReceiptWriter(str(path))
    writer.add("tree", A_DIRECTORY, None)
    writer.add("tree/größe", A_FILE, DIGEST)
    writer.add('tree/a "link"', A_LINK, None)
    writer.add("tree/größe (1)", A_FILE, None, delivered=False)
    writer.publish(**ENDS | {"root": b"\1" * 32, "files": 1, "size": 3, "failures": 1})


def records(path: Path) -> list[Record]:
    with ReceiptReader(str(path)) as reader:
        return list(reader.records())


# Writing


def test_the_format_stays_what_it_is(receipt: Path) -> None:
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


def test_what_was_discarded_leaves_nothing(receipt: Path) -> None:
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
    writer.publish(**ENDS | {"root": b"\1" * 32, "files": 0, "size": 0})
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


def test_a_link_is_not_written_through(receipt: Path) -> None:
    receipt.symlink_to("elsewhere")
    with pytest.raises(UsageError, match="exists already"):
        ReceiptWriter(str(receipt))


def test_a_place_that_may_not_be_written_to_is_noticed_at_once(commoners_path: Path) -> None:
    commoners_path.chmod(0o500)
    try:
        with pytest.raises(UsageError, match=r"cannot be written to .*: Permission denied"):
            ReceiptWriter(str(commoners_path / "receipt"))
    finally:
        commoners_path.chmod(0o700)


def test_a_name_that_was_taken_meanwhile_is_left_alone(receipt: Path) -> None:
    writer = ReceiptWriter(str(receipt))
    receipt.write_text("somebody else's")
    with pytest.raises(OutputNotWritable, match="exists by now"):
        writer.publish(**ENDS | {"root": DIGEST, "files": 0, "size": 0})
    assert receipt.read_text() == "somebody else's"
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
        writer.publish(**ENDS | {"root": DIGEST, "files": 0, "size": 0})
    assert "secret" not in str(caught.value)
    assert os.listdir(receipt.parent) == []


# Trees


def names() -> st.SearchStrategy[str]:
    system = st.text(min_size=1, max_size=12).filter(lambda name: refusal(name, portable=False) is None)
    return st.one_of(st.sampled_from(["a", "b", "A", "a.b", "-", "größe"]), system)


def trees() -> st.SearchStrategy[dict[str, Any]]:
    """Directories as dictionaries, files as bytes, links as texts."""
    leaves = st.one_of(st.binary(max_size=40), names())
    return st.dictionaries(
        names(),
        st.recursive(leaves, lambda inner: st.dictionaries(names(), inner, max_size=4), max_leaves=12),
    )


def build(at: Path, tree: dict[str, Any]) -> None:
    at.mkdir()
    for name, what in tree.items():
        if isinstance(what, dict):
            build(at / name, what)
        elif isinstance(what, bytes):
            (at / name).write_bytes(what)
        else:
            (at / name).symlink_to(what)


@pytest.mark.once
@settings(max_examples=100)
@given(tree=trees())
def test_every_tree_is_found_as_it_was(tree: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as place:
        top, receipt = Path(place) / "out", Path(place) / "receipt"
        top.mkdir()
        build(top / "tree", tree)
        write_receipt(receipt, top)
        verdict, told = differences(receipt, top, times=True, strict=True)
        assert told == {}
        assert verdict.files == sum(path.is_file() and not path.is_symlink() for path in top.rglob("*"))
        # Any other form of the same objects says the same.
        write_lines(receipt, parsed(receipt), separators=(" , ", " : "), sort_keys=True)
        assert differences(receipt, top, times=True, strict=True) == (verdict, {})


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def rename(path: Path) -> None:
    path.rename(path.with_name(path.name[:60] + " moved"))


def replace_by_link(path: Path) -> None:
    """A link to the very same thing elsewhere must not pass for it."""
    elsewhere = next(above for above in path.parents if above.name == "out").with_name("elsewhere")
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def replace_by_pipe(path: Path) -> None:
    remove(path)
    os.mkfifo(path)


def replace_by_other(path: Path) -> None:
    was_directory = path.is_dir() and not path.is_symlink()
    remove(path)
    if was_directory:
        path.touch()
    else:
        path.mkdir()


def retarget(path: Path) -> None:
    target = path.readlink()
    path.unlink()
    path.symlink_to(f"{target}x")


CHANGES: dict[str, list[Callable[[Path], None]]] = {
    "file": [remove, rename, replace_by_link, replace_by_pipe, replace_by_other],
    "directory": [remove, rename, replace_by_link, replace_by_pipe, replace_by_other],
    "symlink": [remove, rename, replace_by_pipe, replace_by_other, retarget],
}


@pytest.mark.once
@settings(max_examples=200)
@given(tree=trees(), choice=st.data())
def test_every_single_change_is_found(tree: dict[str, Any], choice: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as place:
        top, receipt = Path(place) / "out", Path(place) / "receipt"
        top.mkdir()
        build(top / "tree", tree)
        write_receipt(receipt, top)
        entries = parsed(receipt)["entries"]
        entry = choice.draw(st.sampled_from(entries))
        changes = [*CHANGES[entry["kind"]], *([flip, cut] if entry.get("size") else [])]
        change = choice.draw(st.sampled_from(changes))
        path = top / entry["path"]
        change(path)
        _, told = differences(receipt, top)
        inside = {other["path"] for other in entries if other["path"].startswith(entry["path"] + "/")}
        assert set(told) == {escape(path) for path in (entry["path"], *inside)}
        # The receipt is not what was changed, and with `strict` a new name is told, too.
        strictly = set(differences(receipt, top, strict=True)[1]) - set(told)
        new = path.relative_to(top).with_name(path.name[:60] + " moved").as_posix()
        assert strictly == ({escape(new)} if change is rename else set())


def test_the_differences_are_told_in_words(top: Path, receipt: Path) -> None:
    write_receipt(receipt, top, failures=2, skipped=1)
    tree = top / "a tree"
    flip(tree / "d/text.txt")
    cut(tree / "script")
    (tree / "private").unlink()
    retarget(tree / "dangling")
    replace_by_pipe(tree / "everyone")
    (tree / "empty file").unlink()
    (tree / "empty file").symlink_to("script")
    (tree / "empty directory").rmdir()
    (tree / "empty directory").touch()
    shutil.rmtree(tree / "ünïcödé")
    verdict, told = differences(receipt, top)
    assert told == {
        "a tree/d/text.txt": "has other contents",
        "a tree/script": "has 9 bytes instead of 10",
        "a tree/private": "is missing",
        "a tree/dangling": "points elsewhere",
        "a tree/everyone": "is something special instead of a file",
        "a tree/empty file": "is a symlink instead of a file",
        "a tree/empty directory": "is a file instead of a directory",
        "a tree/ünïcödé": "is missing",
        "a tree/ünïcödé/日本語 ☃.txt": "is missing",
    }
    assert (verdict.failures, verdict.skipped) == (2, 1)


def test_times_and_modes_are_compared_if_asked(top: Path, receipt: Path) -> None:
    write_receipt(receipt, top)
    tree = top / "a tree"
    (tree / "script").chmod(0o644)
    os.utime(tree / "private", ns=(0, 7))
    (tree / "d").chmod(0o700)
    os.utime(tree / "dangling", ns=(0, 0), follow_symlinks=False)
    assert differences(receipt, top, strict=True)[1] == {}
    told = differences(receipt, top, times=True)[1]
    assert told.pop("a tree/private").startswith("has the time 1970-01-01T00:00:00.000000007Z instead of 200")
    assert told.pop("a tree/dangling").startswith(
        "has the time 1970-01-01T00:00:00.000000000Z instead of 200"
    )
    assert told == {
        "a tree/script": "has mode 0644 instead of 0755",
        "a tree/d": "has mode 0700 instead of 0755",
    }


@pytest.mark.parametrize("grain", [100, 1_000, 10**9, 2 * 10**9])
def test_a_file_system_may_cut_times(top: Path, receipt: Path, grain: int) -> None:
    write_receipt(receipt, top)
    path = top / "a tree/script"
    cut = path.stat().st_mtime_ns // grain * grain
    os.utime(path, ns=(cut, cut))
    assert differences(receipt, top, times=True)[1] == {}
    os.utime(path, ns=(cut - 1, cut - 1))
    assert list(differences(receipt, top, times=True)[1]) == ["a tree/script"]


def test_what_is_not_named_is_told_if_asked_and_the_receipt_may_lie_there(top: Path) -> None:
    receipt = top / "receipt"
    write_receipt(top.parent / "receipt", top)
    (top.parent / "receipt").rename(receipt)
    (top / "empty").mkdir()
    (top / "a tree/empty directory/more").touch()
    (top / "a tree/d/e/more").mkdir()
    (top / "a tree/d/e/more/and more").touch()
    (top / "a tree/ünïcödé/a\x1b[31mb").symlink_to("nowhere")
    assert differences(receipt, top)[1] == {}
    told = differences(receipt, top, strict=True)[1]
    assert told == dict.fromkeys(
        [
            "a tree/empty directory/more", "a tree/d/e/more", r"a tree/ünïcödé/a\x1b[31mb", "empty",
        ],
        "is not in the receipt",
    )  # fmt: skip


@pytest.mark.once
def test_a_wide_directory_is_compared_strictly_in_little_memory(tmp_path: Path, receipt: Path) -> None:
    wide = tmp_path / "out" / "wide"
    wide.mkdir(parents=True)
    for number in range(3000):
        (wide / f"{number}").touch()
    write_receipt(receipt, tmp_path / "out")
    (wide / "3000").touch()
    assert differences(receipt, tmp_path / "out", strict=True)[1] == {"wide/3000": "is not in the receipt"}


def test_what_was_not_delivered_is_not_compared_and_yet_part_of_the_root(
    tmp_path: Path, receipt: Path
) -> None:
    (tmp_path / "out/tree").mkdir(parents=True)
    (tmp_path / "out/tree/refused").write_bytes(b"mine")
    (tmp_path / "out/tree/file (1)").write_bytes(b"new")
    (tmp_path / "out/tree/file").write_bytes(b"old")
    writer, root = ReceiptWriter(str(receipt)), RootDigest()
    new = blake3(derive_key_context="p2p-copy/1 file digest").update(
        (3).to_bytes(8, "big") + blake3(b"new").digest()
    )
    entries: list[tuple[str, Entry, bytes | None, bool]] = [
        ("tree", A_DIRECTORY, None, True),
        ("tree/vanished", Entry(Kind.FILE, 1, "vanished", size=7), None, True),
        ("tree/refused", Entry(Kind.FILE, 1, "refused", size=9), DIGEST, False),
        ("tree/no place", Entry(Kind.DIRECTORY, 1, "no place"), None, False),
        ("tree/no place/link", Entry(Kind.LINK, 2, "link", target="a"), None, False),
        ("tree/file (1)", Entry(Kind.FILE, 1, "file", size=3), new.digest(), True),  # on-conflict rename
    ]
    for path, entry, digest, delivered in entries:
        writer.add(path, entry, digest, delivered=delivered)
        root.add(entry, digest)
    writer.publish(**ENDS | {"root": root.digest(), "files": 1, "size": 3, "failures": 3})
    verdict, told = differences(receipt, tmp_path / "out")
    assert told == {}
    assert verdict == Verdict(1, 3, 0, root.digest().hex(), failures=3, skipped=0, undelivered=4)
    assert differences(receipt, tmp_path / "out", strict=True)[1] == {"tree/file": "is not in the receipt"}


def test_a_file_of_several_segments_is_compared(
    tmp_path: Path, receipt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol_limits, "SEGMENT", 1000)
    monkeypatch.setattr(limits, "VERIFY_READ", 333)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").write_bytes(os.urandom(3001))
    write_receipt(receipt, tmp_path / "out")
    assert differences(receipt, tmp_path / "out")[1] == {}
    flip(tmp_path / "out" / "file")
    assert differences(receipt, tmp_path / "out")[1] == {"file": "has other contents"}


def test_what_may_not_be_read_is_a_difference(commoners_path: Path) -> None:
    top, receipt = commoners_path / "out", commoners_path / "receipt"
    (top / "tree/closed").mkdir(parents=True)
    (top / "tree/closed/file").write_text("x")
    (top / "tree/file").write_text("x")
    write_receipt(receipt, top)
    (top / "tree/closed").chmod(0)
    (top / "tree/file").chmod(0)
    try:
        told = differences(receipt, top)[1]
    finally:
        (top / "tree/closed").chmod(0o700)
    assert told == {
        "tree/closed/file": "cannot be reached: Permission denied",
        "tree/file": "cannot be read: Permission denied",
    }


def test_nothing_stays_open(top: Path, receipt: Path) -> None:
    write_receipt(receipt, top)
    before = open_handles()
    differences(receipt, top, strict=True)
    shutil.rmtree(top / "a tree" / "d")
    differences(receipt, top, strict=True)
    receipt.write_text(receipt.read_text(encoding="utf-8")[:-500], encoding="utf-8")
    with pytest.raises(UsageError):
        differences(receipt, top, strict=True)
    assert open_handles() == before


@pytest.mark.once
def test_the_number_of_entries_costs_no_memory(tmp_path: Path, receipt: Path) -> None:
    writer = ReceiptWriter(str(receipt))
    tracemalloc.start()
    try:
        for number in range(30_000):
            writer.add(f"{number}", Entry(Kind.FILE, 0, f"{number}", size=number), DIGEST)
        writer.publish(**ENDS | {"root": DIGEST, "files": 0, "size": 0})
        assert tracemalloc.get_traced_memory()[1] < MIB
        with ReceiptReader(str(receipt)) as reader:
            assert sum(1 for _ in reader.records()) == 30_000
        assert tracemalloc.get_traced_memory()[1] < 3 * MIB
    finally:
        tracemalloc.stop()


# Receipts that were changed


def changed(receipt: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = parsed(receipt)
    change(document)
    write_lines(receipt, document)


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document["entries"].pop(),
        lambda document: document["entries"].reverse(),
        lambda document: document["entries"][0].update(mode="0700"),
        lambda document: document["entries"][0].update(mtime="2001-09-09T01:46:40.123456780Z"),
        lambda document: document["entries"][0].update(name="b tree"),
        lambda document: document.update(root="00" * 32),
    ],
)
def test_a_receipt_that_was_changed_is_told(
    top: Path, receipt: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    write_receipt(receipt, top)
    changed(receipt, change)
    (how,) = differences(receipt, top)[1].items()
    assert how == ("", "The receipt itself was changed: its entries do not make up its root digest.")


HOSTILE_FIELDS: dict[str, list[Any]] = {
    "path": [
        None, 1, [], "", "/", "/etc/passwd", "..", "../secret", "tree/../../secret", "tree//file", "tree/", "./tree",
        "tree/.", "tree\0", "tree\n", "tree/\ud800", "tree/\u202e", ".p2p-copy-1.part", "x" * 256, "ü" * 128,
        "/".join("d" * 65),
    ],
    "kind": [None, 2, "", "File", "pipe", ["file"], {}],
    "size": [None, -1, 0.5, float("inf"), 2**63, 10**3000, True, "3", []],
    "mode": [None, 420, "", "644", "0o644", "-0644", "1000000", "7777777", "\u0660\u0666\u0664\u0664"],
    "mtime": [
        None, 0, "", "now", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00.123456789", "2026-13-31T12:00:00.000000000Z",
        "2026-02-30T12:00:00.000000000Z", "0000-01-01T00:00:00.000000000Z", "9999-12-31T23:59:59.999999999Z",
        "1677-09-21T00:00:00.000000000Z", "2026-01-31T12:00:00.123456789+02:00",
    ],
    "digest": [
        1, "", "00" * 32, "sha256:" + "00" * 32, "blake3-tree:", "blake3-tree:" + "00" * 31, "blake3-tree:" + "0G" * 32,
        "blake3-tree:" + "AA" * 32,
    ],
    "name": [None, 1, "", "..", "a/b", "x" * 256],
    "delivered": [None, 0, "false"],
    "target": [None, 1, "\ud800", "x" * 4097],
}  # fmt: skip


def hostile_entries() -> Iterator[object]:
    yield from (None, 1, "text", [], {})
    good = {
        "path": "file",
        "mode": "0644",
        "mtime": "2026-01-31T12:00:00.000000000Z",
        "size": 3,
        "digest": None,
    }
    for key, values in HOSTILE_FIELDS.items():
        for value in values:
            yield {**good, "kind": "symlink" if key == "target" else "file", key: value}


@pytest.mark.parametrize("hostile", list(hostile_entries()), ids=lambda hostile: ascii(hostile)[-40:])
def test_a_hostile_entry_is_refused_before_anything_is_looked_at(
    tmp_path: Path, receipt: Path, hostile: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = tmp_path / "out"
    top.mkdir()
    (top / "file").write_text("abc")
    (tmp_path / "secret").write_text("abc")
    write_receipt(receipt, top)
    document = parsed(receipt)
    document["entries"] = [hostile]
    write_lines(receipt, document)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("something was looked at")

    for method in ("open", "lstat", "read", "readlink"):
        monkeypatch.setattr(directories.Directory, method, never)
    with pytest.raises(UsageError, match=r"is not a receipt, or it is damaged: .*"):
        differences(receipt, top, strict=True)


@pytest.mark.parametrize(
    "text",
    [
        "", " \n", "no", "[]", "{}", "1", "\0" * 1000, " " * 3_000_000, "{" * 100_000, "[" * 400_000, "null\n" * 1_000,
        HEAD, HEAD[:-1], HEAD + LINES, SUMMARY, LINES, LINES + SUMMARY, HEAD + SUMMARY + LINES, HEAD + HEAD + SUMMARY,
        HEAD + "[" * 400_000, HEAD + '{"path": ' * 50_000, HEAD + "[" * 30_000, HEAD + " " * 3_000_000,
        HEAD + '{"a": "' + "x" * 3_000_000 + '"}', HEAD + '{"a": ' + "9" * 5000 + "}", HEAD + '{"a": NaN}',
        HEAD + '{"a": 1,}', HEAD + '{"a": 1 "b": 2}', HEAD + "{1: 2}", HEAD + "[]\n" + SUMMARY, HEAD + "\n" + SUMMARY,
        HEAD + '"text"\n' + SUMMARY, EXAMPLE[:-20], EXAMPLE + "x", EXAMPLE + "\n", EXAMPLE + EXAMPLE, EXAMPLE[1:],
        EXAMPLE.replace("receipt 1", "receipt 2"), EXAMPLE.replace("receipt 1", "receipt 10"), "\ufeff" + EXAMPLE,
        EXAMPLE.replace('"files": 1', '"files": -1'), EXAMPLE.replace('"skipped": 0', '"skipped": "0"'),
        EXAMPLE.replace('"root": "01', '"root": "'), EXAMPLE.replace('"root"', '"roots"'),
        EXAMPLE.replace("}\n", "},\n"), EXAMPLE.replace("}\n", "}"), EXAMPLE.replace("}\n", "}\r"),
        EXAMPLE.replace('"tree"', '"tr\nee"'), json.dumps({"format": "p2p-copy receipt 1", "entries": []}),
    ],
    ids=lambda text: ascii(text)[:30],
)  # fmt: skip
def test_a_file_that_is_no_receipt_is_refused_with_a_sentence(
    tmp_path: Path, receipt: Path, text: str
) -> None:
    receipt.write_text(text, encoding="utf-8")
    tracemalloc.start()
    try:
        with pytest.raises(UsageError, match="is not a receipt, or it is damaged") as caught:
            records(receipt)
        assert tracemalloc.get_traced_memory()[1] < 40 * MIB
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1"])
def test_a_receipt_is_utf_8(receipt: Path, encoding: str) -> None:
    receipt.write_text(EXAMPLE, encoding=encoding)
    with pytest.raises(UsageError, match=r"is not a receipt, or it is damaged: .* \(line [1-3]\)"):
        records(receipt)


def test_a_line_may_be_so_long_and_no_longer(receipt: Path) -> None:
    """The longest line that a receiver can write is read, and with it some keys of a later version."""
    write_example(receipt)
    document = parsed(receipt)
    entry = document["entries"][0]
    entry["later"] = "x" * (limits.RECEIPT_LINE - len(json.dumps(entry)) - len(', "later": ""') - 1)
    write_lines(receipt, document)
    assert len(records(receipt)) == 4
    entry["later"] += "x"
    write_lines(receipt, document)
    with pytest.raises(UsageError, match=r"the line is too long \(line 2\)"):
        records(receipt)


def test_the_longest_entry_fits_into_a_line(receipt: Path) -> None:
    writer = ReceiptWriter(str(receipt))
    path, target = "/".join(["\x7f" * 62] * 64), "\x01" * protocol_limits.MAX_PATH
    owner = Owner(2**32 - 1, 2**32 - 1, "\x01" * protocol_limits.MAX_NAME, "\x01" * protocol_limits.MAX_NAME)
    name = "\x01" * protocol_limits.MAX_NAME
    entry = Entry(Kind.LINK, 63, name, target=target, extra=Extra(owner=owner))
    writer.add("\x01".join(path.split("\x7f")), entry, None)
    writer.publish(**ENDS | {"root": DIGEST, "files": 0, "size": 0})
    assert max(map(len, receipt.read_bytes().splitlines())) < limits.RECEIPT_LINE


def test_no_more_entries_are_read_than_a_transfer_has(receipt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_example(receipt)
    monkeypatch.setattr(protocol_limits, "MAX_ENTRIES", 4)
    assert len(records(receipt)) == 4
    monkeypatch.setattr(protocol_limits, "MAX_ENTRIES", 3)
    with pytest.raises(UsageError, match="more than 3 entries"):
        records(receipt)


@settings(max_examples=300)
@given(
    data=st.one_of(st.binary(), st.text().map(str.encode)),
    at=st.integers(0, len(EXAMPLE)),
    length=st.integers(0, 9),
)
def test_whatever_a_receipt_holds_it_is_read_or_refused(data: bytes, at: int, length: int) -> None:
    example = EXAMPLE.encode()
    with tempfile.NamedTemporaryFile() as file:
        file.write(example[:at] + data + example[at + length :])
        file.flush()
        try:
            found = records(Path(file.name))
        except UsageError:
            return
    for record in found:
        assert not {"", ".", ".."} & set(record.parts)
        assert not any("/" in part or "\0" in part for part in record.parts)


def test_a_receipt_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    for path in (str(tmp_path), str(tmp_path / "none"), "x\0"):
        with pytest.raises(UsageError, match=r"receipt .* cannot be read"):
            ReceiptReader(path)


def test_a_directory_that_is_none_is_told(top: Path, receipt: Path) -> None:
    write_receipt(receipt, top)
    for path in (receipt, top / "none"):
        with pytest.raises(UsageError, match=r"directory .* cannot be read"):
            differences(receipt, path)


# Directories that others change


@pytest.fixture(params=["handles", "paths"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "paths":
        monkeypatch.setattr(system, "HANDLES", False)


@pytest.mark.usefixtures("either_way")
def test_a_tree_is_compared_either_way(top: Path, receipt: Path) -> None:
    write_receipt(receipt, top)
    assert differences(receipt, top, times=True, strict=True)[1] == {}


@pytest.mark.usefixtures("either_way")
def test_links_on_the_way_lead_nowhere(top: Path, tmp_path: Path, receipt: Path) -> None:
    write_receipt(receipt, top)
    outside = tmp_path / "outside"
    (top / "a tree" / "d").rename(outside)
    (top / "a tree" / "d").symlink_to(outside)
    told = differences(receipt, top)[1]
    assert told.pop("a tree/d") == "is a symlink instead of a directory"
    assert len(told) == 6
    assert set(told.values()) == {"is missing"}


@pytest.mark.usefixtures("either_way")
def test_a_link_that_takes_the_place_of_a_file_just_now_is_not_followed(
    top: Path, tmp_path: Path, receipt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_receipt(receipt, top)
    secret = tmp_path / "secret"
    shutil.copy2(top / "a tree" / "script", secret)
    look = directories.Directory.lstat

    def look_too_early(directory: directories.Directory, name: str) -> os.stat_result | None:
        status = look(directory, name)
        if name == "script":
            (top / "a tree" / "script").unlink()
            (top / "a tree" / "script").symlink_to(secret)
        return status

    monkeypatch.setattr(directories.Directory, "lstat", look_too_early)
    assert list(differences(receipt, top)[1]) == ["a tree/script"]


def test_a_pipe_or_socket_is_never_waited_for(
    top: Path, receipt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_receipt(receipt, top)
    replace_by_pipe(top / "a tree" / "script")
    (top / "a tree" / "private").unlink()
    monkeypatch.chdir(top / "a tree")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("private")
        told = differences(receipt, top)[1]
    assert told == dict.fromkeys(
        ["a tree/script", "a tree/private"], "is something special instead of a file"
    )


def test_a_file_that_grows_or_shrinks_while_it_is_read_is_told(
    top: Path, receipt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_receipt(receipt, top)
    opened = directories.Directory.read
    path = top / "a tree" / "script"

    def meanwhile(directory: directories.Directory, name: str) -> int:
        fd = opened(directory, name)
        if name == "script":
            os.truncate(path, size)
        return fd

    monkeypatch.setattr(directories.Directory, "read", meanwhile)
    for size in (9, 11):  # noqa: B007  # used when the file is opened
        os.truncate(path, 0)
        path.write_text("#!/bin/sh\n")
        assert differences(receipt, top)[1] == {"a tree/script": "is being changed while it is read"}


# What was said to be delivered, and was not


def test_what_turns_out_later_not_to_be_delivered_is_corrected_with_all_that_lies_in_it(
    tmp_path: Path, receipt: Path
) -> None:
    writer = ReceiptWriter(str(receipt))
    names = ["a", "a/b", "a/b/c", "a/d", "a b", "e"]
    for number, name in enumerate(names):
        kind = Kind.DIRECTORY if name in {"a", "a/b"} else Kind.LINK
        entry = Entry(kind, name.count("/"), name.rpartition("/")[2], target="x" if kind is Kind.LINK else "")
        if number == 3:
            writer.undeliver(5)  # before it is written
        writer.add(name, entry, None, delivered=name != "a/b/c")
    writer.undeliver(1)
    writer.undeliver(4)
    writer.publish(**ENDS | {"root": DIGEST, "files": 0, "size": 0})
    with ReceiptReader(str(receipt)) as reader:
        found = {"/".join(record.parts): record.delivered for record in reader.records()}
        assert reader.summary.undelivered == 4
    assert found == dict.fromkeys(names, False) | {"a": True, "a/d": True}
    assert leftovers(receipt.parent) == []
    assert receipt.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("key", ["files", "size", "undelivered"])
def test_sums_that_the_entries_do_not_make_up_are_told(top: Path, receipt: Path, key: str) -> None:
    write_receipt(receipt, top)
    changed(receipt, lambda document: document.update({key: document[key] + 1}))
    _, told = differences(receipt, top)
    assert told == {"": "The receipt itself was changed: its entries do not make up its sums."}


def test_an_entry_that_is_marked_as_not_delivered_never_passes_as_all(top: Path, receipt: Path) -> None:
    write_receipt(receipt, top)
    document = parsed(receipt)
    entry = next(entry for entry in document["entries"] if entry["kind"] == "file" and entry["size"])
    entry["delivered"] = False
    write_lines(receipt, document)
    (top / entry["path"]).unlink()
    assert set(differences(receipt, top)[1]) == {""}
    document.update(files=document["files"] - 1, size=document["size"] - entry["size"], undelivered=1)
    write_lines(receipt, document)
    verdict, told = differences(receipt, top)
    assert (told, verdict.undelivered) == ({}, 1)
    assert set(differences(receipt, top, complete=True)[1]) == {entry["path"]}


# Attributes


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such bits")
def test_special_bits_are_told_with_the_mode(tmp_path: Path, receipt: Path) -> None:
    top = tmp_path / "out"
    (top / "directory").mkdir(parents=True)
    (top / "file").touch()
    write_receipt(receipt, top)
    (top / "file").chmod(0o4644)
    (top / "directory").chmod(0o1755)
    assert differences(receipt, top)[1] == {}
    told = differences(receipt, top, times=True)[1]
    assert {path: how.split()[2] for path, how in told.items()} == {"file": "4644", "directory": "1755"}
    (top / "file").chmod(0o644)
    (top / "directory").chmod(0o2755)  # inherited
    assert differences(receipt, top, times=True)[1] == {}


@pytest.mark.skipif(sys.platform != "linux", reason="Python reads extended attributes on Linux only")
def test_extended_attributes_that_cannot_be_read_differ(
    tmp_path: Path, receipt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = tmp_path / "out"
    top.mkdir()
    (top / "file").write_text("one")
    try:
        os.setxattr(top / "file", "user.a", b"b")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    monkeypatch.setattr(protocol_limits, "MAX_XATTRS", 0)  # so that there are more than may be told
    writer, root = ReceiptWriter(str(receipt)), RootDigest()
    entry = Entry(Kind.FILE, 0, "file", size=3, extra=Extra(xattrs_digest=bytes(32)))
    writer.add("file", entry, digest_of(top / "file"))
    root.add(entry, digest_of(top / "file"))
    writer.publish(**ENDS | {"root": root.digest(), "files": 1, "size": 3})
    told = differences(receipt, top, preserved=True)[1]
    assert told["file"].startswith("has extended attributes that cannot be read: ")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has none of these")
def test_what_was_preserved_is_compared_if_asked(tmp_path: Path, receipt: Path) -> None:
    top = tmp_path / "out"
    top.mkdir()
    mine = (os.getuid(), os.getgid())
    for name in ("first", "second", "third"):
        (top / name).write_text("one")
    (top / "second").unlink()
    (top / "second").hardlink_to(top / "first")
    writer, root = ReceiptWriter(str(receipt)), RootDigest()
    xattrs = brief(Extra(xattrs=(("user.a", b"b"),))).xattrs_digest
    for name, extra in (
        ("first", Extra(named_again=True)),
        ("second", Extra(original=0)),
        ("third", Extra(original=0, owner=Owner(mine[0] + 1, mine[1]), xattrs_digest=xattrs)),
    ):
        entry = Entry(Kind.FILE, 0, name, size=3, extra=extra)
        writer.add(name, entry, digest_of(top / name))
        root.add(entry, digest_of(top / name))
    writer.publish(**ENDS | {"root": root.digest(), "files": 3, "size": 9})
    assert differences(receipt, top)[1] == {}
    told = differences(receipt, top, preserved=True)[1]
    assert told == {"third": "is a file of its own, and no other name of first"}
    (top / "third").unlink()
    (top / "third").hardlink_to(top / "first")
    told = differences(receipt, top, preserved=True)[1]
    assert told["third"].startswith(f"belongs to {mine[0]}:{mine[1]} instead of {mine[0] + 1}:")
