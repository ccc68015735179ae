"""Proxies in the test's hands: one that says what it is told to, and one that works."""

from __future__ import annotations

import queue
import ssl
import threading
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import trio

from p2p_copy.transport.proxy_address import ProxyAddress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence

    import trustme

OK = b"HTTP/1.1 200 Connection established\r\n\r\n"


@asynccontextmanager
async def serving_proxy(
    handler: Callable[[trio.abc.Stream], Awaitable[None]],
    scheme: str = "http",
    certificate: trustme.LeafCert | None = None,
    port: int = 0,
) -> AsyncIterator[ProxyAddress]:
    """Run `handler` for each connection at a loopback port, behind TLS if there is a certificate."""

    async def handle(stream: trio.abc.Stream) -> None:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(context)
            stream = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        try:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await handler(stream)
        finally:
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, handle, port, host="127.0.0.1"))
        yield ProxyAddress(scheme, "127.0.0.1", listener.socket.getsockname()[1])
        nursery.cancel_scope.cancel()


@contextmanager
def proxy_in_thread(handler: Callable[[trio.abc.Stream], Awaitable[None]]) -> Iterator[ProxyAddress]:
    """Run `serving_proxy` for a test that is not asynchronous."""
    started: queue.SimpleQueue[tuple[ProxyAddress, trio.lowlevel.TrioToken, trio.CancelScope]] = (
        queue.SimpleQueue()
    )

    async def run() -> None:
        with trio.CancelScope() as scope:
            async with serving_proxy(handler) as proxy:
                started.put((proxy, trio.lowlevel.current_trio_token(), scope))
                await trio.sleep_forever()

    thread = threading.Thread(target=trio.run, args=(run,))
    thread.start()
    proxy, token, scope = started.get(timeout=10)
    try:
        yield proxy
    finally:
        token.run_sync_soon(scope.cancel)
        thread.join(10)


class Tunnel:
    """An HTTP proxy that works.

    Attributes:
        requests: the heads of the requests that came.
        passed: bytes that it has passed on, both ways.

    """

    def __init__(self, *, pieces: int = 0, hosts: Mapping[str, str] | None = None) -> None:
        """Prepare one.

        Args:
            pieces: the bytes of each packet of its answer; 0 for all at once.
            hosts: names that only it can resolve, with their addresses.

        """
        self.requests: list[bytes] = []
        self.passed = 0
        self._pieces = pieces
        self._hosts = hosts or {}

    async def __call__(self, stream: trio.abc.Stream) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            data = await stream.receive_some(4096)
            if not data:  # a client that only looks whether something listens here
                return
            head += data
        self.requests.append(head)
        host, _, port = head.split()[1].decode().rpartition(":")
        try:
            behind = await trio.open_tcp_stream(self._hosts.get(host, host.strip("[]")), int(port))
        except OSError:
            await stream.send_all(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
            return
        async with behind:
            await send_split(stream, OK, self._pieces or len(OK))
            await self._join(stream, behind)

    async def _join(self, one: trio.abc.Stream, other: trio.abc.Stream) -> None:
        """Copy both ways until one way ends."""

        async def copy(source: trio.abc.Stream, target: trio.abc.Stream, scope: trio.CancelScope) -> None:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                while data := await source.receive_some(65536):
                    self.passed += len(data)
                    await target.send_all(data)
            scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(copy, one, other, nursery.cancel_scope)
            nursery.start_soon(copy, other, one, nursery.cancel_scope)


async def read_until(stream: trio.abc.Stream, end: bytes) -> bytes:
    """Receive up to `end`, which must be the last that comes for now."""
    received = b""
    while not received.endswith(end):
        data = await stream.receive_some(4096)
        assert data, received
        received += data
    return received


async def read_exactly(stream: trio.abc.Stream, size: int) -> bytes:
    received = b""
    while len(received) < size:
        data = await stream.receive_some(size - len(received))
        assert data, received
        received += data
    return received


async def send_split(stream: trio.abc.Stream, data: bytes, size: int) -> None:
    """Send `size` bytes at a time, with a turn of the other side in between."""
    for at in range(0, len(data), size):
        await stream.send_all(data[at : at + size])
        await trio.sleep(0.001)


def saying(
    *answers: bytes, asked: Sequence[int] = (), piece: int = 0, stays: bool = True
) -> Callable[[trio.abc.Stream], Awaitable[None]]:
    """Return a handler that reads something before each answer, and then stays or closes.

    Args:
        answers: what it says, in turn.
        asked: the bytes to read before each answer; without it, whatever comes.
        piece: bytes of each packet; 0 for whole answers.
        stays: whether the connection stays open afterwards.

    """

    async def handle(stream: trio.abc.Stream) -> None:
        for number, answer in enumerate(answers):
            if asked:
                await read_exactly(stream, asked[number])
            else:
                await stream.receive_some(4096)
            await send_split(stream, answer, piece or max(len(answer), 1))
        while stays and await stream.receive_some(4096):
            pass

    return handle
