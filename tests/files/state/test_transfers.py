"""What identifies a saved transfer: another limit or another wait does not make it another one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from p2p_copy.files.state.store import States
from p2p_copy.files.state.transfers import open_transfer, receive_command, same_command, send_command
from p2p_copy.options import ReceiveOptions, RelayAccess, SendOptions

if TYPE_CHECKING:
    from pathlib import Path

    from p2p_copy.files.state.facts import SendCommand

RELAY = [RelayAccess("ws://relay:1")]
RATE = 1_000_000


def test_the_same_command_with_other_options_of_one_run_is_the_same_transfer(tmp_path: Path) -> None:
    states = States(str(tmp_path / "states"))

    def command(**options: float) -> SendCommand:
        return send_command(RELAY, ["file"], SendOptions(**options))  # type: ignore[arg-type]

    state = open_transfer(states, command(limit_rate=RATE, wait=5, patience=1), "code", save_code=True)
    state.close()
    for options in ({}, {"limit_rate": 2 * RATE}, {"wait": 7.0, "patience": 0}, {"links": 3}):
        found = same_command(states, command(**options))
        assert found is not None
        assert found.id == state.id
        found.close()
    other = send_command(RELAY, ["file"], SendOptions(name="another"))
    assert same_command(states, other) is None


def test_how_careful_a_run_is_does_not_make_it_another_transfer(tmp_path: Path) -> None:
    states = States(str(tmp_path / "states"))
    command = send_command([replace(RELAY[0], pin="ab" * 32)], ["file"], SendOptions(), verify=True)
    state = open_transfer(states, command, "code", save_code=True)
    state.close()
    found = same_command(states, send_command(RELAY, ["file"], SendOptions()))
    assert found is not None
    assert (found.id, found.facts.command) == (state.id, command)
    found.close()


def test_a_limit_of_one_run_is_not_remembered() -> None:
    sends = send_command(RELAY, ["file"], SendOptions(limit_rate=RATE, name="x"))
    receives = receive_command(RELAY, "out", ReceiveOptions(limit_rate=RATE, reverify=True, max_files=3))
    assert sends.options == SendOptions(name="x")
    assert receives.options == ReceiveOptions(max_files=3)
