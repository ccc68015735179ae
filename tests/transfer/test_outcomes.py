"""What a relay counts when two real sides end in every possible way: only a complete transfer counts as complete."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

from p2p_copy.errors import Declined, P2PCopyError, PeerFailed, WrongCode
from p2p_copy.protocol.code import Code
from p2p_copy.relay.config import RelayConfig
from p2p_copy.relay.server import Relay
from tests.support.transfers import CODE, Both, copy, wait_in_vain
from tests.support.trees import make_eight_files
from tests.support.websocket import movable_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from p2p_copy.observer import TransferPreview


@asynccontextmanager
async def counting() -> AsyncIterator[tuple[str, dict[str, int]]]:
    """Yield a relay's address, and a dictionary that holds the outcomes of its pairings at the end."""
    server, seen = Relay(RelayConfig("127.0.0.1", 0)), dict[str, int]()
    async with trio.open_nursery() as nursery:
        bound = await nursery.start(server.run)
        yield f"ws://127.0.0.1:{bound[0][1]}", seen
        with trio.fail_after(20):
            while server.connections:  # noqa: ASYNC110 - a relay does not report that it is alone
                await trio.sleep(0.01)
        seen.update({name: count for name, count in server.tally.outcomes.items() if count})
        nursery.cancel_scope.cancel()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_eight_files(tmp_path)


async def outcomes(tree: Path, out: Path, **how: Any) -> tuple[dict[str, int], Both]:
    async with counting() as (url, seen):
        both = await copy([tree], out, relay=url, **how)
    return seen, both


async def declines(preview: TransferPreview) -> bool:
    return False


@pytest.mark.parametrize("links", [1, 3])
async def test_what_was_complete_is_complete(tree: Path, tmp_path: Path, links: int) -> None:
    seen, both = await outcomes(tree, tmp_path / "out", sending={"links": links})
    assert both.reports
    assert set(seen) == {"complete"}


async def test_a_wrong_code_is_counted_as_one(tree: Path, tmp_path: Path) -> None:
    seen, both = await outcomes(tree, tmp_path / "out", receiver_code=Code(CODE.room, "another passphrase"))
    assert isinstance(both.sent, WrongCode)
    assert isinstance(both.received, WrongCode)
    assert seen == {"wrong code": 1}


@movable_time()
async def test_a_no_of_the_receiver_s_user_is_given_up(tree: Path, tmp_path: Path) -> None:
    both, wait = Both(), 30
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_in_vain, both, wait)
        seen, _ = await outcomes(
            tree, tmp_path / "out", both=both, sending={"wait": wait}, receiving={"ask": declines}
        )
    assert isinstance(both.received, Declined)
    assert seen == {"given up": 1}


@pytest.mark.parametrize("links", [1, 3])
async def test_a_side_that_cannot_go_on_gives_up(tree: Path, tmp_path: Path, links: int) -> None:
    how = partial(outcomes, tree, tmp_path / "out", sending={"links": links})
    seen, both = await how(receiving={"max_size": 1_000_000})
    assert isinstance(both.received, P2PCopyError)
    assert isinstance(both.sent, PeerFailed)
    assert set(seen) == {"given up"}
