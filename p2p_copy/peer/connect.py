"""How the two sides meet: connect to the relay, wait in a room, agree on keys. The same for sender and receiver."""

from __future__ import annotations

import hashlib
import math
import os
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING

import anyio
import trio

from p2p_copy.errors import PeerLost, WrongCode
from p2p_copy.observer import Observer
from p2p_copy.peer import limits
from p2p_copy.peer.channel import open_channel
from p2p_copy.peer.multipath import LinkPlan
from p2p_copy.peer.place import Place
from p2p_copy.peer.waiting import Wait
from p2p_copy.protocol import keys, limits as protocol_limits, rendezvous
from p2p_copy.protocol.key_exchange import HandshakeFailed, ReceiverHandshake, SenderHandshake, code_spent
from p2p_copy.protocol.multipath import AckCodec
from p2p_copy.protocol.rendezvous import CloseCode, Role
from p2p_copy.protocol.session import ZSTD, Session, ticket_capability
from p2p_copy.protocol.verification import VERIFY
from p2p_copy.transport.address import parse_address
from p2p_copy.transport.certificate import parse_pin
from p2p_copy.transport.link import LINK_ERRORS, POLITE, LinkBroken
from p2p_copy.transport.proxy_address import chosen_proxy
from p2p_copy.transport.timeouts import within
from p2p_copy.version import PROGRAM

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from p2p_copy.options import RelayAccess
    from p2p_copy.peer.channel import Channel
    from p2p_copy.peer.meeting import ConnectOptions, Meeting
    from p2p_copy.protocol.key_exchange import SessionKeys
    from p2p_copy.protocol.rendezvous import Welcome
    from p2p_copy.transport.link import Link
    from p2p_copy.transport.pacer import Pacer


@asynccontextmanager
async def meet(
    options: ConnectOptions, meeting: Meeting, wait: float
) -> AsyncIterator[tuple[Channel, Session]]:
    """Connect, wait up to `wait` seconds for the other side, agree on keys; yield the channel and a session.

    On a normal exit the links are closed politely. Use it inside `plain_errors`, which turns what a broken
    link raises into errors for people.

    Raises:
        RelayUnreachable, CertificateNotTrusted, RelayExpectsTLS, RelayWithoutTLS, NotARelay, RelayRefused:
            no place at the relay.
        PeerTimeout: the other side did not come in `wait` seconds.
        WrongCode: the other side has another secret.
        IncompatiblePeer, PeerMisbehaved, PeerLost, RelayLost: no conversation with the other side.

    """
    if options.on_room is not None:
        options.on_room(meeting.room)
    waiting = _waiting(options, meeting.room, meeting.claim, wait)
    async with AsyncExitStack() as stack:
        link, welcome, peer_keys, round_trip = await _met(waiting, stack, options, meeting)
        if options.on_room is not None:
            for room in _rooms_of(peer_keys):
                options.on_room(room)

        @asynccontextmanager
        async def further(number: int, connected: Callable[[], None]) -> AsyncIterator[Link]:
            quiet = options._replace(observer=_Connected(connected))
            room, claim = keys.link_room(peer_keys.links, number), _claim(meeting.claim, number)
            async with _waiting(quiet, room, claim, limits.LINK_WAIT).joined() as (another, _):
                yield another

        # A relay that divides its rate among pairings would give a transfer with several links several shares.
        far = round_trip >= limits.LINKS_FROM and welcome.rate is None
        codec = AckCodec(options.role, peer_keys.links)
        number = 1 if _is_slow(options.pacer) else options.links or 0
        plan = LinkPlan(number, far, further, codec, options.observer, options.pacer)
        async with open_channel(link, plan) as channel:
            yield channel, Session(options.role, peer_keys)


def _is_slow(pacer: Pacer | None) -> bool:
    """Return whether this side's own limit of the rate is too low for several links."""
    return pacer is not None and pacer.rate is not None and pacer.rate < limits.LINKS_RATE


async def _met(
    waiting: Wait, stack: AsyncExitStack, options: ConnectOptions, meeting: Meeting
) -> tuple[Link, Welcome, SessionKeys, float]:
    """Wait until the other side comes and stays, and agree on keys; see `_agree`. The stack closes the link."""
    while True:
        async with AsyncExitStack() as attempt:
            try:
                link, welcome = await attempt.enter_async_context(waiting.joined())
                peer_keys, round_trip = await _agree(link, options, meeting, has_choice=waiting.has_choice)
            except _LeftEarly:
                link.abort()
                waiting.put_off_last()
            except LinkBroken as error:
                if error.close_code != CloseCode.REPLACED:  # by an older connection, whose hello came late
                    raise
            else:
                stack.push_async_exit(attempt.pop_all())
                return link, welcome, peer_keys, round_trip


class _Connected(Observer):
    """Calls back when the relay has accepted a link, and passes on nothing else."""

    def __init__(self, connected: Callable[[], None]) -> None:
        self._connected = connected  # at several relays it is called more than once

    def waiting(self, relay: str, seconds: float) -> None:
        self._connected()


def _rooms_of(peer_keys: SessionKeys) -> Iterator[str]:
    """Yield the room of the next meeting, and one room for each link (a lost link 0 is opened again in its own)."""
    yield keys.resume_room(peer_keys.resume)
    for number in range(protocol_limits.MAX_LINKS):
        yield keys.link_room(peer_keys.links, number)


def _claim(claim: str, number: int) -> str:
    """Return the claim for a further link, by which the relay recognises the next connection of that link only."""
    return hashlib.sha256(f"{claim} {number}".encode()).hexdigest()


def _waiting(options: ConnectOptions, room: str, claim: str, seconds: float) -> Wait:
    """Return a wait in a room, which has not begun."""
    return Wait([_place(options, relay, room, claim) for relay in options.relays], seconds, options.observer)


def _place(options: ConnectOptions, relay: RelayAccess, room: str, claim: str) -> Place:
    """Return a place in a room at one relay, which has not been taken."""
    address = parse_address(relay.url)
    proxy = chosen_proxy(address, relay.proxy, relay.variables)
    token, ca_file = relay.token, relay.ca_file
    if token and not address.keeps_secrets(proxied=proxy is not None):
        options.observer.notice(
            "The access token was not sent: ws:// is not encrypted, so the network could read it."
        )
        token = None
    # Of each relay's own, so that no relay can take this side's place at another.
    claim = hashlib.sha256(f"{claim} {address.canonical}".encode()).hexdigest()
    features = (rendezvous.MOVEMENT,) if options.reports else ()
    hello = rendezvous.Hello(options.role, room, False, PROGRAM, token or None, features, claim)
    return Place(
        address,
        hello,
        proxy=proxy,
        ca_file=None if ca_file is None else os.fspath(ca_file),
        pin=None if relay.pin is None else parse_pin(relay.pin),
        pacer=options.pacer,
    )


class _LeftEarly(Exception):
    """The other side left before the code was spent: it may have connected again, and wait in another connection."""


async def _agree(
    link: Link, options: ConnectOptions, meeting: Meeting, *, has_choice: bool = False
) -> tuple[SessionKeys, float]:
    """Run the key exchange; if it fails, tell the other side why, unless that would help an attacker.

    Raises _LeftEarly if the other side left before a secret could be tried: the code can be tried again. If there
    `has_choice` of another relay, that the link was lost, or nothing came over it, is no other case.
    Return the keys, and the seconds of the other side's fastest answer: a round trip, and little more.
    """
    if meeting.secret is None:
        with suppress(*LINK_ERRORS):
            await _send_step(link, code_spent())
            await link.aclose()
        raise PeerLost("Another client came with the code, which is used up.")
    round_trip, role = math.inf, options.role
    side = SenderHandshake if role is Role.SENDER else ReceiverHandshake
    verify = (VERIFY,) if options.verifies else ()
    capabilities = frozenset({ZSTD, *verify, *map(ticket_capability, meeting.tickets)})
    machine = side(meeting.secret, meeting.room, os.urandom(32), os.urandom(32), capabilities)
    try:
        first = machine.start()
        if first is not None:
            await _send_step(link, first)
        while machine.keys is None:
            asked = trio.current_time()
            answer = await _next_step(link)
            round_trip = min(round_trip, trio.current_time() - asked)
            reply = machine.receive(answer)
            if reply is not None:
                if role is Role.RECEIVER:  # this is its proof, the first that either side shows
                    await meeting.risk()
                await _send_step(link, reply)
    except HandshakeFailed as failure:
        guessed = isinstance(failure.error, WrongCode)
        if guessed:
            await meeting.risk()
        if failure.farewell is not None:
            # This side knows the reason, even if the other side does not hear it.
            with suppress(*LINK_ERRORS):
                await _send_step(link, failure.farewell)
        await link.close(CloseCode.WRONG_CODE if guessed else CloseCode.GIVEN_UP)
        raise failure.error from None
    except LINK_ERRORS as error:
        lost = machine.lost()
        if isinstance(lost, PeerLost) and (has_choice or _has_left(error)):
            raise _LeftEarly from None
        raise lost from None
    return machine.keys, round_trip


def _has_left(error: anyio.EndOfStream | LinkBroken) -> bool:
    """Tell whether the relay answers, but the other side, or this side's place in the pairing, is gone."""
    return isinstance(error, anyio.EndOfStream) or error.close_code in _LEFT


_LEFT = POLITE | {CloseCode.PEER_LOST, CloseCode.REPLACED}


async def _send_step(link: Link, step: bytes) -> None:
    with within(limits.HANDSHAKE_TIMEOUT) as deadline:
        await link.send(step)
    if deadline.is_over:
        raise LinkBroken("The relay is connected but is not accepting data.")


async def _next_step(link: Link) -> bytes:
    with within(limits.HANDSHAKE_TIMEOUT) as deadline:
        message = await link.receive()
    if deadline.is_over:
        raise LinkBroken("The other side is connected but does not answer.")
    return message.encode() if isinstance(message, str) else message  # the key exchange refuses text
