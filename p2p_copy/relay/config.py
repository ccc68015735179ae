"""What an operator may choose, as one frozen value with the defaults of `p2p_copy.relay.limits`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from p2p_copy.relay import limits
from p2p_copy.relay.system_limits import default_budget

if TYPE_CHECKING:
    from collections.abc import Container
    from os import PathLike

UNIX_PREFIX: Final = "unix:"
"""How the path of a unix socket begins where a host could stand as well."""


@dataclass(frozen=True, slots=True)
class Tcp:
    """Every address that the name `host` has on this machine; port 0 is any free one."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Unix:
    """A socket in the file system, for the programs on this machine that its mode allows."""

    path: str
    mode: int = limits.UNIX_SOCKET_MODE


@dataclass(frozen=True, slots=True)
class Inherited:
    """A socket that listens already, inherited from the service manager, and its name there."""

    descriptor: int
    name: str


Place: TypeAlias = Tcp | Unix | Inherited
"""Where a relay listens."""


@dataclass(frozen=True, slots=True)
class RelayConfig:
    """A relay's addresses, its certificate and its limits.

    Attributes:
        host: name or number of a local address; `0.0.0.0` and `::` mean all of IPv4 and all of IPv6. None if
            `more` says where to listen.
        port: TCP port; 0 for any free one.
        more: further places to listen at.
        certfile: PEM file with the certificate and the intermediate ones up to its authority; None for no TLS.
        keyfile: PEM file with the certificate's private key; None if it is in `certfile`.
        challenge_folder: private folder for the keys of challenges, if this program orders the certificate by itself; a
            relay then begins without `certfile`, and is given one later.
        watch_certificates: reload certificate and key when their files change, not only when told to.
        max_message: bytes of the longest message that is passed on.
        wait: seconds that one client may wait for the other.
        accept_budget: seconds from accept to hello, in all.
        max_connections: clients at once; the relay tells further ones that it is busy.
        max_pending: connections at once that have not said hello; for each further one the oldest one is closed.
        max_waiting: clients that may wait for another one at once; the relay tells further ones that it is busy.
        max_per_source: connections of one source at once; here and below 0 is no limit. IPv6 networks that are wider
            than a source have multiples (`limits.NETWORK_MULTIPLES`) of this and the next three.
        max_pending_per_source: those of them that have not said hello.
        arrivals_per_minute: new connections of one source.
        joins_per_minute: hellos with which one source may ask for a room.
        max_memory: bytes of memory that all pairings together may hold for data in transit.
        frames_per_second: WebSocket frames taken from one connection; a client that sends more is slowed down.
        rate: bytes per second of one pairing, both directions together; here and below None is no limit.
        rate_per_source: bytes per second of all pairings of one source together.
        rate_total: bytes per second of all pairings together.
        rooms: names of the rooms that it serves, which may change while it runs, and none of the legacy form; None for
            any room.
        tokens_file: file with the access tokens; None for a relay that every client may use.
        trusted_proxies: network (CIDR), or several, of the proxies that are believed when they name a client's address.
        log_addresses: write clients' addresses into the log.
        web: directory with the files of the page for browsers (`entry.page`); None for a relay that serves none.
        web_origins: origins of further web pages that may use the relay, `https://HOST[:PORT]` or `null`.
        allow_load_test: tell clients that they may load this relay, and the limits which then meet them.

    """

    host: str | None
    port: int = 0
    more: tuple[Place, ...] = field(default=(), kw_only=True)
    certfile: str | PathLike[str] | None = None
    keyfile: str | PathLike[str] | None = None
    challenge_folder: str | PathLike[str] | None = None
    watch_certificates: bool = True
    max_message: int = limits.MAX_MESSAGE
    wait: float = limits.WAIT
    accept_budget: float = limits.ACCEPT_BUDGET
    max_connections: int = limits.MAX_CONNECTIONS
    max_pending: int = limits.MAX_PENDING
    max_waiting: int = limits.MAX_WAITING
    max_per_source: int = limits.MAX_PER_SOURCE
    max_pending_per_source: int = limits.MAX_PENDING_PER_SOURCE
    arrivals_per_minute: int = limits.ARRIVALS_PER_MINUTE
    joins_per_minute: int = limits.JOINS_PER_MINUTE
    max_memory: int = field(default_factory=default_budget)
    frames_per_second: int = limits.FRAMES_PER_SECOND
    rate: int | None = None
    rate_per_source: int | None = None
    rate_total: int | None = None
    rooms: Container[str] | None = None
    tokens_file: str | PathLike[str] | None = None
    trusted_proxies: str | tuple[str, ...] = ()
    log_addresses: bool = False
    web: str | PathLike[str] | None = None
    web_origins: tuple[str, ...] = ()
    allow_load_test: bool = False

    def __post_init__(self) -> None:
        """Accept a single proxy as a text, too."""
        if isinstance(self.trusted_proxies, str):
            object.__setattr__(self, "trusted_proxies", (self.trusted_proxies,))

    @property
    def places(self) -> tuple[Place, ...]:
        """Every place to listen at."""
        return self.more if self.host is None else (Tcp(self.host, self.port), *self.more)
