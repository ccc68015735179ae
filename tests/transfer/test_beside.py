"""What runs beside a transfer: it ends with the transfer, and ends it if it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from p2p_copy.errors import PeerFailed
from tests.support.transfers import Both, copy

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("failing", ["sender", "receiver"])
async def test_the_other_side_is_told_that_this_side_failed(tmp_path: Path, failing: str) -> None:
    (tmp_path / "file").write_bytes(bytes(5_000_000))
    both = Both()
    moving = trio.Event()
    getattr(both, failing).on_progress = lambda files, size: moving.set()

    async def fails() -> None:
        await moving.wait()
        raise KeyError("a bug in a program")

    options: dict[str, dict[str, Any]] = {side: {"patience": 60} for side in ("sender", "receiver")}
    options[failing]["beside"] = (fails,)
    await copy(
        [tmp_path / "file"],
        tmp_path / "out",
        both=both,
        sending=options["sender"],
        receiving=options["receiver"],
    )
    here, there = both.sent, both.received
    if failing == "receiver":
        here, there = there, here
    assert isinstance(here, ExceptionGroup)
    assert here.subgroup(KeyError)
    assert isinstance(there, PeerFailed)
    assert str(there) == f"The {failing} gave up: it met an unexpected error."


async def test_it_ends_with_the_transfer(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    ended: list[str] = []

    async def runs() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append("sender")

    both = await copy([tmp_path / "file"], tmp_path / "out", sending={"beside": (runs,)})
    assert both.reports[0].files == 1
    assert ended == ["sender"]
