"""The list of unfinished transfers: a header, and rows that fit the terminal."""

from __future__ import annotations

import time

import pytest

from p2p_copy import SavedTransfer
from p2p_copy.cli.ui.display import columns_of
from p2p_copy.cli.ui.transfer_table import transfer_table
from p2p_copy.units import MIB

BEGAN = time.mktime((2026, 5, 4, 22, 30, 0, 0, 0, -1))
WSS = "wss://relay.example:443"

TRANSFERS = (
    SavedTransfer(
        "5f1c7a20" * 4, "sender", (WSS,), ("/home/ann/results",),
        began=BEGAN, met=True, running=True, size=37 * MIB, total=61 * MIB,
    ),
    SavedTransfer(
        "6ff19b03" * 4, "receiver", ("wss://r.example:8443/p",), ("/scratch/ann/a long name/of/today",),
        began=BEGAN, met=True, size=3 * MIB,
    ),
    SavedTransfer("0b0b0b0b" * 4, "sender", (WSS,), tuple(f"/data/{n}" for n in range(40)), began=BEGAN),
)  # fmt: skip


def test_a_wide_terminal_has_all_in_one_row() -> None:
    assert transfer_table(TRANSFERS, 120) == [
        "ID        SIDE     HOW FAR          SINCE             RELAY             WHAT",
        "5f1c7a20  sending  60% of 61.0 MiB  2026-05-04 22:30  relay.example     /home/ann/results",
        '6ff19b03  receive  3.0 MiB          2026-05-04 22:30  r.example:8443/p  "/scratch/ann/a long name/of/today"',
        "0b0b0b0b  send     nothing yet      2026-05-04 22:30  relay.example     /data/0, and 39 more",
    ]


def test_80_columns_have_no_relay_and_cut_paths() -> None:
    assert transfer_table(TRANSFERS, 80) == [
        "ID        SIDE     HOW FAR          SINCE             WHAT",
        "5f1c7a20  sending  60% of 61.0 MiB  2026-05-04 22:30  /home/ann/results",
        "6ff19b03  receive  3.0 MiB          2026-05-04 22:30  /scratch/ann…me/of/today",
        "0b0b0b0b  send     nothing yet      2026-05-04 22:30  /data/0, and 39 more",
    ]


def test_40_columns_have_lines_below_each_other() -> None:
    assert transfer_table(TRANSFERS, 40) == [
        "ID        SIDE     HOW FAR",
        "5f1c7a20  sending  60% of 61.0 MiB",
        "  /home/ann/results",
        "  relay.example",
        "  since 2026-05-04 22:30",
        "6ff19b03  receive  3.0 MiB",
        '  "/scratch/ann/a long name/of/today"',
        "  r.example:8443/p",
        "  since 2026-05-04 22:30",
        "0b0b0b0b  send     nothing yet",
        "  /data/0, and 39 more",
        "  relay.example",
        "  since 2026-05-04 22:30",
    ]


@pytest.mark.parametrize("columns", [38, 40, 60, 72, 80, 100, 132])
def test_every_line_fits(columns: int) -> None:
    assert all(columns_of(line) <= columns for line in transfer_table(TRANSFERS, columns))


def test_a_file_gets_whole_paths() -> None:
    lines = transfer_table(TRANSFERS, None)
    assert '"/scratch/ann/a long name/of/today"' in lines[2]
    assert lines[3].endswith("/data/38, /data/39")


def test_a_side_that_was_killed_at_once_has_begun() -> None:
    killed = SavedTransfer("ab" * 16, "receiver", (WSS,), ("/a",), began=BEGAN, met=True)
    assert "  begun  " in transfer_table([killed], 80)[1]


def test_without_transfers_there_is_no_table() -> None:
    assert transfer_table((), 80) == []


def test_a_name_cannot_look_like_another_row() -> None:
    odd = SavedTransfer("ab" * 16, "sender", (WSS,), ("/a\nffffffff  send",), began=BEGAN)
    assert len(transfer_table([odd], 80)) == 2
