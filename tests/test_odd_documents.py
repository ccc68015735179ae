"""Whatever stands in a file of ours, or in one that is given to us, is used or refused in a sentence."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cyclopts import CycloptsError
from hypothesis import given, strategies as st

from p2p_copy import Client
from p2p_copy.cli import saved_transfers
from p2p_copy.cli.app import app
from p2p_copy.cli.commands import resume
from p2p_copy.cli.options.client import ClientArguments
from p2p_copy.cli.ui.errors import main_error
from p2p_copy.errors import CannotListen, P2PCopyError, UsageError
from p2p_copy.files.receipts.reader import ReceiptReader
from p2p_copy.files.state.facts import Facts, decode, encode
from p2p_copy.files.state.store import States
from p2p_copy.observer import Report
from p2p_copy.relay.access.tokens import Tokens
from p2p_copy.transfer.resumption import Resumption
from tests.support.commands import receive_command, send_command

if TYPE_CHECKING:
    from collections.abc import Callable

ID = "ab" * 16

MET: dict[str, Any] = {"tickets": (bytes(32),), "claim": "ab" * 16, "sure": True}

OVER = Report(files=1, size=1, failures=0, skipped=0, root="ab" * 32, seconds=1.0)

STATES: dict[str, dict[str, Any]] = {
    role: json.loads(encode(facts))
    for role, facts in {
        "sender": Facts(command=send_command("/nowhere"), **MET),
        "receiver": Facts(command=receive_command("out"), over=OVER, **MET),
    }.items()
}

ODD: tuple[object, ...] = (
    None, True, False, 0, -1, 1.5, float("inf"), float("nan"), 10**400, 2**70, "", "x", "\0", "\ud800", "\x1b[2J",
    [], ["x"], [1], ["\0"], ["\ud800"], [["x"]], {}, {"a": 1}, "a" * 64, "ab" * 3,
)  # fmt: skip


def changed(facts: dict[str, Any], key: str, value: object) -> dict[str, Any]:
    """Return facts of which one, on top or inside, is another."""
    for inner in ("command", "over", "options"):
        if isinstance(within := facts.get(inner), dict) and (
            key in within or key in within.get("options", ())
        ):
            return {**facts, inner: changed(within, key, value)}
    return {**facts, key: value}


def all_keys(facts: dict[str, Any]) -> list[str]:
    """Return the keys of facts, on top and inside."""
    return [*facts, *facts["command"], *facts["command"]["options"], *(facts["over"] or {})]


KEYS = sorted({"x"}.union(*map(all_keys, STATES.values())))

JSON = st.recursive(
    st.sampled_from(ODD) | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=10,
)  # fmt: skip


def ends_well(command: Callable[[], int]) -> None:
    """Run a command; it succeeds, or fails with an error of ours."""
    try:
        command()
    except Exception as error:
        if not isinstance(main_error(error), P2PCopyError):
            raise


def use_state(document: bytes, told: list[str]) -> None:
    """List a state, resume it, and forget it, as the commands do; no relay is reached."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, f"{ID}.json")
        path.write_bytes(document)
        for each in Client(state_dir=directory).saved():
            if each.side is not None:
                line = saved_transfers.described(each)
                assert line.isprintable()
                told.append(line)
        for one in States(directory).all():
            state = States(directory).open(one.id)
            assert state is not None
            assert Resumption(state, 0).patience == 0  # it takes what it needs
            state.close()
        options = ClientArguments(state_dir=directory, wait=0.01, patience=0.0, quiet=True)
        ends_well(lambda: resume.resume(ID, options))
        path.write_bytes(document)
        ends_well(lambda: resume.forget([ID], directory))


@pytest.mark.fault(107, "wrong values")
@pytest.mark.slow  # 900 states are resumed, each in some milliseconds
@pytest.mark.parametrize("role", STATES)
def test_a_state_with_one_odd_fact_ends_no_command(
    role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    facts = STATES[role]
    told: list[str] = []
    for key in all_keys(facts):
        for value in ODD:
            use_state(json.dumps(changed(facts, key, value)).encode(), told)
    assert told


@pytest.mark.fault(107, "missing facts")
@pytest.mark.parametrize("role", STATES)
def test_a_state_that_lacks_a_fact_ends_no_command(
    role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    facts = STATES[role]
    told: list[str] = []
    for key in facts:
        use_state(json.dumps({name: value for name, value in facts.items() if name != key}).encode(), told)
    assert len(told) == len(facts) - 1, "each of them but the command may be missing"
    for key in facts["command"]:
        command = {name: value for name, value in facts["command"].items() if name != key}
        use_state(json.dumps({**facts, "command": command}).encode(), told)
    assert len(told) == len(facts) - 1, "a command is complete, or the state is passed over"


@pytest.mark.fault(107, "no facts")
@given(document=JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=200))
def test_whatever_is_a_state_is_listed_or_passed_over(document: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, f"{ID}.json").write_bytes(document)
        states = States(directory)
        for saved in Client(state_dir=directory).saved():
            assert saved_transfers.described(saved).isprintable()
        for each in states.all():
            state = states.open(each.id)
            assert state is not None
            memory = Resumption(state, 0)
            assert memory.report is None or memory.report.size >= 0
            state.close()


@given(base=st.sampled_from(list(STATES.values())), key=st.sampled_from(KEYS), value=JSON)
def test_facts_that_are_read_can_be_written_and_read_again(
    base: dict[str, Any], key: str, value: object
) -> None:
    try:
        facts = decode(json.dumps(changed(base, key, value)).encode())
    except ValueError:
        return
    assert decode(encode(facts)) == facts
    assert facts.command is None or all(isinstance(path, str) for path in facts.command.places)
    assert all(len(ticket) == 32 for ticket in facts.tickets)


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
        with suppress(UsageError, CycloptsError):
            parsed, _, _ = app.parse_args(
                ["receive", "--config", path], exit_on_error=False, print_error=False
            )
            assert callable(parsed)
    finally:
        os.unlink(path)


@pytest.mark.parametrize(
    "nested", ["a = " + "[" * 20_000, "a = " + "{a=" * 20_000, "[" + "a." * 20_000 + "a]"]
)
def test_a_configuration_of_many_levels_is_refused(tmp_path: Path, nested: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(nested, encoding="utf-8")
    with pytest.raises(UsageError):
        app.parse_args(["receive", "--config", str(path)], exit_on_error=False, print_error=False)


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
