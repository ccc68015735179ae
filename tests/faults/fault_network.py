"""Faults 27 to 29: networks that go away or lose, delay and repeat packets, and clocks that jump."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from p2p_copy.protocol.rendezvous import Role
from p2p_copy.relay import limits
from p2p_copy.transport.link import LinkBroken
from tests.faults.arena import CANARY, CODE, MIB, Arena, arena as running
from tests.faults.network import BAD, GOOD, INSIDE, Road, Weather, bad_road
from tests.relay.clients import Relay, answer, exchange
from tests.support.processes import Running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from p2p_copy.transport.link import Link

FREED_WITHIN = 90.0
"""Seconds after which a client that vanished without a goodbye is known to be gone."""

UNLIMITED = ("--connections-per-minute", "0", "--joins-per-minute", "0")
"""Here our address is a source like any other."""

WEATHERS = {
    "30 % loss": Weather(loss=0.3),
    "reordered": Weather(delay=0.02, jitter=0.1),
    "2 s delay": Weather(delay=1),
    "duplicates": Weather(duplicate=0.5, jitter=0.01),
    "damaged": Weather(corrupt=0.1),
}
"""Both ways."""

FAKETIME = [path for path in Path("/usr/lib").glob("**/faketime/libfaketime.so.1") if path.is_file()]

DAY = 24 * 3600


@pytest.fixture(scope="module")
def road() -> Iterator[Road]:
    with bad_road() as ready:
        yield ready


@pytest.fixture(scope="module")
def far_arena(road: Road, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    folder = tmp_path_factory.mktemp("far")
    settings: dict[str, Any] = {"host": "0.0.0.0", "reach": f"{GOOD}.2", "prefix": INSIDE}
    with running(folder, *UNLIMITED, budget=limits.ACCEPT_BUDGET, **settings) as ready:
        yield ready


@pytest.fixture
def bad(far_arena: Arena) -> Relay:
    """Clients that come by the bad road."""
    return Relay(far_arena.server.clients.address.port, None, f"{BAD}.2")


async def seconds_until_told(link: Link) -> float:
    began = trio.current_time()
    with suppress(LinkBroken):
        while True:
            await link.receive()
    return trio.current_time() - began


@pytest.mark.timeout(240)
async def test_fault_27_a_peer_vanishes(far_arena: Arena, road: Road, bad: Relay) -> None:
    """A waiting client, a sender in the middle of a transfer, and a receiver in the middle of one."""
    told: dict[str, float] = {}

    async def survives(name: str, link: Link) -> None:
        told[name] = await seconds_until_told(link)

    async def pushes(link: Link) -> None:
        with suppress(LinkBroken):
            while True:
                await link.send(bytes(MIB // 4))

    async def takes(link: Link) -> None:
        with suppress(LinkBroken):
            while True:
                await link.receive()

    async with far_arena.attacked() as good:
        try:
            async with (
                bad.waiting(Role.SENDER, f"{CANARY} waits"),
                good.waiting(Role.RECEIVER, f"{CANARY} receives") as receiver,
                bad.waiting(Role.SENDER, f"{CANARY} receives") as vanishing,
                good.waiting(Role.SENDER, f"{CANARY} sends") as sender,
                bad.waiting(Role.RECEIVER, f"{CANARY} sends") as vanishing_too,
            ):
                for link in (receiver, vanishing, sender, vanishing_too):
                    await answer(link)
                async with trio.open_nursery() as clients:
                    clients.start_soon(pushes, vanishing)
                    clients.start_soon(takes, vanishing_too)
                    clients.start_soon(pushes, sender)
                    clients.start_soon(survives, "receiver", receiver)
                    clients.start_soon(survives, "sender", sender)
                    await trio.sleep(1)
                    road.weather = Weather(loss=1)
                    began = trio.current_time()
                    while far_arena.server.status["waiting"] and trio.current_time() - began < FREED_WITHIN:  # noqa: ASYNC110
                        await trio.sleep(0.5)
                    told["waits"] = trio.current_time() - began
                    while len(told) < 3 and trio.current_time() - began < FREED_WITHIN + 10:  # noqa: ASYNC110
                        await trio.sleep(0.5)
                    clients.cancel_scope.cancel()
        finally:
            road.weather = Weather()
        assert max(told.get(name, 999) for name in ("waits", "receiver", "sender")) <= FREED_WITHIN, told


@pytest.mark.parametrize("weather", WEATHERS.values(), ids=WEATHERS)
async def test_fault_28_a_bad_road(
    far_arena: Arena, road: Road, bad: Relay, weather: Weather, tmp_path: Path
) -> None:
    """The transfer is whole, or both say in a sentence why it is not."""
    source, out = tmp_path / f"{CANARY} file", tmp_path / "out"
    source.write_bytes(os.urandom(MIB // 2))
    code = CODE.replace("7", "28")
    async with far_arena.attacked() as good:
        road.weather = weather
        try:
            ends = (
                Running("send", str(source), "--server", str(bad.address), "--quiet", P2P_COPY_CODE=code),
                Running(
                    *("receive", "--server", str(good.address), "--out", str(out), "--quiet", "--wait", "40"),
                    P2P_COPY_CODE=code,
                ),
            )
            results = [await trio.to_thread.run_sync(end.wait, 90) for end in ends]
        finally:
            road.weather = Weather()
        codes = {code for code, _, _ in results}
        if codes == {0}:
            assert (out / source.name).read_bytes() == source.read_bytes()
        else:
            assert not codes & {0, 1}, results
            assert all(errors.startswith("p2p-copy: ") for _, _, errors in results)
            assert not (out / source.name).exists()


@pytest.mark.skipif(not FAKETIME, reason="libfaketime is not installed here")
@pytest.mark.parametrize("jump", [f"+{40 * DAY}", f"-{40 * DAY}"], ids=["forward", "back"])
async def test_fault_29_a_clock_that_jumps(tmp_path: Path, jump: str) -> None:
    """The time of day is for the log and for certificates. No timeout depends on it."""
    clock = tmp_path / "clock"
    clock.write_text("+0")
    faked = {
        "LD_PRELOAD": str(FAKETIME[0]),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    with running(tmp_path, **faked) as arena:
        async with (
            arena.attacked() as relay,
            relay.pair(f"{CANARY} pair") as (sender, receiver),
            relay.waiting(Role.SENDER, f"{CANARY} waits") as waiter,
        ):
            clock.write_text(jump)
            await trio.sleep(5)
            assert arena.server.status["waiting"] == 1
            await exchange(sender, receiver)
            async with relay.waiting(Role.RECEIVER, f"{CANARY} waits"):
                await answer(waiter)
        months = {line[:7] for line in arena.server.log.splitlines() if line[:2] == "20"}
        assert len(months) > 1, "the clock did jump"
