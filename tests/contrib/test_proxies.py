"""contrib/nginx, haproxy and caddy: accepted by the real program, and two relays behind it at work.

What happens when relays come and go is shown by `nox -s balancers`.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from p2p_copy.protocol.rendezvous import room_path
from tests.contrib.balancers import HOSTS, KINDS, Balancer, Certificates, Kind, transfers
from tests.contrib.caddy import running_caddy
from tests.support.processes import Running, relay

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UPGRADE = (
    f"GET {room_path('0' * 64)} HTTP/1.1\r\nHost: relay.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
).encode()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.issued(tmp_path_factory.mktemp("tls") / "certificates")


@pytest.fixture(params=KINDS, ids=str, scope="module")
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture
def relays(kind: Kind, certificates: Certificates) -> Iterator[list[tuple[str, Running]]]:
    """Two relays behind a balancer of this kind, which must end well."""
    with ExitStack() as stack:
        yield [stack.enter_context(relay(*kind.relay_options(certificates))) for _ in range(2)]


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


async def test_both_ends_meet_behind(
    tmp_path: Path, kind: Kind, certificates: Certificates, relays: list[tuple[str, Running]]
) -> None:
    balancer = Balancer(kind, certificates, tmp_path)
    with balancer.running([port_of(url) for url, _ in relays]):
        urls = [f"wss://{host}:{balancer.port}" for host in HOSTS]
        await transfers(urls, tmp_path, certificates.authority)


def test_relays_know_clients_of(tmp_path: Path, kind: Kind, certificates: Certificates) -> None:
    """A WebSocket from another address of loopback: the relay's log must name that address."""
    balancer = Balancer(kind, certificates, tmp_path)
    watched = "--log-addresses", "--log-level", "debug"
    with (
        relay(*kind.relay_options(certificates), *watched) as (url, running),
        balancer.running([port_of(url)]),
    ):
        context = ssl.create_default_context(cafile=certificates.authority)
        with (
            socket.create_connection(("127.0.0.1", balancer.port), 20, ("127.0.0.5", 0)) as plain,
            context.wrap_socket(plain, server_hostname=HOSTS[0]) as client,
        ):
            client.sendall(UPGRADE)
            assert client.recv(12) == b"HTTP/1.1 101"
        running.process.terminate()
        code, said, _ = running.wait()
        assert code == 0
        assert "[127.0.0.5]" in said


async def test_caddy(tmp_path: Path) -> None:
    with running_caddy(tmp_path) as place:
        await transfers([f"ws://{place}"], tmp_path)
