"""Workers that are killed or replaced lose no transfer: whole senders and receivers run meanwhile."""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING, Any

import pytest
import trio

from p2p_copy.protocol.code import Code
from p2p_copy.protocol.rendezvous import Refusal, Refused, Role
from tests.relay.clients import answer, exchange
from tests.relay.workers.relays import waiting
from tests.support.processes import QUICK
from tests.support.transfers import Both, copy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.relay.workers.relays import WorkersRelay

SIZE = 6_000_000
"""Bytes of a transfer that takes a second at `RATE`."""

RATE = 6_000_000


class Transfers:
    """Transfers through one relay, that run beside the body of a test."""

    def __init__(self, relay: WorkersRelay, folder: Path, count: int) -> None:
        self._relay = relay
        self._folder = folder
        self.all = [Both() for _ in range(count)]
        self._moving = 0
        self.are_moving = trio.Event()

    async def run(self) -> None:
        (self._folder / "data").write_bytes(os.urandom(SIZE))
        async with trio.open_nursery() as nursery:
            for number, both in enumerate(self.all):
                both.receiver.on_progress = self._count(both)
                nursery.start_soon(self._one, number, both)

    def _count(self, both: Both) -> Callable[[int, int], None]:
        def moves(_files: int, size: int) -> None:
            if size > SIZE / 20:
                both.receiver.on_progress = lambda files, size: None
                self._moving += 1
                if self._moving == len(self.all):
                    self.are_moving.set()

        return moves

    async def _one(self, number: int, both: Both) -> None:
        options: dict[str, Any] = {"ca_file": self._relay.ca_file, "patience": 60}
        await copy(
            [self._folder / "data"],
            self._folder / f"out{number}",
            relay=self._relay.url,
            code=Code(f"lab {number}", "a long passphrase"),
            both=both,
            sending={**options, "limit_rate": RATE},
            receiving=options,
        )

    def check(self) -> None:
        """All have arrived whole, and both sides know it."""
        sent = (self._folder / "data").read_bytes()
        for number, both in enumerate(self.all):
            assert both.reports
            assert (self._folder / f"out{number}" / "data").read_bytes() == sent

    @property
    def reconnects(self) -> int:
        """How many sides have met more than once."""
        return sum(
            told.states.count("paired") > 1 for both in self.all for told in (both.sender, both.receiver)
        )


@pytest.mark.slow  # transfers at a limited rate, so that something happens while they run, and workers start
@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
@pytest.mark.parametrize("by", ["signal", "order"])
async def test_all_workers_are_replaced_and_no_running_transfer_notices(
    start: Callable[..., WorkersRelay], tmp_path: Path, tls: bool, by: str
) -> None:
    relay = start(tls=tls)
    transfers = Transfers(relay, tmp_path, 6)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transfers.run)
        with trio.fail_after(QUICK):
            await transfers.are_moving.wait()
        if by == "order":
            answered = await trio.to_thread.run_sync(relay.ask, "POST", "/upgrade")
            assert answered[0] == 200
        else:
            relay.signal(signal.SIGUSR2)
        with trio.fail_after(QUICK):
            await trio.to_thread.run_sync(lambda: relay.wait_for("worker started", times=4))
    transfers.check()
    assert transfers.reconnects == 0
    relay.wait_for("worker ended", times=2)
    assert relay.living == {3, 4}
    assert relay.process.poll() is None
    assert relay.status["served"] == 6
    assert "died" not in relay.log
    numbers = re.findall(r"pairing (\d+) begins", relay.log)
    assert len(set(numbers)) == 6


async def test_those_that_wait_meet_after_their_worker_was_replaced(
    start: Callable[..., WorkersRelay], of_place: Callable[[int], str]
) -> None:
    """They are told to come back; a pairing goes on in its old worker, and its rooms' newcomers come to the new one."""
    relay = start()
    for place in (0, 1):
        async with relay.clients.pair(of_place(place)) as pair:
            async with waiting(relay.clients, Role.SENDER, of_place(place)) as waiter:
                relay.signal(signal.SIGUSR2)
                with trio.fail_after(QUICK):
                    said = await answer(waiter)
                assert isinstance(said, Refused)
                assert said.code == Refusal.STOPPING
            relay.wait_for("worker started", times=4 + 2 * place)
            await exchange(*pair)
            for other in (0, 1):
                await relay.clients.works(of_place(other))
    relay.wait_for("worker ended", times=4)


@pytest.mark.slow  # transfers at a limited rate, so that something happens while they run, and workers start
async def test_transfers_of_a_killed_worker_come_back_by_themselves(
    start: Callable[..., WorkersRelay], tmp_path: Path
) -> None:
    relay = start(tls=True)
    transfers = Transfers(relay, tmp_path, 6)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transfers.run)
        with trio.fail_after(QUICK):
            await transfers.are_moving.wait()
        busy = re.findall(r"pairing \d+ begins \(worker (\d)\)", relay.log)
        os.kill(relay.pids[int(busy[0])], signal.SIGKILL)
    transfers.check()
    assert transfers.reconnects == 2 * busy.count(busy[0])
    relay.wait_for("worker died")


@pytest.mark.slow  # a new worker has to fail
async def test_workers_that_cannot_be_replaced_stay(
    start: Callable[..., WorkersRelay], tmp_path: Path, of_place: Callable[[int], str]
) -> None:
    """The program on the disk is broken: here by a package of its name in a directory that was empty before."""
    first = tmp_path / "first"
    first.mkdir()
    relay = start(PYTHONPATH=str(first), cwd=first)
    (first / "p2p_copy").mkdir()
    (first / "p2p_copy" / "__init__.py").write_text("raise SystemExit('a broken upgrade')")
    async with relay.clients.pair(of_place(0)) as pair:
        status, sentence = relay.ask("POST", "/upgrade")
        assert (status, "log says why" in sentence) == (409, True)
        relay.wait_for("not all workers are replaced, the old ones stay: exit status 1")
        await exchange(*pair)
    await relay.clients.works(of_place(1))
    assert relay.living == {1, 2}
    assert set(relay.errors.split("\n")) == {"a broken upgrade", ""}
    relay.forgive()


async def test_a_relay_of_one_process_has_nothing_to_replace(start: Callable[..., WorkersRelay]) -> None:
    relay = start(workers=1)
    status, sentence = relay.ask("POST", "/upgrade")
    assert (status, "one process" in sentence) == (409, True)
    assert not relay.pids
