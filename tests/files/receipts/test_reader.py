"""Hostile receipts: each is refused with a sentence, in bounded memory, before anything else is opened."""

from __future__ import annotations

import json
import tempfile
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings, strategies as st

from p2p_copy.errors import UsageError
from p2p_copy.files import directory as directories, limits
from p2p_copy.files.receipts.reader import ReceiptReader
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.units import MIB
from tests.files.receipts.samples import (
    EXAMPLE,
    HEAD,
    LINES,
    SUMMARY,
    differences,
    parsed,
    records,
    write_example,
    write_lines,
    write_receipt,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


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
def test_a_hostile_entry_is_refused_before_the_directory_is_opened(
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
def test_a_file_that_is_not_a_receipt_is_refused_with_a_sentence(
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


def test_the_length_of_a_line_is_bounded(receipt: Path) -> None:
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


def test_the_number_of_entries_is_bounded(receipt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_any_receipt_is_read_or_refused(data: bytes, at: int, length: int) -> None:
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


def test_a_receipt_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    for path in (str(tmp_path), str(tmp_path / "none"), "x\0"):
        with pytest.raises(UsageError, match=r"receipt .* cannot be read"):
            ReceiptReader(path)


def test_a_directory_that_does_not_exist_is_reported(top: Path, receipt: Path) -> None:
    write_receipt(receipt, top)
    for path in (receipt, top / "none"):
        with pytest.raises(UsageError, match=r"directory .* cannot be read"):
            differences(receipt, path)
