"""Declares the commands of the relay's operator.

`cli.app` has their help, and imports this only when one of them is called or explained: a sender need not wait for it.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from cyclopts import Parameter, validators

from p2p_copy.cli.options import completers
from p2p_copy.cli.options.client import JSON, NO_ACCESS_ARGUMENTS, AccessArguments
from p2p_copy.cli.options.groups import LISTENING, LOAD, OUTPUT, SETUP
from p2p_copy.cli.options.relay import DEFAULT_LIMITS, WORKERS, RelayLimits
from p2p_copy.cli.options.relay_acme import NO_ACME, RelayAcme
from p2p_copy.cli.options.relay_log import DEFAULT_LOG, RelayLog
from p2p_copy.cli.options.relay_web import NO_WEB, RelayWeb
from p2p_copy.cli.options.values import DURATION, EACH, FLAG, PATH, POSITIVE, PathText, parsed_by
from p2p_copy.relay import limits as relay_limits
from p2p_copy.relay.admin.orders import USAGE
from p2p_copy.units import KIB, MIB, exact_size, parse_rate, parse_size

_ANY: Final = Parameter(validator=validators.Number(gte=0), metavar="N")

_NO_RATE: Final = 0
"""Means `none` in place of a rate."""


def _load_rate_of(text: str) -> int:
    if text == "none":
        return _NO_RATE
    if (rate := parse_rate(text)) < relay_limits.LEAST_RATE:
        raise ValueError(f"it is none, or at least {relay_limits.LEAST_RATE // KIB}K")
    return rate


def run_relay_server(
    *where: Annotated[
        str,
        Parameter(
            name="HOST:PORT",
            help="Address or name to listen at, 0.0.0.0 for all of IPv4, [::] for all of IPv6; and the TCP port, 0 for "
            "any free one. Also unix:PATH, for a proxy on this machine. HOST and PORT may be two words.",
        ),
    ],
    tls: Annotated[
        bool, LISTENING, Parameter(help="Speak TLS; --no-tls for a test, or behind a proxy that does.")
    ] = True,
    certfile: Annotated[
        PathText | None, PATH, LISTENING, Parameter(metavar="FILE", help="Certificate with its chain, PEM.")
    ] = None,
    keyfile: Annotated[
        PathText | None,
        PATH,
        LISTENING,
        Parameter(metavar="FILE", help="The certificate's private key, PEM."),
    ] = None,
    reload_certs: Annotated[
        Literal["auto", "signal"],
        LISTENING,
        Parameter(help="Load a renewed certificate when its files change and on SIGHUP, or on SIGHUP only."),
    ] = "auto",
    acme: RelayAcme = NO_ACME,
    drain: Annotated[
        float, SETUP, DURATION, Parameter(help="How long transfers may continue after SIGTERM.")
    ] = relay_limits.DRAIN,
    workers: Annotated[
        int,
        SETUP,
        WORKERS,
        Parameter(
            help="Processes that share the port and the clients, each on a core of its own; auto: as many as cores. "
            "All limits hold for all of them together. Linux and macOS."
        ),
    ] = 1,
    limit: RelayLimits = DEFAULT_LIMITS,
    web: RelayWeb = NO_WEB,
    log: RelayLog = DEFAULT_LOG,
    admin: Annotated[
        str | None,
        SETUP,
        Parameter(
            metavar="ADDR",
            help="Serve status, metrics and orders at this address: 127.0.0.1:PORT or unix:/PATH.",
        ),
    ] = None,
    config: Annotated[
        PathText | None,
        PATH,
        SETUP,
        Parameter(metavar="FILE", help="Configuration file (TOML), table [run-relay-server]."),
    ] = None,
) -> int:
    """Run a relay."""
    from p2p_copy.cli.commands.relay_server import run_relay_server as work

    return work(
        where,
        tls=tls,
        certfile=certfile,
        keyfile=keyfile,
        watch_certificates=reload_certs == "auto",
        acme=acme,
        drain=drain,
        workers=workers,
        limit=limit,
        web=web,
        log=log,
        admin=admin,
    )


def relay_token(
    name: Annotated[str, Parameter(help="A name for its owner: letters, digits and . _ @ -, up to 64.")], /
) -> int:
    """Create an access token."""
    from p2p_copy.cli.commands.relay_token import relay_token as work

    return work(name)


def relay_admin(
    address: Annotated[
        str, Parameter(name="ADDR", help="The address that the relay was given with --admin.")
    ],
    order: Annotated[
        str,
        Parameter(name="ORDER", completer=completers.orders, help=f"status, pairings, {USAGE}."),
    ],
    /,
    *words: Annotated[str, Parameter(name="WORD", show=False)],
) -> int:
    """Show a relay's status, or give it an order."""
    from p2p_copy.cli.commands.relay_admin import relay_admin as work

    return work(address, order, words)


def relay_load(
    url: Annotated[
        str, Parameter(name="URL", help="The relay: wss://HOST:PORT, or ws:// for one without TLS.")
    ],
    /,
    *,
    waiters: Annotated[int, LOAD, _ANY, Parameter(help="Clients that wait all the time.")] = 100,
    pairings: Annotated[int, LOAD, _ANY, Parameter(help="Pairings at once that move bytes.")] = 10,
    size: Annotated[
        int,
        LOAD,
        parsed_by(parse_size, "SIZE", validator=validators.Number(gte=1), show_default=exact_size),
        Parameter(help="Bytes that each pairing moves; then the next one begins."),
    ] = 10 * MIB,
    rate: Annotated[
        int,
        LOAD,
        parsed_by(_load_rate_of, "RATE|none", show_default=exact_size),
        Parameter(help="Bytes per second of each pairing: 500K, 10M; or none, for as fast as it goes."),
    ] = 1 * MIB,
    ramp: Annotated[
        float,
        LOAD,
        DURATION,
        Parameter(help="Over how long the waiting clients come, and then again the pairings."),
    ] = 10.0,
    duration: Annotated[
        float, LOAD, DURATION, POSITIVE, Parameter(help="How long to measure once all have come.")
    ] = 30.0,
    processes: Annotated[
        int,
        LOAD,
        Parameter(
            validator=validators.Number(gte=1, lte=256),
            metavar="N",
            help="Processes that make the load, if one is not enough; the result says so.",
        ),
    ] = 1,
    access: Annotated[AccessArguments, EACH] = NO_ACCESS_ARGUMENTS,
    json: Annotated[bool, OUTPUT, FLAG, JSON] = False,
) -> int:
    """Load a relay of your own."""
    from p2p_copy.cli.commands.relay_load import relay_load as work
    from p2p_copy.load.plan import Plan

    plan = Plan(waiters, pairings, size, rate or None, ramp, duration)
    return work(url, plan, processes, access, json=json)
