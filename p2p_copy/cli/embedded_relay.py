"""`send --serve`: a relay inside the sender, for one transfer, and for nobody else.

It speaks ws:// without TLS. What passes is encrypted from end to end all the same; TLS would only hide the
room, and a certificate for this machine's name is what people who use `--serve` do not have.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import trio

from p2p_copy.cli import limits
from p2p_copy.cli.commands.relay_server import url
from p2p_copy.errors import CannotListen
from p2p_copy.protocol import keys
from p2p_copy.relay.config import RelayConfig
from p2p_copy.relay.log.redact import LOGGER
from p2p_copy.relay.server import serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from p2p_copy.protocol.code import Code

_EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - to be reached from other machines is the purpose

_ELSEWHERE: Final = {4: (socket.AF_INET, "192.0.2.1"), 6: (socket.AF_INET6, "2001:db8::1")}
"""Addresses that no machine has (RFC 5737, RFC 3849), to ask the routing table for our way out."""


class OwnRooms:
    """The rooms of one transfer: that of its code, and the latest ones on which its two sides have agreed."""

    def __init__(self, code: Code) -> None:
        """Begin with the room of the code, which stays."""
        self._first = keys.room_id(code.room)
        self._agreed: dict[str, None] = {}  # the oldest one first

    def add(self, room: str) -> None:
        """Take up a room, or make it the latest one again."""
        self._agreed.pop(room, None)
        self._agreed[room] = None
        if len(self._agreed) > limits.SERVE_ROOMS:
            del self._agreed[next(iter(self._agreed))]

    def __contains__(self, room: object) -> bool:
        """Tell whether this is one of them."""
        return room == self._first or room in self._agreed


@asynccontextmanager
async def embedded_relay(binds: Sequence[tuple[str, int]], rooms: OwnRooms) -> AsyncIterator[tuple[str, str]]:
    """Run a relay at the first of these places that can be had; yield its URLs, for us and for others.

    Args:
        binds: hosts and ports in the order of preference; an empty host is all of IPv4, port 0 any free one.
        rooms: those that it serves.

    Raises:
        CannotListen: none of the places can be had.

    """
    LOGGER.addHandler(logging.NullHandler())  # what a relay logs is not for a sender's terminal
    places = deque(binds)
    async with trio.open_nursery() as nursery:
        while True:
            bind_host, bind_port = places.popleft()
            host = bind_host or _EVERYWHERE
            try:
                config = RelayConfig(
                    host=host,
                    port=bind_port,
                    rooms=rooms,
                    max_connections=limits.SERVE_CONNECTIONS,
                    max_pending=limits.SERVE_PENDING,
                )
                bound = await nursery.start(serve, config)
                break
            except CannotListen:
                if not places:
                    raise
        port = bound[0][1]
        yield url("ws", _seen_from_here(host), port), url("ws", seen_from_elsewhere(host), port)
        # The relay lets the receiver's side come to its end before it goes.
        nursery.cancel_scope.cancel()


def _seen_from_here(host: str) -> str:
    address = _address(host)
    if address is None or not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"


def seen_from_elsewhere(host: str) -> str:
    """Return what other machines may call the place where we listen: a good guess if it is "everywhere"."""
    address = _address(host)
    if address is None or not address.is_unspecified:
        return host
    family, target = _ELSEWHERE[address.version]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((target, 9))  # sends nothing: it only picks the route, and so our own address
            own = str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
    return socket.gethostname() if ipaddress.ip_address(own).is_loopback else own


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
