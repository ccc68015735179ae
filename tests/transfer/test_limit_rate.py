"""A transfer whose sender, or receiver, limits its own rate."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest
import trio

from p2p_copy.options import LEAST_RATE, ReceiveOptions, SendOptions
from p2p_copy.units import KIB
from tests.support.certificates import Certificates
from tests.support.lossy_relay import lossy_relay
from tests.support.transfers import Both, copy, running_relay

if TYPE_CHECKING:
    from pathlib import Path

SIZE, RATE = 600_000, 600_000
HALF = RATE // 2


async def limited(side: str, tmp_path: Path, relay: str, **options: Any) -> Both:
    """Copy a file that takes a second at that rate; check that it arrives, in no less time, and without a stall."""
    (tmp_path / "file").write_bytes(contents := os.urandom(SIZE))
    began = time.monotonic()
    both = await copy(
        [tmp_path / "file"],
        tmp_path / "out",
        relay=relay,
        sending=options | {"limit_rate": RATE if side == "sender" else None},
        receiving=options | {"limit_rate": RATE if side == "receiver" else None},
    )
    assert (tmp_path / "out" / "file").read_bytes() == contents, both.reports
    # It can take longer on a busy machine, but never less.
    assert time.monotonic() - began > 0.7 * SIZE / RATE
    assert both.sender.stalls + both.receiver.stalls == []
    return both


@pytest.mark.parametrize("side", ["sender", "receiver"])
async def test_one_side_limits_the_rate(side: str, tmp_path: Path) -> None:
    async with running_relay() as relay:
        await limited(side, tmp_path, relay)


@pytest.mark.parametrize("side", ["sender", "receiver"])
async def test_several_links_share_the_limit(side: str, tmp_path: Path) -> None:
    async with running_relay() as relay:
        both = await limited(side, tmp_path, relay, links=4)
    assert 4 in both.sender.widths


@pytest.mark.parametrize("side", ["sender", "receiver"])
async def test_over_tls(side: str, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    settings = {"certfile": str(certificates.certificate), "keyfile": str(certificates.key)}
    async with running_relay(**settings) as relay:
        await limited(side, tmp_path, relay, ca_file=str(certificates.authority))


@pytest.mark.parametrize(
    ("senders", "receivers", "cut"), [(None, HALF, False), (RATE, HALF, True), (HALF, RATE, False)]
)
async def test_a_sender_sends_no_faster_than_either_side_wants(
    senders: int | None, receivers: int, cut: bool, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(contents := os.urandom(SIZE // 2))
    most = 0.0
    async with lossy_relay() as it, trio.open_nursery() as nursery:
        began = time.monotonic()

        async def look() -> None:
            nonlocal most
            while True:
                most = max(most, it.upstream - HALF * (time.monotonic() - began))
                await trio.sleep(0.01)

        nursery.start_soon(look)
        if cut:
            it.cut_after(SIZE // 4)
        await copy(
            [tmp_path / "file"],
            tmp_path / "out",
            relay=it.address,
            sending={"limit_rate": senders, "patience": 20.0},
            receiving={"limit_rate": receivers, "patience": 20.0},
        )
        nursery.cancel_scope.cancel()
    assert (tmp_path / "out" / "file").read_bytes() == contents
    assert it.cuts == cut
    # What is not paced: the key exchanges, and what the receiver says. Without a limit all of the file would be there.
    assert most < 0.4 * SIZE / 2


async def test_a_low_limit_needs_one_link_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    for side in ("sending", "receiving"):
        options: dict[str, Any] = {"sending": {"links": 4}, "receiving": {"links": 4}}
        options[side]["limit_rate"] = LEAST_RATE
        assert (await copy([tmp_path / "file"], tmp_path / side, **options)).sender.widths == []


@pytest.mark.slow  # 25 s at this rate: a stall is told after ten
async def test_a_receiver_with_a_low_limit_is_no_stall(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(contents := os.urandom(25 * 20 * KIB))
    both = await copy([tmp_path / "file"], tmp_path / "out", receiving={"limit_rate": 20 * KIB})
    assert (tmp_path / "out" / "file").read_bytes() == contents
    assert both.sender.stalls + both.receiver.stalls == []


@pytest.mark.parametrize("kind", [SendOptions, ReceiveOptions])
def test_a_rate_may_not_be_too_low(kind: type[SendOptions | ReceiveOptions]) -> None:
    assert kind(limit_rate=LEAST_RATE).limit_rate == LEAST_RATE
    for wrong in (LEAST_RATE - 1, 0, -1):
        with pytest.raises(ValueError, match="bytes per second"):
            kind(limit_rate=wrong)
