from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import given, settings, strategies as st
from trio.testing import memory_stream_pair

from p2p_copy.protocol.rendezvous import room_path
from p2p_copy.relay import limits
from p2p_copy.relay.entry.http_upgrade import UpgradeRequest, read_upgrade, refuse_plain
from p2p_copy.relay.log.abuse import AbuseCounter
from p2p_copy.transport import limits as transport_limits
from tests.support.websocket import UPGRADE, virtual_time

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PATH = room_path("0" * 64).encode()


async def requested(
    data: bytes,
    handle: Callable[[trio.abc.Stream, AbuseCounter], Awaitable[object]] = read_upgrade,
    abuse: AbuseCounter | None = None,
) -> tuple[bytes | None, bytes]:
    """Send this and close; return the head that the library is shown, and what the client is answered."""
    ours, theirs = memory_stream_pair()
    await theirs.send_all(data)
    await theirs.send_eof()
    request = await handle(ours, abuse or AbuseCounter())
    await ours.aclose()
    answer = b""
    while more := await theirs.receive_some(10_000):
        answer += more
    assert request is None or isinstance(request, UpgradeRequest)
    return request.head if request else None, answer


async def test_a_good_request_is_passed_on_in_our_own_words() -> None:
    request = UPGRADE.replace(b"GET / ", b"GET " + PATH + b" ").replace(
        b"Host: x", b"Host: xn--0\r\nSec-WebSocket-Extensions: permessage-deflate"
    )
    head, answer = await requested(request)
    assert answer == b""
    assert head is not None
    assert head.startswith(b"GET " + PATH + b" HTTP/1.1\r\nHost: relay\r\n")
    assert b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n" in head
    assert head.endswith(b"\r\n\r\n")
    for odd in (b"xn--0", b"deflate"):
        assert odd not in head


async def test_a_request_may_come_in_pieces() -> None:
    ours, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:

        async def trickle() -> None:
            for byte in UPGRADE:
                await theirs.send_all(bytes([byte]))
                await trio.testing.wait_all_tasks_blocked()

        nursery.start_soon(trickle)
        assert await read_upgrade(ours, AbuseCounter()) is not None


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (b"GET", b"POST", b"400"),
        (b"HTTP/1.1", b"HTTP/1.0", b"400"),
        (b"GET / ", b"GET /nothing ", b"404"),
        (b"GET / ", b"GET /?x ", b"404"),
        (b"GET / ", b"GET http://x/ ", b"404"),
        (b"Upgrade: websocket", b"Upgrade: h2c", b"426"),
        (b"Upgrade: websocket\r\n", b"", b"426"),
        (b"Connection: Upgrade", b"Connection: close", b"400"),
        (b"Version: 13", b"Version: 8", b"426"),
        (b"Version: 13", b"Version: 13\r\nSec-WebSocket-Version: 13", b"426"),
        (b"Key: AAAAAAAAAAAAAAAAAAAAAA==", b"Key: ", b"400"),
        (b"Key: AAAAAAAAAAAAAAAAAAAAAA==", b"Key: AAAA", b"400"),
        (b"Key: AAAAAAAAAAAAAAAAAAAAAA==", b"Key: !!!!", b"400"),
        (b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n", b"", b"400"),
        (b"Host: x", b"Host: x\r\nContent-Length: 0", b"400"),
        (b"Host: x", b"Host: x\r\nTransfer-Encoding: chunked", b"400"),
        (b"Host: x", b"Host: x\r\nX: \xe9", b"400"),
        (b"Host: x", b"Host: x\r\nOrigin: http://x", b"403"),
        (b"Host: x", b"Host: x\r\norigin: null", b"403"),
        (b"Host: x", b"Host: x\r\nORIGIN:", b"403"),
        (b"Host: x\r\n", b"", b"400"),
        (b"Host: x", b"Host: x\r\nHost: y", b"400"),
        (b"Host: x", b"Host: x\r\n" + b"\r\n".join([b"X: y"] * limits.MAX_HTTP_HEADERS), b"431"),
        (b"Host: x", b"Host: " + b"x" * limits.MAX_HTTP_HEAD * 2, b"431"),
    ],
)
async def test_other_requests_are_answered_and_not_passed_on(old: bytes, new: bytes, status: bytes) -> None:
    head, answer = await requested(UPGRADE.replace(old, new, 1))
    assert head is None
    assert answer.startswith(b"HTTP/1.1 " + status + b" ")
    top, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Length: %d\r\n" % len(body) in top
    assert b"Connection: close" in top


@pytest.mark.parametrize("piece", [100, limits.MAX_HTTP_HEAD])
@pytest.mark.parametrize("more", [0, 1, 900])
async def test_the_limit_on_the_head_is_exact_however_it_comes(piece: int, more: int) -> None:
    long = b"X: " + b"x" * (limits.MAX_HTTP_HEAD - len(UPGRADE) - len(b"X: \r\n") + more)
    request = UPGRADE.replace(b"Host: x", b"Host: x\r\n" + long)
    assert len(request) == limits.MAX_HTTP_HEAD + more
    ours, theirs = memory_stream_pair()
    abuse = AbuseCounter()

    async def say() -> None:
        for start in range(0, len(request), piece):
            await theirs.send_all(request[start : start + piece])
            await trio.testing.wait_all_tasks_blocked()
        await theirs.send_eof()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(say)
        found = await read_upgrade(ours, abuse)
    assert (found is None) == (abuse.counts["head-too-long"] == 1) == bool(more)
    if more:
        assert (await theirs.receive_some(1000)).startswith(b"HTTP/1.1 431 ")


async def test_a_web_page_is_refused_and_counted_and_the_log_says_by_which_option_it_may(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    abuse = AbuseCounter()
    head, answer = await requested(UPGRADE.replace(b"Host: x", b"Host: x\r\nOrigin: https://x"), abuse=abuse)
    assert head is None
    assert b"not for other web pages" in answer
    assert b"Its operator can allow some." in answer
    assert "--web-origin" in caplog.text
    assert abuse.counts["origin"] == 1


async def test_a_client_that_does_not_wait_for_the_answer_is_refused() -> None:
    head, answer = await requested(UPGRADE + b"\x81\x80\0\0\0\0")
    assert head is None
    assert answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("data", [b"", b"GET / HT"])
async def test_a_request_that_ends_early_is_not_passed_on(data: bytes) -> None:
    assert (await requested(data))[0] is None


async def test_a_browser_is_told_what_this_is() -> None:
    _, answer = await requested(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"Upgrade: websocket\r\n" in answer
    assert b"This is a p2p-copy relay." in answer
    assert b"python3 -m pip install p2p-copy" in answer


async def test_plain_http_at_a_port_with_tls_is_told_so() -> None:
    async def handle(stream: trio.abc.Stream, _: AbuseCounter) -> None:
        await refuse_plain(stream)

    _, answer = await requested(UPGRADE, handle)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"This port speaks TLS." in answer


@virtual_time()
async def test_a_client_that_does_not_leave_after_the_answer_is_left() -> None:
    ours, theirs = memory_stream_pair()
    await theirs.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    began = trio.current_time()
    assert await read_upgrade(ours, AbuseCounter()) is None
    assert trio.current_time() - began == pytest.approx(transport_limits.HTTP_LINGER)


lines = st.sampled_from(
    [
        *UPGRADE.splitlines(keepends=True),
        b"Host: \xff\r\n",
        b"\r\n",
        b"Content-Length: 9\r\n",
        b"Origin: x\r\n",
    ]
)


@given(st.lists(lines | st.binary(max_size=30), max_size=12).map(b"".join))
@settings(max_examples=200)
async def test_nothing_that_a_client_says_raises(data: bytes) -> None:
    head, _ = await requested(data)
    assert head is None or head.isascii()
