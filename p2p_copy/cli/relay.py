"""`p2p-copy run-relay-server`: a relay in the foreground, until a signal ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from p2p_copy.cli.failure import Interrupted
from p2p_copy.cli.run import run
from p2p_copy.cli.terminal import Terminal
from p2p_copy.errors import UsageError
from p2p_copy.relay import log
from p2p_copy.relay.config import RelayConfig
from p2p_copy.relay.server import serve

if TYPE_CHECKING:
    from collections.abc import Sequence


def run_relay_server(host: str, port: int, *, tls: bool, certfile: str | None, keyfile: str | None) -> int:
    """Serve until a signal comes, which is the normal end and exit code 0.

    Raises:
        UsageError: TLS is wanted without certificate and key, or the reverse.
        CannotListen: the relay cannot start.

    """
    if tls and not (certfile and keyfile):
        raise UsageError(
            "TLS needs a certificate and its key: --certfile fullchain.pem --keyfile privkey.pem. To listen "
            "without TLS, for a test or behind a proxy that adds it, say --no-tls."
        )
    if not tls and (certfile or keyfile):
        raise UsageError("--certfile and --keyfile are for TLS, and --no-tls turns TLS off. Leave one out.")
    terminal = Terminal.standard()
    relay = RelayConfig(host=host, port=port, certfile=certfile, keyfile=keyfile)

    async def story() -> None:
        async with trio.open_nursery() as nursery:
            bound = await nursery.start(serve, relay)
            terminal.result(f"Relay listening on {addresses('wss' if tls else 'ws', host, bound)}")

    log.configure()
    try:
        run(story)
    except Interrupted:
        return 0
    raise AssertionError("a relay serves until it is stopped")


def addresses(scheme: str, host: str, bound: Sequence[tuple[str, int]]) -> str:
    """Return the URLs of a relay that was asked to listen at `host`, one for each port."""
    ports = dict.fromkeys(port for _, port in bound)
    return " and ".join(url(scheme, host, port) for port in ports)


def url(scheme: str, host: str, port: int) -> str:
    """Return the URL of a relay."""
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
