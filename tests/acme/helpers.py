"""A keeper with a small relay, and what both have seen."""

from __future__ import annotations

import ssl
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from p2p_copy.acme.interface import CertificateObtained, TryFailed
from p2p_copy.acme.keeper import CertificateKeeper
from p2p_copy.acme.settings import AcmeSettings
from tests.support.acme_authorities import NAME, Responder, Served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from p2p_copy.acme.interface import Event

E = TypeVar("E")

PATIENCE = 30
"""Seconds in which something must have happened."""


def settings(served: Served, folder: Path, *names: str, **more: Any) -> AcmeSettings:
    return AcmeSettings(names or (NAME,), folder, directory=served.directory, ca_file=served.ca_file, **more)


class Wall:
    """The time of day, which a test may set."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


class Operator:
    """A small relay around a keeper: it takes certificates as OpenSSL does, and writes down all it hears."""

    def __init__(self, chosen: AcmeSettings, folder: Path, wall: Callable[[], float] = time.time) -> None:
        self.responder = Responder(folder)
        self.events: list[Event] = []
        self.used: list[tuple[Path, Path]] = []
        self.takes = True
        self._changed = trio.Event()
        self.keeper = CertificateKeeper(chosen, self.responder, self._take, self._note, wall=wall)

    def _note(self, event: Event) -> None:
        self.events.append(event)
        self._changed.set()

    async def _take(self, chain: Path, key: Path) -> bool:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain, key)
        if self.takes:
            self.used.append((chain, key))
        return self.takes

    def seen(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, kind: type[E], number: int = 1) -> E:
        """Return the event of this kind, once there are so many."""
        with trio.fail_after(PATIENCE):
            while len(self.seen(kind)) < number:
                self._changed = trio.Event()
                await self._changed.wait()
        return self.seen(kind)[number - 1]

    async def sleeps(self) -> None:
        """Wait until the keeper knows when it will try next."""
        with trio.fail_after(PATIENCE):
            while self.keeper.status.next_try is None:  # noqa: ASYNC110 - there is no event
                await trio.sleep(0.01)

    async def until_closed(self) -> None:
        """Wait until no challenge is open any more, of those that were."""
        with trio.fail_after(PATIENCE):
            while not self.responder.closed:  # noqa: ASYNC110 - there is no event
                await trio.sleep(0.01)

    @asynccontextmanager
    async def running(self, port: int | None = None) -> AsyncIterator[None]:
        """Run the keeper, and answer challenges at a port if there is one."""
        async with trio.open_nursery() as nursery:
            if port is None:
                nursery.start_soon(self.keeper.run)
                yield
            else:
                async with self.responder.serving(port):
                    nursery.start_soon(self.keeper.run)
                    yield
            nursery.cancel_scope.cancel()


async def first_certificate(operator: Operator, port: int | None = None) -> CertificateObtained:
    """Run the keeper until it has a certificate; a failure before it is one of the test."""
    async with operator.running(port):
        with trio.fail_after(PATIENCE):
            while not operator.seen(CertificateObtained):
                assert not operator.seen(TryFailed), operator.events
                await trio.sleep(0.01)
    return operator.seen(CertificateObtained)[0]
