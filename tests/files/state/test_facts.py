"""What is remembered of a transfer comes back as it was, and no document makes facts that were not checked."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from p2p_copy.files import limits
from p2p_copy.files.state.facts import (
    REMEMBERED,
    Facts,
    KnownRelay,
    ReceiveCommand,
    SendCommand,
    decode,
    encode,
)
from p2p_copy.observer import Report
from p2p_copy.options import MAX_RELAYS, Conflict, Names, Preserve, ReceiveOptions, SendOptions, Symlinks
from p2p_copy.protocol import limits as protocol_limits
from tests.support.commands import receive_command, send_command

FACTS = Facts(command=send_command("/a"), began=1.5, tickets=(bytes(32),), claim="ab" * 16, sure=True)

count = st.integers(0, 2**63 - 1)
seconds = st.floats(0, 2**36)
digits = st.text("0123456789abcdef", min_size=64, max_size=64)
texts = st.lists(st.text(), max_size=3).map(tuple)
both: dict[str, Any] = {
    "preserve": st.lists(st.sampled_from(Preserve), max_size=3).map(tuple),
    "only": texts,
    "exclude": texts,
    "receipt": st.none() | st.text(),
    "links": st.none() | st.integers(1, protocol_limits.MAX_LINKS),
}
send_options = st.builds(SendOptions, symlinks=st.sampled_from(Symlinks), name=st.text(), **both)
receive_options = st.builds(
    ReceiveOptions,
    conflict=st.sampled_from(Conflict),
    names=st.sampled_from(Names),
    max_size=st.none() | count,
    max_files=st.none() | st.integers(1, 2**63 - 1),
    **both,
)
relays = st.lists(
    st.builds(KnownRelay, st.text(), st.none() | st.text()), min_size=1, max_size=MAX_RELAYS
).map(tuple)
of_both: dict[str, Any] = {"relays": relays, "verify": st.booleans()}
commands = st.builds(SendCommand, paths=texts, options=send_options, **of_both) | st.builds(
    ReceiveCommand, out=st.text(), options=receive_options, **of_both
)
reports = st.builds(
    Report,
    files=count, size=count, failures=count, skipped=count, excluded=count, root=digits, seconds=seconds,
)  # fmt: skip


@settings(max_examples=60)
@given(
    facts=st.builds(
        Facts,
        command=st.none() | commands,
        began=seconds,
        code=st.none() | st.text(),
        spent=st.booleans(),
        tickets=st.lists(st.binary(min_size=32, max_size=32), max_size=2).map(tuple),
        sure=st.booleans(),
        claim=st.just("") | digits,
        size=count,
        total=st.none() | count,
        over=st.none() | reports,
    )
)
def test_facts_come_back_as_they_were(facts: Facts) -> None:
    assert decode(encode(facts)) == facts


def document(facts: Facts = FACTS, **changed: object) -> bytes:
    return json.dumps({**json.loads(encode(facts)), **changed}).encode()


def test_names_that_are_not_known_are_ignored() -> None:
    """A later version may have written them."""
    assert decode(document(later=1)) == FACTS


def test_every_fact_may_be_missing() -> None:
    assert decode(b"{}") == Facts()


@pytest.mark.parametrize(
    "wrong",
    [
        {"began": "yesterday"}, {"began": float("inf")}, {"began": float("nan")}, {"began": -1}, {"began": True},
        {"began": 2**36 + 1}, {"tickets": ["zz"]}, {"tickets": [""]}, {"tickets": [5]}, {"tickets": "ab" * 32},
        {"tickets": ["ab" * 32] * 3}, {"claim": 5}, {"claim": "abc"}, {"over": [1]}, {"over": {"files": 1}},
        {"code": 5}, {"sure": "yes"}, {"spent": 1}, {"command": {}}, {"command": []},
    ],
    ids=str,
)  # fmt: skip
def test_one_wrong_fact_refuses_the_document(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(document(**wrong))


SEND_WRONG: tuple[dict[str, Any], ...] = (
    {"paths": 5}, {"paths": [1]}, {"relays": None}, {"relays": []},
    {"relays": [{"url": "", "pin": None}] * (MAX_RELAYS + 1)},
    {"relays": [{"url": "ws://x"}]}, {"relays": [{"pin": None}]}, {"relays": [{"url": "ws://x", "pin": 5}]},
    {"role": []}, {"role": "both"}, {"role": "receiver"},
    {"options": None}, {"verify": None}, {"verify": 1},
)  # fmt: skip
SEND_OPTIONS_WRONG: tuple[dict[str, Any], ...] = (
    {"symlinks": "gaga"}, {"only": "*.c"}, {"preserve": [1]}, {"links": "2"}, {"links": 0},
    {"links": protocol_limits.MAX_LINKS + 1}, {"receipt": 7}, {"name": None},
)  # fmt: skip
RECEIVE_OPTIONS_WRONG: tuple[dict[str, Any], ...] = (
    {"max_size": "5"}, {"max_size": -1}, {"max_files": 0}, {"conflict": []}, {"names": None},
)  # fmt: skip


@pytest.mark.parametrize(
    ("command", "wrong", "options"),
    [
        *((send_command("/a"), wrong, {}) for wrong in SEND_WRONG),
        (receive_command("out"), {"out": 3}, {}),
        *((send_command("/a"), {}, wrong) for wrong in SEND_OPTIONS_WRONG),
        *((receive_command("out"), {}, wrong) for wrong in RECEIVE_OPTIONS_WRONG),
    ],
    ids=str,
)
def test_one_wrong_word_of_a_command_refuses_the_document(
    command: SendCommand | ReceiveCommand, wrong: dict[str, Any], options: dict[str, Any]
) -> None:
    written = json.loads(encode(replace(FACTS, command=command)))
    written["command"]["options"] |= options
    written["command"] |= wrong
    with pytest.raises(ValueError, match=r"."):
        decode(json.dumps(written).encode())


@pytest.mark.parametrize("command", [send_command("/a"), receive_command("out")], ids=["send", "receive"])
def test_what_a_command_lacks_has_its_default_or_refuses_the_document(
    command: SendCommand | ReceiveCommand,
) -> None:
    """An option may be newer than the document."""
    written = json.loads(encode(Facts(command=command)))["command"]
    assert decode(document(command={**written, "options": {}})).command == command
    for name in written:
        with pytest.raises(ValueError, match=r"."):
            decode(document(command={other: written[other] for other in written if other != name}))


def test_all_options_are_remembered_but_those_that_each_run_asks_for() -> None:
    for kind in (Facts, SendCommand, ReceiveCommand, SendOptions, ReceiveOptions, Report):
        names = {one.name for one in fields(kind)}
        assert names - REMEMBERED[kind].keys() <= {"wait", "patience", "limit_rate", "reverify"}
        assert not REMEMBERED[kind].keys() - names


def test_no_refusal_quotes_a_secret() -> None:
    for wrong in ({"tickets": ["hush"]}, {"claim": "hush"}, {"code": ["hush"]}):
        with pytest.raises(ValueError, match=r".") as caught:
            decode(document(**wrong))
        assert "hush" not in str(caught.value)


def test_what_is_too_long_is_neither_written_nor_read() -> None:
    with pytest.raises(ValueError, match="too long"):
        encode(Facts(code="x" * limits.STATE_FACTS))
    with pytest.raises(ValueError, match="too long"):
        decode(b"{}" + b" " * limits.STATE_FACTS)
