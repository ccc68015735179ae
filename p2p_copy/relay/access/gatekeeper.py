"""The door: who comes in, and on which terms. What `admission`, `trusted`, `tokens` and `rates` say, put together.

    knock      a connection is there: a place, or none, by the address at its other end
    unveil     before TLS: the address that a proxy in front tells (PROXY protocol)
    forwarded  after the request's head: the address that a proxy in front tells (X-Forwarded-For)
    greet      after the hello: a welcome with the terms, or a refusal
    flow       two are paired: what limits them from then on

A visitor whose address a proxy tells counts for that address from then on. One who comes through a trusted proxy that
tells nothing, through a unix socket or from this machine itself has no source, and so no limits of a source.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import trio

from p2p_copy.errors import CannotListen
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.rendezvous import MOVEMENT, Hello, Refusal, Refused, Welcome
from p2p_copy.relay import limits
from p2p_copy.relay.access.admission import Admission, Guest, LimitHit, Sources, sources_of
from p2p_copy.relay.access.descriptors import connections_allowed
from p2p_copy.relay.access.proxies import ProxyHeaderBroken, Trust, peer_address, read_proxy_header
from p2p_copy.relay.access.rates import PairingLimits, Rates
from p2p_copy.relay.access.throttle import Newcomers, Throttle
from p2p_copy.relay.access.tokens import Tokens
from p2p_copy.relay.entry.deadline import ArrivalDeadlines
from p2p_copy.relay.file_thread import note_hang
from p2p_copy.relay.log import abuse, events
from p2p_copy.relay.log.abuse import Abuse
from p2p_copy.relay.log.redact import ADDRESS
from p2p_copy.version import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Iterable

    from p2p_copy.relay.access.tokens import Account
    from p2p_copy.relay.config import RelayConfig
    from p2p_copy.transport.tcp import TCPStream


@dataclass(slots=True, eq=False)
class Visitor:
    """One connection: its place, whether it is a proxy that is believed, and whose token it has shown.

    `throttle` limits what is read from it. Its address is known here only if the operator wants it in the log. `heard`
    tells whether it has said hello, and `listens` whether it said then that it wants to hear what moves.
    """

    guest: Guest
    throttle: Throttle
    trusted: bool
    account: Account | None = None
    address: str | None = None
    heard: bool = False
    listens: bool = False


class Gatekeeper:
    """The way into one relay.

    Attributes:
        admission: places and sources.
        arrivals: those who have a place, and have not said hello.
        tokens: whom this relay serves; None if it is open to everybody.

    """

    def __init__(self, config: RelayConfig) -> None:
        """Open the door.

        Raises:
            CannotListen: the file of tokens cannot be used.
            UsageError: a trusted proxy is no network.

        """
        self.admission = Admission(config, connections_allowed())
        self.arrivals = ArrivalDeadlines()
        self.tokens = Tokens(os.fspath(config.tokens_file)) if config.tokens_file else None
        self._config = config
        self._trust = Trust(config.trusted_proxies)
        self._rates = Rates(config)
        self._newcomers = Newcomers()
        self._key = secrets.token_bytes(32)

    def change(self, config: RelayConfig) -> None:
        """Keep to the limits of another configuration from now on. Nobody who is inside is put out."""
        self._config = self.admission.config = config
        self._rates.change(config)

    async def reload(self) -> bool:
        """Read the file of tokens again. What is wrong with it is logged, and changes nothing: False then."""
        if self.tokens is None:
            return True
        try:
            await self.tokens.reload()
        except CannotListen as error:
            note_hang(error)
            events.TOKENS_KEPT.log(why=str(error))
            return False
        events.TOKENS_RELOADED.log(count=len(self.tokens))
        return True

    def knock(self, stream: TCPStream) -> Visitor | None:
        """Give a new connection a place, before anything is read of it. None if it is one too many, or gone."""
        try:
            address = peer_address(stream)
        except OSError:
            return None
        address_for_log = self._note_address(address)
        trusted = self._trust.includes(address)
        # A proxy is many users: only what it tells of them makes a source.
        sources = () if trusted else self._sources(address)
        guest = self.admission.arrive(sources, trio.current_time(), self.arrivals.put_out)
        if isinstance(guest, LimitHit):
            _note(guest)
            return None
        throttle = Throttle(self._newcomers, self._config.frames_per_second)
        throttle.limit(stream)
        stream.on_urgent = partial(abuse.note, Abuse.URGENT_DATA)
        return Visitor(guest, throttle, trusted, address=address_for_log)

    def leave(self, visitor: Visitor) -> None:
        """Free a place."""
        visitor.throttle.close()
        self.admission.leave(visitor.guest, trio.current_time())

    async def unveil(self, visitor: Visitor, stream: TCPStream) -> bool:
        """Take what a trusted proxy says before TLS. False if that made no sense, or names one too many."""
        if not visitor.trusted:
            return True
        try:
            address = await read_proxy_header(stream)
        except ProxyHeaderBroken:
            events.PROXY_HEADER_BROKEN.log()
            return False
        return address is None or self._name(visitor, address)

    def forwarded(self, visitor: Visitor, values: Iterable[str]) -> bool:
        """Take the `X-Forwarded-For` of a request, if it comes from a trusted proxy. False if it is one too many."""
        if not visitor.trusted:
            return True
        address = self._trust.client(values)
        return address is None or self._name(visitor, address)

    def greet(
        self, visitor: Visitor, hello: Hello, *, waiting: int, is_first: bool, looks_again: bool
    ) -> Welcome | Refused:
        """Answer a hello.

        Args:
            visitor: who said it.
            hello: what was said.
            waiting: how many wait already.
            is_first: this one is to wait as well.
            looks_again: it waits here already, and has dialled again.

        """
        busy = limits.BUSY_RETRY_AFTER
        if visitor.guest.gone:  # since its hello is here, and its connection is about to end
            return Refused(Refusal.BUSY, "The relay has no room for this connection.", busy)
        if self.admission.is_full:
            return Refused(Refusal.BUSY, "The relay has as many clients as it can serve.", busy)
        if is_first and waiting >= self.admission.config.max_waiting:
            return Refused(Refusal.BUSY, "As many clients as this relay can serve are waiting already.", busy)
        if looks_again:
            self.admission.excuse(visitor.guest, trio.current_time())
        elif seconds := self.admission.join(visitor.guest, trio.current_time()):
            reason = "Too many clients came from your network within a minute."
            return Refused(Refusal.BUSY, reason, seconds)
        if self.tokens is not None:
            account = self.tokens.account(hello.token)
            if account is None:
                return _no_token(hello)
            if account.left == 0:
                return Refused(
                    Refusal.QUOTA, "Your access token has used up its quota. Ask its operator for more."
                )
            visitor.account = account
        self.admission.settle(visitor.guest)
        visitor.listens = MOVEMENT in hello.features
        return self._welcome(visitor, waiting)

    def pairing_limits(self, one: Visitor, other: Visitor) -> PairingLimits:
        """Return the limits of a pairing between two."""
        pair = (one, other)
        return self._rates.pairing_limits(
            (each.guest.source for each in pair), (each.account for each in pair)
        )

    def _welcome(self, visitor: Visitor, waiting: int) -> Welcome:
        account = visitor.account
        return Welcome(
            PROGRAM,
            max_message=self._config.max_message,
            wait=int(self._config.wait),
            rate=self._rates.best(visitor.guest.source, account),
            quota=account.left if account else None,
            again=int(max(protocol_limits.LOOK_AGAIN, waiting / limits.REDIALS_PER_SECOND)),
        )

    def _name(self, visitor: Visitor, address: str) -> bool:
        visitor.address = self._note_address(address)
        # Behind this proxy there may be another one, which then is the one that tells.
        visitor.trusted = self._trust.includes(address)
        sources = () if visitor.trusted else self._sources(address)
        over = self.admission.name(visitor.guest, sources, trio.current_time())
        if over is not None:
            _note(over)
        return over is None

    def _note_address(self, address: str | None) -> str | None:
        if not self._config.log_addresses:
            return None
        ADDRESS.set(address)
        return address

    def _sources(self, address: str | None) -> Sources:
        return sources_of(address, self._key)


def _note(over: LimitHit) -> None:
    if over is LimitHit.NETWORK:
        abuse.note(Abuse.NETWORK_FULL)
    events.TURNED_AWAY.log(what=over.value)


def _no_token(hello: Hello) -> Refused:
    if hello.token:
        return Refused(
            Refusal.TOKEN, "The access token is not known here. Check it, or ask the relay's operator."
        )
    reason = (
        "This relay wants an access token: give it with --token-file FILE or in P2P_COPY_TOKEN. The relay's "
        "operator has it."
    )
    return Refused(Refusal.TOKEN, reason)
