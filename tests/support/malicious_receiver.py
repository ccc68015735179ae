"""A malicious receiver that speaks the protocol, with a real sender."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import anyio
import trio

from p2p_copy.errors import P2PCopyError
from p2p_copy.observer import Observer, Report
from p2p_copy.options import RelayAccess
from p2p_copy.peer.connect import meet
from p2p_copy.peer.failures import plain_errors
from p2p_copy.peer.meeting import ConnectOptions
from p2p_copy.protocol.messages import (
    Accept,
    Data,
    Message,
    WholeFile,
)
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.protocol.state_machine import ReceiverState
from p2p_copy.transfer.resumption import Resumption
from tests.support.transfers import CODE, Told, running_relay, send

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from p2p_copy.peer.channel import Channel
    from p2p_copy.protocol.session import Session


class Attacker:
    """The receiver: what it has heard, and what became of the sender."""

    def __init__(self, link: Channel, session: Session) -> None:
        self.link = link
        self.session = session
        self.heard: list[Message] = []

    async def say(self, *messages: Message) -> None:
        for message in messages:
            self.session.say(message)
        await self.link.send(self.session.record())

    async def lie(self, message: Message) -> None:
        """Send a message that a receiver may not send yet."""
        self.session._our_state = ReceiverState.CHECKING
        await self.say(message)

    async def hear(self, kind: type[Message]) -> Message:
        """Receive until a message of this kind has come."""
        while True:
            for message in self.heard:
                if isinstance(message, kind):
                    return message
            self.heard += self.session.hear(await self.link.receive())


Script: TypeAlias = "Callable[[Attacker], Awaitable[None]]"


class Attack:
    def __init__(self) -> None:
        self.outcome: Report | P2PCopyError | None = None
        self.heard: list[Message] = []
        self.told = Told()

    async def receiver(self, relay: str, script: Script, *, holds: bool) -> None:
        partner = ConnectOptions(Role.RECEIVER, [RelayAccess(relay)], CODE, 10, Observer())
        try:
            with plain_errors():
                async with meet(partner, Resumption(None, 0).meeting(partner), 10) as (link, session):
                    session.hear(await link.receive())
                    one = Attacker(link, session)
                    self.heard = one.heard
                    await one.say(Accept("attacker/1", True, holds))
                    await script(one)
                    while True:
                        one.heard += session.hear(await link.receive())
        except (P2PCopyError, anyio.ClosedResourceError):
            pass

    async def sender(self, relay: str, source: Path) -> None:
        try:
            self.outcome = await send([str(source)], relay=relay, code=CODE, patience=0, observer=self.told)
        except P2PCopyError as error:
            self.outcome = error

    @property
    def data(self) -> list[Data | WholeFile]:
        return [message for message in self.heard if isinstance(message, Data | WholeFile)]


async def attack(source: Path, script: Script, *, holds: bool = False) -> Attack:
    one = Attack()
    with trio.fail_after(30):
        async with running_relay() as relay, trio.open_nursery() as nursery:

            async def play() -> None:
                await one.receiver(relay, script, holds=holds)

            nursery.start_soon(play)
            await one.sender(relay, source)
            nursery.cancel_scope.cancel()
    return one
