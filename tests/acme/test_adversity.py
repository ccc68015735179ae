"""Kills, full disks, outages, clocks that jump."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock

from p2p_copy.acme import limits
from p2p_copy.acme.interface import CertificateFound, CertificateObtained, OrderBegun, TryFailed
from tests.acme.helpers import Operator, Wall, first_certificate, settings
from tests.contrib.programs import free_port
from tests.support.acme_authorities import (
    NAME,
    Answer,
    Gate,
    Request,
    Served,
    Watch,
    between,
    pebble,
    server_files,
)
from tests.support.processes import environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NEW_ORDER, FINALIZE, CERTIFICATE = "order-plz", "finalize-order", "certZ"

KEEPER = f"""
import sys
from pathlib import Path
import trio
from p2p_copy.acme.keeper import CertificateKeeper
from p2p_copy.acme.settings import AcmeSettings

class Challenges:
    async def open(self, *_):
        pass
    async def close(self, *_):
        pass

async def take(*_):
    return True

chosen = AcmeSettings(("{NAME}",), Path(sys.argv[1]), directory=sys.argv[2], ca_file=Path(sys.argv[3]))
trio.run(CertificateKeeper(chosen, Challenges(), take, lambda event: print(event, flush=True)).run)
"""


# Kills


@pytest.mark.parametrize(
    ("part", "orders"),
    [
        ("dir", 1),
        ("sign-me-up", 1),
        (NEW_ORDER, 2),
        ("authZ", 1),
        ("chalZ", 1),
        (FINALIZE, 1),
        (CERTIFICATE, 1),
    ],
)
def test_a_kill_in_the_middle_of_an_order_breaks_nothing(tmp_path: Path, part: str, orders: int) -> None:
    """The authority has done its part each time, and its answer is on the way."""
    gate = Gate()
    watch = Watch(**{part: gate})
    with pebble(tmp_path / "pebble", any_proof=True) as easy, between(easy, tmp_path, watch) as served:
        words = [sys.executable, "-c", KEEPER, str(tmp_path / "acme"), served.directory, str(served.ca_file)]
        with subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE) as process:
            assert gate.reached.wait(20)
            process.kill()
            assert process.wait(10) == -signal.SIGKILL
        gate.open.set()
        watch.instead.clear()
        later = Wall()
        later.ahead = 2 * limits.FIRST_PAUSE  # a process that died is no reason to try again at once
        operator = Operator(settings(served, tmp_path / "acme"), tmp_path, later)
        trio.run(first_certificate, operator)
    assert len(watch.asked(NEW_ORDER)) == orders  # one whose address never came cannot go on
    assert len(watch.asked(FINALIZE)) == 1
    (begun,) = operator.seen(OrderBegun)
    assert begun.resumed == (orders == 1 and part not in ("dir", "sign-me-up"))


def test_a_process_that_died_in_a_try_does_not_repeat_it_without_a_pause(tmp_path: Path) -> None:
    gate = Gate()
    with (
        pebble(tmp_path / "pebble", any_proof=True) as easy,
        between(easy, tmp_path, Watch(**{NEW_ORDER: gate})) as served,
    ):
        words = [sys.executable, "-c", KEEPER, str(tmp_path / "acme"), served.directory, str(served.ca_file)]
        with subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE) as process:
            assert gate.reached.wait(20)
            process.kill()
        gate.open.set()
        operator = Operator(settings(served, tmp_path / "acme"), tmp_path)

        async def main() -> None:
            async with operator.running():
                await operator.sleeps()

        trio.run(main)
    status = operator.keeper.status
    assert (status.failures, status.last_error) == (1, "The relay ended in the middle of this try.")
    assert status.next_try is not None
    assert status.last_try is not None
    assert status.next_try - status.last_try >= limits.FIRST_PAUSE * (1 - limits.JITTER)
    assert operator.events == []


# Disks that hang or are full


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="what hangs here is a pipe that nobody writes into")
def test_a_disk_that_hangs_does_not_keep_a_relay_from_its_start(tmp_path: Path) -> None:
    times = Times()
    away = Served(f"https://127.0.0.1:{free_port()}/dir", tmp_path / "none.pem", 0)
    (tmp_path / "acme" / "certificates" / "1").mkdir(parents=True)
    pipe = tmp_path / "acme" / "certificates" / "1" / "facts.json"
    os.mkfifo(pipe)

    async def main() -> None:
        operator = Operator(settings(away, tmp_path / "acme"), tmp_path, times.wall)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(time_passes)
            await nursery.start(operator.keeper.run)
            nursery.cancel_scope.cancel()

    async def time_passes() -> None:
        while True:  # however long it takes until the keeper asks the disk
            await trio.sleep(0.1)
            times.clock.jump(limits.DISK_TIMEOUT)

    try:
        trio.run(main, clock=times.clock)
    finally:  # let the threads go
        os.close(os.open(pipe, os.O_RDWR | os.O_NONBLOCK))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    words = [mount, "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        yield disk
    finally:
        # A step on the disk that a keeper has left behind may still run.
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> Path:
    path = disk / "full"
    with path.open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(4096))
        except OSError:
            return path


async def test_on_a_full_disk_nothing_is_ordered(tmp_path: Path, small_disk: Path) -> None:
    watch = Watch()
    with pebble(tmp_path / "pebble", any_proof=True) as easy, between(easy, tmp_path, watch) as served:
        operator = Operator(settings(served, small_disk / "acme"), tmp_path)
        full = fill(small_disk)
        async with operator.running():
            event = await operator.until(TryFailed)
            assert event.why == f"The folder '{small_disk / 'acme'}' cannot be used: No space left on device."
            assert watch.asked(NEW_ORDER) == []
            full.unlink()
            operator.keeper.try_now()
            await operator.until(CertificateObtained)
    assert len(watch.asked(NEW_ORDER)) == 1


async def test_a_disk_that_fills_up_during_an_order_costs_no_certificate(
    tmp_path: Path, small_disk: Path
) -> None:
    def fill_it(_: Request, ask: Callable[[], Answer]) -> Answer:
        fill(small_disk)
        return ask()

    watch = Watch(**{FINALIZE: fill_it})
    with pebble(tmp_path / "pebble", any_proof=True) as easy, between(easy, tmp_path, watch) as served:
        chosen = settings(served, small_disk / "acme")
        await first_certificate(Operator(chosen, tmp_path))
        again = Operator(chosen, tmp_path)
        async with again.running():
            await again.until(CertificateFound)
    assert len(watch.asked(NEW_ORDER)) == 1


# Time


class Times:
    """The clock of the event loop and the time of day, for a test that moves both."""

    def __init__(self) -> None:
        self.clock = MockClock(rate=1.0)
        self.wall = Wall()

    def jump(self, seconds: float) -> None:
        self.wall.ahead += seconds
        self.clock.jump(seconds)


def test_an_authority_that_is_away_for_an_hour(tmp_path: Path) -> None:
    port, times = free_port(), Times()
    (tmp_path / "pebble").mkdir()
    ca_file, *_ = server_files(tmp_path / "pebble")
    away = Served(f"https://127.0.0.1:{port}/dir", ca_file, 0)

    async def main() -> None:
        operator = Operator(settings(away, tmp_path / "acme"), tmp_path, times.wall)
        began = times.wall()
        async with operator.running():
            event = await operator.until(TryFailed)
            while event.next_try < began + limits.HOUR:
                times.jump(event.next_try - times.wall() + 0.1)
                event = await operator.until(TryFailed, event.failures + 1)
            assert 4 <= event.failures <= 8
            with pebble(tmp_path / "pebble", port=port, any_proof=True):
                times.jump(event.next_try - times.wall() + 0.1)
                await operator.until(CertificateObtained)
        tries = [failed.next_try for failed in operator.seen(TryFailed)]
        pauses = [later - one for one, later in pairwise(tries)]
        assert pauses == sorted(pauses)
        assert operator.keeper.status.failures == 0
        assert operator.keeper.status.last_error is None

    trio.run(main, clock=times.clock)


def test_an_authority_that_is_away_while_the_certificate_lasts_is_no_alarm(tmp_path: Path) -> None:
    times = Times()

    async def main() -> None:
        with pebble(tmp_path / "pebble", life=int(90 * limits.DAY), any_proof=True) as served:
            operator = Operator(settings(served, tmp_path / "acme"), tmp_path, times.wall)
            await first_certificate(operator)
        again = Operator(settings(served, tmp_path / "acme"), tmp_path, times.wall)
        async with again.running():
            await again.until(CertificateFound)
            await again.sleeps()
            due = again.keeper.status.next_try
            assert due is not None
            assert due - times.wall() == pytest.approx(60 * limits.DAY, abs=limits.HOUR)
            times.jump(60 * limits.DAY)
            event = await again.until(TryFailed)
            assert event.expires == again.keeper.status.expires
            assert not again.keeper.status.needs_attention(times.wall())
            times.jump(20 * limits.DAY)
            await again.until(TryFailed, 2)
            assert again.keeper.status.needs_attention(times.wall())
            assert len(again.used) == 1

    trio.run(main, clock=times.clock)


def test_a_certificate_that_is_due_while_the_relay_drains_waits_for_it(tmp_path: Path) -> None:
    times = Times()

    async def main() -> None:
        with pebble(tmp_path / "pebble", life=int(90 * limits.DAY), any_proof=True) as served:
            operator = Operator(settings(served, tmp_path / "acme"), tmp_path, times.wall)
            async with operator.running():
                await operator.until(CertificateObtained)
                operator.keeper.pause()
                for _ in range(3):
                    times.jump(30 * limits.DAY)
                    operator.keeper.try_now()
                    await trio.sleep(0.1)
                assert len(operator.seen(CertificateObtained)) == 1
                assert operator.keeper.status.next_try is None
                operator.keeper.resume()
                await operator.until(CertificateObtained, 2)
        assert not operator.seen(TryFailed)

    trio.run(main, clock=times.clock)


def test_a_time_of_day_that_is_set_is_noticed(tmp_path: Path) -> None:
    times = Times()

    async def main() -> None:
        with pebble(tmp_path / "pebble", life=int(90 * limits.DAY), any_proof=True) as served:
            operator = Operator(settings(served, tmp_path / "acme"), tmp_path, times.wall)
            async with operator.running():
                await operator.until(CertificateObtained)
                await operator.sleeps()
                times.wall.ahead += 61 * limits.DAY  # no clock of the event loop has moved
                times.clock.jump(limits.LOOK_INTERVAL)
                await operator.until(CertificateObtained, 2)
                await operator.sleeps()
                times.wall.ahead -= 61 * limits.DAY
                times.clock.jump(limits.LOOK_INTERVAL)
                await trio.sleep(0.3)
                assert not operator.seen(TryFailed)
                assert len(operator.seen(CertificateObtained)) == 2

    trio.run(main, clock=times.clock)


def test_retry_after_ends_and_the_next_try_comes(tmp_path: Path) -> None:
    times = Times()
    limited = Answer.problem(429, "rateLimited", "Too many certificates.", **{"Retry-After": "7200"})
    watch = Watch(**{NEW_ORDER: lambda _, __: limited})

    async def main() -> None:
        with pebble(tmp_path / "pebble", any_proof=True) as easy, between(easy, tmp_path, watch) as served:
            operator = Operator(settings(served, tmp_path / "acme"), tmp_path, times.wall)
            async with operator.running():
                await operator.until(TryFailed)
                watch.instead.clear()
                times.jump(7100)
                operator.keeper.try_now()
                await trio.sleep(0.3)
                assert not operator.used
                times.jump(200)
                await operator.until(CertificateObtained)
        assert len(watch.asked(NEW_ORDER)) == 2

    trio.run(main, clock=times.clock)


def test_pauses_go_on_after_a_restart(tmp_path: Path) -> None:
    times = Times()
    away = Served(f"https://127.0.0.1:{free_port()}/dir", tmp_path / "none.pem", 0)

    async def main() -> None:
        operator = Operator(settings(away, tmp_path / "acme"), tmp_path, times.wall)
        async with operator.running():
            await operator.until(TryFailed)
        for failures in range(1, 6):
            operator = Operator(settings(away, tmp_path / "acme"), tmp_path, times.wall)
            async with operator.running():
                await operator.sleeps()
                assert operator.keeper.status.failures == failures
                await trio.sleep(0.1)
                assert operator.events == []  # a restart is no reason for a try
                times.jump(limits.RESTART_PAUSE)
                event = await operator.until(TryFailed)
                assert event.failures == failures + 1

    trio.run(main, clock=times.clock)
