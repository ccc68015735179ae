"""Receipts of trees on the disk, as a transfer of them would have written them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from p2p_copy.files.receipts.reader import ReceiptReader
from p2p_copy.files.receipts.verify import Scope, Verdict, verify
from p2p_copy.files.receipts.writer import ReceiptWriter
from p2p_copy.files.source.entry import SourceEntry, SourceTrees
from p2p_copy.files.source.walk import walk
from p2p_copy.observer import Report
from p2p_copy.protocol.digest import FileDigest, RootDigest
from p2p_copy.protocol.messages import Entry, Kind

if TYPE_CHECKING:
    from pathlib import Path

    from p2p_copy.files.receipts.reader import Record

A_DIRECTORY = Entry(Kind.DIRECTORY, 0, "tree", 0o755, 1_769_860_800_123_456_789)
A_FILE = Entry(Kind.FILE, 1, "größe", 0o644, -1, 3)
A_LINK = Entry(Kind.SYMLINK, 1, 'a "link"', 0o777, 0, 0, "größe")
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
"ended": "2026-01-31T12:00:01.500Z", "files": 1, "size": 3, "failures": 1, "skipped": 0, \
"up_to_date": 0, "deleted": 0, "undelivered": 1, \
"root": "0101010101010101010101010101010101010101010101010101010101010101"}
"""

EXAMPLE = HEAD + LINES + SUMMARY


def digest_of(path: Path) -> bytes:
    data = path.read_bytes()
    digest = FileDigest(len(data))
    digest.update(data)
    return digest.digest()


def publish(
    writer: ReceiptWriter, root: bytes, files: int = 0, size: int = 0, *, failures: int = 0, **ends: Any
) -> None:
    """Publish a receipt with these sums; `ends` replaces what else its last line says."""
    rest = {
        "role": "receiver",
        "program": "p2p-copy 0.2.0",
        "started": 1_769_860_800.25,
        "ended": 1_769_860_801.5,
    }
    writer.publish(
        Report(files, size, failures, ends.pop("skipped", 0), root.hex(), 1.25), **{**rest, **ends}
    )


def write_receipt(path: Path, top: Path, **ends: Any) -> None:
    """Write the receipt that a receiver of all that lies below `top` would have written."""
    writer, root, files, size = ReceiptWriter(str(path), allowed=0o777), RootDigest(), 0, 0
    for found in walk(SourceTrees([str(inner) for inner in sorted(top.iterdir())], portable_names=False)):
        assert isinstance(found, SourceEntry)
        place = top.__class__(found.path)
        is_file = found.entry.kind is Kind.FILE
        digest = digest_of(place) if is_file else None
        writer.add(place.relative_to(top).as_posix(), found.entry, digest)
        root.add(found.entry, digest)
        files += is_file
        size += found.entry.size
    publish(writer, root.digest(), files, size, **ends)


def parsed(receipt: Path) -> dict[str, Any]:
    """Return what a receipt says: its first and last line as one, with all others as "entries"."""
    head, *entries, summary = map(json.loads, receipt.read_text(encoding="utf-8").splitlines())
    return {**head, **summary, "entries": entries}


def write_lines(receipt: Path, document: dict[str, Any], **options: Any) -> None:
    """Write a receipt that says this; `options` are those of `json.dumps`."""
    summary = {key: value for key, value in document.items() if key not in {"format", "entries"}}
    lines = [{"format": document["format"]}, *document["entries"], summary]
    receipt.write_text("".join(json.dumps(line, **options) + "\n" for line in lines))


def differences(
    receipt: Path,
    top: Path,
    *,
    times: bool = False,
    strict: bool = False,
    preserved: bool = False,
    complete: bool = False,
) -> tuple[Verdict, dict[str, str]]:
    """Verify, and return the verdict, and how each path differs."""
    told: list[tuple[str, str]] = []
    verdict = verify(
        str(receipt),
        str(top),
        Scope(times=times, strict=strict, preserved=preserved, complete=complete),
        lambda path, how: told.append((path, how)),
    )
    assert verdict.differences == len(told)
    assert len(told) == len(dict(told)), "nothing is told twice"
    return verdict, dict(told)


def write_example(path: Path) -> None:
    writer = ReceiptWriter(str(path))
    writer.add("tree", A_DIRECTORY, None)
    writer.add("tree/größe", A_FILE, DIGEST)
    writer.add('tree/a "link"', A_LINK, None)
    writer.add("tree/größe (1)", A_FILE, None, delivered=False)
    publish(writer, b"\1" * 32, 1, 3, failures=1)


def records(path: Path) -> list[Record]:
    with ReceiptReader(str(path)) as reader:
        return list(reader.records())
