"""A relay behind a proxy whose connections can be cut and held up, for tests of transfers that are resumed."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from tests.support.transfers import running_relay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class LossyRelay:
    """A proxy in front of a relay, whose connections can be cut, and which counts what senders and receivers send."""

    def __init__(self) -> None:
        self.address = ""
        self.up = True
        self.portals = 0
        """So many connections from now on get the login page of a captive portal."""
        self.on_cut: Callable[[], None] = lambda: None
        self.upstream = 0
        self.cuts = 0
        self.dam = math.inf
        """Upstream bytes after which nothing passes until this number is raised."""
        self.downstream = 0
        self.down_dam = math.inf
        """The same for bytes from the relay."""
        self.dam_each = math.inf
        """Upstream bytes of one connection after which nothing passes there until this number is raised."""
        self._links: dict[trio.CancelScope, None] = {}  # in the order in which they were opened
        self._cut_after: list[int] = []

    def cut_after(self, *bytes_sent: int) -> None:
        """Cut all connections after the first of these numbers of bytes, again after the second, and so on."""
        self._cut_after += bytes_sent

    def cut(self) -> None:
        self.cuts += 1
        self.on_cut()
        for scope in self._links:
            scope.cancel()

    def cut_one(self, number: int) -> None:
        """Cut one of the open connections, by its number in the order in which they were opened."""
        list(self._links)[number].cancel()

    def _count(self, size: int) -> None:
        self.upstream += size
        if self._cut_after:
            self._cut_after[0] -= size
            if self._cut_after[0] <= 0:
                self._cut_after.pop(0)
                self.cut()

    async def carry(self, client: trio.SocketStream, port: int) -> None:
        if not self.up:
            await client.aclose()
            return
        if self.portals:
            self.portals -= 1
            async with client:
                await client.receive_some()
                await client.send_all(b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n")
                await client.receive_some()
            return
        with trio.CancelScope() as scope:
            self._links[scope] = None
            try:
                async with (
                    await trio.open_tcp_stream("127.0.0.1", port) as relay,
                    trio.open_nursery() as nursery,
                ):

                    async def up() -> None:
                        passed = 0
                        while data := await client.receive_some(65536):
                            self._count(len(data))
                            passed += len(data)
                            while self.upstream > self.dam or passed > self.dam_each:  # noqa: ASYNC110
                                await trio.sleep(0.002)
                            await relay.send_all(data)
                        nursery.cancel_scope.cancel()

                    async def down() -> None:
                        while data := await relay.receive_some(65536):
                            self.downstream += len(data)
                            while self.downstream > self.down_dam and len(data) > 1000:  # noqa: ASYNC110
                                await trio.sleep(0.002)
                            await client.send_all(data)
                        nursery.cancel_scope.cancel()

                    nursery.start_soon(up)
                    nursery.start_soon(down)
            except* (trio.BrokenResourceError, OSError):
                pass
            finally:
                del self._links[scope]
                with trio.CancelScope(shield=True):
                    await trio.aclose_forcefully(client)


@asynccontextmanager
async def lossy_relay(**settings: Any) -> AsyncIterator[LossyRelay]:
    it = LossyRelay()
    async with running_relay(**settings) as relay, trio.open_nursery() as nursery:
        port = int(relay.rpartition(":")[2])

        async def carry(client: trio.SocketStream) -> None:
            await it.carry(client, port)

        listeners = await nursery.start(trio.serve_tcp, carry, 0)
        it.address = f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        yield it
        nursery.cancel_scope.cancel()
