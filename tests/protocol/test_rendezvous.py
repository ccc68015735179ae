from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from p2p_copy.errors import NotARelay
from p2p_copy.protocol import limits, rendezvous
from p2p_copy.protocol.rendezvous import (
    LEGACY_PATH,
    FlowReport,
    FlowState,
    Hello,
    LoadTerms,
    Paired,
    Refusal,
    Refused,
    Role,
    Welcome,
    decode_answer,
    decode_flow_report,
    decode_hello,
    encode,
    is_path,
    room_path,
)

ROOM = "0123456789abcdef" * 4
PATH = room_path(ROOM)
CLAIM = "c1a1" * 16


def hello_text(**changes: Any) -> str:
    fields: dict[str, Any] = {
        "type": "hello",
        "version": 1,
        "role": "sender",
        "program": "p2p-copy/0.2.0",
        "token": None,
        "features": [],
    }
    return json.dumps(fields | changes)


def legacy_text(**changes: Any) -> str:
    return json.dumps({"type": "hello", "code_hash_hex": ROOM, "role": "receiver"} | changes)


@pytest.mark.parametrize("role", Role)
def test_a_hello_is_decoded_as_encoded_with_the_room_from_the_path(role: Role) -> None:
    hello = Hello(role=role, program="p2p-copy/9", token="t\tä", features=("one", "two"))
    assert decode_hello(encode(hello), PATH) == Hello(
        role=role, room=ROOM, program="p2p-copy/9", token="t\tä", features=("one", "two")
    )


@given(st.none() | st.from_regex(r"[0-9a-f]{32,64}", fullmatch=True))
def test_a_claim_is_decoded_as_encoded_if_there_is_one(claim: str | None) -> None:
    text = encode(Hello(role=Role.SENDER, program="p", claim=claim))
    assert decode_hello(text, PATH) == Hello(role=Role.SENDER, room=ROOM, program="p", claim=claim)
    assert ("claim" in json.loads(text)) is (claim is not None)


def test_a_claim_may_be_null_and_is_ignored_in_a_legacy_hello() -> None:
    for text, path in (
        (hello_text(claim=None), PATH),
        (legacy_text(claim=CLAIM), LEGACY_PATH),
        (legacy_text(claim=1), LEGACY_PATH),
    ):
        hello = decode_hello(text, path)
        assert isinstance(hello, Hello)
        assert hello.claim is None


def test_the_repr_of_a_hello_shows_no_claim() -> None:
    hello = decode_hello(hello_text(claim=CLAIM), PATH)
    assert isinstance(hello, Hello)
    assert hello.claim == CLAIM
    assert CLAIM not in repr(hello)


@pytest.mark.parametrize("role", Role)
def test_a_legacy_hello_names_its_room_itself(role: Role) -> None:
    assert decode_hello(legacy_text(role=role.value), LEGACY_PATH) == Hello(role=role, room=ROOM, legacy=True)


@pytest.mark.parametrize(
    "name", ["same-role", "x", "a room, with blanks", "\xfcber", ROOM.upper(), "%s" * 64], ids=ascii
)
def test_a_legacy_room_has_any_printable_name(name: str) -> None:
    hello = decode_hello(legacy_text(code_hash_hex=name), LEGACY_PATH)
    assert hello == Hello(role=Role.RECEIVER, room=name, legacy=True)


@pytest.mark.parametrize(
    "answer",
    [
        Welcome("p2p-copy/1", max_message=1, wait=0),
        Welcome("p", max_message=2**53, wait=3600, rate=10, quota=0, notice="Maintenance at noon, ä"),
        Paired(),
        Refused(Refusal.BUSY, "Too much.", 7),
        Welcome("p", max_message=1, wait=0, load_test=LoadTerms(4096, 256, 3072, 50, 8, 60, 30)),
        Refused("newer-than-us", "No.", None),
        Refused(Refusal.BUSY, "Too many.", 7, "max-waiting"),
    ],
)
def test_answers_are_decoded_as_encoded(answer: Welcome | Paired | Refused) -> None:
    assert decode_answer(encode(answer)) == answer


def test_unknown_keys_are_ignored() -> None:
    assert isinstance(decode_hello(hello_text(new={"a": [1]}), PATH), Hello)
    assert isinstance(decode_hello(legacy_text(new=1), LEGACY_PATH), Hello)
    assert decode_answer('{"type":"paired","new":1}') == Paired()


@pytest.mark.parametrize(
    ("path", "good"),
    [
        ("/", True),
        (PATH, True),
        ("", False),
        ("/v1/", False),
        (PATH + "/", False),
        (PATH + "\n", False),
        (PATH.upper(), False),
        (PATH[:-1], False),
        (PATH + "0", False),
        ("/v2/" + ROOM, False),
        ("/v1/" + "٣" * 64, False),
        (PATH + "?x", False),
    ],
)
def test_a_relay_has_two_kinds_of_paths(path: str, good: bool) -> None:
    assert is_path(path) is good


@pytest.mark.parametrize(
    "text",
    [
        b"{}",
        b"",
        "",
        "null",
        "[]",
        "1",
        '"hello"',
        "{",
        "{}x",
        "[" * 1500,
        '{"a":' * 400,
        "\ud800",
        hello_text(type="welcome"),
        hello_text(type=None),
        hello_text(version="1"),
        hello_text(version=True),
        hello_text(version=1.0),
        hello_text(version=-1),
        hello_text(version=2**80),
        hello_text(role="both"),
        hello_text(role=None),
        hello_text(role=["sender"]),
        hello_text(program=None),
        hello_text(program=1),
        hello_text(token=1),
        hello_text(token=False),
        hello_text(claim=1),
        hello_text(claim=False),
        hello_text(claim=[CLAIM]),
        hello_text(claim=""),
        hello_text(claim=CLAIM[:31]),
        hello_text(claim=CLAIM + "0"),
        hello_text(claim=CLAIM.upper()),
        hello_text(claim=CLAIM[:32] + "\n"),
        hello_text(claim="\u0663" * 32),
        hello_text(claim="g" * 32),
        hello_text(features=None),
        hello_text(features={}),
        hello_text(features=[1]),
        hello_text(features=["x"] * (limits.MAX_FEATURES + 1)),
        hello_text(program="x" * limits.MAX_HELLO),
        hello_text()[:-1] + ',"type":"hello"}',
        hello_text(version=0)[:-1] + ',"version":1}',
        hello_text()[:-1] + ',"x":NaN}',
        hello_text()[:-1] + ',"x":{"y":1,"y":1}}',
    ],
)
def test_a_malformed_hello_is_refused_and_not_repeated(text: bytes | str) -> None:
    refused = decode_hello(text, PATH)
    assert isinstance(refused, Refused)
    assert refused.code == Refusal.BAD_HELLO
    assert refused.retry_after is None
    assert len(encode(refused).encode()) < limits.MAX_HELLO
    assert "both" not in refused.reason
    assert CLAIM[:31] not in refused.reason.lower()
    assert decode_answer(encode(refused)) == refused


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        legacy_text(type="ready"),
        legacy_text(code_hash_hex=""),
        legacy_text(code_hash_hex="x" * (limits.MAX_LEGACY_ROOM + 1)),
        legacy_text(code_hash_hex="\x1b[2J"),
        legacy_text(code_hash_hex="\u202e"),
        legacy_text(code_hash_hex="\ud800"),
        legacy_text(code_hash_hex=ROOM + "\n"),
        legacy_text(code_hash_hex=None),
        legacy_text(code_hash_hex=1),
        legacy_text(role="x"),
        legacy_text(role=None),
        hello_text(),
    ],
)
def test_a_malformed_legacy_hello_is_refused(text: str) -> None:
    refused = decode_hello(text, LEGACY_PATH)
    assert isinstance(refused, Refused)
    assert refused.code == Refusal.BAD_HELLO


def test_the_two_forms_do_not_work_at_each_other_s_path() -> None:
    assert isinstance(decode_hello(legacy_text(), PATH), Refused)
    assert isinstance(decode_hello(hello_text(), LEGACY_PATH), Refused)
    assert isinstance(decode_hello(hello_text(), "/elsewhere"), Refused)


@pytest.mark.parametrize(("version", "older"), [(0, "your program"), (2, "this relay")])
def test_another_version_is_refused_and_says_which_side_is_older(version: int, older: str) -> None:
    refused = decode_hello(hello_text(version=version, role="something new"), PATH)
    assert isinstance(refused, Refused)
    assert refused.code == Refusal.VERSION
    assert f"{older} is too old" in refused.reason


@pytest.mark.parametrize(
    "text",
    [
        b'{"type":"paired"}',
        "",
        "[]",
        "{}",
        "[" * 1500,
        '{"type":1}',
        '{"type":"hello"}',
        '{"type":"paired","type":"paired"}',
        '{"type":"paired","x":Infinity}',
        '{"type":"paired","x":"' + "y" * limits.MAX_HELLO + '"}',
        '{"type":"welcome","program":"p","max_message":1}',
        '{"type":"welcome","program":"p","max_message":true,"wait":1}',
        '{"type":"welcome","program":"p","max_message":1,"wait":1.5}',
        '{"type":"welcome","program":"p","max_message":1,"wait":-1}',
        '{"type":"welcome","program":"p","max_message":1,"wait":1e400}',
        '{"type":"welcome","program":"p","max_message":1,"wait":1,"rate":"x"}',
        '{"type":"welcome","program":"p","max_message":1,"wait":1,"notice":1}',
        '{"type":"welcome","program":"p","max_message":1,"wait":1,"load_test":true}',
        '{"type":"welcome","program":"p","max_message":1,"wait":1,"load_test":{}}',
        '{"type":"welcome","program":"p","max_message":1,"wait":1,"load_test":{"max_connections":"x"}}',
        '{"type":"refused","code":"busy","reason":"x","limit":1}',
        '{"type":"refused","code":"busy"}',
        '{"type":"refused","code":1,"reason":"x"}',
        '{"type":"refused","code":"busy","reason":"x","retry_after":"1"}',
    ],
)
def test_a_malformed_answer_raises_an_error_that_does_not_repeat_it(text: bytes | str) -> None:
    with pytest.raises(NotARelay) as caught:
        decode_answer(text)
    assert "not a p2p-copy relay" in str(caught.value)


def test_texts_of_a_relay_are_escaped_and_short() -> None:
    answer = decode_answer(
        json.dumps({"type": "refused", "code": "\x1b[2J", "reason": "\u202eab\nc" + "x" * 1000})
    )
    assert isinstance(answer, Refused)
    assert answer.code == "\\x1b[2J"
    assert answer.reason.startswith("\\u202eab\\nc")
    assert len(answer.reason) == limits.MAX_TEXT
    assert answer.reason.isprintable()
    hello = decode_hello(hello_text(program="\x00", features=["\x7f"]), PATH)
    assert isinstance(hello, Hello)
    assert (hello.program, hello.features) == ("\\x00", ("\\x7f",))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from(
    [
        "type",
        "version",
        "role",
        "program",
        "token",
        "features",
        "claim",
        "code_hash_hex",
        "reason",
        "code",
        "max_message",
        "wait",
        "notice",
    ]
)
words = st.sampled_from(["hello", "welcome", "refused", "paired", "sender", ROOM, 1])


@given(st.text() | st.binary() | st.dictionaries(keys, words | json_values).map(json.dumps))
def test_decoders_raise_no_unexpected_error(text: bytes | str) -> None:
    for path in (PATH, LEGACY_PATH, ""):
        assert isinstance(decode_hello(text, path), Hello | Refused)
    try:
        answer = decode_answer(text)
    except NotARelay:
        return
    assert isinstance(answer, Welcome | Paired | Refused)


@given(st.builds(FlowReport, st.sampled_from(FlowState), st.sampled_from(FlowState), st.booleans()))
def test_a_flow_report_is_decoded_as_encoded(movement: FlowReport) -> None:
    assert decode_flow_report(encode(movement)) == movement


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "paired"},
        {"there": "sideways"},
        {"back": None},
        {"answers": 1},
        {"more": "x" * limits.MAX_HELLO},
    ],
    ids=str,
)
def test_a_malformed_flow_report_is_ignored(changes: dict[str, Any]) -> None:
    good = {"type": "movement", "there": "moves", "back": "silent", "answers": True}
    assert decode_flow_report(json.dumps(good)) == FlowReport(FlowState.MOVES, FlowState.SILENT)
    assert decode_flow_report(json.dumps(good | changes)) is None
    assert decode_flow_report("[" * 2000) is None


def test_a_legacy_sender_is_sent_what_it_knows() -> None:
    assert json.loads(rendezvous.READY) == {"type": "ready"}
