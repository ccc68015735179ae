"""Several transfers with the same code in one state directory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from p2p_copy.cli import saved_transfers
from p2p_copy.cli.ui.terminal import Terminal
from p2p_copy.files.state.facts import Facts
from p2p_copy.files.state.store import States
from tests.support.commands import receive_command

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

CODE = "lab-a long passphrase"


def test_a_transfer_into_another_place_is_named_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    states, terminal = States(str(tmp_path / "states")), Terminal.standard()
    for number, code in enumerate((CODE, "lab-another passphrase", CODE)):
        command = receive_command(str(tmp_path / f"out {number}"))
        begun = saved_transfers.open_state(states, command, code, terminal)
        assert begun is not None
        if number == 0:
            other = begun.id
            begun.facts = replace(begun.facts, tickets=(bytes(32),))
            begun.save()
        begun.close()
    said = capsys.readouterr().err
    assert said.count("Another transfer was begun with this code") == 1
    for verb in ("resume", "forget"):
        assert f"p2p-copy {verb} {saved_transfers.short(other)}" in said
    assert CODE not in said


def test_a_code_that_is_used_up_in_one_place_is_used_up_in_all(tmp_path: Path) -> None:
    states, terminal = States(str(tmp_path / "states")), Terminal.standard()
    for out, expected in ((tmp_path / "a", False), (tmp_path / "b", True)):
        state = saved_transfers.open_state(states, receive_command(str(out)), CODE, terminal)
        assert state is not None
        assert state.facts.spent is expected
        state.facts = replace(state.facts, spent=True)
        state.save()
        state.close()
    command = receive_command(str(tmp_path / "a"))
    other = saved_transfers.open_state(states, command, "lab-another passphrase", terminal)
    assert other is not None
    assert not other.facts.spent
    other.close()


def test_a_spent_generated_code_is_reported() -> None:
    assert saved_transfers.is_good(Facts(code=CODE))
    assert not saved_transfers.is_good(Facts(code=CODE, spent=True))
    assert saved_transfers.is_good(Facts(code=CODE, spent=True, tickets=(bytes(32),)))
    assert not saved_transfers.is_good(Facts(tickets=(bytes(32),)))
