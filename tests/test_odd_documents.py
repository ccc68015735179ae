"""Whatever stands in a file that is ours, or that somebody hands to us: it is used, or refused in a sentence."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, strategies as st

from p2p_copy.cli import saved_transfers
from p2p_copy.cli.commands import resume
from p2p_copy.cli.options.client import ClientArguments
from p2p_copy.cli.options.config_file import _load, _table
from p2p_copy.cli.ui.errors import first_of
from p2p_copy.errors import CannotListen, P2PCopyError, UsageError
from p2p_copy.files.receipts.reader import ReceiptReader
from p2p_copy.files.state.facts import are_complete, are_sound
from p2p_copy.files.state.store import States
from p2p_copy.protocol import limits
from p2p_copy.relay.access.tokens import Tokens
from p2p_copy.transfer.resumption import Resumption

if TYPE_CHECKING:
    from collections.abc import Callable

ID = "ab" * 16

SENDER: dict[str, Any] = {
    "role": "sender",
    "relay": "ws://127.0.0.1:9",
    "paths": ["/nowhere"],
    "began": 1.0,
    "options": {"links": "keep", "name": "stdin", "preserve": [], "only": [], "exclude": []},
    "receipt": None,
    "streams": None,
    "ticket": "ab" * 32,
    "claim": "ab" * 16,
    "sure": True,
}

RECEIVER: dict[str, Any] = {
    **{key: value for key, value in SENDER.items() if key != "paths"},
    "role": "receiver",
    "out": "out",
    "options": {
        "conflict": "refuse",
        "names": "portable",
        "preserve": [],
        "max_size": None,
        "max_files": None,
        "only": [],
        "exclude": [],
    },
    "over": {"files": 1, "size": 1, "failures": 0, "skipped": 0, "root": "ab" * 32, "seconds": 1.0, "excluded": 0},
}  # fmt: skip

STATES = {"sender": SENDER, "receiver": RECEIVER}

KEYS = sorted(
    {*SENDER, *RECEIVER, *RECEIVER["options"], *SENDER["options"], *RECEIVER["over"], "code", "spent", "x"}
)

ODD: tuple[object, ...] = (
    None, True, False, 0, -1, 1.5, float("inf"), float("nan"), 10**400, 2**70, "", "x", "\0", "\ud800", "\x1b[2J",
    [], ["x"], [1], ["\0"], ["\ud800"], [["x"]], {}, {"a": 1}, "a" * 64, "ab" * 3,
)  # fmt: skip

JSON = st.recursive(
    st.sampled_from(ODD) | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=10,
)  # fmt: skip


def changed(facts: dict[str, Any], key: str, value: object) -> dict[str, Any]:
    """Return facts of which one, on top or inside, is another."""
    for inner in ("options", "over"):
        if key in facts.get(inner, {}):
            return {**facts, inner: {**facts[inner], key: value}}
    return {**facts, key: value}


def ends_well(command: Callable[[], int]) -> None:
    """Run a command; it succeeds, or fails with an error of ours."""
    try:
        command()
    except Exception as error:
        if not isinstance(first_of(error), P2PCopyError):
            raise


def go_on_with(document: bytes, told: list[str]) -> None:
    """List a state, go on with it, and forget it, as the commands do; nobody is reached."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, f"{ID}.json")
        path.write_bytes(document)
        for id_, facts, busy in States(directory).all():
            line = saved_transfers.described(id_, facts, busy)
            assert line.isprintable()
            told.append(line)
            state = States(directory).open(id_)
            assert state is not None
            assert Resumption(state, 0).patience == 0  # it takes what it needs
            state.close()
        options = ClientArguments(state_dir=directory, wait=0.01, patience=0.0, quiet=True)
        ends_well(lambda: resume.resume(ID, options))
        path.write_bytes(document)
        ends_well(lambda: resume.forget([ID], directory))


@pytest.mark.fault(107, "wrong values")
@pytest.mark.slow  # 900 states are gone on with, each in some milliseconds
@pytest.mark.parametrize("role", STATES)
def test_a_state_with_one_odd_fact_ends_no_command(
    role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    facts = STATES[role]
    told: list[str] = []
    for key in [*facts, *facts["options"], *facts.get("over", {})]:
        for value in ODD:
            go_on_with(json.dumps(changed(facts, key, value)).encode(), told)
    assert told


@pytest.mark.fault(107, "missing facts")
@pytest.mark.parametrize("role", STATES)
def test_a_state_that_lacks_a_fact_ends_no_command(
    role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    facts = STATES[role]
    assert are_sound(facts)
    assert are_complete(facts)
    for key in facts:
        left = {name: value for name, value in facts.items() if name != key}
        assert are_complete(left) == (key not in {"role", "relay", "options", "paths", "out"})
        go_on_with(json.dumps(left).encode(), [])
    for key in facts["options"]:
        options = {name: value for name, value in facts["options"].items() if name != key}
        assert not are_complete({**facts, "options": options})
        go_on_with(json.dumps({**facts, "options": options}).encode(), [])


@pytest.mark.fault(107, "no facts")
@given(document=JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=200))
def test_whatever_is_a_state_is_listed_or_passed_over(document: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, f"{ID}.json").write_bytes(document)
        states = States(directory)
        for id_, facts, busy in states.all():
            assert saved_transfers.described(id_, facts, busy).isprintable()
            state = states.open(id_)
            assert state is not None
            memory = Resumption(state, 0)
            assert memory.report is None or memory.report.size >= 0
            state.close()


@given(base=st.sampled_from(list(STATES.values())), key=st.sampled_from(KEYS), value=JSON)
def test_facts_that_are_sound_and_complete_have_their_kinds(
    base: dict[str, Any], key: str, value: object
) -> None:
    facts = changed(base, key, value)
    if not are_sound(facts) or not are_complete(facts):
        return
    assert isinstance(facts["relay"], str)
    assert set(STATES[facts["role"]]["options"]) <= set(facts["options"])
    assert all(isinstance(path, str) for path in facts.get("paths", []))
    assert facts["streams"] is None or 0 <= facts["streams"] <= limits.MAX_STREAMS
    assert len(bytes.fromhex(facts["ticket"])) == 32


@given(document=JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=300))
def test_whatever_is_handed_over_as_a_receipt_is_read_or_refused(document: bytes) -> None:
    handle, path = tempfile.mkstemp()
    try:
        os.write(handle, document)
        os.close(handle)
        with suppress(UsageError), ReceiptReader(path) as reader:
            list(reader.records())
    finally:
        os.unlink(path)


TOML = st.text(st.sampled_from("[]{}\"'=#., \n\tabenrsv-_0123456789\\\x00\x1b\ud800ü"), max_size=60)


@given(document=TOML.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=100))
def test_whatever_is_a_configuration_is_used_or_refused(document: bytes) -> None:
    handle, path = tempfile.mkstemp()
    try:
        os.write(handle, document)
        os.close(handle)
        with suppress(UsageError):
            table = _table(_load(path, must_exist=True), "receive", {"out"}, path)
            assert isinstance(table, dict)
    finally:
        os.unlink(path)


@pytest.mark.parametrize(
    "nested", ["a = " + "[" * 20_000, "a = " + "{a=" * 20_000, "[" + "a." * 20_000 + "a]"]
)
def test_a_configuration_of_many_levels_is_refused(tmp_path: Path, nested: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(nested, encoding="utf-8")
    with pytest.raises(UsageError):
        _table(_load(str(path), must_exist=True), "receive", {"out"}, str(path))


LINE = st.lists(
    st.sampled_from(["name", "sha256:" + "ab" * 32, "sha256:", "rate=1M/s", "rate=", "quota=1G", "quota=" + "9" * 400,
                     "rate=" + "9" * 5000, "#", "\0", "\x85", "ü", "=", "\u2028"]),
    max_size=5,
).map(" ".join)  # fmt: skip


@given(document=st.lists(LINE, max_size=4).map("\n".join).map(str.encode) | st.binary(max_size=200))
def test_whatever_is_a_file_of_tokens_is_used_or_refused(document: bytes) -> None:
    handle, path = tempfile.mkstemp()
    try:
        os.write(handle, document)
        os.close(handle)
        with suppress(CannotListen):
            Tokens(path)
    finally:
        os.unlink(path)
