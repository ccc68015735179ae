"""The options of `run-relay-server` that say who may come, how many, and how fast. Nothing heavy is imported here."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import CoercionError, Parameter, validators

from p2p_copy import limits

if TYPE_CHECKING:
    from collections.abc import Sequence

_SIZE: Final = re.compile(r"([0-9]+) ?(?:([KMGT])(?:iB)?|B?)", re.ASCII | re.IGNORECASE)
_SIZE_PER_SECOND: Final = re.compile(r"(.*?)(?:/s)?", re.ASCII | re.IGNORECASE)


def bytes_of(_type: object, tokens: Sequence[Any]) -> int:
    """Return the number of bytes that an option's value means: `500G`, `10 MiB`, `7`."""
    return _size(tokens[0].value, tokens[0])


def _rate_of(_type: object, tokens: Sequence[Any]) -> int:
    number = _SIZE_PER_SECOND.fullmatch(tokens[0].value)
    return _size(number[1] if number else "", tokens[0])


def _size(text: str, token: Any) -> int:
    try:
        return number_of_bytes(text)
    except ValueError:
        raise CoercionError(token=token, target_type=int) from None


def number_of_bytes(text: str) -> int:
    """Return the number that `500G`, `10 MiB` or `7` means.

    Raises:
        ValueError: it means none.

    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError("not a number of bytes")
    power = " KMGT".index((match[2] or " ").upper())
    return int(match[1]) * int(limits.KIB**power)


SECONDS: Final = Parameter(validator=validators.Number(gt=0), metavar="SECONDS", show_default="{:g}".format)
"""Of an option that is a time and may not be none."""

_ONE: Final = Parameter(validator=validators.Number(gte=1), metavar="N")
_ANY: Final = Parameter(validator=validators.Number(gte=0), metavar="N")
_RATE: Final = Parameter(
    converter=_rate_of,
    validator=validators.Number(gte=limits.LEAST_RATE),
    n_tokens=1,
    accepts_keys=False,
    metavar="BYTES/s",
)


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class RelayLimits:
    """What `relay.config.RelayConfig` calls the same, by the names of the options."""

    max_connections: Annotated[int, _ONE, Parameter(help="Clients at once.")] = limits.RELAY_MAX_CONNECTIONS
    max_pending: Annotated[int, _ONE, Parameter(help="Connections at once that have not said hello.")] = (
        limits.RELAY_MAX_PENDING
    )
    max_waiting: Annotated[int, _ONE, Parameter(help="Clients that wait for another one at once.")] = (
        limits.RELAY_MAX_WAITING
    )
    max_wait: Annotated[float, SECONDS, Parameter(help="Seconds that one client may wait for the other.")] = (
        limits.RELAY_WAIT
    )
    accept_budget: Annotated[
        float, SECONDS, Parameter(help="Seconds from a connection's first packet to its hello, in all.")
    ] = limits.RELAY_ACCEPT_BUDGET
    max_per_source: Annotated[
        int,
        _ANY,
        Parameter(
            help="Connections at once from one source, an IPv4 address or an IPv6 /64. Here and below 0 is no limit."
        ),
    ] = limits.RELAY_PER_SOURCE
    max_pending_per_source: Annotated[
        int, _ANY, Parameter(help="Connections at once from one source that have not said hello.")
    ] = limits.RELAY_PENDING_PER_SOURCE
    connections_per_minute: Annotated[
        int, _ANY, Parameter(help="New connections from one source in a minute.")
    ] = limits.RELAY_ARRIVALS
    joins_per_minute: Annotated[
        int, _ANY, Parameter(help="Rooms that one source may come to in a minute.")
    ] = limits.RELAY_JOINS
    frames_per_second: Annotated[
        int, _ANY, Parameter(help="WebSocket frames from one connection; what is more is slowed down.")
    ] = limits.RELAY_FRAMES
    rate: Annotated[int | None, _RATE, Parameter(help="Bytes per second of one pairing. K, M, G work.")] = (
        None
    )
    rate_per_source: Annotated[
        int | None, _RATE, Parameter(help="Bytes per second of all pairings of one source.")
    ] = None
    rate_total: Annotated[int | None, _RATE, Parameter(help="Bytes per second of all pairings.")] = None
    tokens_file: Annotated[
        str | None,
        Parameter(
            metavar="FILE",
            help="Serve only clients with a token of this file, read again on SIGHUP; see relay-token.",
        ),
    ] = None
    trusted_proxy: Annotated[
        tuple[str, ...],
        Parameter(
            metavar="CIDR",
            negative="",
            help="Address or network of a proxy that is believed when it names a client's address (PROXY protocol "
            "v2, X-Forwarded-For). May be repeated. A unix socket needs no naming.",
            show_default=False,
        ),
    ] = ()

    def settings(self) -> dict[str, Any]:
        """Return what belongs into a `RelayConfig`."""
        fields = asdict(self)
        for ours, theirs in (
            ("max_wait", "wait"),
            ("connections_per_minute", "arrivals_per_minute"),
            ("trusted_proxy", "trusted_proxies"),
        ):
            fields[theirs] = fields.pop(ours)
        return fields


DEFAULT_LIMITS: Final = RelayLimits()
"""The defaults."""
