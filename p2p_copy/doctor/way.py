"""The way to a relay's welcome: the name, each address, and then the very connection that a transfer makes."""

from __future__ import annotations

import ipaddress
import os
import socket
from typing import TYPE_CHECKING

import anyio
import trio

from p2p_copy.doctor import limits
from p2p_copy.doctor.finding import Check, good, warning
from p2p_copy.errors import P2PCopyError, RelayLost
from p2p_copy.peer.place import introduce
from p2p_copy.protocol import limits as protocol_limits, rendezvous
from p2p_copy.protocol.rendezvous import Hello, Role
from p2p_copy.transport import limits as transport_limits
from p2p_copy.transport.address import host_and_port, parse_address
from p2p_copy.transport.certificate import pin_for
from p2p_copy.transport.diagnosis import causes_of, not_connected, proxy_not_connected, reasons
from p2p_copy.transport.dial import Stage, connect
from p2p_copy.transport.link import LinkBroken
from p2p_copy.transport.proxy_address import chosen_proxy
from p2p_copy.transport.timeouts import within
from p2p_copy.transport.tls import TLSStream
from p2p_copy.units import amount, duration
from p2p_copy.value import NamedTuple
from p2p_copy.version import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from p2p_copy.doctor.finding import Finding
    from p2p_copy.options import RelayAccess
    from p2p_copy.protocol.rendezvous import Welcome
    from p2p_copy.transport.address import RelayAddress
    from p2p_copy.transport.proxy_address import ProxyAddress
    from p2p_copy.transport.tcp import TCPStream


class Way(NamedTuple):
    """The way to a relay, as a transfer would take it."""

    access: RelayAccess
    address: RelayAddress
    proxy: ProxyAddress | None
    ca_file: str | None
    pin: bytes | None

    @classmethod
    def of(cls, access: RelayAccess) -> Self:
        """Return the way that these options and the environment lead to.

        Raises:
            UsageError: one of them has the wrong form.

        """
        address = parse_address(access.url)
        proxy = chosen_proxy(address, access.proxy, access.variables)
        pin = pin_for(access.pin, tls=address.tls)
        return cls(access, address, proxy, None if access.ca_file is None else os.fspath(access.ca_file), pin)

    @property
    def first(self) -> RelayAddress | ProxyAddress:
        """To what this machine itself connects."""
        return self.proxy or self.address

    @property
    def stages(self) -> list[Check]:
        """The checks that one connection makes, in order."""
        tunnel = [Check.TUNNEL] if self.proxy else []
        tls = [Check.TLS] if self.address.tls else []
        return [*tunnel, *tls, Check.UPGRADE, Check.WELCOME]

    def not_connected(self, error: OSError) -> P2PCopyError:
        """Return the error for a failure to reach what this machine connects to."""
        return proxy_not_connected(self.proxy, error) if self.proxy else not_connected(self.address, error)


async def resolve(way: Way) -> tuple[Finding, list[str]]:
    """Return what name resolution says, and the addresses.

    Raises:
        RelayUnreachable, ProxyUnreachable: there are none, or there is no answer.

    """
    host = way.first.host
    began = trio.current_time()
    found = None
    try:
        with within(transport_limits.DIAL_TIMEOUT):
            found = await trio.socket.getaddrinfo(host, way.first.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise way.not_connected(error if isinstance(error, OSError) else socket.gaierror()) from None
    if found is None:
        raise way.not_connected(socket.gaierror())
    seconds = trio.current_time() - began
    addresses = list(dict.fromkeys(str(place[0]) for *_, place in found))
    if _is_number(host):
        return good(Check.NAME, f"{host} is an address: there is no name to resolve"), addresses
    return good(
        Check.NAME, f"{host} is {' and '.join(addresses)} ({brief(seconds)})", seconds=seconds
    ), addresses


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


async def reach(way: Way, addresses: list[str]) -> Finding:
    """Open TCP to each address at the same time, and say which ones answer.

    Raises:
        RelayUnreachable, ProxyUnreachable: none does.

    """
    answered: dict[str, float] = {}
    failed: dict[str, OSError] = {}
    began = trio.current_time()
    async with trio.open_nursery() as nursery:

        async def dial(address: str) -> None:
            try:
                with trio.move_on_after(transport_limits.DIAL_TIMEOUT):
                    stream = await trio.open_tcp_stream(address, way.first.port)
                    await stream.aclose()
                    answered.setdefault(address, trio.current_time() - began)
                    nursery.cancel_scope.deadline = trio.current_time() + limits.OTHER_ADDRESSES
            except OSError as error:
                failed[address] = error

        for address in addresses:
            nursery.start_soon(dial, address)
    if not answered:
        causes = [leaf for error in failed.values() for leaf in causes_of(error) if isinstance(leaf, OSError)]
        causes += [TimeoutError()] * (len(addresses) - len(failed))
        together = OSError()
        together.__cause__ = ExceptionGroup("each address", causes)
        raise way.not_connected(together)
    port = way.first.port
    there = ", ".join(f"{host_and_port(place, port)} in {brief(took)}" for place, took in answered.items())
    silent = [
        f"{place} ({reasons(causes_of(failed[place])) if place in failed else 'no answer'})"
        for place in addresses
        if place not in answered
    ]
    others = f"; not to {', '.join(silent)}" if silent else ""
    return good(Check.TCP, f"connected to {there}{others}", seconds=min(answered.values()))


async def walk(way: Way, report: Callable[[Finding], None]) -> Welcome:
    """Connect as a transfer does, report each of the way's `stages` when it is passed, and return the relay's welcome.

    Raises:
        P2PCopyError: the first stage that was not reported has failed.

    """
    began = trio.current_time()

    def took() -> float:
        nonlocal began
        began, since = trio.current_time(), began
        return began - since

    def passed(stage: Stage, stream: TCPStream | TLSStream) -> None:
        seconds = took()
        if stage is Stage.TUNNEL:
            said = f"{way.proxy} has connected to {way.address.where} ({brief(seconds)})"
            report(good(Check.TUNNEL, said, seconds=seconds))
            return
        version = stream.version if isinstance(stream, TLSStream) else "TLS"
        why = "its key is the one that `pin` names" if way.pin else "its certificate is trusted"
        report(good(Check.TLS, f"{version}; {why} ({brief(seconds)})", seconds=seconds))

    room = os.urandom(32).hex()
    try:
        async with connect(
            way.address,
            rendezvous.room_path(room),
            max_message=protocol_limits.MAX_RECORD,
            proxy=way.proxy,
            ca_file=way.ca_file,
            pin=way.pin,
            hint=rendezvous.room_hint(room),
            passed=passed,
        ) as link:
            seconds = took()
            report(good(Check.UPGRADE, f"it is a WebSocket now ({brief(seconds)})", seconds=seconds))
            is_kept = way.address.keeps_secrets(proxied=way.proxy is not None)
            token = way.access.token if is_kept else None
            hello = Hello(Role.SENDER, room, program=PROGRAM, token=token or None, claim=os.urandom(16).hex())
            welcome = await introduce(link, hello, way.address)
            report(_terms(welcome, took(), token_kept_back=bool(way.access.token) and token is None))
            return welcome
    except (LinkBroken, anyio.EndOfStream) as error:
        raise _lost(error) from None


def _lost(error: LinkBroken | anyio.EndOfStream) -> P2PCopyError:
    said = "closed" if isinstance(error, anyio.EndOfStream) else "lost"
    return RelayLost(f"The connection was {said} before the relay had welcomed this side.")


def _terms(welcome: Welcome, seconds: float, *, token_kept_back: bool) -> Finding:
    terms = [f"a client may wait {duration(welcome.wait)}"]
    terms.append("any speed" if welcome.rate is None else f"at most {amount(welcome.rate)}/s")
    if welcome.quota is not None:
        terms.append(f"{amount(welcome.quota)} more with this token")
    notice = f" It says: {welcome.notice}" if welcome.notice else ""
    said = f"{welcome.program}: {', '.join(terms)} ({brief(seconds)}).{notice}"
    if token_kept_back:
        return warning(
            Check.WELCOME,
            f"{said} The access token was not sent: ws:// is not encrypted, so the network could read it.",
            seconds=seconds,
        )
    return good(Check.WELCOME, said, seconds=seconds)


def brief(seconds: float) -> str:
    """Return a short time for people."""
    if seconds < 0.01:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.0f} s"
