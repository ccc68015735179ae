"""A relay inside a program: it serves while a block runs, under Trio, asyncio or neither."""

from __future__ import annotations

import ipaddress
import logging
import socket
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

import sniffio
import trio

from p2p_copy.api.bridge import InThread, done
from p2p_copy.relay import limits
from p2p_copy.relay.admin.settings import LIVE
from p2p_copy.relay.config import RelayConfig
from p2p_copy.relay.log.redact import LOGGER
from p2p_copy.relay.server import Relay as Server, prepared
from p2p_copy.transport.address import parse_address
from p2p_copy.transport.limits import MAX_PORT
from p2p_copy.transport.service_nursery import service_nursery

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Container, Iterable
    from contextlib import AbstractAsyncContextManager
    from os import PathLike
    from types import TracebackType

LOGGER.addHandler(logging.NullHandler())  # or Python prints warnings if the program has set up no logging

_ELSEWHERE: Final = {4: (socket.AF_INET, "192.0.2.1"), 6: (socket.AF_INET6, "2001:db8::1")}
"""Addresses that no machine has (RFC 5737, RFC 3849): a route to them shows this machine's own outgoing address."""


@dataclass(frozen=True, slots=True)
class RelayCounts:
    """What a relay holds now, and what it has done since it began.

    Attributes:
        connections: connections that are open, those of waiting and paired clients included.
        waiting: clients that wait for their other side.
        pairings: pairings of a sender and a receiver that run. A transfer over several connections has as many.
        served: pairings that have ended.
        refused: clients that were refused, for whatever reason.
        received: bytes of messages received from clients, in pairings that run or have ended.

    """

    connections: int = 0
    waiting: int = 0
    pairings: int = 0
    served: int = 0
    refused: int = 0
    received: int = 0


class Relay:
    """A relay that serves as long as a block runs.

    Under Trio it runs in the caller's tasks. Under asyncio, and for a plain `with` in a program without an event loop,
    it runs in a thread of its own, which ends with the block. Leaving the block, also by an exception or cancellation,
    tells every client that the relay stops. It takes 10 seconds at most, and next to nothing if the clients answer.
    Clients that were cut resume their transfers with the next relay.

    Each object runs once. It logs to `p2p_copy.relay`, without addresses.

    Example:
        >>> import p2p_copy as p2p
        >>> with p2p.Relay("127.0.0.1", 0, rate=10_000_000) as relay:
        ...     print(relay.urls[0].rpartition(":")[0], relay.counts.served)
        ws://127.0.0.1 0

    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        certfile: str | PathLike[str] | None = None,
        keyfile: str | PathLike[str] | None = None,
        tokens_file: str | PathLike[str] | None = None,
        rooms: Container[str] | None = None,
        wait: float = limits.WAIT,
        max_connections: int = limits.MAX_CONNECTIONS,
        max_pending: int = limits.MAX_PENDING,
        max_waiting: int = limits.MAX_WAITING,
        max_per_source: int = limits.MAX_PER_SOURCE,
        max_pending_per_source: int = limits.MAX_PENDING_PER_SOURCE,
        arrivals_per_minute: int = limits.ARRIVALS_PER_MINUTE,
        joins_per_minute: int = limits.JOINS_PER_MINUTE,
        max_memory: int | None = None,
        rate: int | None = None,
        rate_per_source: int | None = None,
        rate_total: int | None = None,
        trusted_proxies: str | tuple[str, ...] = (),
    ) -> None:
        """Choose where to listen, and the limits. Nothing is opened before the block begins.

        Args:
            host: name or number of a local address; `0.0.0.0` and `::` are all of IPv4 and all of IPv6.
            port: TCP port; 0 for any free one.
            certfile: PEM file with the certificate and the intermediate ones up to its authority; None for no TLS.
            keyfile: PEM file with the certificate's private key; None if it is in `certfile`.
            tokens_file: file with the access tokens; None for a relay that every client may use.
            rooms: names of the rooms that it serves, which may change while it runs; None for any room.
            wait: seconds that one client may wait for the other, 1 or more.
            max_connections: clients at once; further ones are told that the relay is busy.
            max_pending: connections at once that have not said hello; each further one closes the oldest.
            max_waiting: clients that may wait at once; further ones are told that the relay is busy.
            max_per_source: connections at once of one source, an IPv4 address or an IPv6 /64; here and in the next
                three 0 is no limit. Clients of this machine are no source, and have none of these limits.
            max_pending_per_source: those of them that have not said hello.
            arrivals_per_minute: new connections of one source.
            joins_per_minute: rooms that one source may ask for.
            max_memory: bytes that all pairings together may hold, 16 MiB or more; None for a quarter of the memory of
                the machine or its control group.
            rate: bytes per second of one pairing, both directions together, 64 KiB or more; here and below None is no
                limit.
            rate_per_source: bytes per second of all pairings of one source together.
            rate_total: bytes per second of all pairings together.
            trusted_proxies: network (CIDR), or several, of the proxies that are believed when they name a client's
                address.

        Raises:
            ValueError: a number is out of range.

        """
        more: dict[str, Any] = {} if max_memory is None else {"max_memory": max_memory}
        self._config = RelayConfig(
            host,
            port,
            certfile=certfile,
            keyfile=keyfile,
            tokens_file=tokens_file,
            rooms=rooms,
            wait=wait,
            max_connections=max_connections,
            max_pending=max_pending,
            max_waiting=max_waiting,
            max_per_source=max_per_source,
            max_pending_per_source=max_pending_per_source,
            arrivals_per_minute=arrivals_per_minute,
            joins_per_minute=joins_per_minute,
            rate=rate,
            rate_per_source=rate_per_source,
            rate_total=rate_total,
            trusted_proxies=trusted_proxies,
            **more,
        )
        _check(self._config)
        self._block: AbstractAsyncContextManager[None] | None = None  # under Trio
        self._thread: InThread[None] | None = None  # otherwise
        self._server: Server | None = None
        self._ended: Future[None] = Future()
        self._urls: tuple[str, ...] = ()

    def __repr__(self) -> str:
        where = " ".join(self._urls) or "not listening"
        return f"<p2p_copy.Relay: {where}>"

    @property
    def urls(self) -> tuple[str, ...]:
        """Its addresses as clients write them, `ws://…` or with a certificate `wss://…`; none before the block.

        The first one leads to it from this machine, and the last one from others. They are the same unless it listens
        at all addresses: then the last one has the address or name by which others most likely reach this machine.
        """
        return self._urls

    @property
    def counts(self) -> RelayCounts:
        """What it holds now and has done, also after the block."""
        server = self._server
        if server is None:
            return RelayCounts()
        waiting, pairings, served, _ = server.counts
        return RelayCounts(
            connections=server.connections,
            waiting=waiting,
            pairings=pairings,
            served=served,
            refused=sum(server.tally.refused.values()),
            received=sum(server.pairings.received.values()),
        )

    async def drain(self, within: float = limits.DRAIN) -> None:
        """Take no more clients, and wait until those that are paired have come to their end.

        Clients that wait are told at once that the relay stops. Pairings that run after `within` seconds are cut; their
        clients resume them with the next relay. A second call can only make this time shorter. If the wait is
        cancelled, the drain goes on. When this returns the relay has stopped.

        Raises:
            RuntimeError: it does not run.

        """
        if self._server is None:
            raise RuntimeError("the relay does not run: use it in a block, async with Relay(...) as relay")
        if self._thread is None:
            self._server.drain(within)
        else:
            self._thread.soon(partial(self._server.drain, within))
        await done(self._ended)

    async def _run(
        self,
        server: Server,
        *,
        task_status: trio.TaskStatus[list[tuple[str, int]]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        try:
            await server.run(task_status=task_status)
        finally:
            self._ended.set_result(None)

    @asynccontextmanager
    async def _serving(self) -> AsyncIterator[None]:
        config = self._config
        reads_files = config.certfile is not None or config.tokens_file is not None
        server = await prepared(config) if reads_files else Server(config)
        async with service_nursery() as nursery:
            await nursery.start(self._run, server)
            self._server = server
            self._urls = _addresses(server.urls)
            yield
            # Cancelled now, the relay tells its clients, and delivers what it still owes them, before it ends.

    def _once(self) -> AbstractAsyncContextManager[None]:
        if self._block is not None or self._thread is not None:
            raise RuntimeError("a relay runs once: make another one")
        return self._serving()

    async def __aenter__(self) -> Self:
        """Begin to serve.

        Raises:
            CannotListen: the address cannot be had, or certificate, key or tokens cannot be used.
            SystemFailed: the system has no more threads, or open files, for the thread of the relay.
            UsageError: a trusted proxy is no network.
            RuntimeError: it has run already.

        """
        if sniffio.current_async_library() != "trio":
            self._thread = InThread(self._once())
            await self._thread.__aenter__()
        else:
            self._block = self._once()
            await self._block.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, and wait until it has stopped."""
        block = self._thread or self._block
        assert block is not None, "a block that is left was entered"
        await block.__aexit__(kind, error, trace)

    def __enter__(self) -> Self:
        """Begin to serve, in a program without an event loop. Raises what `async with` does."""
        self._thread = InThread(self._once())
        self._thread.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, and wait until it has stopped."""
        assert self._thread is not None, "a block that is left was entered"
        self._thread.__exit__(kind, error, trace)


def _check(config: RelayConfig) -> None:
    """Refuse numbers that the command line would refuse, too.

    Raises:
        ValueError: one of them is out of range.

    """
    if not 0 <= config.port <= MAX_PORT:
        raise ValueError(f"port is a number from 0 to {MAX_PORT}")
    least = {setting.field: setting.least for setting in LIVE.values()}
    for name, bound in (least | {"arrivals_per_minute": 0, "joins_per_minute": 0}).items():
        value = getattr(config, name)
        if value is not None and value < bound:
            raise ValueError(f"{name} is {bound} or more, and not {value}")


def _addresses(urls: Iterable[str]) -> tuple[str, ...]:
    """Return where clients find a relay that listens at these addresses: from this machine, then from others."""
    places = [parse_address(url) for url in urls]
    here = [place._replace(host=_host_here(place.host)) for place in places]
    elsewhere = [place._replace(host=host_elsewhere(place.host)) for place in places]
    return tuple(dict.fromkeys(map(str, here + elsewhere)))


def _host_here(host: str) -> str:
    version = _everywhere(host)
    return host if version is None else "127.0.0.1" if version == 4 else "::1"


def host_elsewhere(host: str) -> str:
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
