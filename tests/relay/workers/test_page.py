"""The page for browsers of a relay with workers, which begins by the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from p2p_copy.protocol.rendezvous import room_path
from tests.relay.browsers import UPGRADED, asked, status_of, upgrade
from tests.relay.clients import room
from tests.support.page import FILES, SCRIPT, make_page

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.relay.workers.relays import WorkersRelay


@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
async def test_a_browser_gets_the_page_and_its_websocket_from_any_worker(
    start: Callable[..., WorkersRelay], of_place: Callable[[int], str], tmp_path: Path, *, tls: bool
) -> None:
    origin = "https://files.example"
    relay = start("--web", "--web-origin", origin, tls=tls, page=make_page(tmp_path / "page"))
    relay.wait_for(r"page for browsers: https?://127\.0\.0\.1:[0-9]+/\n")
    browser = relay.plain_clients
    for _ in range(3):
        assert (await asked(browser, "/")).body == FILES["index.html"][1]
        assert (await asked(browser, "/page.js", "Accept-Encoding: gzip\r\n")).status == 200
    assert (await asked(browser, "/page.js")).body == SCRIPT
    assert (await asked(browser, "/secret")).status == 404
    for place in (0, 1):
        path = room_path(room(of_place(place)))
        for host, asking, answer in (
            ("relay.example", "https://relay.example", UPGRADED),
            ("relay.example", origin, UPGRADED),
            ("relay.example", "https://evil.example", 403),
            ("relay.example", "null", 403),
        ):
            assert await status_of(browser, upgrade(path, host, asking)) == answer
        await relay.clients.works(of_place(place))
    assert "served a file of the page" in relay.log


async def test_a_page_that_was_changed_is_told_before_a_worker_starts(
    start: Callable[..., WorkersRelay], tmp_path: Path
) -> None:
    page = make_page(tmp_path / "page")
    (page / "page.js").write_bytes(b"")
    with pytest.raises(AssertionError, match=r"'page\.js'.* is not the one that manifest\.json means"):
        start("--web", page=page)
