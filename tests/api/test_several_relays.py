"""A client of several relays: any kind of list, events that name the relay, and what is saved."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import p2p_copy as p2p
from p2p_copy.files.state.store import States
from p2p_copy.testing import relay as running
from tests.api.support import BACKENDS, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOBODY = "ws://127.0.0.1:9"


@pytest.fixture
def relays() -> Iterator[tuple[str, str]]:
    with running() as one, running() as another:
        yield one, another


@pytest.mark.parametrize("backend", BACKENDS)
def test_events_name_the_relay_and_a_dead_one_is_left_out(
    relays: tuple[str, str], tree: Path, tmp_path: Path, code: p2p.Code, backend: str
) -> None:
    happened: list[p2p.Event] = []

    async def main() -> None:
        sender = p2p.AsyncClient(relay=[NOBODY, *relays])
        receiver = p2p.AsyncClient(relay=(p2p.RelayAccess(url) for url in (relays[1], NOBODY)))
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: receiver.receive(tmp_path / "out", code=code))
            await sender.send(tree, code=code, on_event=happened.append)

    run(backend, main)
    assert {event.relay for event in happened if isinstance(event, p2p.Connecting)} <= {NOBODY, *relays}
    assert relays[1] in {event.relay for event in happened if isinstance(event, p2p.Waiting)}
    assert [event.relay for event in happened if isinstance(event, p2p.Paired)] == [relays[1]]


def test_all_relays_are_saved_with_their_pins_and_come_back(
    tree: Path, tmp_path: Path, code: p2p.Code
) -> None:
    pin = "ab" * 32
    given: list[str | p2p.RelayAccess] = [
        "wss://one.example",
        p2p.RelayAccess("wss://two.example", pin=pin, token="secret"),
    ]
    with p2p.Client(relay=given, state_dir=tmp_path / "state") as client:
        saved = client.save_send(tree, code=code)
    assert saved.relays == ("wss://one.example", "wss://two.example")
    with States(str(tmp_path / "state")).open(saved.id) as state:  # type: ignore[union-attr]
        command = state.facts.command
        assert command is not None
        assert [(each.url, each.pin) for each in command.relays] == list(
            zip(saved.relays, (None, pin), strict=True)
        )
    for file in (tmp_path / "state").rglob("*"):
        assert not file.is_file() or b"secret" not in file.read_bytes()
    with p2p.Client(state_dir=tmp_path / "state") as client:
        (again,) = client.saved()
        assert again.relays == saved.relays


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (["wss://one.example", "two"], p2p.UsageError),
        ([""], p2p.UsageError),
        ([p2p.RelayAccess("")], p2p.UsageError),
        (["wss://one.example", p2p.RelayAccess("ws://two.example", pin="ab" * 32)], p2p.UsageError),
        ([p2p.RelayAccess("wss://one.example", pin="short")], p2p.UsageError),
        ([p2p.RelayAccess("wss://one.example", proxy="ftp://x")], p2p.UsageError),
        ([f"ws://127.0.0.1:{port}" for port in range(1, 10)], p2p.UsageError),
        (5, TypeError),
        ([5], TypeError),
    ],
)
def test_wrong_relays_are_refused_at_once(given: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        p2p.Client(relay=given)


def test_no_relay_answers_and_the_error_names_all(tmp_path: Path, code: p2p.Code) -> None:
    (tmp_path / "file").write_bytes(os.urandom(10))
    with pytest.raises(
        p2p.RelayUnreachable, match=r"None of the 2 relays can be used. \(1\) ws://127.0.0.1:9: .*\(2\) "
    ):
        p2p.Client(relay=[NOBODY, "ws://127.0.0.1:10"]).send(tmp_path / "file", code=code)
