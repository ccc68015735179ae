"""The page for browsers over real sockets: what a request gets, and what no request gets."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

from p2p_copy.errors import CannotListen, UsageError
from p2p_copy.protocol.rendezvous import room_path
from p2p_copy.relay import limits
from p2p_copy.relay.entry.page import Page
from p2p_copy.relay.log.abuse import Abuse
from tests.relay.browsers import UPGRADED, WHOLE, asked, opened, parsed, said, status_of, upgrade
from tests.relay.clients import LocalRelay, relay_running, room
from tests.support.page import FILES, PICTURE, SCRIPT, make_page
from tests.support.websocket import let_pass, movable_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return make_page(tmp_path / "page")


@asynccontextmanager
async def serving(page: Path, **settings: Any) -> AsyncIterator[LocalRelay]:
    settings = {"max_pending_per_source": 0, "arrivals_per_minute": 0} | settings
    async with relay_running(web=page, **settings) as relay:
        yield relay


async def test_each_file_comes_with_its_type_and_all_headers(page: Path, settings: dict[str, Any]) -> None:
    async with serving(page, **settings) as relay:
        for name, (kind, data) in FILES.items():
            answer = await asked(relay, "/" if name == "index.html" else f"/{name}")
            assert answer.status == 200
            assert answer.body == data
            headers = answer.headers
            assert "Date" not in headers.pop("date"), "and there is one"
            assert headers.pop("etag").count('"') == 2
            assert headers.pop("content-disposition", None) == (
                'attachment; filename="p2p-copy.html"' if name == "p2p-copy.html" else None
            )
            assert headers == {
                "content-type": kind,
                "content-length": str(len(data)),
                "content-security-policy": (
                    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; connect-src 'self'; "
                    "worker-src 'self'; img-src 'self' data: blob:; manifest-src 'self'; base-uri 'none'; "
                    "form-action 'none'; frame-ancestors 'none'"
                ),
                "x-content-type-options": "nosniff",
                "referrer-policy": "no-referrer",
                "cross-origin-opener-policy": "same-origin",
                "cross-origin-resource-policy": "same-origin",
                "cache-control": "no-cache",
                "vary": "Accept-Encoding",
                "connection": "close",
            }
        await relay.works("a transfer")
        assert relay.server.tally.handshakes_failed == 0


async def test_a_query_is_ignored(page: Path) -> None:
    async with serving(page) as relay:
        assert (await asked(relay, "/?from=mail")).body == FILES["index.html"][1]
        assert (await asked(relay, "/page.js?v=1?v=2")).body == SCRIPT


async def test_head_has_the_headers_of_get_and_no_body(page: Path) -> None:
    async with serving(page) as relay:
        for accept in ("", "Accept-Encoding: gzip\r\n"):
            whole = await asked(relay, "/page.js", accept)
            head = await asked(relay, "/page.js", accept, method="HEAD")
            assert head.body == b""
            assert head.status == 200
            del whole.headers["date"], head.headers["date"]
            assert head.headers == whole.headers


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [
        ("gzip", True),
        ("gzip, deflate, br, zstd", True),
        ("br;q=1.0, GZIP;q=0.5", True),
        ("*", True),
        ("br, *;q=0.1", True),
        ("gzip;q=0", False),
        ("gzip;q=0.000, *", False),
        ("*;q=0", False),
        ("br", False),
        ("x-gzip-like, identity", False),
        ("gzip;q=0\r\nAccept-Encoding: br", False),
    ],
)
async def test_files_are_compressed_for_those_who_take_that(page: Path, accepted: str, packed: bool) -> None:
    async with serving(page) as relay:
        answer = await asked(relay, "/page.js", f"Accept-Encoding: {accepted}\r\n")
        assert answer.headers.get("content-encoding") == ("gzip" if packed else None)
        assert answer.headers["content-length"] == str(len(answer.body))
        assert (gzip.decompress(answer.body) if packed else answer.body) == SCRIPT
        assert (len(answer.body) < len(SCRIPT) // 4) == packed
        picture = await asked(relay, "/picture.png", f"Accept-Encoding: {accepted}\r\n")
        assert picture.body == PICTURE, "a file that gzip makes larger stays as it is"


async def test_a_file_that_the_browser_has_is_not_sent_again(page: Path) -> None:
    async with serving(page) as relay:
        first = await asked(relay, "/page.js", "Accept-Encoding: gzip\r\n")
        tag = first.headers["etag"]
        plain = (await asked(relay, "/page.js")).headers["etag"]
        assert tag != plain, "they are different bytes (RFC 9110 section 8.8.3.3)"
        for known in (tag, f'"x", {tag}', f"W/{tag}", "*", f'"x"\r\nIf-None-Match: {tag}'):
            for method in ("GET", "HEAD"):
                headers = f"Accept-Encoding: gzip\r\nIf-None-Match: {known}\r\n"
                again = await asked(relay, "/page.js", headers, method)
                assert (again.status, again.body) == (304, b"")
                assert again.headers["etag"] == tag
                assert again.headers["cache-control"] == "no-cache"
                assert again.headers["vary"] == "Accept-Encoding"
                assert "content-length" not in again.headers
        for other in (plain, '"x"', tag.strip('"'), tag[:-2] + '"'):
            headers = f"Accept-Encoding: gzip\r\nIf-None-Match: {other}\r\n"
            assert (await asked(relay, "/page.js", headers)).body == first.body


async def test_other_methods_are_refused(page: Path) -> None:
    async with serving(page) as relay:
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "PROPFIND", "get"):
            answer = await asked(relay, "/", "Content-Length: 3\r\n", method)
            assert answer.status == 405
            assert answer.headers["allow"] == "GET, HEAD"
            assert answer.body == b""
            assert (await asked(relay, "/nothing", method=method)).status == 404


@pytest.mark.parametrize(
    "path",
    [
        "//",
        "//page.js",
        "/./page.js",
        "/../page.js",
        "/x/../page.js",
        "/page.js/",
        "/page%2ejs",
        "/%70age.js",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fetc/passwd",
        "/../../../../etc/passwd",
        "/..\\..\\page.js",
        "/Page.js",
        "/page.js;x",
        "/page.js%00",
        "/page.js%3Fx",
        "/index.html",
        "/manifest.json",
        "/secret",
        "/.",
        "/*",
        "*",
        "page.js",
        "http://x/page.js",
        "/" + "a" * 4000,
    ],
)
async def test_nothing_else_is_there(page: Path, path: str) -> None:
    (page / "secret").write_text("not in the manifest")
    async with serving(page) as relay:
        answer = await asked(relay, path)
        assert answer.status == 404
        assert answer.body == b"There is nothing at this path.\n"
        assert answer.headers["content-type"] == "text/plain"


async def test_limits_on_requests_hold(page: Path) -> None:
    async with serving(page) as relay:
        long = await asked(relay, "/" + "a" * limits.MAX_HTTP_HEAD)
        many = await asked(relay, "/", "X: y\r\n" * limits.MAX_HTTP_HEADERS)
        assert (long.status, many.status) == (431, 431)
        assert relay.abuse(Abuse.HEAD_TOO_LONG) == 2
        assert parsed(await said(await opened(relay), b"GET / HTTP/1.1\r\n\r\n")).status == 400, "no Host"
        old = await said(await opened(relay), b"GET / HTTP/1.0\r\n\r\n")
        assert parsed(old).body == FILES["index.html"][1]


async def test_a_body_and_a_second_request_get_no_answer(page: Path) -> None:
    async with serving(page) as relay:
        body = await asked(relay, "/", "Content-Length: 30000\r\n")
        assert body.body == FILES["index.html"][1]
        twice = await said(await opened(relay), WHOLE.format("/page.js", "") * 2)
        assert parsed(twice).body == SCRIPT


@movable_time()
async def test_a_slow_request_has_the_time_of_every_connection(page: Path) -> None:
    async with serving(page) as relay, trio.open_nursery() as nursery:

        async def end_its_time() -> None:
            await connections(relay, 1)
            await let_pass(limits.ACCEPT_BUDGET)

        nursery.start_soon(end_its_time)
        assert await said(await opened(relay), b"GET / HTTP/1.1\r\nHost: x\r\n") == b"", "without its end"
        assert (await asked(relay, "/")).status == 200


@movable_time()
async def test_a_reader_that_stops_is_cut(page: Path) -> None:
    large = os.urandom(limits.MAX_PAGE // 2)
    listed = json.loads((page / "manifest.json").read_text())
    (page / "large.bin").write_bytes(large)
    listed["files"]["large.bin"] = {"type": "application/octet-stream", "sha256": _digest(large)}
    (page / "manifest.json").write_text(json.dumps(listed))
    async with serving(page) as relay, await relay.tcp() as stream:
        stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 4096)
        await stream.send_all(WHOLE.format("/large.bin", "").encode())
        await connections(relay, 1)
        await let_pass(limits.ACCEPT_BUDGET)
        await connections(relay, 0)
        assert (await asked(relay, "/")).status == 200


async def connections(relay: LocalRelay, number: int) -> None:
    """Wait until the relay has so many."""
    while relay.server.connections != number:  # noqa: ASYNC110 - there is no event
        await trio.sleep(0.01)


async def test_a_table_is_what_it_was_at_the_start(page: Path) -> None:
    async with serving(page) as relay:
        for name in FILES:
            (page / name).unlink()
        assert (await asked(relay, "/page.js")).body == SCRIPT


async def test_behind_a_proxy_each_client_has_its_own_limit(page: Path) -> None:
    async with serving(page, arrivals_per_minute=3, trusted_proxies="127.0.0.1") as relay:
        one, other = (f"X-Forwarded-For: 192.0.2.{number}\r\n" for number in (1, 2))
        for _ in range(3):
            assert (await asked(relay, "/", one)).status == 200
        busy = await asked(relay, "/", one)
        assert busy.status == 429
        assert busy.headers["retry-after"] == str(limits.BUSY_RETRY_AFTER)
        assert (await asked(relay, "/", other)).status == 200


async def test_only_the_relays_own_page_may_open_a_websocket(page: Path, settings: dict[str, Any]) -> None:
    path = room_path(room("page"))
    async with serving(page, **settings) as relay:
        port = relay.address.port
        here = f"127.0.0.1:{port}"
        for host, origin in (
            ("relay.example", "https://relay.example"),
            *((here, f"{scheme}://{here}") for scheme in ("http", "https")),
        ):
            assert await status_of(relay, upgrade(path, host, origin)) == UPGRADED
        assert await status_of(relay, upgrade(path, "relay.example")) == UPGRADED, "no browser"
        refused = (
            ("https://evil.example",),
            ("null",),
            ("file://",),
            ("",),
            (f"http://{here}",),
            ("https://relay.example",) * 2,
        )
        for origins in refused:
            status = await status_of(relay, upgrade(path, "relay.example", *origins))
            assert status == 403, origins
        assert relay.abuse(Abuse.ORIGIN) == len(refused)


async def test_an_operator_names_further_pages(page: Path) -> None:
    path = room_path(room("page"))
    async with relay_running(web_origins=("https://files.example",)) as relay:
        assert await status_of(relay, upgrade(path, "x", "https://files.example")) == UPGRADED
        assert await status_of(relay, upgrade(path, "x", "https://x")) == 403
        assert (await asked(relay, "/")).status == 426
    with pytest.raises(UsageError, match="is no origin"):
        async with relay_running(web_origins=("files.example",)):
            raise AssertionError


async def test_a_client_whose_proxy_drops_the_upgrade_is_told_what_this_is(page: Path) -> None:
    async with serving(page) as relay:
        answer = await asked(relay, room_path(room("page")))
        assert answer.status == 426
        assert answer.body.startswith(b"This is a p2p-copy relay.")


async def test_the_relay_waits_for_no_browser_that_stays(page: Path) -> None:
    async with serving(page) as relay, await relay.tcp() as stream:
        await stream.send_all(WHOLE.format("/", "").encode())
        await connections(relay, 1)
        await connections(relay, 0)


# --- What the build has made ---


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_page_is_served_at_the_names_of_its_files(page: Path) -> None:
    assert set(Page(page).paths) == {"/", "/page.js", "/picture.png", "/p2p-copy.html"}


def test_a_folder_without_a_page_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CannotListen, match=r"manifest\.json' cannot be read: No such file"):
        Page(tmp_path)


def test_a_file_that_was_changed_is_an_error(page: Path) -> None:
    (page / "page.js").write_bytes(SCRIPT + b" ")
    with pytest.raises(CannotListen, match=r"'page\.js'.* is not the one that manifest\.json means"):
        Page(page)


def test_a_file_that_is_missing_is_an_error(page: Path) -> None:
    (page / "page.js").unlink()
    with pytest.raises(CannotListen, match=r"page\.js' cannot be read: No such file"):
        Page(page)


@pytest.mark.parametrize(
    "manifest",
    [
        "",
        "[]",
        "{}",
        '{"files": []}',
        '{"files": {}}',
        '{"files": {"page.js": {"type": "text/javascript", "sha256": "00"}}}',
        '{"files": {"index.html": 1}}',
        '{"files": {"index.html": {"type": "text/html", "sha256": 1}}}',
        '{"files": {"index.html": {"type": "text/html\\r\\nX: y", "sha256": "00"}}}',
        *(
            json.dumps(
                {"files": {one: {"type": "text/html", "sha256": "00"} for one in ("index.html", name)}}
            )
            for name in ("../x", "a/x", "/x", ".x", "", "\\x", "x" * 101)
        ),
    ],
)
def test_a_list_that_the_build_does_not_make_is_an_error(page: Path, manifest: str) -> None:
    (page / "manifest.json").write_text(manifest)
    with pytest.raises(CannotListen, match="is no list of a page's files"):
        Page(page)


def test_a_page_has_a_largest_size_and_number_of_files(page: Path) -> None:
    listed = json.loads((page / "manifest.json").read_text())
    facts = listed["files"]["page.js"]
    for number in range(limits.MAX_PAGE_FILES - len(FILES) + 1):
        listed["files"][f"{number}.js"] = facts
    (page / "manifest.json").write_text(json.dumps(listed))
    with pytest.raises(CannotListen, match="is no list"):
        Page(page)
    for number in range(limits.MAX_PAGE_FILES - len(FILES) + 1):
        del listed["files"][f"{number}.js"]
    zeros = bytes(limits.MAX_PAGE)
    (page / "page.js").write_bytes(zeros)
    listed["files"]["page.js"]["sha256"] = _digest(zeros)
    (page / "manifest.json").write_text(json.dumps(listed))
    with pytest.raises(CannotListen, match=f"more than {limits.MAX_PAGE} bytes"):
        Page(page)
