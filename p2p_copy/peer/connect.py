"""How the two sides find each other: relay, room, key exchange. The same for sender and receiver."""

from __future__ import annotations

import hashlib
import math
import os
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

import anyio
import trio

from p2p_copy.errors import (
    P2PCopyError,
    PeerLost,
    RelayLost,
    RelayRefused,
    WrongCode,
    exhausted,
    leaves,
)
from p2p_copy.observer import Observer
from p2p_copy.peer import limits
from p2p_copy.peer.backoff import Backoff
from p2p_copy.peer.channel import WishedLinks, bundled
from p2p_copy.peer.multipath import LINK_ERRORS
from p2p_copy.peer.terms import may_tell_token
from p2p_copy.peer.waiting import STOPPING, Wait
from p2p_copy.protocol import keys, limits as protocol_limits, rendezvous
from p2p_copy.protocol.code import Code
from p2p_copy.protocol.key_exchange import HandshakeFailed, ReceiverHandshake, SenderHandshake, used_up
from p2p_copy.protocol.multipath import AckCodec
from p2p_copy.protocol.rendezvous import CloseCode, Role
from p2p_copy.protocol.session import ZSTD, Session, has
from p2p_copy.transport.address import parse_address
from p2p_copy.transport.link import POLITE, LinkBroken
from p2p_copy.transport.timeouts import within
from p2p_copy.version import PROGRAM

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from typing import Self

    from p2p_copy.options import RelayAccess
    from p2p_copy.peer.channel import Channel
    from p2p_copy.protocol.key_exchange import SessionKeys
    from p2p_copy.protocol.rendezvous import Welcome
    from p2p_copy.transport.link import Link


class ConnectOptions(NamedTuple):
    """Whom to meet, and where: what a caller has chosen.

    Attributes:
        role: which side this is.
        access: which relay, and how to get in.
        code: what both sides share before they have met; None if only a ticket is left of it.
        wait: seconds to wait for the other side the first time.
        observer: is told how it goes.
        streams: links that one transfer is to have; None for as many as are worth it.
        on_room: is called with each room in which both sides may meet, before the other side can know of it.

    """

    role: Role
    access: RelayAccess
    code: Code | None
    wait: float
    observer: Observer
    streams: int | None = None
    on_room: Callable[[str], None] | None = None

    def checked(self) -> Self:
        """Return it as it is.

        Raises:
            ValueError, TypeError: a field is nothing that it can be.

        """
        if self.code is not None and not isinstance(self.code, Code):
            raise TypeError("a code is a p2p_copy.Code, made of its room and its secret")
        if self.streams is not None and not 1 <= self.streams <= protocol_limits.MAX_STREAMS:
            raise ValueError(f"the number of streams is from 1 to {protocol_limits.MAX_STREAMS}, or None")
        return self


class Meeting(NamedTuple):
    """One meeting.

    Attributes:
        room: where.
        secret: what both sides prove to hold; None to do no more than tell whoever comes that the code is used up.
        claim: what tells the relay that it is us again.
        tickets: of earlier meetings, which the other side may hold, too.
        before_proof: is called before anything is sent by which somebody else could find out whether a guess is right,
            and when a guess was wrong.

    """

    room: str
    secret: str | None
    claim: str
    tickets: tuple[bytes, ...] = ()
    before_proof: Callable[[], Awaitable[None]] | None = None

    async def risk(self) -> None:
        """Note that the secret is put to the test now."""
        if self.before_proof is not None:
            await self.before_proof()


@asynccontextmanager
async def meet(partner: ConnectOptions, at: Meeting, wait: float) -> AsyncIterator[tuple[Channel, Session]]:
    """Connect, wait up to `wait` seconds for the other side, agree on keys; yield what links there are and a session.

    On a normal exit the links are closed politely. Use it inside `plain_errors`, which turns what a broken
    link raises into errors for people.

    Raises:
        RelayUnreachable, CertificateNotTrusted, RelayExpectsTLS, RelayWithoutTLS, NotARelay, RelayRefused:
            no place at the relay.
        NobodyCame: `wait` is over.
        WrongCode: the other side holds another secret.
        IncompatiblePeer, PeerMisbehaved, PeerLost, RelayLost: no conversation with the other side.

    """
    if partner.on_room is not None:
        partner.on_room(at.room)
    waiting = _waiting(partner, at.room, at.claim, wait)
    async with AsyncExitStack() as stack:
        link, welcome, its, seconds = await _met(waiting, stack, partner.role, at)
        if partner.on_room is not None:
            for room in _rooms_of(its):
                partner.on_room(room)

        @asynccontextmanager
        async def further(number: int, connected: Callable[[], None]) -> AsyncIterator[Link]:
            quiet = partner._replace(observer=_Connected(connected))
            room, claim = keys.link_room(its.links, number), _claim(at.claim, number)
            async with _waiting(quiet, room, claim, limits.STREAM_WAIT).joined() as (another, _):
                yield another

        # A relay that shares out what it can carry by pairings would give us more than our share.
        far = seconds >= limits.STREAMS_FROM and welcome.rate is None
        wish = WishedLinks(partner.streams or 0, far)
        notes = AckCodec(partner.role, its.links)
        async with bundled(link, further, notes, wish, partner.observer) as bundle:
            session = Session(partner.role, its)
            bundle.sent = session.sent
            yield bundle, session


async def _met(
    waiting: Wait, stack: AsyncExitStack, role: Role, at: Meeting
) -> tuple[Link, Welcome, SessionKeys, float]:
    """Wait for the other side until it stays, and agree on keys; see `_agree`. The link is the stack's."""
    pauses = Backoff()
    while True:
        async with AsyncExitStack() as attempt:
            try:
                link, welcome = await attempt.enter_async_context(waiting.joined())
                its, seconds = await _agree(link, role, at)
            except _LeftEarly:
                link.abort()
            except LinkBroken as error:
                if error.close_code != CloseCode.REPLACED:  # by the late hello of an older connection
                    raise
            else:
                stack.push_async_exit(attempt.pop_all())
                return link, welcome, its, seconds
        await trio.sleep(pauses.next())


class _Connected(Observer):
    """Calls back when the relay has a link, and tells nobody anything."""

    def __init__(self, connected: Callable[[], None]) -> None:
        self._connected = connected

    def waiting(self, relay: str) -> None:
        self._connected()


def _rooms_of(its: SessionKeys) -> Iterator[str]:
    """Yield where both sides may meet again, and where they open links: the first one, if it is lost, as well."""
    yield keys.resume_room(its.resume)
    for number in range(protocol_limits.MAX_STREAMS):
        yield keys.link_room(its.links, number)


def _claim(claim: str, number: int) -> str:
    """Return the claim for a further link, by which the relay knows it and no other when it comes again."""
    return hashlib.sha256(f"{claim} {number}".encode()).hexdigest()


@contextmanager
def plain_errors() -> Iterator[None]:
    """Let one error for people out, whatever mixture of groups and link errors the inside raises."""
    try:
        yield
    except BaseExceptionGroup as group:
        causes = leaves(group)
        for cause in causes:
            if isinstance(cause, P2PCopyError):
                raise cause from cause.__cause__
        for cause in causes:
            if failed := exhausted(cause):
                raise failed from cause
        for cause in causes:
            if isinstance(cause, LINK_ERRORS):
                raise lost(cause) from cause
        raise
    except (OSError, MemoryError, RuntimeError) as error:
        if failed := exhausted(error):
            raise failed from error
        raise
    except LINK_ERRORS as error:
        raise lost(error) from error


def lost(error: anyio.EndOfStream | LinkBroken) -> P2PCopyError:
    """Say who went away, as far as the link can tell."""
    if isinstance(error, anyio.EndOfStream) or error.close_code in POLITE:
        return PeerLost("The other side ended the connection before the transfer was complete.")
    match error.close_code:
        case CloseCode.PEER_LOST:
            return PeerLost()
        case CloseCode.QUOTA_USED:
            return RelayRefused(
                "The relay ended the transfer: the quota of an access token, of this side or the other, is used up."
            )
        case CloseCode.DISMISSED:
            return RelayRefused("The relay's operator ended the transfer.")
        case CloseCode.STOPPING:
            return RelayLost(STOPPING)
        case CloseCode.MEMORY_NEEDED:
            return RelayLost(
                "The relay ended the transfer: it stood still, and the relay needed the memory that it held."
            )
        case _:
            return RelayLost()


def _waiting(partner: ConnectOptions, room: str, claim: str, seconds: float) -> Wait:
    """Return this side's wait in a room, which has not begun."""
    address = parse_address(partner.access.url)
    token, ca_file = partner.access.token, partner.access.ca_file
    if token and not may_tell_token(address):
        partner.observer.notice(
            "The access token was not sent: with ws:// everybody on the way could read it."
        )
        token = None
    features = (rendezvous.MOVEMENT,)
    hello = rendezvous.Hello(partner.role, room, False, PROGRAM, token or None, features, claim)
    return Wait(address, hello, seconds, partner.observer, None if ca_file is None else os.fspath(ca_file))


class _LeftEarly(Exception):
    """The other side went away before the code was spent: it may have dialled again, and be elsewhere by now."""


async def _agree(link: Link, role: Role, at: Meeting) -> tuple[SessionKeys, float]:
    """Run the key exchange; on failure tell the other side why, if it may be told.

    Raises _LeftEarly if the other side went away before anybody could try a secret: the code is good for another try.
    Return the keys, and the seconds that the other side's fastest answer took: the way there and back, and little more.
    """
    if at.secret is None:
        with suppress(*LINK_ERRORS):
            await _say(link, used_up())
            await link.aclose()
        raise PeerLost("Somebody came with the code, which is used up.")
    seconds = math.inf
    side = SenderHandshake if role is Role.SENDER else ReceiverHandshake
    capabilities = frozenset({ZSTD, *map(has, at.tickets)})
    machine = side(at.secret, at.room, os.urandom(32), os.urandom(32), capabilities)
    try:
        first = machine.start()
        if first is not None:
            await _say(link, first)
        while machine.keys is None:
            asked = trio.current_time()
            answer = await _next_step(link)
            seconds = min(seconds, trio.current_time() - asked)
            reply = machine.receive(answer)
            if role is Role.RECEIVER and reply is not None:  # its proof, which it shows first
                await at.risk()
            if reply is not None:
                await _say(link, reply)
    except HandshakeFailed as failure:
        if isinstance(failure.error, WrongCode):
            await at.risk()
        if failure.farewell is not None:
            with suppress(*LINK_ERRORS):  # a courtesy: what happened is clear
                await _say(link, failure.farewell)
        guessed = isinstance(failure.error, WrongCode)
        await link.close(CloseCode.WRONG_CODE if guessed else CloseCode.GIVEN_UP)
        raise failure.error from None
    except LINK_ERRORS as error:
        lost = machine.lost()
        if isinstance(lost, PeerLost) and _has_left(error):
            raise _LeftEarly from None
        raise lost from None
    return machine.keys, seconds


def _has_left(error: anyio.EndOfStream | LinkBroken) -> bool:
    """Tell whether the relay is there, and the other side, or this side's part in the pairing, is not."""
    return isinstance(error, anyio.EndOfStream) or error.close_code in _LEFT


_LEFT = POLITE | {CloseCode.PEER_LOST, CloseCode.REPLACED}


async def _say(link: Link, step: bytes) -> None:
    with within(limits.HANDSHAKE_TIMEOUT) as deadline:
        await link.send(step)
    if deadline.is_over:
        raise LinkBroken("The relay is connected but takes nothing.")


async def _next_step(link: Link) -> bytes:
    with within(limits.HANDSHAKE_TIMEOUT) as deadline:
        message = await link.receive()
    if deadline.is_over:
        raise LinkBroken("The other side is connected but does not answer.")
    return message.encode() if isinstance(message, str) else message  # text is no step, and refused as such
