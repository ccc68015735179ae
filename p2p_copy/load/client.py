"""One client of a relay under load: it connects, says hello and is welcomed, as a client of a transfer does."""

from __future__ import annotations

import os
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from p2p_copy.errors import P2PCopyError, RelayLost, RelayRefused, SystemFailed, UsageError
from p2p_copy.load import limits
from p2p_copy.load.figures import Failure
from p2p_copy.peer.failures import lost
from p2p_copy.protocol import limits as protocol_limits, rendezvous
from p2p_copy.protocol.rendezvous import MOVEMENT, STILL_WAITING, Hello, Paired, Refused, Welcome
from p2p_copy.transport import limits as transport_limits
from p2p_copy.transport.address import parse_address
from p2p_copy.transport.certificate import parse_pin
from p2p_copy.transport.dial import connect
from p2p_copy.transport.link import LINK_ERRORS
from p2p_copy.transport.proxy_address import chosen_proxy
from p2p_copy.transport.timeouts import within
from p2p_copy.transport.trust import HTTP, client_context
from p2p_copy.version import PROGRAM

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Sequence

    from p2p_copy.load.figures import Figures
    from p2p_copy.options import RelayAccess
    from p2p_copy.protocol.rendezvous import Role
    from p2p_copy.transport.link import Link


class NotAllowed(RelayRefused):
    """This relay does not say that it may be loaded. Its operator has to start it with `allow_load_test`."""


class ClientRefused(RelayRefused):
    """The relay refused one client.

    Attributes:
        limit: the relay's option with the limit that was met; empty if it was none.

    """

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.reason)
        self.limit = refused.limit or ""


class Late(RelayLost):
    """The relay did not answer in time."""


class Changed(RelayLost):
    """What arrived is not what was sent."""


def failure_of(error: BaseException) -> Failure:
    """Return what went wrong with one client."""
    match error:
        case ClientRefused():
            return Failure("refused", error.limit, str(error))
        case Late():
            return Failure("late", "", str(error))
        case Changed():
            return Failure("changed", "", str(error))
        case SystemFailed():
            return Failure("local", "", str(error))
        case P2PCopyError():
            return Failure("not_connected", "", str(error))
        case _:
            assert isinstance(error, LINK_ERRORS), "what else ends a client is a bug"
            return Failure("lost", "", str(lost(error)))


def new_room() -> str:
    """Return the name of a room that no other client has; its first byte is one of a few, see `ROOM_HINTS`."""
    return f"{secrets.randbelow(limits.ROOM_HINTS):02x}{secrets.token_hex(31)}"


class Clients:
    """Makes clients of one relay. All share what takes much memory: one TLS context for each hint."""

    def __init__(self, access: RelayAccess, figures: Figures) -> None:
        """Prepare to count into `figures`.

        Raises:
            UsageError: the address of the relay or the proxy, or the pin, has the wrong form; or the network could read
                the token.

        """
        self._access = access
        self._address = parse_address(access.url)
        self._proxy = chosen_proxy(self._address, access.proxy, access.variables)
        self._ca_file = None if access.ca_file is None else os.fspath(access.ca_file)
        self._pin = None if access.pin is None else parse_pin(access.pin)
        if access.token is not None and not self._address.keeps_secrets(proxied=self._proxy is not None):
            raise UsageError("An access token is not sent over ws://, which is not encrypted. Use wss://.")
        self._figures = figures
        self._contexts: dict[tuple[str, ...], ssl.SSLContext] = {}

    async def prepare(self) -> None:
        """Read the certificates to trust, so that no client has to wait for that.

        Raises:
            UsageError: `ca_file` cannot be used.

        """
        if self._address.tls and self._pin is None:
            for first in range(limits.ROOM_HINTS):
                await self._context(self._ca_file, (*HTTP, rendezvous.room_hint(f"{first:02x}")))

    @asynccontextmanager
    async def welcomed(
        self, role: Role, room: str, *, claim: str | None = None, again: bool = False
    ) -> AsyncIterator[tuple[Link, Welcome]]:
        """Connect, say hello, and yield the link and the relay's terms. After an exception the link is cut.

        Args:
            role: the client's.
            room: where it waits.
            claim: its secret for coming back; a new one if it is None.
            again: whether it waits there already, by an older connection with the same claim.

        Raises:
            NotAllowed: the relay does not say that it may be loaded.
            ClientRefused, Late, P2PCopyError: it is not welcome, gets no answer, or no connection.
            LinkBroken, EndOfStream: the connection was lost.

        """
        features = (MOVEMENT, *((STILL_WAITING,) if again else ()))
        hello = Hello(
            role, room, False, PROGRAM, self._access.token, features, claim or secrets.token_hex(16)
        )
        began = trio.current_time()
        async with connect(
            self._address,
            rendezvous.room_path(room),
            max_message=protocol_limits.MAX_RECORD,
            proxy=self._proxy,
            ca_file=self._ca_file,
            pin=self._pin,
            hint=rendezvous.room_hint(room),
            contexts=self._context,
        ) as link:
            connected = trio.current_time()
            self._figures.connect.append(connected - began)
            link.sets_aside = _is_flow_report
            await link.send(rendezvous.encode(hello))
            answer = await _hear(link, transport_limits.CONNECT_TIMEOUT)
            if not isinstance(answer, Welcome):
                raise Late("The relay has not answered a hello in the right form.")
            if answer.load_test is None:
                raise NotAllowed()
            self._figures.welcome.append(trio.current_time() - connected)
            yield link, answer

    async def _context(self, ca_file: str | None, protocols: Sequence[str]) -> ssl.SSLContext:
        key = tuple(protocols)
        if key not in self._contexts:
            self._contexts[key] = await client_context(ca_file, protocols)
        return self._contexts[key]


def _is_flow_report(text: str) -> bool:
    return rendezvous.decode_flow_report(text) is not None


async def hear_paired(link: Link) -> None:
    """Wait until the relay has paired this client.

    Raises:
        ClientRefused, Late, LinkBroken, EndOfStream: it is not.

    """
    if not isinstance(await _hear(link, limits.PAIR_TIMEOUT), Paired):
        raise Late("The relay has not said that two clients are paired.")


async def wait_alone(link: Link) -> None:
    """Wait in a room to which nobody comes, until the relay ends the wait.

    Raises:
        ClientRefused, LinkBroken, EndOfStream: the relay or the network has ended it.

    """
    answer = rendezvous.decode_answer(await link.receive())
    raise (
        ClientRefused(answer)
        if isinstance(answer, Refused)
        else Changed("A client was paired in a room of its own.")
    )


async def _hear(link: Link, seconds: float) -> Welcome | Paired:
    with within(seconds):
        answer = rendezvous.decode_answer(await link.receive())
        if isinstance(answer, Refused):
            raise ClientRefused(answer)
        return answer
    raise Late(f"The relay did not answer within {seconds:.0f} s.")
