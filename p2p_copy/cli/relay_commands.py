"""Declares the commands of the relay's operator.

`cli.app` has their help, and imports this only when one of them is called or explained: a sender need not wait for it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from p2p_copy.cli.options import completers
from p2p_copy.cli.options.groups import LISTENING, SETUP
from p2p_copy.cli.options.relay import DEFAULT_LIMITS, WORKERS, RelayLimits
from p2p_copy.cli.options.relay_log import DEFAULT_LOG, RelayLog
from p2p_copy.cli.options.values import DURATION, PATH, PathText
from p2p_copy.relay import limits as relay_limits
from p2p_copy.relay.admin.orders import USAGE


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
        drain=drain,
        workers=workers,
        limit=limit,
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
