"""Every change of a tree, and of its receipt, is found; hostile trees are not followed."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from blake3 import blake3
from hypothesis import given, settings, strategies as st

from p2p_copy.errors import UsageError
from p2p_copy.files import directory as directories, limits, system
from p2p_copy.files.receipts.verify import Verdict
from p2p_copy.files.receipts.writer import ReceiptWriter
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.digest import RootDigest, brief
from p2p_copy.protocol.escape import escape
from p2p_copy.protocol.messages import Entry, Extra, Kind, Owner
from p2p_copy.protocol.names import refusal
from tests.files.helpers import open_handles
from tests.files.receipts.samples import (
    A_DIRECTORY,
    DIGEST,
    differences,
    digest_of,
    parsed,
    publish,
    write_lines,
    write_receipt,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def names() -> st.SearchStrategy[str]:
    system = st.text(min_size=1, max_size=12).filter(lambda name: refusal(name, portable=False) is None)
    return st.one_of(st.sampled_from(["a", "b", "A", "a.b", "-", "größe"]), system)


def trees() -> st.SearchStrategy[dict[str, Any]]:
    """Directories as dictionaries, files as bytes, symlinks as texts."""
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
def test_every_unchanged_tree_equals_its_receipt(tree: dict[str, Any]) -> None:
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


def replace_by_symlink(path: Path) -> None:
    """A symlink to the same file elsewhere is a difference, too."""
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
    "file": [remove, rename, replace_by_symlink, replace_by_pipe, replace_by_other],
    "directory": [remove, rename, replace_by_symlink, replace_by_pipe, replace_by_other],
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


def test_differences_are_reported_in_words(top: Path, receipt: Path) -> None:
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
        "a tree/script": "has the size 9 instead of 10",
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
def test_a_file_system_may_round_times_down(top: Path, receipt: Path, grain: int) -> None:
    write_receipt(receipt, top)
    path = top / "a tree/script"
    cut = path.stat().st_mtime_ns // grain * grain
    os.utime(path, ns=(cut, cut))
    assert differences(receipt, top, times=True)[1] == {}
    os.utime(path, ns=(cut - 1, cut - 1))
    assert list(differences(receipt, top, times=True)[1]) == ["a tree/script"]


def test_strict_reports_what_the_receipt_does_not_name_except_itself(top: Path) -> None:
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


def test_what_was_not_delivered_is_not_compared_but_in_the_root_digest(tmp_path: Path, receipt: Path) -> None:
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
        ("tree/no place/link", Entry(Kind.SYMLINK, 2, "link", target="a"), None, False),
        ("tree/file (1)", Entry(Kind.FILE, 1, "file", size=3), new.digest(), True),  # on-conflict rename
    ]
    for path, entry, digest, delivered in entries:
        writer.add(path, entry, digest, delivered=delivered)
        root.add(entry, digest)
    publish(writer, root.digest(), files=1, size=3, failures=3)
    verdict, told = differences(receipt, tmp_path / "out")
    assert told == {}
    assert verdict == Verdict(1, 3, 0, root.digest().hex(), failures=3, skipped=0, undelivered=4, unread=0)
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


def test_what_cannot_be_read_is_a_difference(commoners_path: Path) -> None:
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


def test_no_handle_stays_open(top: Path, receipt: Path) -> None:
    write_receipt(receipt, top)
    before = open_handles()
    differences(receipt, top, strict=True)
    shutil.rmtree(top / "a tree" / "d")
    differences(receipt, top, strict=True)
    receipt.write_text(receipt.read_text(encoding="utf-8")[:-500], encoding="utf-8")
    with pytest.raises(UsageError):
        differences(receipt, top, strict=True)
    assert open_handles() == before


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
def test_a_receipt_that_was_changed_is_reported(
    top: Path, receipt: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    write_receipt(receipt, top)
    changed(receipt, change)
    (how,) = differences(receipt, top)[1].items()
    assert how == ("", "The receipt itself was changed: its entries do not make up its root digest.")


@pytest.fixture(params=["handles", "paths"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "paths":
        monkeypatch.setattr(system, "HANDLES", False)


@pytest.mark.usefixtures("either_way")
def test_a_tree_is_compared_with_and_without_handles(top: Path, receipt: Path) -> None:
    write_receipt(receipt, top)
    assert differences(receipt, top, times=True, strict=True)[1] == {}


@pytest.mark.usefixtures("either_way")
def test_symlinks_above_an_entry_are_not_followed(top: Path, tmp_path: Path, receipt: Path) -> None:
    write_receipt(receipt, top)
    outside = tmp_path / "outside"
    (top / "a tree" / "d").rename(outside)
    (top / "a tree" / "d").symlink_to(outside)
    told = differences(receipt, top)[1]
    assert told.pop("a tree/d") == "is a symlink instead of a directory"
    assert len(told) == 6
    assert set(told.values()) == {"is missing"}


@pytest.mark.usefixtures("either_way")
def test_a_symlink_that_replaces_a_file_after_the_look_is_not_followed(
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


def test_a_pipe_or_socket_is_not_opened(top: Path, receipt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_file_that_grows_or_shrinks_while_it_is_read_is_reported(
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


@pytest.mark.parametrize("key", ["files", "size", "undelivered"])
def test_wrong_sums_are_reported(top: Path, receipt: Path, key: str) -> None:
    write_receipt(receipt, top)
    changed(receipt, lambda document: document.update({key: document[key] + 1}))
    _, told = differences(receipt, top)
    assert told == {"": "The receipt itself was changed: its entries do not make up its sums."}


def test_an_entry_marked_as_not_delivered_is_counted(top: Path, receipt: Path) -> None:
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


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such bits")
def test_special_bits_are_reported_with_the_mode(tmp_path: Path, receipt: Path) -> None:
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
    publish(writer, root.digest(), files=1, size=3)
    told = differences(receipt, top, preserved=True)[1]
    assert told["file"].startswith("has extended attributes that cannot be read: ")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has none of these")
def test_preserved_attributes_are_compared_if_asked(tmp_path: Path, receipt: Path) -> None:
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
    publish(writer, root.digest(), files=3, size=9)
    assert differences(receipt, top)[1] == {}
    told = differences(receipt, top, preserved=True)[1]
    assert told == {"third": "is a file of its own, and no other name of first"}
    (top / "third").unlink()
    (top / "third").hardlink_to(top / "first")
    told = differences(receipt, top, preserved=True)[1]
    assert told["third"].startswith(f"belongs to {mine[0]}:{mine[1]} instead of {mine[0] + 1}:")
