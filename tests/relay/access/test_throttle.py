"""What one connection may cost a relay, in virtual time where time matters."""

from __future__ import annotations

import pytest
import trio

from p2p_copy.protocol.rendezvous import room_path
from p2p_copy.relay import limits
from p2p_copy.relay.access.throttle import Newcomers, Throttle
from p2p_copy.transport import limits as transport_limits
from tests.relay.clients import relay_running, room
from tests.support.links import tcp_pair
from tests.support.websocket import UPGRADE, virtual_time

virtual = virtual_time()


async def spend(throttle: Throttle, count: int, size: int = 1) -> float:
    """Read `count` times with the waits that the throttle asks for; return the seconds that this took."""
    began = trio.current_time()
    for _ in range(count):
        await trio.sleep(throttle.read(size))
    return trio.current_time() - began


@virtual
async def test_a_newcomer_may_read_enough_to_be_paired_and_then_little() -> None:
    throttle = Throttle(Newcomers(), 2000)
    assert await spend(throttle, limits.EARLY_READS_BURST, limits.EARLY_READ) == 0
    assert await spend(throttle, 60, limits.EARLY_READ) == pytest.approx(60 / limits.EARLY_READS)
    assert throttle.frames(limits.EARLY_FRAMES_BURST) == 0
    assert throttle.frames(10) == pytest.approx(10 / limits.EARLY_FRAMES)


@virtual
async def test_a_crowd_of_newcomers_shares_one_limit() -> None:
    newcomers = Newcomers()
    crowd = [Throttle(newcomers, 2000) for _ in range(2000)]
    first = crowd[0]
    assert await spend(first, limits.EARLY_READS_BURST) == 0
    assert await spend(first, 10) == pytest.approx(10 * 2000 / limits.EARLY_READS_TOTAL)
    for one in crowd[1000:]:
        one.close()
        one.close()
    for one in crowd[500:1000]:
        one.pair()
        one.close()
    assert newcomers.count == 500
    assert await spend(first, 100) == pytest.approx(100 * 500 / limits.EARLY_READS_TOTAL, rel=0.1)


@virtual
async def test_each_of_a_large_crowd_is_read_in_time_for_its_pongs() -> None:
    newcomers = Newcomers()
    newcomers.count = 100_000
    throttle = Throttle(newcomers, 2000)
    await spend(throttle, limits.EARLY_READS_BURST + 1)
    assert throttle.read(1) < transport_limits.KEEPALIVE_TIMEOUT / 2
    throttle.frames(limits.EARLY_FRAMES_BURST)
    assert throttle.frames(1) < transport_limits.KEEPALIVE_TIMEOUT / 2


@virtual
async def test_a_pair_may_read_as_fast_as_content_comes() -> None:
    throttle = Throttle(Newcomers(), 2000)
    await spend(throttle, 100)
    throttle.pair()
    assert await spend(throttle, 5000, limits.FREE_READ) == 0
    for _ in range(2000):  # headers, and the payloads behind them
        assert await spend(throttle, 1, 14) == await spend(throttle, 1, transport_limits.RELAY_PIECE) == 0
    burst = limits.SMALL_READS_PER_SECOND * limits.FRAME_BURST
    assert await spend(throttle, 4000) == pytest.approx(
        (4000 - burst) / limits.SMALL_READS_PER_SECOND, rel=0.01
    )


@virtual
async def test_frames_are_limited_as_the_operator_wants() -> None:
    one, other = Throttle(Newcomers(), 100), Throttle(Newcomers(), 0)
    for each in (one, other):
        assert each.frames(1000) > 0, "not paired"
        each.pair()
    assert one.frames(int(100 * limits.FRAME_BURST)) == 0
    assert one.frames(50) == pytest.approx(0.5)
    assert other.frames(1_000_000) == 0


async def test_one_read_brings_little_until_there_is_a_pair() -> None:
    ours, theirs = await tcp_pair()
    async with ours, theirs:
        throttle = Throttle(Newcomers(), 0)
        throttle.limit(theirs)
        await ours.send_all(bytes(3 * limits.EARLY_READ))
        assert len(await theirs.receive_some()) == limits.EARLY_READ
        throttle.pair()
        assert len(await theirs.receive_some()) == 2 * limits.EARLY_READ
        throttle.close()
        assert theirs.pace is None


async def test_a_request_that_comes_byte_by_byte_is_read_in_few_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []
    count = Throttle.read

    def read(self: Throttle, size: int) -> float:
        sizes.append(size)
        return count(self, size)

    monkeypatch.setattr(Throttle, "read", read)
    async with relay_running() as relay, await relay.tcp() as stream:
        began = trio.current_time()
        for byte in UPGRADE.replace(b"GET / ", f"GET {room_path(room('a'))} ".encode()):
            await stream.send_all(bytes([byte]))
            await trio.sleep(0.001)
        with trio.fail_after(10):
            assert bytes(await stream.receive_some(1000)).startswith(b"HTTP/1.1 101 ")
        seconds = trio.current_time() - began
    assert len(sizes) <= limits.EARLY_READS_BURST + limits.EARLY_READS * seconds + 2
    assert sum(sizes) > 4 * len(sizes)
