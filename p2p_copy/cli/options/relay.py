"""The options of `run-relay-server` that limit clients, their number and their speed. Imports nothing slow."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Final

from cyclopts import Parameter, validators

from p2p_copy.cli.options.groups import ACCESS, CLIENT_LIMITS, DATA_LIMITS
from p2p_copy.cli.options.values import DURATION, FLAG, PATH, POSITIVE, PathText, parsed_by
from p2p_copy.relay import limits
from p2p_copy.relay.system_limits import processors_allowed
from p2p_copy.units import parse_rate, parse_size


def _workers(text: str) -> int:
    """Parse a number of worker processes; `auto` is one for each core that this process may use."""
    if text.strip().lower() == "auto":
        return min(processors_allowed(), limits.MAX_WORKERS)
    try:
        return int(text)
    except ValueError:
        raise ValueError("it is a number of processes, or auto") from None


WORKERS: Final = parsed_by(_workers, "N|auto", validator=validators.Number(gte=1, lte=limits.MAX_WORKERS))
"""For the option `--workers`."""

_ONE: Final = Parameter(validator=validators.Number(gte=1), metavar="N")
_ANY: Final = Parameter(validator=validators.Number(gte=0), metavar="N")
_SIZE: Final = parsed_by(parse_size, "BYTES", validator=validators.Number(gte=limits.LEAST_MEMORY))
_RATE: Final = parsed_by(parse_rate, "BYTES/s", validator=validators.Number(gte=limits.LEAST_RATE))


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class RelayLimits:
    """Limits of a relay, by the names of their options; `settings` returns them by the names of `RelayConfig`."""

    max_connections: Annotated[int, CLIENT_LIMITS, _ONE, Parameter(help="Clients at once.")] = (
        limits.MAX_CONNECTIONS
    )
    max_pending: Annotated[
        int,
        CLIENT_LIMITS,
        _ONE,
        Parameter(help="Connections at once that have not said hello; one more closes the oldest."),
    ] = limits.MAX_PENDING
    max_waiting: Annotated[
        int, CLIENT_LIMITS, _ONE, Parameter(help="Clients that wait for their other side at once.")
    ] = limits.MAX_WAITING
    max_wait: Annotated[
        float,
        CLIENT_LIMITS,
        DURATION,
        POSITIVE,
        Parameter(help="How long a client may wait for its other side."),
    ] = limits.WAIT
    accept_budget: Annotated[
        float,
        CLIENT_LIMITS,
        DURATION,
        POSITIVE,
        Parameter(help="Time from a connection's first packet to its hello, in all."),
    ] = limits.ACCEPT_BUDGET
    max_per_source: Annotated[
        int,
        CLIENT_LIMITS,
        _ANY,
        Parameter(
            help="Connections at once from one source, an IPv4 address or an IPv6 /64; an IPv6 /56 has 4 times as "
            "many, a /48 16 times. Here and below 0 is no limit."
        ),
    ] = limits.MAX_PER_SOURCE
    max_pending_per_source: Annotated[
        int,
        CLIENT_LIMITS,
        _ANY,
        Parameter(help="Connections at once from one source that have not said hello."),
    ] = limits.MAX_PENDING_PER_SOURCE
    connections_per_minute: Annotated[
        int, CLIENT_LIMITS, _ANY, Parameter(help="New connections per minute from one address.")
    ] = limits.ARRIVALS_PER_MINUTE
    joins_per_minute: Annotated[
        int, CLIENT_LIMITS, _ANY, Parameter(help="Rooms one address may join per minute.")
    ] = limits.JOINS_PER_MINUTE
    max_memory: Annotated[
        int | None,
        DATA_LIMITS,
        _SIZE,
        Parameter(
            help="Bytes that all pairings together may buffer: 256M. Default: a quarter of the memory of the machine "
            "or its control group."
        ),
    ] = None
    frames_per_second: Annotated[
        int,
        DATA_LIMITS,
        _ANY,
        Parameter(
            help="WebSocket frames, or TLS records of less than 1 KiB, from each connection of a pair; more are slowed "
            "down, and 0 is no limit. Connections that are not paired are read much more slowly."
        ),
    ] = limits.FRAMES_PER_SECOND
    rate: Annotated[
        int | None, DATA_LIMITS, _RATE, Parameter(help="Bytes per second of one pairing: 64K, 10MB/s, 1.5M.")
    ] = None
    rate_per_source: Annotated[
        int | None, DATA_LIMITS, _RATE, Parameter(help="Bytes per second of all pairings of one source.")
    ] = None
    rate_total: Annotated[
        int | None, DATA_LIMITS, _RATE, Parameter(help="Bytes per second of all pairings.")
    ] = None
    tokens_file: Annotated[
        PathText | None,
        PATH,
        ACCESS,
        Parameter(
            metavar="FILE",
            help="Serve only clients with a token of this file, which SIGHUP reloads; see relay-token.",
        ),
    ] = None
    trusted_proxy: Annotated[
        tuple[str, ...],
        ACCESS,
        Parameter(
            metavar="CIDR",
            negative="",
            help="Address or network of a proxy that is trusted to name a client's address (PROXY protocol, "
            "X-Forwarded-For). May be repeated. Not needed for a unix socket.",
            show_default=False,
        ),
    ] = ()
    allow_load_test: Annotated[
        bool,
        ACCESS,
        FLAG,
        Parameter(help="Let anyone who can connect load this relay with relay-load. All limits still hold."),
    ] = False

    def settings(self) -> dict[str, Any]:
        """Return the settings for a `RelayConfig`."""
        fields = asdict(self)
        for ours, theirs in (
            ("max_wait", "wait"),
            ("connections_per_minute", "arrivals_per_minute"),
            ("trusted_proxy", "trusted_proxies"),
        ):
            fields[theirs] = fields.pop(ours)
        if self.max_memory is None:
            del fields["max_memory"]
        return fields


DEFAULT_LIMITS: Final = RelayLimits()
"""The defaults."""
