"""`send --serve`: a relay inside the sender's process, which serves this one transfer only.

It speaks ws:// without TLS. The transfer is encrypted from end to end all the same; TLS would only hide the room, and
users of `--serve` rarely have a certificate for this machine's name.
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
from p2p_copy.errors import CannotListen
from p2p_copy.protocol import keys
from p2p_copy.relay.config import RelayConfig
from p2p_copy.relay.log.redact import LOGGER
from p2p_copy.relay.server import serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from p2p_copy.protocol.code import Code

_EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - the purpose is to be reached from other machines

_ELSEWHERE: Final = {4: (socket.AF_INET, "192.0.2.1"), 6: (socket.AF_INET6, "2001:db8::1")}
"""Addresses that no machine has (RFC 5737, RFC 3849): a route to them shows this machine's own outgoing address."""


class OwnRooms:
    """The rooms of one transfer: that of its code, and the latest ones that its two sides have agreed on."""

    def __init__(self, code: Code) -> None:
        """Start with the code's room, which is never dropped."""
        self._first = keys.room_id(code.room)
        self._agreed: dict[str, None] = {}  # the oldest one first

    def add(self, room: str) -> None:
        """Add a room, or make it the latest one again; beyond `limits.SERVE_ROOMS` the oldest one is dropped."""
        self._agreed.pop(room, None)
        self._agreed[room] = None
        if len(self._agreed) > limits.SERVE_ROOMS:
            del self._agreed[next(iter(self._agreed))]

    def __contains__(self, room: object) -> bool:
        """Tell whether this is one of them."""
        return room == self._first or room in self._agreed


@asynccontextmanager
async def embedded_relay(binds: Sequence[tuple[str, int]], rooms: OwnRooms) -> AsyncIterator[tuple[str, str]]:
    """Run a relay at the first of `binds` that is free; yield its URL for this process and for other machines.

    Args:
        binds: hosts and ports in the order of preference; an empty host is all of IPv4, port 0 any free one.
        rooms: the rooms that it serves.

    Raises:
        CannotListen: it can listen at none of them.

    """
    LOGGER.addHandler(logging.NullHandler())  # a relay's log does not belong on a sender's terminal
    remaining = deque(binds)
    async with trio.open_nursery() as nursery:
        while True:
            bind_host, bind_port = remaining.popleft()
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
                if not remaining:
                    raise
        port = bound[0][1]
        yield _url(_address_here(host), port), _url(address_elsewhere(host), port)
        # On cancellation the relay delivers what the receiver is still owed before it ends.
        nursery.cancel_scope.cancel()


def _url(host: str, port: int) -> str:
    return f"ws://[{host}]:{port}" if ":" in host else f"ws://{host}:{port}"


def _address_here(host: str) -> str:
    version = _everywhere(host)
    return host if version is None else "127.0.0.1" if version == 4 else "::1"


def address_elsewhere(host: str) -> str:
    """Return the host under which other machines reach the relay: a guess if it listens at all addresses."""
    version = _everywhere(host)
    if version is None:
        return host
    family, target = _ELSEWHERE[version]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((target, 9))  # sends nothing: it only picks the route, and so the own address
            own = str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
    return socket.gethostname() if ipaddress.ip_address(own).is_loopback else own


def _everywhere(host: str) -> int | None:
    """Return the IP version of which `host` means all addresses; None if it means one address, or is a name."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return address.version if address.is_unspecified else None
