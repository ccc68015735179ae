"""`p2p-copy run-relay-server`: runs a relay in the foreground until a signal ends it."""

from __future__ import annotations

import gc
import ipaddress
import json
import os
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING

import trio

from p2p_copy.cli import limits as cli_limits
from p2p_copy.cli.options.arguments import host_port
from p2p_copy.cli.options.relay_log import DEFAULT_LOG
from p2p_copy.cli.relay_service import run_service
from p2p_copy.cli.run import tune_memory
from p2p_copy.cli.signals import STOP_RELAY
from p2p_copy.cli.ui.terminal import Terminal
from p2p_copy.errors import UsageError
from p2p_copy.relay.admin.http_api import admin_place
from p2p_copy.relay.admin.systemd import Notifier
from p2p_copy.relay.config import UNIX_PREFIX, Place, RelayConfig, Tcp, Unix
from p2p_copy.relay.entry.listeners import activated
from p2p_copy.relay.log import events
from p2p_copy.relay.server import prepared
from p2p_copy.relay.system_limits import raise_descriptor_limit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from p2p_copy.acme.keeper import CertificateKeeper
    from p2p_copy.acme.settings import AcmeSettings
    from p2p_copy.cli.options.relay import RelayLimits
    from p2p_copy.cli.options.relay_acme import RelayAcme
    from p2p_copy.cli.options.relay_log import RelayLog
    from p2p_copy.cli.options.relay_web import RelayWeb
    from p2p_copy.relay.server import Relay
    from p2p_copy.relay.workers.supervisor import Supervisor

_CHALLENGE = "challenge"
"""The folder in --acme-dir for the keys of challenges, each of which is there for an instant."""


def run_relay_server(
    where: Sequence[str],
    *,
    tls: bool,
    certfile: str | None,
    keyfile: str | None,
    acme: RelayAcme,
    watch_certificates: bool,
    drain: float,
    workers: int,
    limit: RelayLimits,
    web: RelayWeb,
    log: RelayLog,
    admin: str | None,
) -> int:
    """Serve until a signal ends it, which is a success; return exit code 0.

    Raises:
        UsageError: certificate and key are missing, or given with --no-tls or --acme; an option of --acme cannot be
            used, or its libraries are not installed; there is no address to listen at; options of the log contradict
            each other; this system cannot have several workers; or there is no page to serve.
        CannotListen: the relay cannot start.

    """
    settings = acme.settings(os.environ)
    if settings is not None and (certfile or keyfile):
        raise UsageError(
            "With --acme the relay gets its own certificate, and --certfile and --keyfile name another one. Leave one "
            "of them out."
        )
    if settings is not None and not tls:
        raise UsageError(
            "--acme gets a certificate for TLS, which --no-tls turns off. Leave one of them out."
        )
    if tls and settings is None and not (certfile and keyfile):
        raise UsageError(
            "TLS needs a certificate and its key: --certfile fullchain.pem --keyfile privkey.pem; or --acme NAME, by "
            "which the relay gets its own. To listen without TLS, for a test or behind a proxy that adds it, use "
            "--no-tls."
        )
    if not tls and (certfile or keyfile):
        raise UsageError(
            "--certfile and --keyfile are for TLS, which --no-tls turns off. Leave one of them out."
        )
    if workers > 1 and sys.platform == "win32":
        raise UsageError(
            "Several --workers need Linux or macOS: this system cannot pass connections on to them."
        )
    config = RelayConfig(
        host=None,
        more=(*places(where), *activated(os.environ)),
        certfile=certfile,
        keyfile=keyfile,
        challenge_folder=None if settings is None else settings.folder / _CHALLENGE,
        watch_certificates=watch_certificates,
        log_addresses=log.log_addresses,
        web=web.folder(),
        web_origins=web.web_origin,
        **limit.settings(),
    )
    if not config.places:
        raise UsageError("Name an address to listen at: p2p-copy run-relay-server HOST:PORT, or unix:PATH.")
    where_admin = admin_place(admin) if admin is not None else None
    terminal = Terminal.standard()

    def announce(urls: Sequence[str]) -> None:
        if not log.quiet:
            events.LISTENING.log(urls=" and ".join(urls))
            if config.web is not None:
                events.PAGE.log(urls=" and ".join(map(_page_at, urls)))

    lines = log.begin(
        terminal.log, os.environ, default="warning" if _is_trial(config, log, admin, terminal) else "info"
    )
    raise_descriptor_limit()
    tune_memory()
    gc.set_threshold(*cli_limits.RELAY_COLLECTIONS)
    service = partial(
        run_service,
        notifier=Notifier(os.environ),
        drain=drain,
        announce=announce,
        attend=lines.attend,
        admin=where_admin,
    )
    if workers == 1:
        relay = trio.run(prepared, config)
        trio.run(partial(service, relay, keeper=_keeper(relay, settings)))
    else:
        _run_supervisor(config, workers, service, settings)
    # Python restores the default handlers when it ends, and a late signal would turn success into failure.
    for number in STOP_RELAY:
        signal.signal(number, signal.SIG_IGN)
    return 0


def _page_at(url: str) -> str:
    return f"http{url.removeprefix('ws')}/" if url.startswith("ws") else url


def _keeper(relay: Relay | Supervisor, settings: AcmeSettings | None) -> CertificateKeeper | None:
    """Return what gets the relay's certificate; None if it has one from elsewhere.

    Raises:
        UsageError: its libraries are not installed.

    """
    if settings is None:
        return None
    from p2p_copy.acme.keeper import CertificateKeeper
    from p2p_copy.relay.log.renewal import log

    challenge = relay.certificates.challenge if relay.certificates is not None else None
    assert challenge is not None, "the relay was prepared for these settings"
    return CertificateKeeper(settings, challenge, relay.use_certificate, log)


def _run_supervisor(
    config: RelayConfig,
    workers: int,
    service: Callable[..., Awaitable[None]],
    settings: AcmeSettings | None,
) -> None:
    from p2p_copy.relay.workers.supervisor import prepared as prepare

    relay = trio.run(prepare, config, workers, worker_command())
    trio.run(partial(service, relay, upgrade=relay.upgrade, keeper=_keeper(relay, settings)))


def worker_command() -> list[str]:
    """Return the command that starts a worker of this very program, be it installed, a checkout or one file."""
    program = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    program += f"from {run_worker.__module__} import run_worker; run_worker(int(sys.argv[2]))"
    return [sys.executable, "-c", program, json.dumps(sys.path)]


def run_worker(descriptor: int) -> None:
    """Be a worker process of a relay, which hears its orders at `descriptor`."""
    from p2p_copy.relay.workers.worker import run_worker as run

    tune_memory()
    gc.set_threshold(*cli_limits.RELAY_COLLECTIONS)
    run(descriptor)


def _is_trial(config: RelayConfig, log: RelayLog, admin: str | None, terminal: Terminal) -> bool:
    """Return whether this is a trial at a terminal, on the loopback only: then only warnings are logged."""
    return (
        all(isinstance(place, Tcp) and _is_loopback(place.host) for place in config.places)
        and terminal.log.is_terminal
        and not (
            log != DEFAULT_LOG
            or admin is not None
            or config.trusted_proxies
            or os.environ.get("NOTIFY_SOCKET")
        )
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def places(words: Sequence[str]) -> list[Place]:
    """Return the places to listen at: `HOST:PORT`, or two words `HOST PORT` as 0.1.x had them, and `unix:PATH`.

    Raises:
        UsageError: a host or port is missing, or a port is no number in its range.

    """
    found: list[Place] = []
    rest = iter(word.strip() for word in words)
    for word in rest:
        if word.startswith(UNIX_PREFIX):
            found.append(Unix(word.removeprefix(UNIX_PREFIX)))
            continue
        if together := host_port(word):
            host, port = together
        else:
            host, port = word.removeprefix("[").removesuffix("]"), _port(next(rest, ""))
        if not host or host.isdecimal():
            raise UsageError(f"An address to listen at is missing, such as 0.0.0.0:{port}, or [::]:{port}.")
        found.append(Tcp(host, port))
    return found


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) <= cli_limits.MAX_PORT):
        raise UsageError(
            f"Each HOST must be followed by a PORT, a number from 0 to {cli_limits.MAX_PORT}: HOST:PORT."
        )
    return int(text)
