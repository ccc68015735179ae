"""Sealed records: in order, each once, up to the last; after anything else nothing is accepted."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, strategies as st

from p2p_copy.errors import PeerMisbehaved
from p2p_copy.protocol import keys, limits
from p2p_copy.protocol.compression import Compressor
from p2p_copy.protocol.records import FINAL, LEAST_CONTENT, ZSTD, Opened, Opener, Sealer
from p2p_copy.transfer import limits as transfer_limits

if TYPE_CHECKING:
    from collections.abc import Iterable

VECTOR: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "records.json").read_text(encoding="utf-8")
)
KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))
TEXT = b"the same words over and over, " * 40


def header(seq: int, size: int, *, kind: int = 1, flags: int = 0, reserved: int = 0) -> bytes:
    return (
        bytes((kind, flags)) + reserved.to_bytes(2, "big") + size.to_bytes(4, "big") + seq.to_bytes(8, "big")
    )


def forge(head: bytes, sealed: bytes, key: bytes = KEY) -> bytes:
    """Return an authentic record, as a malicious peer could make it."""
    return head + AESGCM(key).encrypt(bytes(4) + head[8:16], sealed, head)


def records(*contents: bytes, key: bytes = KEY) -> list[bytes]:
    sealer = Sealer(key)
    return [sealer.seal([content]) for content in contents]


def accepted(opener: Opener, arriving: Iterable[bytes]) -> list[bytes]:
    """Return what is opened before the first refusal, after which not even the right record is accepted."""
    opened: list[bytes] = []
    arriving = list(arriving)
    for record in arriving:
        try:
            opened.append(bytes(opener.open(record).content))
        except PeerMisbehaved:
            break
    else:
        raise AssertionError("all were accepted")
    for record in [*arriving, *records(*[b"x"] * (len(opened) + 1))]:
        with pytest.raises(PeerMisbehaved):
            opener.open(record)
    return opened


@given(
    contents=st.lists(st.lists(st.binary(max_size=300), max_size=4), max_size=8),
    times=st.integers(1, 30),
    compress=st.booleans(),
    rekey_records=st.integers(1, 5),
    rekey_bytes=st.integers(1, 3000),
)
def test_sealed_contents_are_opened(
    contents: list[list[bytes]],
    times: int,
    compress: bool,
    rekey_records: int,
    rekey_bytes: int,
) -> None:
    compressor = Compressor if compress else None
    sealer = Sealer(KEY, compressor=compressor, rekey_records=rekey_records, rekey_bytes=rekey_bytes)
    opener = Opener(KEY, rekey_records=rekey_records, rekey_bytes=rekey_bytes)
    for number, parts in enumerate(contents, 1):
        final = number == len(contents)
        opened = opener.open(sealer.seal(parts * times, final=final))
        assert opened == Opened(b"".join(parts) * times, final)


@pytest.mark.parametrize(
    "size",
    [
        0,
        1,
        transfer_limits.CHUNK - 1,
        transfer_limits.CHUNK,
        transfer_limits.CHUNK + 1,
        limits.MAX_RECORD_CONTENT,
    ],
)
@pytest.mark.parametrize("compress", [False, True])
def test_sizes_at_the_edges(size: int, compress: bool) -> None:
    sealer = Sealer(KEY, compressor=Compressor if compress else None)
    opener = Opener(KEY)
    for content in (random.Random(size).randbytes(size), bytes(size)):
        parts: list[bytes | memoryview] = [content[: size // 3], memoryview(content)[size // 3 :]]
        record = sealer.seal(parts)
        assert len(record) <= size + limits.RECORD_HEADER + limits.RECORD_TAG <= limits.MAX_RECORD
        assert opener.open(record).content == content


@pytest.mark.parametrize("size", [5, transfer_limits.CHUNK])
def test_a_returned_record_does_not_change_when_the_next_is_sealed(size: int) -> None:
    sealer = Sealer(KEY)
    part = bytearray(b"f" * size)
    first = sealer.seal([b"head", part])
    before = bytes(bytearray(first))
    part[:] = b"o" * size
    sealer.seal([b"head", part])
    assert first == before
    assert Opener(KEY).open(first).content == b"head" + b"f" * size


@given(
    sizes=st.lists(st.integers(0, 3000) | st.just(transfer_limits.CHUNK), min_size=1, max_size=60),
    kept=st.sets(st.integers(0, 59)),
)
def test_records_that_are_kept_stay_as_they_are_however_many_follow(sizes: list[int], kept: set[int]) -> None:
    sealer, opener = Sealer(KEY), Opener(KEY)
    records = []
    for number, size in enumerate(sizes):
        part = bytes((number,)) * size
        record = sealer.seal([part, b"end"])
        assert opener.open(record).content == part + b"end"
        if number in kept:
            records.append((record, bytes(bytearray(record))))
        del record  # and its room may be used again
    assert all(record == before for record, before in records)


@pytest.mark.parametrize("size", [5, transfer_limits.CHUNK])
def test_a_content_is_written_into_the_given_buffer_and_no_other(size: int) -> None:
    sealer, opener = Sealer(KEY), Opener(KEY)
    buffer = memoryview(bytearray(limits.MAX_RECORD_CONTENT))
    kept = opener.open(sealer.seal([b"k" * size])).content
    first = opener.open(sealer.seal([b"f" * size]), buffer).content
    assert first == buffer[:size] == b"f" * size
    second = opener.open(sealer.seal([b"s" * (size - 1)]), buffer).content
    assert second == buffer[: size - 1] == b"s" * (size - 1)
    assert kept == b"k" * size


def test_a_compressed_content_may_be_longer_than_its_frame_in_the_buffer() -> None:
    record = Sealer(KEY, compressor=Compressor).seal([bytes(limits.MAX_RECORD_CONTENT)])
    buffer = memoryview(bytearray(limits.MAX_RECORD_CONTENT))
    assert Opener(KEY).open(record, buffer).content == bytes(limits.MAX_RECORD_CONTENT)


@pytest.mark.parametrize("sizes", [[70_000, 3], [3, 70_000, 3], [3] * 200, [0, 0], [0, 70_000, 0], []])
def test_long_and_short_parts_make_the_same_record_as_their_content_in_one(sizes: list[int]) -> None:
    parts = [random.Random(size).randbytes(size) for size in sizes]
    assert Sealer(KEY).seal(parts) == Sealer(KEY).seal([b"".join(parts)])


def test_bytes_of_any_kind_can_be_parts() -> None:
    parts: list[bytes | bytearray | memoryview] = [b"ab", bytearray(b"cd"), memoryview(b"xefx")[1:3]]
    parts.append(memoryview(bytearray(b"gh")))
    assert Opener(KEY).open(Sealer(KEY).seal(parts)).content == b"abcdefgh"


def test_a_record_is_header_and_aes_gcm_of_the_content() -> None:
    record = Sealer(KEY).seal([b"con", b"tent"], final=True)
    head = header(0, 7, flags=FINAL)
    assert record[:16] == head
    assert AESGCM(KEY).decrypt(bytes(12), record[16:], head) == b"content"


def test_compressed_records_are_marked_and_shorter() -> None:
    record = Sealer(KEY, compressor=Compressor).seal([TEXT])
    assert record[:16] == header(0, len(TEXT), flags=ZSTD)
    assert len(record) < len(TEXT)
    assert Opener(KEY).open(record).content == TEXT


class Replay(Compressor):
    """Returns the vector's frames: other releases of the library may make other ones."""

    def compress(self, *parts: bytes | bytearray | memoryview) -> bytes | None:
        frames = {bytes.fromhex(r["content"]): r.get("zstd") for r in VECTOR["records"]}
        frame = frames[b"".join(parts)]
        return bytes.fromhex(frame) if frame else None


@pytest.mark.fault(55, "golden files")
def test_records_match_the_golden_file() -> None:
    limit = {"rekey_records": VECTOR["rekey_records"], "rekey_bytes": VECTOR["rekey_bytes"]}
    sealer = Sealer(bytes.fromhex(VECTOR["key"]), compressor=Replay, **limit)
    opener = Opener(bytes.fromhex(VECTOR["key"]), **limit)
    for case in VECTOR["records"]:
        content, record = bytes.fromhex(case["content"]), bytes.fromhex(case["record"])
        assert sealer.seal([content], final=case["final"]) == record
        assert opener.open(record) == Opened(content, case["final"])


@pytest.mark.fault(55, "AEAD vectors")
def test_the_golden_file_can_be_made_without_this_code() -> None:
    key = bytes.fromhex(VECTOR["key"])
    for seq, case in enumerate(VECTOR["records"]):
        content = bytes.fromhex(case["content"])
        flags = FINAL * case["final"] | ZSTD * ("zstd" in case)
        head = header(seq, len(content), flags=flags)
        record = forge(head, bytes.fromhex(case.get("zstd", case["content"])), key)
        assert record.hex() == case["record"]
        if (seq + 1) % VECTOR["rekey_records"] == 0:
            key = keys.next_key(key)


# --- What a relay can do ----------------------------------------------------------------------------


@pytest.mark.fault(49, "flip")
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("final", [False, True])
def test_every_flipped_bit_is_noticed(compress: bool, final: bool) -> None:
    content = TEXT if compress else b"content"
    compressor = Compressor if compress else None
    record = Sealer(KEY, compressor=compressor).seal([content], final=final)
    for position in range(len(record)):
        for bit in range(8):
            changed = bytearray(record)
            changed[position] ^= 1 << bit
            with pytest.raises(PeerMisbehaved):
                Opener(KEY).open(bytes(changed))


def test_a_record_cut_or_lengthened_anywhere_is_refused() -> None:
    record = Sealer(KEY).seal([b"content"])
    for length in range(len(record)):
        assert accepted(Opener(KEY), [record[:length]]) == []
        assert accepted(Opener(KEY), [record[length:][: len(record) - 1]]) == []
    assert accepted(Opener(KEY), [record + b"\0"]) == []
    assert accepted(Opener(KEY), [b"\0" + record]) == []


@pytest.mark.fault(49, "drop", "duplicate", "reorder")
def test_dropped_repeated_and_moved_records_are_refused() -> None:
    a, b, c = records(b"a", b"b", b"c")
    assert accepted(Opener(KEY), [a, c]) == [b"a"]
    assert accepted(Opener(KEY), [a, a, b]) == [b"a"]
    assert accepted(Opener(KEY), [b, a]) == []
    assert accepted(Opener(KEY), [a, c, b]) == [b"a"]
    assert accepted(Opener(KEY), [a, b, c, a]) == [b"a", b"b", b"c"]


def test_a_moved_record_is_refused_even_under_another_number() -> None:
    a, b = records(b"a", b"b")
    assert accepted(Opener(KEY), [header(0, 1) + b[16:], a]) == []
    assert accepted(Opener(KEY), [a, header(1, 1) + a[16:]]) == [b"a"]


@pytest.mark.fault(49, "other direction", "other session")
def test_records_of_another_session_or_direction_are_refused() -> None:
    a, b = records(b"a", b"b")
    (_, elsewhere) = records(b"a", b"b", key=OTHER_KEY)
    assert accepted(Opener(KEY), [a, elsewhere]) == [b"a"]
    assert accepted(Opener(KEY), [a, header(1, 1, reserved=1) + b[16:]]) == [b"a"]


@pytest.mark.fault(51, "after the last record", "two last records")
def test_nothing_is_accepted_after_the_final_record() -> None:
    sealer = Sealer(KEY)
    last = sealer.seal([b"last"], final=True)
    forged = forge(header(1, 1), b"x")
    assert accepted(Opener(KEY), [last, forged]) == [b"last"]
    assert accepted(Opener(KEY), [last, forge(header(1, 0, flags=FINAL), b"")]) == [b"last"]
    assert accepted(Opener(KEY), [last, last]) == [b"last"]


@pytest.mark.fault(50, "forged end")
def test_a_final_record_cannot_be_made_or_unmade() -> None:
    (plain,) = records(b"a")
    assert accepted(Opener(KEY), [header(0, 1, flags=FINAL) + plain[16:]]) == []
    last = Sealer(KEY).seal([b"a"], final=True)
    assert accepted(Opener(KEY), [header(0, 1) + last[16:]]) == []


# --- What a peer with the right key can do -----------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        header(0, 7, kind=0),
        header(0, 7, kind=2),
        header(0, 7, kind=0x8F),
        header(0, 7, flags=4),
        header(0, 7, flags=0x80 | FINAL),
        header(0, 7, reserved=1),
        header(1, 7),
        header(2**64 - 1, 7),
        header(0, 6),
        header(0, 8),
        header(0, 0),
        header(0, 2**32 - 1),
        header(0, limits.MAX_RECORD_CONTENT + 1, flags=ZSTD),
        header(0, 7, flags=ZSTD),
    ],
    ids=bytes.hex,
)
def test_authentic_records_that_break_the_rules_are_refused(head: bytes) -> None:
    assert accepted(Opener(KEY), [forge(head, b"content")]) == []


@pytest.mark.fault(52, "length bomb")
def test_a_record_above_the_limit_is_refused_unopened() -> None:
    size = limits.MAX_RECORD_CONTENT
    assert Opener(KEY).open(forge(header(0, size), bytes(size))).content == bytes(size)
    assert accepted(Opener(KEY), [forge(header(0, size + 1), bytes(size + 1))]) == []


@pytest.mark.fault(61, "bomb")
def test_a_bomb_inside_a_record_is_refused() -> None:
    frame = Compressor().compress(bytes(limits.MAX_RECORD_CONTENT))
    assert frame is not None
    promised = 2 * len(frame)
    assert accepted(Opener(KEY), [forge(header(0, promised, flags=ZSTD), frame)]) == []


def test_garbage_marked_as_compressed_is_refused() -> None:
    assert accepted(Opener(KEY), [forge(header(0, 100, flags=ZSTD), b"garbage")]) == []
    assert accepted(Opener(KEY), [forge(header(0, 100, flags=ZSTD), b"")]) == []


@given(st.binary(max_size=200))
def test_garbage_is_refused_and_nothing_else_happens(data: bytes) -> None:
    for record in (data, header(0, len(data)) + data, header(0, max(0, len(data) - 16)) + data):
        with pytest.raises(PeerMisbehaved):
            Opener(KEY).open(record)


# --- Changing keys -----------------------------------------------------------------------------------


def opens(key: bytes, record: bytes) -> bool:
    try:
        AESGCM(key).decrypt(bytes(4) + record[8:16], record[16:], record[:16])
    except InvalidTag:
        return False
    return True


def key_of_each(sealed: list[bytes], chain: list[bytes]) -> list[int]:
    """Return the place in the chain of the key under which each record opens."""
    return [[opens(key, record) for key in chain].index(True) for record in sealed]


CHAIN = [KEY, keys.next_key(KEY), keys.next_key(keys.next_key(KEY))]


def test_the_key_changes_after_so_many_records_and_numbers_go_on() -> None:
    sealer = Sealer(KEY, rekey_records=3)
    sealed = [sealer.seal([b"x"]) for _ in range(8)]
    assert key_of_each(sealed, CHAIN) == [0, 0, 0, 1, 1, 1, 2, 2]
    assert [int.from_bytes(record[8:16], "big") for record in sealed] == list(range(8))
    opener = Opener(KEY, rekey_records=3)
    assert [opener.open(record).content for record in sealed] == [b"x"] * 8


def test_the_key_changes_after_so_many_bytes_of_content() -> None:
    sealer = Sealer(KEY, rekey_bytes=10)
    sizes = [4, 5, 1, 10, 9, 0, 1]
    sealed = [sealer.seal([bytes(size)]) for size in sizes]
    assert key_of_each(sealed, [*CHAIN, keys.next_key(CHAIN[-1])]) == [0, 0, 0, 1, 2, 2, 2]
    opener = Opener(KEY, rekey_bytes=10)
    assert [len(opener.open(record).content) for record in sealed] == sizes


def test_bytes_count_before_compression() -> None:
    sealer = Sealer(KEY, compressor=Compressor, rekey_bytes=len(TEXT))
    sealed = [sealer.seal([TEXT]), sealer.seal([TEXT])]
    assert len(sealed[0]) < len(TEXT)
    assert key_of_each(sealed, CHAIN) == [0, 1]
    opener = Opener(KEY, rekey_bytes=len(TEXT))
    assert [opener.open(record).content for record in sealed] == [TEXT, TEXT]


def test_both_counts_start_again_with_each_key() -> None:
    sealer = Sealer(KEY, rekey_records=3, rekey_bytes=10)
    sealed = [sealer.seal([bytes(size)]) for size in (6, 6, 1, 1, 1, 1)]
    assert key_of_each(sealed, CHAIN) == [0, 0, 1, 1, 1, 2]


def test_a_record_under_the_key_before_is_refused() -> None:
    a, b = records(b"a", b"b")
    assert accepted(Opener(KEY, rekey_records=1), [a, b]) == [b"a"]


def test_the_default_limits_are_those_of_the_specification() -> None:
    assert limits.REKEY_RECORDS == 2**22
    assert limits.REKEY_BYTES == 2**36


# --- Wrong use ---------------------------------------------------------------------------------------


def test_nothing_is_sealed_after_the_final_record() -> None:
    sealer = Sealer(KEY)
    sealer.seal([b"last"], final=True)
    with pytest.raises(AssertionError):
        sealer.seal([b"more"])


def test_too_much_content_is_never_sealed_and_ends_the_records() -> None:
    sealer = Sealer(KEY)
    with pytest.raises(AssertionError):
        sealer.seal([bytes(limits.MAX_RECORD_CONTENT), b"x"])
    with pytest.raises(AssertionError):
        sealer.seal([b"x"])


def test_a_number_is_never_used_twice_even_if_sealing_fails_half_way() -> None:
    class Broken(Compressor):
        def compress(self, *parts: bytes | bytearray | memoryview) -> bytes | None:
            raise MemoryError

    sealer = Sealer(KEY, compressor=Broken)
    with pytest.raises(MemoryError):
        sealer.seal([bytes(LEAST_CONTENT)])
    with pytest.raises(AssertionError):
        sealer.seal([b"x"])
