"""What a running transfer shows."""

from __future__ import annotations

import io
import os
import re
from contextlib import nullcontext
from dataclasses import replace

import pytest

from p2p_copy.api import events
from p2p_copy.api.report import Report
from p2p_copy.cli import limits
from p2p_copy.cli.ui.announcement import Announcement
from p2p_copy.cli.ui.progress import Meter, Progress
from p2p_copy.cli.ui.terminal import Terminal
from p2p_copy.errors import ResultNotWritten
from p2p_copy.units import MIB
from tests.cli.options.test_inputs import Tty

PAIRED = events.Paired(("acid", "zoom"))

CODE = Announcement("x", ("p2p-copy", "receive"), is_vital=True)

REPORT = Report(
    2,
    3 * MIB,
    0,
    (),
    skipped=0,
    excluded=0,
    up_to_date=0,
    deleted=0,
    root="0123456789abcdef" * 4,
    seconds=1.5,
)


def watched(err: io.StringIO, *, quiet: bool = False) -> tuple[Progress, io.StringIO]:
    out = io.StringIO()
    return Progress(Terminal(out, err, quiet=quiet), sends=True), out


def test_the_states_are_said_in_order() -> None:
    progress, _ = watched(err := io.StringIO())
    progress.show(events.Connecting("ws://relay:1"))
    progress.show(events.Waiting("ws://relay:1", 60))
    progress.show(events.Notice("The relay says: hello"))
    progress.show(PAIRED)
    progress.done(REPORT)
    lines = err.getvalue().splitlines()
    assert lines[0] == "Connecting to ws://relay:1."
    assert re.fullmatch(
        r"Waiting for the receiver at relay:1 until ([A-Z][a-z]+ )?[0-9]{2}:[0-9]{2}\.", lines[1]
    )
    assert lines[2] == "The relay says: hello"
    assert lines[3] == "Connected; the codes match. Both sides show: acid zoom."
    assert lines[4] == "Sent 2 files, 3.0 MiB in 1.5 s (2.0 MiB/s), digest 0123456789abcdef."


def test_the_words_are_shown_even_by_a_quiet_side_if_the_other_one_asks_for_them() -> None:
    progress, _ = watched(err := Tty(), quiet=True)
    progress.show(PAIRED)
    assert err.getvalue() == ""
    progress.show(replace(PAIRED, peer_verifies=True))
    assert err.getvalue() == "The receiver is asked whether you see the words acid zoom. Tell them.\n"


def test_a_side_waits_for_the_answer_of_the_other_until_something_comes() -> None:
    progress, _ = watched(err := Tty())
    progress.show(replace(PAIRED, peer_verifies=True))
    progress.draw(1.0)
    progress.draw(3.0)
    assert "Waiting for the receiver to compare the words (2 s)" in err.getvalue()
    progress.show(events.Progress(total_files=1, total_size=1))
    progress.draw(4.0)
    assert err.getvalue().rstrip().endswith("\r  0 %  0 B/s  0 of 1 B  0 of 1 file")


def test_the_announcement_is_a_result_and_comes_once_when_the_relay_is_ready() -> None:
    progress, out = watched(io.StringIO(), quiet=True)
    progress.start(CODE)
    progress.show(events.Connecting("ws://relay:1"))
    assert out.getvalue() == ""
    progress.show(events.Waiting("ws://relay:1", 60))
    progress.show(events.Waiting("ws://relay:1", 60))
    assert out.getvalue() == "Code: x\nOn the other machine: p2p-copy receive\n"


@pytest.mark.parametrize("met", [False, True])
def test_an_announcement_that_is_lost_ends_a_sender_only_until_both_sides_have_met(met: bool) -> None:
    with open(os.devnull) as unwritable:
        terminal = Terminal(unwritable, io.StringIO())
        progress = Progress(terminal, sends=True)
        progress.start(CODE)
        progress.show(events.Waiting("ws://relay:1", 60))
        terminal.flush()
        if met:
            progress.show(PAIRED)
        with nullcontext() if met else pytest.raises(ResultNotWritten):
            progress.draw(0)
        terminal.finish()


def test_on_a_terminal_one_line_shows_how_far_the_transfer_is() -> None:
    progress, _ = watched(err := Tty())
    progress.draw(0)
    assert err.getvalue() == ""
    progress.show(PAIRED)
    progress.draw(10)
    progress.show(events.Progress(1, 2 * MIB, total_files=4, total_size=8 * MIB, path="tree/a.txt"))
    progress.draw(12)
    assert err.getvalue().endswith("\r 25 %  1.0 MiB/s  6 s left  2.0 of 8.0 MiB  1 of 4 files  tree/a.txt")
    progress.show(events.Verifying())
    progress.draw(13)
    progress.draw(18)
    assert err.getvalue().rstrip().endswith("\rVerifying 1 file, 2.0 MiB (5 s)")


def test_bytes_that_were_there_before_do_not_count_for_the_rate() -> None:
    progress, _ = watched(err := Tty())
    progress.resume("Resuming the transfer of yesterday.")
    progress.show(PAIRED)
    there = events.Progress(0, 150 * MIB, resumed=150 * MIB, total_files=1, total_size=200 * MIB)
    progress.show(events.Resumed(150 * MIB))
    progress.show(there)
    progress.draw(1)
    assert "Resumed: 150.0 of 200.0 MiB already at the receiver.\n" in err.getvalue()
    assert err.getvalue().endswith("\r 75 %  0 B/s  150.0 of 200.0 MiB  0 of 1 file")
    progress.show(replace(there, size=152 * MIB))
    progress.draw(2)
    assert err.getvalue().endswith("\r 76 %  2.0 MiB/s  24 s left  152.0 of 200.0 MiB  0 of 1 file")
    progress.done(replace(REPORT, size=200 * MIB, seconds=50))
    assert "200.0 MiB, 150.0 MiB of it already there, in 50.0 s (1.0 MiB/s)" in err.getvalue()


def test_bytes_sent_before_a_loss_count_for_the_run_and_not_for_the_rate_after_it() -> None:
    progress, _ = watched(err := Tty())
    progress.show(PAIRED)
    progress.show(events.Progress(0, 6 * MIB))
    progress.draw(0)
    progress.show(events.Reconnecting("The relay is gone.", 60, 1))
    progress.show(PAIRED)
    progress.draw(10)
    progress.show(events.Resumed(5 * MIB))
    progress.show(events.Progress(0, 7 * MIB, resumed=5 * MIB))
    progress.draw(12)
    assert err.getvalue().endswith("\r1.0 MiB/s  7.0 MiB  0 files")
    progress.done(replace(REPORT, size=7 * MIB, seconds=7))
    assert "7.0 MiB in 7.0 s (1.0 MiB/s)" in err.getvalue()


@pytest.mark.parametrize("is_verified", [False, True])
def test_what_was_there_is_said_once_even_if_the_rest_takes_no_time(*, is_verified: bool) -> None:
    progress, _ = watched(err := io.StringIO())
    progress.resume("Resuming the transfer of yesterday.")
    progress.show(PAIRED)
    progress.show(events.Resumed(3 * MIB))
    progress.show(events.Progress(1, 4 * MIB, resumed=3 * MIB, total_files=1, total_size=4 * MIB))
    if is_verified:
        progress.show(events.Verifying())
        progress.draw(1)
    progress.close()
    assert err.getvalue().count("Resumed: 3.0 of 4.0 MiB already at the receiver.\n") == 1


def test_files_that_are_up_to_date_are_not_called_resumed() -> None:
    progress, _ = watched(err := io.StringIO())
    progress.show(PAIRED)
    progress.show(events.Resumed(3 * MIB))
    progress.draw(1)
    progress.close()
    assert "Resumed" not in err.getvalue()


def test_what_was_there_is_not_said_of_a_connection_that_was_lost_at_once() -> None:
    progress, _ = watched(err := io.StringIO())
    progress.show(PAIRED)
    progress.show(events.Resumed(3 * MIB))
    progress.show(events.Reconnecting("The relay is gone.", 60, 1))
    progress.show(PAIRED)
    progress.draw(1)
    progress.close()
    assert "Resumed" not in err.getvalue()


def test_a_stall_is_shown_until_data_moves_again() -> None:
    progress, _ = watched(err := Tty())
    progress.show(PAIRED)
    progress.show(events.Stalled("Nothing moves", 65))
    progress.draw(0)
    assert "Nothing moves for 1 min 5 s.\n" in err.getvalue()
    assert err.getvalue().endswith("\rStalled  0 B/s  0 B  0 files")
    progress.show(events.Moving())
    progress.draw(1)
    assert err.getvalue().endswith("The transfer is moving again.\n\r0 B/s  0 B  0 files")


def test_a_total_that_becomes_known_is_shown_above_an_open_question() -> None:
    progress, _ = watched(err := Tty())
    progress.show(PAIRED)
    before = err.getvalue()
    with progress.asking("Receive this? "):
        progress.draw(0)
        progress.show(events.Progress(total_files=3, total_size=2048))
    assert err.getvalue().removeprefix(before) == "Receive this? \nTotal: 3 files, 2.0 KiB.\nReceive this? "
    before = err.getvalue()
    with progress.asking("Replace it? "):
        progress.show(events.Notice("The relay will restart."))
    progress.notice("Afterwards.")
    assert err.getvalue().removeprefix(before) == (
        "Replace it? \nThe relay will restart.\nReplace it? Afterwards.\n"
    ), "what is said meanwhile leaves the question in sight"


def test_bytes_that_are_there_count_even_if_nothing_else_moves() -> None:
    progress, _ = watched(err := io.StringIO())
    progress.show(PAIRED)
    progress.show(events.Resumed(3 * MIB))
    progress.done(REPORT)
    assert "3.0 MiB, 3.0 MiB of it already there, in 1.5 s, digest" in err.getvalue()


def test_dropped_events_are_said() -> None:
    progress, _ = watched(err := io.StringIO())
    progress.show(events.Missed(7))
    assert "7" in err.getvalue()


def test_a_total_that_is_not_known_yet_is_not_made_up() -> None:
    progress, _ = watched(err := Tty())
    progress.show(PAIRED)
    progress.show(events.Progress(1, 500))
    progress.draw(0)
    assert err.getvalue().endswith("\r0 B/s  500 B  1 file")


def test_the_live_line_says_until_when_and_how_long_this_side_waits() -> None:
    progress, _ = watched(err := Tty())
    progress.show(events.Connecting("ws://relay:1"))
    progress.draw(99)
    assert err.getvalue().endswith("\rConnecting to ws://relay:1 (0 s)")
    progress.show(events.Waiting("ws://relay:1", 60))
    progress.draw(100)
    progress.draw(165)
    last = err.getvalue().rstrip().rpartition("\r")[2]
    assert re.fullmatch(
        r"Waiting for the receiver at relay:1 until ([A-Z][a-z]+ )?[0-9]{2}:[0-9]{2} \(1 min 5 s\)", last
    )


def lost(pause: float, seconds: float = 43_200, why: str = "The relay was lost.") -> events.Reconnecting:
    return events.Reconnecting(why, seconds, pause)


def test_on_a_terminal_a_loss_is_one_line_and_each_further_try_changes_the_live_line() -> None:
    progress, _ = watched(err := Tty())
    progress.show(PAIRED)
    before = err.getvalue()
    progress.show(lost(0.5))
    progress.draw(0)
    progress.show(events.Connecting("ws://relay:1"))
    progress.show(lost(8, 3700, "The relay is out of reach."))
    progress.draw(10)
    progress.draw(12)
    progress.draw(20)
    progress.show(events.Waiting("ws://relay:1", 60))
    progress.show(PAIRED)
    said = err.getvalue().removeprefix(before)
    assert [line.rpartition("\r")[2] for line in said.split("\n")[:-1]] == [
        "The relay was lost. Reconnecting; will keep trying for 12 h.",
        "Reconnected.",
    ]
    live = [line.strip() for line in said.replace("\n", "\r").split("\r") if line.startswith("Reconnecting,")]
    assert live == [
        "Reconnecting, trying now, for 12 h more: The relay was lost.",
        "Reconnecting, next try in 8 s, for 1 h 1 min more: The relay is out of reach.",
        "Reconnecting, next try in 6 s, for 1 h 1 min more: The relay is out of reach.",
        "Reconnecting, trying now, for 1 h 1 min more: The relay is out of reach.",
    ]


def test_without_a_terminal_tries_to_reconnect_are_said_now_and_then() -> None:
    progress, _ = watched(err := io.StringIO())
    progress.show(PAIRED)
    before = err.getvalue()
    for second in range(130):
        progress.show(lost(0.5, 1000 - second))
        progress.show(events.Connecting("ws://relay:1"))
        progress.draw(second)
    assert err.getvalue().removeprefix(before).splitlines() == [
        "The relay was lost. Reconnecting; will keep trying for 16 min 40 s.",
        "Reconnecting, trying now, for 15 min 40 s more: The relay was lost.",
        "Reconnecting, trying now, for 14 min 40 s more: The relay was lost.",
    ]


def test_without_a_terminal_a_plain_line_comes_now_and_then() -> None:
    progress, _ = watched(err := io.StringIO())
    progress.show(PAIRED)
    before = err.getvalue()
    now = 50.0
    while now <= 50 + 2.5 * limits.PLAIN_PROGRESS_INTERVAL:
        progress.draw(now)
        now += limits.DRAW_INTERVAL
    lines = err.getvalue().removeprefix(before).splitlines()
    assert len(lines) == 2
    assert all(line.startswith("Transferring:") for line in lines)


def test_without_a_terminal_waiting_is_said_once() -> None:
    progress, _ = watched(err := io.StringIO())
    progress.show(events.Waiting("ws://relay:1", 60))
    before = err.getvalue()
    for minute in range(100):
        progress.draw(60 * minute)
    assert err.getvalue() == before


def test_quiet_says_nothing_but_what_was_not_delivered() -> None:
    progress, _ = watched(err := Tty(), quiet=True)
    progress.show(events.Connecting("ws://relay:1"))
    progress.show(events.Waiting("ws://relay:1", 60))
    progress.show(PAIRED)
    progress.draw(0)
    progress.show(events.Skipped("b"))
    progress.show(events.Problem("a", "vanished"))
    progress.close()
    progress.done(REPORT)
    assert err.getvalue() == "Not delivered: a vanished\n"


def verbose_lines(progress: bool = True) -> tuple[Progress, io.StringIO]:
    err = Tty()
    return Progress(Terminal(io.StringIO(), err, verbose=True, progress=progress), sends=True), err


def test_verbose_says_each_step_with_its_time() -> None:
    shown, err = verbose_lines()
    shown.show(events.Connecting("ws://relay:1"))
    shown.show(PAIRED)
    shown.show(events.Progress(1, 2, links=3))
    for reason in ("The relay was lost.", "The relay cannot be reached."):
        shown.show(events.Reconnecting(reason, 60, 5))
        shown.show(events.Connecting("ws://relay:1"))
    shown.show(PAIRED)
    for number in range(limits.PROBLEM_LINES + 5):
        shown.show(events.Problem(f"file {number}", "cannot be read at the sender"))
    shown.show(events.Skipped("there"))
    lines = err.getvalue().splitlines()
    assert all(re.match(r"[0-9]{2}:[0-9]{2}:[0-9]{2} \S", line) for line in lines)
    said = [line[9:] for line in lines]
    assert said[:8] == [
        "Connecting to ws://relay:1.",
        "Connected; the codes match. Both sides show: acid zoom.",
        "Using 3 connections.",
        "The relay was lost. Reconnecting; will keep trying for 1 min.",
        "Connecting to ws://relay:1.",
        "The relay cannot be reached. Next try in 5 s.",
        "Connecting to ws://relay:1.",
        "Reconnected.",
    ]
    assert len([line for line in said if line.startswith("Not delivered: ")]) == limits.PROBLEM_LINES + 5
    assert said[-1] == "Skipped (already exists): there"


def test_without_progress_only_phases_and_the_end_are_said() -> None:
    shown, err = verbose_lines(progress=False)
    shown.show(PAIRED)
    for now in range(0, 600, 10):
        shown.show(events.Progress(now, now * 1000))
        shown.draw(float(now))
    shown.close()
    shown.done(REPORT)
    assert err.getvalue().splitlines()[0][9:] == "Connected; the codes match. Both sides show: acid zoom."
    assert "Transferring" not in err.getvalue()
    assert "Sent 2 files" in err.getvalue()


def test_many_problems_are_grouped_and_the_first_twenty_named() -> None:
    progress, _ = watched(err := io.StringIO())
    progress.show(events.Problem("gone", "does not exist"))
    for number in range(43):
        progress.show(events.Problem(f"{42 - number:02}", "already exists; `on_conflict` says what to do"))
        progress.show(events.Skipped(f"{42 - number:02}"))
    progress.close()
    lines = err.getvalue().splitlines()
    assert lines[0] == "43 files skipped (already exist):"
    assert lines[1:22] == [*(f"  {number:02}" for number in range(20)), "  and 23 more"]
    assert lines[22] == "Not delivered: gone does not exist"
    assert lines[23] == "Not delivered: 43 files. Each already exists; --on-conflict says what to do:"
    assert lines[24:] == [
        *(f"  {number:02}" for number in range(19)),
        "  and 24 more (--receipt FILE lists all)",
    ]


def test_one_skipped_file_is_one_line() -> None:
    progress, _ = watched(err := io.StringIO())
    progress.show(events.Skipped("a b"))
    progress.close()
    assert err.getvalue() == 'Skipped (already exists): "a b"\n'


def test_what_is_not_delivered_is_told_anew_after_a_loss_unless_that_was_only_a_goodbye() -> None:
    progress, _ = watched(err := io.StringIO())
    progress.show(events.Problem("a", "vanished"))
    progress.show(PAIRED)
    progress.show(events.Problem("b", "vanished"))
    progress.show(PAIRED)
    progress.close()
    assert "Not delivered: b vanished\n" in err.getvalue()
    assert "Not delivered: a" not in err.getvalue()


def test_the_rate_falls_to_zero_when_nothing_moves() -> None:
    meter = Meter()
    assert meter.rate == 0
    now = 0.0
    for size in range(0, 1000, 100):
        meter.add(now, size)
        now += 0.5
    assert meter.rate == pytest.approx(200)
    for _ in range(int(limits.RATE_WINDOW / 0.5) + 1):
        meter.add(now, 900)
        now += 0.5
    assert meter.rate == 0


def test_rare_samples_give_a_rate() -> None:
    meter = Meter()
    meter.add(0, 0)
    meter.add(100, 1000)
    assert meter.rate == pytest.approx(10)
