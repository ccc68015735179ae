"""Makes a link of a stream, for both ends: `running` runs its tasks, `accept` takes a client's request."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from p2p_copy.transport.codec import Codec
from p2p_copy.transport.link import Link
from p2p_copy.transport.link_io import LinkStream
from p2p_copy.transport.service_nursery import service_nursery

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import trio

T = TypeVar("T")


@asynccontextmanager
async def accept(
    stream: trio.abc.Stream,
    *,
    max_message: int,
    early: float = math.inf,
    piece: float = math.inf,
    head: bytes = b"",
    patience: float = math.inf,
    on_unread: Callable[[], None] | None = None,
    pace: Callable[[int], float] | None = None,
) -> AsyncIterator[tuple[str, Link]]:
    """Take a client's WebSocket request; yield its path and the link. The deadline is the caller's.

    Args:
        stream: from the client; closed at the end.
        max_message: bytes of the longest message; a longer one ends the link with close code 1009.
        early: a smaller limit until `Link.lift_early_limit` is called.
        piece: bytes from which `Link.receive_pieces` returns a part of a message without its rest.
        head: bytes that were read from the stream before and belong to the request.
        patience: seconds that one send may take, a pong or a close frame included, until `Link.limit_sends` is called.
        on_unread: is called when a send has taken longer than that.
        pace: is called before each read with the work since the last one: the number of frames, control frames and
            fragments included, or that of TLS records with next to no content, whichever is larger. Pongs for pings of
            this side do not count, or the other side could slow the client down by making this side send pings. It
            returns for how many seconds to put the read off. None for no such limit.

    Raises:
        LinkBroken: there was no proper request.

    """
    codec = Codec(is_client=False, max_message=max_message, early=early, piece=piece, head=head)
    link_stream = LinkStream(stream)
    link_stream.patience, link_stream.on_unread = patience, on_unread
    link = Link(link_stream, codec, pace=pace)

    async with running(link, link.accept_request) as path:
        yield path, link


@asynccontextmanager
async def running(link: Link, opened: Callable[[], Awaitable[T]]) -> AsyncIterator[T]:
    """Run a link's tasks around the body. An exception of the body cuts the link, and is raised unchanged."""
    async with service_nursery() as nursery:
        nursery.start_soon(link.read)
        try:
            result = await opened()
            nursery.start_soon(link.keep_alive)
            yield result
            await link.aclose()
        finally:
            link.abort()
