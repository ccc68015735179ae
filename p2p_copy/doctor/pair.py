"""Pairing with itself: two sides, both in this process, that meet at the relay as those of a transfer do.

What they send is random and is written nowhere.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from statistics import median
from typing import TYPE_CHECKING

import trio

from p2p_copy.doctor import limits
from p2p_copy.doctor.finding import Check, good
from p2p_copy.doctor.way import brief
from p2p_copy.errors import P2PCopyError, PeerTimeout, RelayLost
from p2p_copy.observer import Observer
from p2p_copy.peer.connect import meet
from p2p_copy.peer.failures import plain_errors
from p2p_copy.peer.meeting import ConnectOptions, Meeting
from p2p_copy.protocol import keys
from p2p_copy.protocol.code import Code
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.transport import limits as transport_limits
from p2p_copy.transport.service_nursery import service_nursery
from p2p_copy.units import amount, elapsed
from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from p2p_copy.doctor.finding import Finding
    from p2p_copy.options import RelayAccess
    from p2p_copy.peer.channel import Channel


class Pair(NamedTuple):
    """Both ends of one channel."""

    sender: Channel
    receiver: Channel


@asynccontextmanager
async def paired(access: RelayAccess) -> AsyncIterator[Pair]:
    """Let two sides with a new code meet at the relay; yield them. They part when the body ends; if it
    fails, they are cut.

    Raises:
        PeerTimeout: both were welcomed, and did not meet.
        P2PCopyError: see `peer.connect.meet`. The links' own errors are raised, too: use it inside `plain_errors`.

    """
    code = Code.generate()
    found: dict[Role, Channel] = {}
    met, over = trio.Event(), trio.Event()
    parted = {role: trio.Event() for role in Role}

    async def side(role: Role) -> None:
        # Without the relay's reports, the first of which would keep alive a connection that is to be idle.
        options = ConnectOptions(role, [access], code, limits.PAIR_WAIT, Observer(), links=1, reports=False)
        meeting = Meeting(keys.room_id(code.room), code.secret, os.urandom(16).hex())
        async with meet(options, meeting, limits.PAIR_WAIT) as (channel, _):
            found[role] = channel
            if len(found) == len(Role):
                met.set()
            await over.wait()
        parted[role].set()

    async with service_nursery() as nursery:
        for role in Role:
            nursery.start_soon(side, role)
        await met.wait()
        yield Pair(found[Role.SENDER], found[Role.RECEIVER])
        over.set()
        for each in parted.values():  # politely, so that the relay counts no side as lost
            await each.wait()


def not_met() -> PeerTimeout:
    """Return the error for two sides that have come to the same address and not to each other."""
    return PeerTimeout(
        f"Two connections from here with the same code did not meet within {limits.PAIR_WAIT:.0f} s. Behind that "
        "address are several relays, it seems, and what divides connections among them must go by the path."
    )


async def measure_round_trip(pair: Pair) -> Finding:
    """Send small messages to the other side and back. Each passes the relay twice.

    Raises:
        RelayLost: one did not come back.

    """
    trips = []
    for _ in range(limits.ECHOES):
        began = trio.current_time()
        await _echo(pair)
        trips.append(trio.current_time() - began)
    usual = median(trips)
    return good(
        Check.ROUND_TRIP,
        f"{brief(usual)} to the other side and back, at most {brief(max(trips))}; so the relay is {brief(usual / 2)} "
        "away and back",
        seconds=usual,
    )


async def _echo(pair: Pair) -> None:
    with trio.move_on_after(limits.ECHO):
        for one, other in ((pair.sender, pair.receiver), (pair.receiver, pair.sender)):
            await one.send(os.urandom(32))
            await other.receive()
        return
    raise RelayLost("The relay has paired both sides, but does not pass on what they send.")


async def stay_idle(pair: Pair, seconds: float) -> Finding:
    """Send nothing for so long, except the pings that keep a connection alive; then check that it works.

    Raises:
        RelayLost: the connection is gone.

    """
    began = trio.current_time()
    try:
        with plain_errors():
            with trio.move_on_after(seconds):
                async with trio.open_nursery() as nursery:
                    for channel in pair:
                        nursery.start_soon(channel.receive)
            await _echo(pair)
    except P2PCopyError:
        raise RelayLost(
            f"A connection that was idle was cut after {elapsed(trio.current_time() - began)}: by a proxy or a "
            f"firewall on the way, since this side pings only every {transport_limits.KEEPALIVE_INTERVAL:.0f} s. Its "
            "time-out must be longer (nginx: proxy_read_timeout; HAProxy: timeout tunnel)."
        ) from None
    return good(Check.IDLE, f"a connection that was idle for {elapsed(seconds)} still works", seconds=seconds)


async def measure_speed(check: Check, source: Channel, target: Channel, most: int) -> Finding:
    """Send up to `most` bytes one way for a while, and say how fast they arrive.

    Raises:
        RelayLost: nothing arrives.

    """
    piece = os.urandom(min(limits.SPEED_PIECE, most // limits.SPEED_PIECES + 1))
    size = 0

    async def send() -> None:
        for _ in range(
            most // len(piece) + 2
        ):  # the first one, from which on the time counts, is not among them
            await source.send(piece)

    began = last = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        with trio.move_on_after(limits.ECHO):
            await target.receive()
            size, began = 0, trio.current_time()
        with trio.move_on_at(began + limits.SPEED_SECONDS):
            while size < most:
                size += len(await target.receive())
                last = trio.current_time()
        nursery.cancel_scope.cancel()
    if not size:
        raise RelayLost("The relay has paired both sides, but passes on next to nothing of what they send.")
    rate = round(size / (last - began))
    return good(check, f"{amount(rate)}/s, to the relay and back here ({amount(size)})", rate=rate)
