"""Decides which clients come in and on which terms, by `admission`, `proxies`, `tokens` and `rates`.

    admit             a connection is there: it gets a place by the address at its other end, or is closed
    read_proxy        before TLS: the address that a proxy in front tells (PROXY protocol)
    read_forwarded    after the request's head: the address that a proxy in front tells (X-Forwarded-For)
    answer_hello      after the hello: a welcome with the terms, or a refusal
    pairing_limits    two are paired: what limits them from then on

A client whose address a proxy tells counts for that address from then on. A client that comes through a trusted proxy
that tells none, through a unix socket or from this machine itself has no source, and so no limits of a source.
"""

from __future__ import annotations

import os
import secrets
from functools import partial
from typing import TYPE_CHECKING, Protocol

import trio

from p2p_copy.errors import CannotListen
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.rendezvous import MOVEMENT, Hello, LoadTerms, Refusal, Refused, Welcome
from p2p_copy.relay import limits
from p2p_copy.relay.access.admission import Admission, LimitHit, Sources, sources_of
from p2p_copy.relay.access.deadline import ArrivalDeadlines
from p2p_copy.relay.access.proxies import ProxyHeaderBroken, Trust, peer_address, read_proxy_header
from p2p_copy.relay.access.rates import PairingLimits, Rates
from p2p_copy.relay.access.throttle import Newcomers, Throttle
from p2p_copy.relay.access.tokens import Tokens
from p2p_copy.relay.file_thread import count_hang
from p2p_copy.relay.log import events
from p2p_copy.relay.log.abuse import Abuse
from p2p_copy.relay.log.redact import ADDRESS
from p2p_copy.relay.system_limits import connections_allowed
from p2p_copy.version import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from p2p_copy.relay.access.admission import Client
    from p2p_copy.relay.access.rates import Limits
    from p2p_copy.relay.config import RelayConfig
    from p2p_copy.relay.entry.http_upgrade import UpgradeRequest
    from p2p_copy.relay.log.abuse import AbuseCounter
    from p2p_copy.transport.tcp import TCPStream

NO_PLACE = Refused(
    Refusal.BUSY, "The relay has no room for this connection.", limits.BUSY_RETRY_AFTER, "max-pending"
)
_FULL = Refused(
    Refusal.BUSY, "The relay has as many clients as it can serve.", limits.BUSY_RETRY_AFTER, "max-connections"
)
_TOO_MANY_WAIT = Refused(
    Refusal.BUSY,
    "As many clients as this relay can serve are waiting already.",
    limits.BUSY_RETRY_AFTER,
    "max-waiting",
)
_QUOTA_USED = Refused(Refusal.QUOTA, "Your access token has used up its quota. Ask its operator for more.")
_UNKNOWN_TOKEN = Refused(
    Refusal.TOKEN, "The access token is not known here. Check it, or ask the relay's operator."
)
_TOKEN_MISSING = Refused(
    Refusal.TOKEN,
    "This relay wants an access token (`token`). Its operator gives them out.",
)


class Gate(Protocol):
    """What decides for one process which clients come in: a `Gatekeeper`, or a way to one in another process."""

    arrivals: ArrivalDeadlines

    @property
    def config(self) -> RelayConfig:
        """The limits."""

    @property
    def places(self) -> int:
        """How many connections of this process are open."""

    def change(self, config: RelayConfig) -> None:
        """Use the limits of another configuration from now on."""

    async def reload(self) -> bool:
        """Read the file of tokens again; return whether it can be used."""

    def admit(self, stream: TCPStream) -> Client | None:
        """Give a new connection a place; None if there is none for it."""

    def leave(self, client: Client) -> None:
        """Free a client's place."""

    async def read_proxy(self, client: Client, stream: TCPStream) -> bool:
        """Read a trusted proxy's PROXY header; return False if the connection has to be closed."""

    async def read_forwarded(self, client: Client, values: Sequence[str]) -> bool:
        """Read `X-Forwarded-For` if a trusted proxy sent it; return False if the client has to be refused."""

    async def pass_on(
        self, client: Client, stream: trio.abc.Stream, request: UpgradeRequest, arrived: Callable[[], None]
    ) -> bool:
        """Serve a client of a room that another process has, until its end; return False if this process has it."""

    async def answer_hello(
        self, client: Client, hello: Hello, *, waiting: int, is_first: bool, dials_again: bool
    ) -> Welcome | Refused:
        """Answer a hello."""

    def pairing_limits(self, one: Client, other: Client) -> Limits | None:
        """Return the limits of a pairing between two, if there are any."""

    async def wait_until_empty(self) -> None:
        """Return when no client is passed on any more that is passed on now."""


class Gatekeeper(Gate):
    """Admits clients to one relay, or refuses them.

    Attributes:
        admission: counts connections, in all and for each source.
        arrivals: the deadlines of connections that have not said hello.
        tokens: which clients this relay serves; None if it serves all.

    """

    def __init__(self, config: RelayConfig, abuse: AbuseCounter, *, processes: int = 1) -> None:
        """Read the file of tokens, if there is one; `processes` hold the connections.

        Raises:
            CannotListen: the file of tokens cannot be used.
            UsageError: a trusted proxy is no network.

        """
        self._config = config
        allowed = connections_allowed()
        self.admission = Admission(config, None if allowed is None else allowed * processes)
        self.arrivals = ArrivalDeadlines(abuse)
        self.tokens = Tokens(os.fspath(config.tokens_file)) if config.tokens_file else None
        self._abuse = abuse
        self._trust = Trust(config.trusted_proxies)
        self._rates = Rates(config)
        self._newcomers = Newcomers()
        self._key = secrets.token_bytes(32)

    @property
    def config(self) -> RelayConfig:
        """The limits; see `change`."""
        return self._config

    @property
    def places(self) -> int:
        """How many connections are open."""
        return self.admission.places

    def change(self, config: RelayConfig) -> None:
        """Use the limits of another configuration from now on. Clients that are here stay."""
        self._config = self.admission.config = config
        self._rates.change(config)

    async def reload(self) -> bool:
        """Read the file of tokens again. What is wrong with it is logged, and changes nothing; then return False."""
        if self.tokens is None:
            return True
        try:
            await self.tokens.reload()
        except CannotListen as error:
            count_hang(error, self._abuse)
            events.TOKENS_KEPT.log(why=str(error))
            return False
        events.TOKENS_RELOADED.log(count=len(self.tokens))
        return True

    def admit(self, stream: TCPStream) -> Client | None:
        """Give a new connection a place, before anything is read of it. None if it is one too many, or gone."""
        try:
            address = peer_address(stream)
        except OSError:
            return None
        address_for_log = self._use_in_log(address)
        is_proxy = self._trust.includes(address)
        # A proxy stands for many users: only the address that it tells makes a source.
        sources = () if is_proxy else self._sources(address)
        client = self.admission.arrive(sources, trio.current_time(), self.arrivals.evict)
        if isinstance(client, LimitHit):
            self._log(client)
            return None
        client.is_proxy, client.address = is_proxy, address_for_log
        client.budget = self.config.accept_budget
        client.throttle = Throttle(self._newcomers, self.config.frames_per_second)
        client.throttle.limit(stream)
        stream.on_urgent = partial(self._abuse.count, Abuse.URGENT_DATA)
        return client

    def leave(self, client: Client) -> None:
        """Free a client's place."""
        client.throttle.close()
        self.admission.leave(client, trio.current_time())

    async def read_proxy(self, client: Client, stream: TCPStream) -> bool:
        """Read a trusted proxy's PROXY header. Return False if it is broken or its client has too many connections."""
        if not client.is_proxy:
            return True
        try:
            address = await read_proxy_header(stream)
        except ProxyHeaderBroken:
            events.PROXY_HEADER_BROKEN.log()
            return False
        return address is None or self._count_for(client, address)

    async def read_forwarded(self, client: Client, values: Iterable[str]) -> bool:
        """Read `X-Forwarded-For` if a trusted proxy sent it. Return False if its client has too many connections."""
        if not client.is_proxy:
            return True
        address = self._trust.client(values)
        return address is None or self._count_for(client, address)

    async def pass_on(
        self, client: Client, stream: trio.abc.Stream, request: UpgradeRequest, arrived: Callable[[], None]
    ) -> bool:
        """Return False: a relay of one process has all rooms."""
        return False

    async def wait_until_empty(self) -> None:
        """Return at once."""

    async def answer_hello(
        self, client: Client, hello: Hello, *, waiting: int, is_first: bool, dials_again: bool
    ) -> Welcome | Refused:
        """Answer a hello.

        Args:
            client: the client that sent it.
            hello: the client's first message.
            waiting: how many clients wait already.
            is_first: whether this client would wait, too, as the first one of its room.
            dials_again: whether this client waits here already, on an older connection.

        """
        now = trio.current_time()
        if client.gone:  # it was evicted after its hello had come, and its connection is about to end
            return NO_PLACE
        if self.admission.is_full:
            return _FULL
        if is_first and waiting >= self.config.max_waiting:
            return _TOO_MANY_WAIT
        if dials_again:
            self.admission.excuse(client, now)
        elif seconds := self.admission.join(client, now):
            reason = "Too many clients came from your network within a minute."
            return Refused(Refusal.BUSY, reason, seconds, "joins-per-minute")
        if self.tokens is not None:
            client.account = self.tokens.account(hello.token)
            if client.account is None:
                return _UNKNOWN_TOKEN if hello.token else _TOKEN_MISSING
            if client.account.left == 0:
                return _QUOTA_USED
        self.admission.settle(client)
        client.wants_reports = MOVEMENT in hello.features
        return Welcome(
            PROGRAM,
            max_message=self.config.max_message,
            wait=int(self.config.wait),
            rate=self._rates.best(client.source, client.account),
            quota=client.account.left if client.account else None,
            again=int(max(protocol_limits.REDIAL_AFTER, waiting / limits.REDIALS_PER_SECOND)),
            load_test=self._load_terms(client) if self.config.allow_load_test else None,
        )

    def _load_terms(self, client: Client) -> LoadTerms:
        """Return the limits for a client that loads this relay."""
        config = self.config

        def of_source(limit: int) -> int:
            return limit if client.sources else 0

        return LoadTerms(
            max_connections=min(config.max_connections, self.admission.most),
            max_pending=config.max_pending,
            max_waiting=config.max_waiting,
            max_per_source=of_source(config.max_per_source),
            max_pending_per_source=of_source(config.max_pending_per_source),
            connections_per_minute=of_source(config.arrivals_per_minute),
            joins_per_minute=of_source(config.joins_per_minute),
        )

    def pairing_limits(
        self, one: Client, other: Client, *, only_shared: bool = False
    ) -> PairingLimits | None:
        """Return the limits of a pairing between two, if there are any; with `only_shared` not those of its own."""
        sources, accounts = (one.source, other.source), (one.account, other.account)
        return self._rates.pairing_limits(sources, accounts, only_shared=only_shared)

    def _count_for(self, client: Client, address: str) -> bool:
        """Count a client under the address that its proxy has named; return False if that has too many already."""
        client.address = self._use_in_log(address)
        # That may be the address of another trusted proxy, which then passes on the client's address.
        client.is_proxy = self._trust.includes(address)
        sources = () if client.is_proxy else self._sources(address)
        hit = self.admission.move(client, sources, trio.current_time())
        if hit is not None:
            self._log(hit)
        return hit is None

    def _use_in_log(self, address: str | None) -> str | None:
        """Log an address with what happens on this connection from now on, if the operator wants that."""
        if not self.config.log_addresses:
            return None
        ADDRESS.set(address)
        return address

    def _sources(self, address: str | None) -> Sources:
        return sources_of(address, self._key)

    def _log(self, hit: LimitHit) -> None:
        if hit is LimitHit.NETWORK:
            self._abuse.count(Abuse.NETWORK_FULL)
        events.TURNED_AWAY.log(what=hit.value)
