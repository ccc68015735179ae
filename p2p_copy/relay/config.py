"""What an operator may choose, as one frozen value with the defaults of `p2p_copy.limits`."""

from __future__ import annotations

from dataclasses import dataclass

from p2p_copy import limits


@dataclass(frozen=True, slots=True)
class RelayConfig:
    """A relay's address, its certificate and its limits.

    Attributes:
        host: name or number of a local address; `0.0.0.0` and `::` mean all of IPv4 and IPv6.
        port: TCP port; 0 for any free one.
        certfile: PEM file with the certificate and what links it to its authority; None for no TLS.
        keyfile: PEM file with the certificate's private key; None if it is in `certfile`.
        max_message: bytes of the longest message that is copied.
        wait: seconds that one client may wait for the other.
        accept_budget: seconds from accept to hello, in all.
        probe_timeout: seconds in which a waiting client must answer when another one comes to its room.
        max_connections: clients at once; more are told that the relay is busy.
        max_pending: connections at once that have not said hello; more are closed unheard.

    """

    host: str
    port: int
    certfile: str | None = None
    keyfile: str | None = None
    max_message: int = limits.RELAY_MAX_MESSAGE
    wait: float = limits.RELAY_WAIT
    accept_budget: float = limits.RELAY_ACCEPT_BUDGET
    probe_timeout: float = limits.RELAY_PROBE_TIMEOUT
    max_connections: int = limits.RELAY_MAX_CONNECTIONS
    max_pending: int = limits.RELAY_MAX_PENDING
