from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import example, given, strategies as st

from p2p_copy.errors import PeerMisbehaved
from p2p_copy.protocol import limits, wire
from p2p_copy.protocol.messages import (
    Abort,
    Accept,
    Ask,
    Data,
    Entry,
    Extra,
    FileEnd,
    FileFail,
    Finish,
    Goodbye,
    Held,
    Holds,
    Hole,
    Kept,
    Kind,
    Message,
    Offer,
    Omitted,
    Owner,
    Page,
    Preserved,
    Preview,
    Progress,
    Reason,
    Receipt,
    Reject,
    SameSegments,
    SegmentDigests,
    Total,
    Unwanted,
    WholeFile,
)

u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
text = st.text(st.characters(codec="utf-8"), max_size=40)
digest = st.binary(min_size=32, max_size=32)
reason = st.sampled_from(Reason)
owner = st.builds(Owner, u32, u32, text, text)
xattrs = st.lists(st.tuples(text, st.binary(max_size=40)), max_size=3).map(tuple)
extra = st.builds(Extra, st.booleans(), st.none() | u32, st.none() | owner, xattrs, st.just(b"")).filter(
    lambda one: one != Extra()
)
preserve = st.sampled_from([Preserved(bits) for bits in range(sum(Preserved) + 1)])
entry = st.builds(
    Entry,
    kind=st.sampled_from(Kind),
    depth=st.integers(0, 255),
    name=text,
    mode=st.integers(0, 2**16 - 1),
    mtime_ns=st.integers(-(2**63), 2**63 - 1),
    size=u64,
    target=text,
    extra=st.none() | extra,
)
message = st.one_of(
    st.builds(Offer, text, st.integers(0, limits.MAX_LINKS), preserve, st.booleans()),
    st.builds(
        Accept,
        text,
        st.booleans(),
        st.booleans(),
        st.integers(1, limits.MAX_LINKS),
        preserve,
        st.booleans(),
        rate=u64,
    ),
    st.builds(Ask, st.booleans()),
    st.builds(Preview, u64, u64, st.booleans(), u32, st.lists(entry, max_size=5).map(tuple)),
    st.builds(Total, u64, u64),
    st.builds(lambda entries: Page(tuple(entries)), st.lists(entry, min_size=1, max_size=5)),
    st.builds(Data, u32, u64, st.binary(min_size=1, max_size=100)),
    st.builds(Hole, u32, u64, st.integers(1, limits.MAX_RECORD_HOLES // 8)),
    st.builds(FileEnd, u32, digest),
    st.builds(WholeFile, u32, st.binary(min_size=1, max_size=100), digest),
    st.builds(FileFail, u32, reason),
    st.builds(Omitted, text, reason, st.booleans()),
    st.builds(Finish, u64, u64, u64, u64, digest),
    st.builds(Goodbye),
    st.builds(Reject, u32, reason, text),
    st.builds(Unwanted, u32),
    st.builds(
        Holds,
        u32,
        st.lists(st.builds(Held, u32, u64, digest), max_size=3).map(tuple),
        st.lists(st.tuples(u32, u32), max_size=3).map(tuple),
        st.lists(u32, max_size=3).map(tuple),
    ),
    st.builds(SegmentDigests, u32, u32, st.lists(digest, min_size=1, max_size=3).map(b"".join)),
    st.builds(
        SameSegments, u32, u32, st.lists(st.booleans(), min_size=1, max_size=5).map(tuple), st.booleans()
    ),
    st.builds(Kept, u32, u64, st.integers(1, limits.MAX_RECORD_HOLES // 8)),
    st.builds(Progress, u64, u64, u64),
    st.builds(Receipt, u64, u64, u64, u64, digest),
    st.builds(Abort, reason, text),
)


def content(*messages: Message) -> bytes:
    return b"".join(bytes(part) for one in messages for part in wire.encode(one))


@given(st.lists(message, max_size=8))
@example([Data(1, 0, b"x"), FileEnd(1, bytes(32))])
def test_what_is_encoded_is_decoded(messages: list[Message]) -> None:
    assert wire.decode(content(*messages)) == joined(messages)


@given(st.lists(message, max_size=5))
def test_only_file_data_refer_to_the_content(messages: list[Message]) -> None:
    buffer = bytearray(content(*messages))
    decoded = wire.decode(memoryview(buffer))
    buffer[:] = bytes(len(buffer))  # as if the next record had come

    for one, before in zip(decoded, joined(messages), strict=True):
        if isinstance(before, (Data, WholeFile)):
            before = replace(before, data=bytes(len(before.data)))
        assert one == before


def joined(messages: list[Message]) -> list[Message]:
    """Return the messages as they are decoded: a Data with all of a file and its FileEnd are one WholeFile."""
    heard: list[Message] = []
    for one in messages:
        last = heard[-1] if heard else None
        if (
            isinstance(one, FileEnd)
            and isinstance(last, Data)
            and (last.index, last.offset) == (one.index, 0)
        ):
            heard[-1] = WholeFile(one.index, last.data, one.digest)
        else:
            heard.append(one)
    return heard


@given(st.binary(max_size=300))
@example(b"d")
def test_a_whole_file_is_two_messages_on_the_wire_and_nothing_less(tail: bytes) -> None:
    file = WholeFile(7, b"data", b"d" * 32)
    whole = content(file)
    assert whole == content(Data(7, 0, b"data"), FileEnd(7, b"d" * 32))
    for cut in range(len(whole)):
        if not tail.startswith(whole[cut:]):
            with suppress(PeerMisbehaved):
                assert file not in wire.decode(whole[:cut] + tail)


@given(st.lists(message, min_size=1, max_size=3), st.data())
def test_a_cut_content_is_refused_or_whole_messages(messages: list[Message], data: st.DataObject) -> None:
    whole = content(*messages)
    cut = data.draw(st.integers(0, len(whole) - 1))
    try:
        decoded = wire.decode(whole[:cut])
    except PeerMisbehaved:
        return
    # A whole file may be cut in the middle: its data is then decoded as Data.
    assert content(*decoded) == whole[: len(content(*decoded))]


@given(st.binary(max_size=200))
def test_garbage_is_refused_or_decoded_but_never_crashes(garbage: bytes) -> None:
    with suppress(PeerMisbehaved):
        wire.decode(garbage)


def test_every_message_can_be_encoded_and_decoded() -> None:
    assert {kind.__name__ for kind in wire._ENCODERS} == {
        "Offer", "Ask", "Preview", "Accept", "Total", "Page", "Data", "Hole", "FileEnd", "FileFail", "Omitted",
        "Finish", "Goodbye", "Reject", "Unwanted", "Holds", "SegmentDigests", "SameSegments", "Kept", "Progress",
        "Receipt", "Abort",
    }  # fmt: skip
    assert {number for number, _ in wire._ENCODERS.values()} == set(wire._DECODERS)
    assert set(get_args(Message)) - set(wire._ENCODERS) == {WholeFile}, "which is two messages on the wire"


def test_a_reason_of_a_later_version_is_read_as_other() -> None:
    frame = wire.FRAME.pack(0x06, 5) + (7).to_bytes(4, "big") + b"\xfe"
    assert wire.decode(frame) == [FileFail(7, Reason.OTHER)]


@pytest.mark.parametrize(
    "bad",
    [
        b"\x01",
        wire.FRAME.pack(0x09, 1),
        wire.FRAME.pack(0x09, 1) + b"x",
        wire.FRAME.pack(0x77, 0),
        wire.FRAME.pack(0x03, 0),
        wire.FRAME.pack(0x04, 12) + bytes(12),
        wire.FRAME.pack(0x0A, 20) + bytes(20),
        wire.FRAME.pack(0x01, 4) + b"\x00\x02\xff\xfe",
        wire.FRAME.pack(0x11, 7) + b"\x00\x00\x02\x00\x01\x00\x00",
        wire.FRAME.pack(0x11, 7) + b"\x00\x00\x00\x00\x01\x80\x00",
        wire.FRAME.pack(0x01, 2**32 - 1),
        wire.FRAME.pack(0x16, 1) + b"\x02",
        wire.FRAME.pack(0x0B, 21) + bytes(16) + b"\x02" + bytes(4),
    ],
    ids=[
        "cut",
        "short",
        "long",
        "unknown",
        "empty page",
        "empty data",
        "empty hole",
        "not utf-8",
        "no bool",
        "unknown wish",
        "huge",
        "no answer",
        "no count",
    ],
)
def test_what_is_not_in_the_specification_is_refused(bad: bytes) -> None:
    with pytest.raises(PeerMisbehaved):
        wire.decode(bad)


def test_a_record_has_bounded_holes() -> None:
    half = Hole(0, 0, limits.MAX_RECORD_HOLES // 2)
    assert wire.decode(content(half, half)) == [half, half]
    for many in ((half, half, Hole(0, 0, 1)), (Hole(0, 0, limits.MAX_RECORD_HOLES + 1),)):
        with pytest.raises(PeerMisbehaved):
            wire.decode(content(*many))


def test_a_page_holds_a_bounded_number_of_entries() -> None:
    one = Entry(Kind.DIRECTORY, 0, "d")
    wire.decode(content(Page((one,) * limits.MAX_PAGE_ENTRIES)))
    with pytest.raises(PeerMisbehaved):
        wire.decode(content(Page((one,) * (limits.MAX_PAGE_ENTRIES + 1))))


def test_a_preview_holds_a_bounded_number_of_entries() -> None:
    one = Entry(Kind.DIRECTORY, 0, "d")
    wire.decode(content(Preview(0, 0, True, 1, (one,) * limits.MAX_PREVIEW_ENTRIES)))
    with pytest.raises(PeerMisbehaved):
        wire.decode(content(Preview(0, 0, True, 1, (one,) * (limits.MAX_PREVIEW_ENTRIES + 1))))


def test_a_text_for_display_is_cut_and_never_fails() -> None:
    (abort,) = wire.decode(content(Abort(Reason.OTHER, "ä" * 10_000)))
    assert isinstance(abort, Abort)
    assert len(abort.sentence) == limits.MAX_TEXT
    wire.decode(content(Omitted("\udc80" * 10_000, Reason.NAME)))


def test_file_data_is_not_copied_on_the_way_in_and_out() -> None:
    data = bytes(1000)
    assert wire.encode(Data(1, 2, data))[1] is data
    (decoded,) = wire.decode(content(Data(1, 2, data)))
    assert isinstance(decoded, Data)
    assert isinstance(decoded.data, memoryview)


@pytest.mark.parametrize("extra", [b"", b"\x00", b"\x80", b"\x02\x00", b"\x01\x00"])
def test_a_malformed_extra_is_refused(extra: bytes) -> None:
    whole = wire.encode_entry(Entry(Kind.FILE, 0, "a", extra=Extra(named_again=True)))
    assert wire.decode(wire.FRAME.pack(0x03, len(whole)) + whole)
    bad = whole[:-1] + extra
    with pytest.raises(PeerMisbehaved):
        wire.decode(wire.FRAME.pack(0x03, len(bad)) + bad)


@given(entry)
def test_an_entry_takes_no_more_than_most_bytes(one: Entry) -> None:
    assert len(wire.encode_entry(one)) <= wire.most_bytes(one)
