"""Several transfers with the same code in one state directory."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from p2p_copy import Client, Code
from p2p_copy.cli import saved_transfers
from p2p_copy.cli.ui.terminal import Terminal
from p2p_copy.files.state.store import States

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from p2p_copy import SavedTransfer
    from p2p_copy.files.state.facts import Facts

CODE = "lab-a long passphrase"


def receive(directory: Path, out: Path, code: str = CODE) -> SavedTransfer:
    """Begin to receive, as the command does."""
    client, parsed = Client("ws://127.0.0.1:9", state_dir=directory), Code.parse(code)
    save = partial(client.save_receive, out, code=parsed)
    saved = saved_transfers.begin(client, save, parsed, Terminal.standard())
    assert saved is not None
    return saved


def send(directory: Path, path: Path) -> SavedTransfer:
    """Begin to send with a code of ours, as the command does."""
    client = Client("ws://127.0.0.1:9", state_dir=directory)
    saved = saved_transfers.begin(client, partial(client.save_send, path), None, Terminal.standard())
    assert saved is not None
    return saved


def learn(directory: Path, id_: str, change: Callable[[Facts], Facts]) -> None:
    """Change what is saved, as a transfer does."""
    state = States(directory).open(id_)
    assert state is not None
    state.facts = change(state.facts)
    state.save()
    state.close()


def test_a_transfer_into_another_place_is_named_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    states = tmp_path / "states"
    other = receive(states, tmp_path / "out 0").id
    learn(states, other, lambda facts: replace(facts, tickets=(bytes(32),)))
    receive(states, tmp_path / "out 1", "lab-another passphrase")
    receive(states, tmp_path / "out 2")
    said = capsys.readouterr().err
    assert said.count("Another transfer was begun with this code") == 1
    for verb in ("resume", "forget"):
        assert f"p2p-copy {verb} {saved_transfers.short(other)}" in said
    assert CODE not in said


def test_a_code_that_is_used_up_in_one_place_is_used_up_in_all(tmp_path: Path) -> None:
    states = tmp_path / "states"
    for out, expected in ((tmp_path / "a", False), (tmp_path / "b", True)):
        saved = receive(states, out)
        assert saved.used_up is expected
        learn(states, saved.id, lambda facts: replace(facts, spent=True))
    assert not receive(states, tmp_path / "a", "lab-another passphrase").used_up


def test_a_code_of_ours_is_used_again_until_it_is_used_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    states = tmp_path / "states"
    first, again = send(states, tmp_path), send(states, tmp_path)
    assert first.code is not None
    assert first == again
    assert "Using the code of" in capsys.readouterr().err
    learn(states, first.id, lambda facts: replace(facts, spent=True))
    new = send(states, tmp_path)
    assert new.id == first.id
    assert new.code not in {None, first.code}
    assert not capsys.readouterr().err
    learn(states, first.id, lambda facts: replace(facts, spent=True, tickets=(bytes(32),)))
    assert send(states, tmp_path).code == new.code
