"""The relay: starts, drains, stops, reloads, changes its limits, and says what it is doing.

    listeners -> connection    from accept to hello, within one absolute budget of time
              -> seats         wait for the other side, be matched, or be refused
              -> pairings      until one of the two sides ends

Rules:
1. A drain takes no more clients, refuses those that wait at once, and lets pairings run on for a while.
2. A stop tells every client that is here, and cuts those that have not left within `limits.STOP_TIMEOUT`.
"""

from __future__ import annotations

import os
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import trio

from p2p_copy.relay import limits
from p2p_copy.relay.access.gatekeeper import Gate, Gatekeeper
from p2p_copy.relay.budget import Budget
from p2p_copy.relay.connection import Connections
from p2p_copy.relay.entry.certificates import Certificates
from p2p_copy.relay.entry.challenges import Challenge
from p2p_copy.relay.entry.http_upgrade import Site
from p2p_copy.relay.entry.listeners import listen
from p2p_copy.relay.entry.origins import Origins
from p2p_copy.relay.entry.page import Page
from p2p_copy.relay.file_thread import FileThread
from p2p_copy.relay.log import events
from p2p_copy.relay.pairings import Pairings
from p2p_copy.relay.seats import Seats
from p2p_copy.relay.snapshot import RunningPairing, Snapshot
from p2p_copy.relay.tally import Counts, Tally

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from os import PathLike

    from p2p_copy.relay.config import RelayConfig
    from p2p_copy.relay.log.abuse import AbuseCounter
    from p2p_copy.transport.tcp import TCPStream


ListenerT = TypeVar("ListenerT", bound="trio.abc.Listener[TCPStream]")


async def prepared(config: RelayConfig) -> Relay:
    """Return a relay that has read its files, without keeping the event loop waiting for them.

    Raises:
        CannotListen: they cannot be used, or their disk does not answer.
        UsageError: a trusted proxy is no network.

    """
    return await FileThread().run("Certificate, key, tokens or page", Relay, config)


def certificates_of(config: RelayConfig, abuse: AbuseCounter) -> Certificates | None:
    """Return the certificates that the configuration names; None for a relay without TLS.

    Raises:
        CannotListen: they cannot be used.

    """
    certfile, keyfile = (
        None if file is None else os.fspath(file) for file in (config.certfile, config.keyfile)
    )
    challenge = None if config.challenge_folder is None else Challenge(os.fspath(config.challenge_folder))
    if not certfile and challenge is None:
        return None
    return Certificates(certfile, keyfile, abuse, challenge)


def site_of(config: RelayConfig) -> Site:
    """Return what the configuration says of browsers, with the files of the page.

    Raises:
        CannotListen: the files cannot be used.
        UsageError: an origin is none.

    """
    page = None if config.web is None else Page(config.web)
    return Site(Origins(config.web_origins, own=page is not None), page)


class Relay:
    """One relay: `run` it once. It ends when it is cancelled, or some time after `drain` or `stop`.

    Attributes:
        tally: counts what the relay has done.
        certificates: its certificate for TLS; None without TLS.
        gatekeeper: decides which clients are admitted; it may be in another process.
        budget: the budget of memory that all pairings share.
        pairings: the pairings that run.
        urls: where the relay listens, as soon as it does.

    """

    def __init__(self, config: RelayConfig, gate: Callable[[AbuseCounter], Gate] | None = None) -> None:
        """Prepare a relay, and read its files. `prepared` does the same, but fails in time if a disk does not answer.

        `gate` makes what decides who comes in, given what counts abuse; without it the relay has its own gatekeeper.

        Raises:
            CannotListen: certificate and key, the file of tokens, or the files of the page cannot be used.
            UsageError: a trusted proxy is no network, or an origin none.

        """
        self.tally = Tally()
        self.certificates = certificates_of(config, self.tally.abuse)
        self.gatekeeper = (gate or partial(Gatekeeper, config))(self.tally.abuse)
        self.budget = Budget(config.max_memory)
        self.pairings = Pairings(self.budget, self.tally)
        self.urls: list[str] = []
        self._accepting = trio.CancelScope()  # while connections are taken
        self._patience = trio.CancelScope()  # while a drain waits for pairings
        self._seats = Seats(self.gatekeeper, self.pairings, self.tally, lambda: self.draining)
        self._connections = Connections(
            self.gatekeeper,
            self.certificates,
            self._seats,
            self.tally,
            lambda: self.draining,
            site_of(config),
        )

    async def run(
        self, *, task_status: trio.TaskStatus[list[tuple[str, int]]] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve. Reports the addresses and ports where the relay listens.

        Raises:
            CannotListen: an address cannot be had.

        """
        listeners = await listen(self.config.places)
        self.urls = list(dict.fromkeys(one.url(tls=self.certificates is not None) for one in listeners))
        self.tally.begin()
        try:
            async with trio.open_nursery() as own:
                if self.certificates is not None:
                    own.start_soon(partial(self.certificates.watch, files=self.config.watch_certificates))
                task_status.started([one.sockname for one in listeners if one.sockname])
                await self.serve(listeners)
                own.cancel_scope.cancel()
        finally:
            self.tally.close()
            for listener in listeners:
                await trio.aclose_forcefully(listener)  # does nothing if it is closed

    async def serve(self, listeners: list[ListenerT]) -> None:
        """Serve the connections that these listeners accept; it ends as `run` does."""
        async with trio.open_nursery() as own:
            own.start_soon(self.pairings.watch)
            async with trio.open_nursery() as connections:
                try:
                    with self._accepting:
                        await trio.serve_listeners(
                            self._connections.handle, listeners, handler_nursery=connections
                        )
                    with self._patience:
                        await self._seats.wait_until_empty()
                        await self.gatekeeper.wait_until_empty()
                finally:
                    self.stop(limits.STOP_TIMEOUT)
            own.cancel_scope.cancel()

    def drain(self, seconds: float) -> None:
        """Take no more clients, refuse those that wait, and stop when the last pairing is over. Returns at once.

        Pairings that are not over after `seconds` are ended; a second call may only make this time shorter.
        """
        if self.pairings and not self.draining:
            events.STOPPING.log((), seconds=round(seconds), pairings=len(self.pairings))
        self._accepting.cancel()
        self._seats.drain()
        self._patience.deadline = min(self._patience.deadline, trio.current_time() + seconds)

    def stop(self, within: float) -> None:
        """End everything now: tell every client, and cut those that have not left `within` seconds. Returns at once."""
        self.drain(0)
        self._connections.stop(within)
        self.pairings.stop()

    async def reload(self) -> bool:
        """Read certificate, key and tokens again; return False if one cannot be used, which then stays as it was."""
        results: list[bool] = []

        async def collect(reload: Callable[[], Awaitable[bool]]) -> None:
            results.append(await reload())

        async with trio.open_nursery() as nursery:  # so that neither waits for the other's disk
            nursery.start_soon(collect, self.gatekeeper.reload)
            if self.certificates is not None:
                nursery.start_soon(collect, self.certificates.reload)
        return all(results)

    async def use_certificate(self, certfile: str | PathLike[str], keyfile: str | PathLike[str]) -> bool:
        """Use the certificate in these files, which this program has ordered; return False if it cannot be used."""
        assert self.certificates is not None, "nobody orders for a relay without TLS"
        return await self.certificates.use(os.fspath(certfile), os.fspath(keyfile))

    def vacate(self, claim: str) -> None:
        """Free the place of the client with this claim, which has come to another process."""
        self._seats.vacate(claim)

    @property
    def waiting(self) -> int:
        """How many clients wait for their other side."""
        return self._seats.waiting

    def change(self, config: RelayConfig) -> None:
        """Use the limits of another configuration from now on. Files, and where the relay listens, do not change."""
        self.budget.limit = config.max_memory
        self.gatekeeper.change(config)

    @property
    def config(self) -> RelayConfig:
        """The configuration as it is now; see `change`."""
        return self.gatekeeper.config

    @property
    def draining(self) -> bool:
        """Whether the relay takes no more clients."""
        return self._accepting.cancel_called

    @property
    def counts(self) -> Counts:
        """What the relay has done and is doing."""
        return Counts(self._seats.waiting, len(self.pairings), self.tally.served, self.tally.copied)

    async def snapshot(self) -> Snapshot:
        """Return all that the relay has counted."""
        return self.current()

    def current(self, *, with_pairings: bool = True) -> Snapshot:
        """Return all that the relay has counted; see `snapshot`."""
        tally, running = self.tally, self.pairings.running
        return Snapshot(
            connections=self.connections,
            waiting=self._seats.waiting,
            rooms=self.rooms,
            running=len(running),
            stalled=sum(pairing.is_stalled for pairing in running.values()),
            tasks=trio.lowlevel.current_statistics().tasks_living,
            memory_held=self.budget.held,
            memory_limit=int(self.budget.limit),
            received=Counter(self.pairings.received),
            served=tally.served,
            outcomes=tally.outcomes.copy(),
            refused=tally.refused.copy(),
            handshakes_failed=tally.handshakes_failed,
            abuse=tally.abuse.counts.copy(),
            pairings=[
                RunningPairing(number, round(pairing.seconds), sum(pairing.sent))
                for number, pairing in running.items()
            ]
            if with_pairings
            else [],
        )

    async def end(self, number: int) -> bool:
        """End the pairing with this number, because the operator wants that; return False if there is none."""
        pairing = self.pairings.running.get(number)
        if pairing is not None:
            pairing.dismiss()
        return pairing is not None

    @property
    def connections(self) -> int:
        """How many connections are open, those without a hello included."""
        return self.gatekeeper.places

    @property
    def rooms(self) -> int:
        """How many rooms have clients, waiting or paired."""
        return self._seats.rooms
