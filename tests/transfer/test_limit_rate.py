"""A transfer whose sender, or receiver, limits its own rate."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from p2p_copy.options import LEAST_RATE, ReceiveOptions, SendOptions
from tests.support.certificates import Certificates
from tests.support.transfers import Both, copy, running_relay

if TYPE_CHECKING:
    from pathlib import Path

SIZE, RATE = 400_000, 400_000


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


@pytest.mark.parametrize("kind", [SendOptions, ReceiveOptions])
def test_a_rate_may_not_be_too_low(kind: type[SendOptions | ReceiveOptions]) -> None:
    assert kind(limit_rate=LEAST_RATE).limit_rate == LEAST_RATE
    for wrong in (LEAST_RATE - 1, 0, -1):
        with pytest.raises(ValueError, match="bytes per second"):
            kind(limit_rate=wrong)
