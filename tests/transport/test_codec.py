"""A connection without I/O: our frames against wsproto's, both ways and on every split of the input."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress
from io import BytesIO
from itertools import cycle, pairwise

import pytest
from hypothesis import example, given, settings, strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    Request,
    TextMessage,
)

from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.transport import codec as module, limits
from p2p_copy.transport.codec import (
    NO_MASK,
    Codec,
    Decoder,
    FrameError,
    Message,
    Opcode,
    Piece,
    encode,
    frame_buffers,
    header,
)

MASK = b"\x01\x80\xff\x42"
masks = st.sampled_from([MASK, NO_MASK, None])

payload = st.one_of(
    st.binary(max_size=300), st.sampled_from([0, 1, 125, 126, 127, 65535, 65536, 70000]).map(bytes)
)
text = st.text(st.characters(codec="utf-8"), max_size=50).map(str.encode)
control = st.tuples(st.sampled_from([Opcode.PING, Opcode.PONG]), st.binary(max_size=125))
message = st.one_of(
    st.tuples(st.just(Opcode.BINARY), payload), st.tuples(st.just(Opcode.TEXT), text), control
)


def decode(data: bytes, *cuts: int, masked: bool = True, most: float = 2**20) -> list[Message]:
    decoder = Decoder(masked=masked, max_message=most)
    edges = [0, *sorted(cuts), len(data)]
    return [one for start, end in pairwise(edges) for one in decoder.feed(data[start:end])]


def frame(first: int, body: bytes, mask: bytes | None = MASK) -> bytes:
    """Return a frame with any first byte."""
    whole = encode(Opcode.BINARY, body, mask)
    return bytes((first,)) + whole[1:]


def by_wsproto(event: Event, *, client: bool) -> bytes:
    return Connection(ConnectionType.CLIENT if client else ConnectionType.SERVER).send(event)


@given(st.lists(message, max_size=6), masks, st.data())
def test_encoded_frames_are_decoded_on_every_split(
    messages: list[tuple[Opcode, bytes]], mask: bytes | None, data: st.DataObject
) -> None:
    wire = b"".join(encode(opcode, body, mask) for opcode, body in messages)
    cuts = data.draw(st.lists(st.integers(0, len(wire)), max_size=8))
    assert decode(wire, *cuts, masked=mask is not None) == [Message(*one) for one in messages]


@given(st.lists(message, max_size=4))
def test_bytes_one_by_one_are_decoded_as_all_at_once(messages: list[tuple[Opcode, bytes]]) -> None:
    wire = b"".join(encode(opcode, body[:200], MASK) for opcode, body in messages)
    assert decode(wire, *range(len(wire))) == decode(wire)


@given(message, masks)
def test_wsproto_reads_what_we_write(one: tuple[Opcode, bytes], mask: bytes | None) -> None:
    opcode, body = one
    reader = Connection(ConnectionType.SERVER if mask is not None else ConnectionType.CLIENT)
    reader.receive_data(encode(opcode, body, mask))
    events = list(reader.events())
    match opcode:
        case Opcode.BINARY:
            assert b"".join(event.data for event in events if isinstance(event, BytesMessage)) == body
        case Opcode.TEXT:
            assert "".join(event.data for event in events if isinstance(event, TextMessage)) == body.decode()
        case Opcode.PING:
            assert [bytes(event.payload) for event in events if isinstance(event, Ping)] == [body]
        case _:
            assert [bytes(event.payload) for event in events if isinstance(event, Pong)] == [body]


@given(message, st.booleans())
def test_we_read_what_wsproto_writes(one: tuple[Opcode, bytes], client: bool) -> None:
    opcode, body = one
    events: dict[Opcode, Event] = {
        Opcode.BINARY: BytesMessage(data=body),
        Opcode.TEXT: TextMessage(data=body.decode() if opcode is Opcode.TEXT else ""),
        Opcode.PING: Ping(payload=body),
        Opcode.PONG: Pong(payload=body),
    }
    assert decode(by_wsproto(events[opcode], client=client), masked=client) == [Message(opcode, body)]


@given(payload)
def test_without_a_mask_the_bytes_are_those_of_wsproto(body: bytes) -> None:
    assert encode(Opcode.BINARY, body, None) == by_wsproto(BytesMessage(data=body), client=False)


@given(st.binary(max_size=100), st.binary(min_size=4, max_size=4))
def test_masking_twice_changes_nothing(body: bytes, mask: bytes) -> None:
    masked = module.apply_mask(body, mask)
    assert masked == bytes(byte ^ mask[at % 4] for at, byte in enumerate(body))
    assert module.apply_mask(masked, mask) == body


@pytest.mark.parametrize("mask", [NO_MASK, None])
def test_a_payload_that_no_mask_changes_is_not_copied(mask: bytes | None) -> None:
    body = bytes(100)
    assert frame_buffers(Opcode.BINARY, body, mask)[1] is body


@pytest.mark.parametrize("masked", [True, False])
def test_a_part_of_a_message_keeps_nothing_else_in_memory_that_came_with_it(masked: bool) -> None:
    mask = NO_MASK if masked else None
    head = frame(2, bytes(100_000), mask)[: -100_000 + 10]  # ten bytes of it
    decoder = Decoder(masked=masked, max_message=2**20)
    pings = encode(Opcode.PING, bytes(125), mask) * 5000
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    assert len(list(decoder.feed(pings + head))) == 5000
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 10_000
    assert decoder.here == 10


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=4))
@settings(max_examples=400)
def test_garbage_is_refused_or_read_but_never_crashes(garbage: bytes, cuts: list[int]) -> None:
    for masked in (True, False):
        with suppress(FrameError):
            decode(garbage, *(min(cut, len(garbage)) for cut in cuts), masked=masked)


@given(st.binary(max_size=60))
@settings(max_examples=400)
def test_we_refuse_what_wsproto_refuses(garbage: bytes) -> None:
    theirs = Connection(ConnectionType.SERVER)
    theirs.receive_data(garbage)
    refused = any(isinstance(event, CloseConnection) and event.reason for event in theirs.events())
    if refused:
        try:
            for one in decode(garbage, masked=True):
                if one.opcode is Opcode.CLOSE:
                    module.read_close(bytes(one.payload))
        except FrameError:
            return
        assert garbage[0] & 0x0F in (Opcode.CONTINUATION, Opcode.PING, Opcode.PONG, Opcode.CLOSE)


def test_fragments_are_joined_and_controls_come_between() -> None:
    wire = (
        frame(0x02, b"one")
        + frame(0x89, b"ping")
        + frame(0x00, b"")
        + frame(0x80, b"two")
        + frame(0x82, b"next")
    )
    for cut in range(len(wire)):
        assert decode(wire, cut) == [
            Message(Opcode.PING, b"ping"),
            Message(Opcode.BINARY, b"onetwo"),
            Message(Opcode.BINARY, b"next"),
        ]


def test_text_may_be_cut_inside_a_character() -> None:
    body = "ä".encode()
    assert decode(frame(0x01, body[:1]) + frame(0x80, body[1:])) == [Message(Opcode.TEXT, body)]


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (frame(0xC2, b"x"), 1002),
        (frame(0x92, b"x"), 1002),
        (frame(0xA2, b"x"), 1002),
        (frame(0x83, b"x"), 1002),
        (frame(0x8B, b"x"), 1002),
        (frame(0x82, b"x", None), 1002),
        (frame(0x09, b"x"), 1002),
        (b"\x89\xfe\x00\x7e" + bytes(4), 1002),
        (b"\x82\xfe\x00\x01" + bytes(5), 1002),
        (b"\x82\xff" + bytes(7) + b"\x01" + bytes(5), 1002),
        (b"\x82\xff\x80" + bytes(7) + bytes(4), 1002),
        (frame(0x80, b"x"), 1002),
        (frame(0x02, b"x") + frame(0x82, b"y"), 1002),
        (frame(0x81, b"\xff"), 1007),
        (frame(0x01, b"\xe4") + frame(0x80, b"x"), 1007),
        (b"\x82\xff\x00\x00\x00\x00\x7f\xff\xff\xff" + bytes(4), 1009),
        (frame(0x02, b"x") * 1 + frame(0x00, b"") * limits.MAX_FRAGMENTS, 1009),
    ],
    ids=["rsv1", "rsv3", "rsv2", "opcode 3", "opcode 11", "unmasked", "cut ping", "long ping", "not shortest 16",
         "not shortest 64", "top bit", "no beginning", "begins inside", "not utf-8", "not utf-8 in pieces", "huge",
         "endless empty fragments"],
)  # fmt: skip
def test_frames_that_break_a_rule_are_refused_on_every_split(wire: bytes, code: int) -> None:
    for cuts in [(), *((cut,) for cut in range(1, min(len(wire), 40))), tuple(range(len(wire)))]:
        with pytest.raises(FrameError) as error:
            decode(wire, *cuts)
        assert error.value.code == code


def test_a_client_refuses_masked_frames() -> None:
    with pytest.raises(FrameError):
        decode(frame(0x82, b"x"), masked=False)


def test_the_limit_is_on_whole_messages_and_to_the_byte() -> None:
    assert decode(frame(0x82, bytes(100)), most=100)
    assert decode(frame(0x02, bytes(50)) + frame(0x80, bytes(50)), most=100)
    for wire in (frame(0x82, bytes(101)), frame(0x02, bytes(50)) + frame(0x80, bytes(51))):
        with pytest.raises(FrameError):
            decode(wire, most=100)


@pytest.mark.fault(52, "length bomb")
def test_a_message_over_the_limit_is_refused_by_its_header_alone() -> None:
    with pytest.raises(FrameError):
        decode(frame(0x82, bytes(200))[:8], most=100)


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1012, 1014, 3000, 4001, 4999])
def test_close_frames_keep_code_and_reason(code: int) -> None:
    assert module.read_close(module.close_payload(code, "why ä")) == (code, "why ä")


def test_a_close_frame_may_be_empty_and_its_reason_is_cut_to_fit() -> None:
    assert module.read_close(module.close_payload(1005, "")) == (1005, "")
    assert len(module.close_payload(1000, "ä" * 200)) <= 125
    assert module.read_close(module.close_payload(1000, "ä" * 200))[1] == "ä" * 61


@pytest.mark.parametrize(
    "bad",
    [b"\x03", b"\x03\xec", b"\x03\xed", b"\x03\xee", b"\x03\xf7", b"\x00\x00", b"\x13\x88", b"\x03\xe8\xff"],
)
def test_bad_close_frames_are_refused(bad: bytes) -> None:
    with pytest.raises(FrameError):
        module.read_close(bad)


@pytest.mark.parametrize("masked", [True, False])
def test_a_message_that_comes_byte_by_byte_costs_little_more_than_its_bytes(masked: bool) -> None:
    size = 100_000
    wire = encode(Opcode.BINARY, bytes(size), MASK if masked else None)
    decoder = Decoder(masked=masked, max_message=size)
    tracemalloc.start()
    for at in range(len(wire) - 1):
        list(decoder.feed(wire[at : at + 1]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * size + 50_000
    assert list(decoder.feed(wire[-1:])) == [Message(Opcode.BINARY, bytes(size))]


# Where reads had better end


@given(st.lists(message, max_size=6), masks, st.data())
def test_reads_that_end_where_ahead_says_bring_long_payloads_whole(
    messages: list[tuple[Opcode, bytes]], mask: bytes | None, data: st.DataObject
) -> None:
    wire = b"".join(encode(opcode, body, mask) for opcode, body in messages)
    decoder = Decoder(masked=mask is not None, max_message=2**20)
    read: list[Message] = []
    at = 0
    while at < len(wire):
        most = decoder.ahead or data.draw(st.integers(1, 100_000))
        assert decoder.ahead <= max(limits.LONG_FRAME, *(len(body) for _, body in messages))
        chunk = wire[at : at + most]
        at += len(chunk)
        long = decoder.ahead >= limits.LONG_FRAME == len(chunk) and not decoder.here and mask != MASK
        got = list(decoder.feed(chunk))
        read += got
        if long:
            assert [one.payload for one in got] == [chunk]
            assert got[0].payload is chunk
    assert read == [Message(*one) for one in messages]


def test_a_long_payload_is_not_copied_if_it_came_in_one_piece() -> None:
    body = bytes(limits.LONG_FRAME)
    head, payload = (bytes(each) for each in frame_buffers(Opcode.BINARY, body, None))
    decoder = Decoder(masked=False, max_message=2**20)
    assert decoder.ahead == 0
    for _ in range(2):
        assert list(decoder.feed(head[:4])) == []
        assert list(decoder.feed(head[4:])) == []
        assert decoder.ahead == len(body)
        (message,) = decoder.feed(payload)
        assert message.payload is payload
        assert decoder.ahead == len(head)
    list(decoder.feed(head[:4]))
    assert decoder.ahead == len(head) - 4
    list(decoder.feed(head[4:] + payload + encode(Opcode.BINARY, b"short", None)))
    assert decoder.ahead == 0


def test_pieces_of_binary_messages_are_views_and_weigh_what_they_keep_in_memory() -> None:
    decoder = Decoder(masked=True, max_message=2**20, piece=1000)
    read = bytearray(encode(Opcode.BINARY, bytes(3000), NO_MASK) + encode(Opcode.BINARY, b"tail", NO_MASK))
    long, short = decoder.feed(read)
    assert isinstance(long.payload, memoryview)
    assert isinstance(short.payload, bytes), "it would keep all of what was read"
    assert Piece(long.payload).weight == len(read) + limits.PIECE_COST
    assert Piece(short.payload).weight == 4 + limits.PIECE_COST
    (text,) = decoder.feed(bytearray(encode(Opcode.TEXT, b"x" * 3000, NO_MASK)))
    assert isinstance(text.payload, bytes)


long_fragments = st.lists(st.sampled_from([0, 10, limits.LONG_FRAME, 70_000]), min_size=1, max_size=4)


@settings(deadline=None)
@given(st.lists(st.tuples(long_fragments, st.booleans()), min_size=1, max_size=5), st.data())
def test_long_messages_are_the_same_in_memory_that_is_used_again(
    messages: list[tuple[list[int], bool]], data: st.DataObject
) -> None:
    """They may have fragments, with pings between them, and be read into their place or fed."""
    wire, expected = b"", []
    for number, (sizes, ping) in enumerate(messages):
        parts = [bytes((number * 16 + at,)) * size for at, size in enumerate(sizes)]
        for at, part in enumerate(parts):
            wire += (
                header(Opcode.CONTINUATION if at else Opcode.BINARY, len(part), None, last=part is parts[-1])
                + part
            )
            if ping:
                wire += encode(Opcode.PING, b"ping", None)
        expected.append(b"".join(parts))
    decoder = Decoder(masked=False, max_message=2**20)
    decoder.memory = cycle([BytesIO() for _ in range(2)])
    heard: list[Message] = []
    at = 0
    while at < len(wire):
        size = data.draw(st.sampled_from([1, 10, 1000, limits.LONG_FRAME, 10**6]))
        if data.draw(st.booleans()) and (space := decoder.space()) is not None:
            with space:
                size = min(size, len(space))
                space[:size] = wire[at : at + size]
            message = decoder.fill(size)
            heard += [message] if message else []
        else:
            heard += decoder.feed(wire[at : at + size])
        at += size
    assert [each.payload for each in heard if each.opcode is Opcode.BINARY] == expected
    assert all(each.payload == b"ping" for each in heard if each.opcode is not Opcode.BINARY)


def test_memory_is_used_again_as_soon_as_nobody_has_the_message() -> None:
    decoder = Decoder(masked=False, max_message=2**20)
    decoder.memory = cycle([BytesIO()])
    whole = encode(Opcode.BINARY, bytes(limits.LONG_FRAME), None)
    kept = next(decoder.feed(whole)).payload
    other = next(decoder.feed(encode(Opcode.BINARY, b"x" * limits.LONG_FRAME, None))).payload
    assert kept == bytes(limits.LONG_FRAME)
    place = id(other)
    del other
    assert id(next(decoder.feed(whole)).payload) == place


def test_the_beginning_of_a_read_is_not_taken_for_all_of_it() -> None:
    body = bytes(limits.LONG_FRAME)
    decoder = Decoder(masked=False, max_message=2**20)
    list(decoder.feed(module.header(Opcode.BINARY, len(body), None)))
    (long, short) = decoder.feed(body + encode(Opcode.BINARY, b"short", None))
    assert (long.payload, short.payload) == (body, b"short")


# Pieces


@given(st.lists(message, max_size=6), st.integers(1, 400), st.booleans(), st.data())
def test_pieces_make_up_the_messages_however_the_bytes_come(
    messages: list[tuple[Opcode, bytes]], piece: int, masked: bool, data: st.DataObject
) -> None:
    mask = MASK if masked else None
    wire = b"".join(encode(opcode, body[:2000], mask) for opcode, body in messages)
    cuts = data.draw(st.lists(st.integers(0, len(wire)), max_size=20))
    decoder = Decoder(masked=masked, max_message=2**20, piece=piece)
    whole: list[Message] = []
    part = b""
    for start, end in pairwise([0, *sorted(cuts), len(wire)]):
        for one in decoder.feed(wire[start:end]):
            if one.opcode not in (Opcode.BINARY, Opcode.TEXT):
                assert one.last
                whole.append(one)
                continue
            part += one.payload
            assert one.last or len(one.payload) >= piece
            if one.last:
                whole.append(Message(one.opcode, part))
                part = b""
    assert whole == [Message(opcode, body[:2000]) for opcode, body in messages]


@given(st.binary(max_size=40) | text, st.integers(1, 20), st.lists(st.integers(0, 40), max_size=4))
@example("ä€😀".encode() * 3, 1, [1, 3, 4, 7])
@example(b"\xf0\x9f", 1, [])
@example(b"\xed\xa0\x80", 1, [])
@example(b"\xf4\x90\x80\x80", 1, [2])
def test_text_in_pieces_is_refused_if_and_only_if_it_is_not_utf_8(
    body: bytes, piece: int, cuts: list[int]
) -> None:
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    wire = [
        b"".join(frame_buffers(Opcode.CONTINUATION if at else Opcode.TEXT, body[start:end], MASK, last=last))
        for at, (start, end) in enumerate(pairwise(places))
        for last in [at == len(places) - 2]
    ]
    decoder = Decoder(masked=True, max_message=2**20, piece=piece)
    try:
        body.decode()
    except UnicodeDecodeError:
        with pytest.raises(FrameError) as caught:
            list(decoder.feed(b"".join(wire)))
        assert caught.value.code == 1007
    else:
        assert b"".join(one.payload for part in wire for one in decoder.feed(part)) == body


@pytest.mark.parametrize("wrong", [b"\xff", b"\xc3\xc3", b"\xed\xa0", b"\xf4\x90"])
def test_text_is_refused_as_soon_as_it_is_wrong(wrong: bytes) -> None:
    decoder = Decoder(masked=True, max_message=2**20)
    assert list(decoder.feed(frame(0x01, b"so far it is text"))) == []
    begun = frame(0x80, wrong + bytes(1000))[: -1000 + len(wrong)]
    with pytest.raises(FrameError) as caught:
        list(decoder.feed(begun))
    assert caught.value.code == 1007


def test_text_needs_no_more_memory_than_was_sent_of_it() -> None:
    body = "😀".encode() + b"x" * 1_000_000
    wire = encode(Opcode.TEXT, body, MASK)
    decoder = Decoder(masked=True, max_message=2**21, piece=64 * 1024)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    kept = [one for at in range(0, len(wire), 2**18) for one in decoder.feed(wire[at : at + 2**18])]
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert b"".join(one.payload for one in kept) == body
    assert after - before < 1.1 * len(body)
    assert peak - before < 1.7 * len(body), "what is kept, and one read with what it becomes"


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=8), st.integers(1, 60))
def test_fragments_come_as_pieces_too_and_pings_between_them_come_at_once(
    parts: list[bytes], piece: int
) -> None:
    ping = encode(Opcode.PING, b"?", MASK)
    last = len(parts) - 1
    wire = ping.join(
        b"".join(frame_buffers(Opcode.CONTINUATION if at else Opcode.BINARY, part, MASK, last=at == last))
        for at, part in enumerate(parts)
    )
    decoder = Decoder(masked=True, max_message=2**20, piece=piece)
    heard = list(decoder.feed(wire))
    pieces = [one for one in heard if one.opcode is Opcode.BINARY]
    assert [one.payload for one in heard if one.opcode is Opcode.PING] == [b"?"] * last
    assert b"".join(one.payload for one in pieces) == b"".join(parts)
    assert [one.last for one in pieces] == [False] * (len(pieces) - 1) + [True]


@given(st.lists(message, min_size=1, max_size=6), st.integers(1, 6))
def test_decoding_can_go_on_with_what_was_not_consumed(
    messages: list[tuple[Opcode, bytes]], stop: int
) -> None:
    wire = b"".join(encode(opcode, body, MASK) for opcode, body in messages)
    decoder = Decoder(masked=True, max_message=2**20)
    heard: list[Message] = []
    while wire:
        for count, one in enumerate(decoder.feed(wire), 1):
            heard.append(one)
            if count == stop:
                break
        wire = wire[decoder.consumed :]
    assert heard == [Message(*one) for one in messages]


# Both ends of a connection


def opened() -> tuple[Codec, Codec]:
    """Return a client's codec and a server's behind their handshake."""
    client, server = (Codec(is_client=kind, max_message=protocol_limits.MAX_RECORD) for kind in (True, False))
    server.receive_data(client.send(Request(host="x", target="/")))
    list(server.events())
    client.receive_data(server.send(AcceptConnection()))
    list(client.events())
    return client, server


def said(codec: Codec, message: bytes | str) -> list[bytes]:
    return [buffer for buffer in codec.encode([Piece.whole(message)]) if isinstance(buffer, bytes)]


@pytest.mark.parametrize(
    ("message", "is_masked"),
    [
        (bytes(limits.UNMASKED), False),
        (bytes(limits.UNMASKED - 1), True),
        ("x" * limits.UNMASKED, True),
    ],
)
def test_long_binary_messages_of_clients_have_a_mask_of_zeros_and_no_others(
    message: bytes | str, is_masked: bool
) -> None:
    client, server = opened()
    head, payload = said(client, message)
    assert head[1] & 0x80
    assert (head[-4:] != NO_MASK) is is_masked
    heard: list[Piece] = []
    server.put = heard.append
    server.receive_data(head + payload)
    assert heard == [Piece.whole(message)]


def test_a_server_masks_nothing() -> None:
    _, server = opened()
    head, _ = said(server, bytes(limits.UNMASKED))
    assert not head[1] & 0x80


def test_frames_are_work_but_for_answers_to_pings_of_this_side() -> None:
    client, server = opened()
    pings = [server.send(Ping(payload=bytes([number]))) for number in range(2)]
    client.receive_data(b"".join(pings))
    for event in client.events():
        assert isinstance(event, Ping)
        server.receive_data(client.send(event.response()))
    assert server.pop_work(0) == 0
    server.receive_data(client.send(Pong(payload=b"unasked")))
    server.receive_data(client.send(Ping()))
    assert server.pop_work(0) == 2
    assert server.pop_work(5) == 5, "TLS records that hold no frames"
