"""Things that happen in the middle of a transfer: links are swapped, disks fill up, a third client comes."""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import trio

from p2p_copy.errors import NoSpace, P2PCopyError, PeerFailed, RelayRefused
from p2p_copy.files import limits as files_limits
from p2p_copy.files.state.facts import Facts
from p2p_copy.files.state.store import States
from p2p_copy.observer import Report
from p2p_copy.options import Conflict
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.transfer import limits as transfer_limits
from p2p_copy.transfer.tree.consumer import TreeConsumer
from p2p_copy.units import KIB, MIB
from tests.mitm.relay import middle
from tests.support.transfers import CODE, copy, receive, running_relay, send
from tests.support.trees import leftovers, snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from p2p_copy.files.state.store import State

ID = "0" * 32


@pytest.mark.fault(58, "parent in a race")
@pytest.mark.parametrize("conflict", [Conflict.REFUSE, Conflict.OVERWRITE, Conflict.RENAME])
async def test_a_parent_that_is_a_link_every_now_and_then_leads_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, conflict: Conflict
) -> None:
    """While each record is written its directory is swapped for a link to the canary's, and back, many times."""
    monkeypatch.setattr(files_limits, "DIRECTORY_HANDLES", 1)
    monkeypatch.setattr(transfer_limits, "CHUNK", 4 * KIB)
    tree, out, canary = (tmp_path / name for name in ("tree", "out", "canary"))
    for inner in ("a", "b"):
        (tree / inner / "deep").mkdir(parents=True)
        for number in range(60):
            (tree / inner / "deep" / f"{number}").write_bytes(os.urandom(1_000))
    (canary / "deep").mkdir(parents=True)
    (canary / "deep" / "1").write_text("sings")
    before = snapshot(canary)
    over, swapped, turns = threading.Event(), threading.Condition(), 0

    def disturb() -> None:
        nonlocal turns
        while not over.is_set():
            for inner in ("a", "b"):
                place, away = out / "tree" / inner, tmp_path / f"away {inner}"
                with suppress(OSError):
                    place.rename(away)
                    place.symlink_to(canary)
                    place.unlink()
                    away.rename(place)
            with swapped:
                turns += 1
                swapped.notify_all()

    take = TreeConsumer.consume

    def disturbed(self: TreeConsumer, records: Sequence[bytes | str], now: float) -> list[bytes]:
        answers: list[bytes] = []
        for record in records:
            with swapped:
                swapped.wait(timeout=10)
            answers += take(self, [record], now)
        return answers

    monkeypatch.setattr(TreeConsumer, "consume", disturbed)
    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        both = await copy([tree], out, receiving={"conflict": conflict})
    finally:
        over.set()
        thread.join()
    assert turns > 10
    assert snapshot(canary) == before
    for outcome in (both.sent, both.received):
        assert isinstance(outcome, Report | P2PCopyError)
    sent = {path.read_bytes() for path in all_files(tree)}
    assert {path.read_bytes() for path in [*all_files(out), *all_files(tmp_path, "away*")]} <= sent


def all_files(directory: Path, pattern: str = "") -> list[Path]:
    found = directory.glob(f"{pattern}/**/*" if pattern else "**/*")
    return [path for path in found if path.is_file() and not path.name.startswith(".p2p-copy-")]


def again(directory: Path) -> State:
    states = States(str(directory))
    return states.open(ID) or states.create(ID, Facts())


@pytest.mark.fault(64, "full", "part is kept")
async def test_what_a_full_disk_has_taken_need_not_be_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol_limits, "SEGMENT", MIB)
    data = os.urandom(6 * MIB)
    (tmp_path / "file").write_bytes(data)
    room = 4.5 * MIB
    write = os.write

    def full(fd: int, data: bytes) -> int:
        nonlocal room
        room -= len(data)
        if room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, data)

    async with middle() as at:
        for attempt in range(2):
            said = sum(map(len, at.said[Role.SENDER]))
            with monkeypatch.context() as patched:
                if not attempt:
                    patched.setattr(os, "write", full)
                both = await copy(
                    [tmp_path / "file"],
                    tmp_path / "out",
                    relay=at.address,
                    sending={"state": again(tmp_path / "sender")},
                    receiving={"state": again(tmp_path / "receiver")},
                )
            if not attempt:
                assert isinstance(both.received, NoSpace)
                assert isinstance(both.sent, PeerFailed)
                assert not (tmp_path / "out" / "file").exists()
                (part,) = leftovers(tmp_path / "out")
                assert (tmp_path / "out" / part).stat().st_mode & 0o777 == 0o600
    assert [report.failures for report in both.reports] == [0, 0]
    assert sum(map(len, at.said[Role.SENDER])) - said < 3 * MIB
    assert (tmp_path / "out" / "file").read_bytes() == data
    assert not leftovers(tmp_path / "out")


@pytest.mark.fault(78, "two receivers")
async def test_of_two_receivers_one_gets_all_and_the_other_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data := os.urandom(100_000))
    outcomes: list[Report | P2PCopyError] = []
    taken = trio.Event()

    async def one(relay: str, out: str) -> None:
        try:
            outcomes.append(await receive(str(tmp_path / out), relay=relay, code=CODE))
        except P2PCopyError as error:
            outcomes.append(error)
            taken.set()

    with trio.fail_after(30):
        async with running_relay() as relay, trio.open_nursery() as nursery:
            nursery.start_soon(one, relay, "out 1")
            nursery.start_soon(one, relay, "out 2")
            await taken.wait()
            report = await send([str(tmp_path / "file")], relay=relay, code=CODE)
    refused, received = outcomes
    assert isinstance(refused, RelayRefused)
    assert "taken" in str(refused) or "already" in str(refused), str(refused)
    assert isinstance(received, Report)
    assert received.root == report.root
    assert [path.read_bytes() for path in all_files(tmp_path, "out *")] == [data]
