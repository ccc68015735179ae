"""Transfers with the same code, as the state directory knows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from p2p_copy.cli import saved_transfers
from p2p_copy.cli.ui.terminal import Terminal
from p2p_copy.files.state.store import States

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

CODE = "lab-a long passphrase"


def facts(out: Path, **more: Any) -> dict[str, Any]:
    return {
        saved_transfers.ROLE: "receiver",
        saved_transfers.RELAY: "ws://r",
        saved_transfers.OUT: str(out),
        **more,
    }


def test_a_transfer_into_another_place_is_named_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    states, terminal = States(str(tmp_path / "states")), Terminal.standard()
    for code, more in (
        (CODE, {saved_transfers.TICKET: "11" * 32}),
        ("lab-another passphrase", {}),
        (CODE, {}),
    ):
        out = tmp_path / f"out {len(more)} {len(code)}"
        begun = saved_transfers.open_state(states, facts(out, **more), code, terminal)
        assert begun is not None
        begun.close()
        if more:
            other = begun.id
    said = capsys.readouterr().err
    assert said.count("Another transfer was begun with this code") == 1
    for command in ("resume", "forget"):
        assert f"p2p-copy {command} {saved_transfers.short(other)}" in said
    assert CODE not in said


def test_a_code_that_is_used_up_in_one_place_is_used_up_in_all(tmp_path: Path) -> None:
    states, terminal = States(str(tmp_path / "states")), Terminal.standard()
    for out, expected in ((tmp_path / "a", False), (tmp_path / "b", True)):
        state = saved_transfers.open_state(states, facts(out), CODE, terminal)
        assert state is not None
        assert (saved_transfers.SPENT in state.facts) is expected
        state.facts[saved_transfers.SPENT] = True
        state.save()
        state.close()
    other = saved_transfers.open_state(states, facts(tmp_path / "a"), "lab-another passphrase", terminal)
    assert other is not None
    assert saved_transfers.SPENT not in other.facts
    other.close()


def test_a_generated_code_that_is_used_up_is_only_told_that_it_is() -> None:
    assert saved_transfers.is_good({saved_transfers.CODE: CODE})
    assert not saved_transfers.is_good({saved_transfers.CODE: CODE, saved_transfers.SPENT: True})
    assert saved_transfers.is_good(
        {saved_transfers.CODE: CODE, saved_transfers.SPENT: True, saved_transfers.TICKET: "11"}
    )
    assert not saved_transfers.is_good({saved_transfers.TICKET: "11"})
