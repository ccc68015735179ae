"""A sender that has the code and breaks the protocol: the page offers nothing of what it sent."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

import pytest
import trio

from p2p_copy.errors import P2PCopyError
from p2p_copy.observer import Observer
from p2p_copy.options import RelayAccess
from p2p_copy.peer.connect import meet
from p2p_copy.peer.failures import plain_errors
from p2p_copy.peer.meeting import ConnectOptions
from p2p_copy.protocol.code import Code
from p2p_copy.protocol.messages import (
    Abort,
    Accept,
    Data,
    FileEnd,
    Finish,
    Message,
    Offer,
    Omitted,
    Page,
    Preview,
    Reason,
    Receipt,
)
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.transfer.resumption import Resumption
from tests.support.malicious_sender import BAD_NAMES, contents, digest, directory, file, link
from tests.support.processes import CODE
from tests.web.conftest import LONGEST, PATIENCE, World, ask, status
from tests.web.test_page import stored

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = [pytest.mark.once, pytest.mark.slow]  # a browser and a relay have to start


class Attack:
    """A sender that says what it is told, whatever the receiver answers.

    Attributes:
        heard: what the receiver has said.

    """

    def __init__(self, relay: str, records: Sequence[Sequence[Message]]) -> None:
        self.heard: list[Message] = []
        self._relay = relay
        self._records = records
        self._thread = threading.Thread(target=lambda: trio.run(self._run))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(PATIENCE / 1000)
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        partner = ConnectOptions(
            Role.SENDER, [RelayAccess(self._relay)], Code.parse(CODE), PATIENCE / 1000, Observer()
        )
        try:
            with trio.fail_after(LONGEST), plain_errors():
                meeting = Resumption(None, 0).meeting(partner)
                async with meet(partner, meeting, PATIENCE / 1000) as (channel, session):
                    first: list[Sequence[Message]] = [[Offer("attacker/1", 1)], [Preview(1, 1, True, 1, ())]]
                    for record in (*first, *self._records):
                        for message in record:
                            session.say(message)
                        await channel.send(session.record())
                        if isinstance(record[0], Offer | Preview):  # the page asks, then accepts
                            self.heard += session.hear(await channel.receive())
                    while True:
                        self.heard += session.hear(await channel.receive())
        except P2PCopyError:
            pass


def told(attack: Attack) -> Reason:
    """Return why the page gave up."""
    return next(message.reason for message in attack.heard if isinstance(message, Abort))


CASES: dict[str, list[list[Message]]] = {
    "another digest": [[Page((file(0, "a", 4),)), Data(0, 0, b"abcd"), FileEnd(0, digest(b"abce"))]],
    "more bytes than announced": [[Page((file(0, "a", 3),)), Data(0, 0, b"abcd")]],
    "a gap": [[Page((file(0, "a", 4),)), Data(0, 1, b"bcd")]],
    "an end too early": [[Page((file(0, "a", 4),)), Data(0, 0, b"ab"), FileEnd(0, digest(b"ab"))]],
    "a file that was never named": [[Page((file(0, "a", 4),)), Data(1, 0, b"abcd")]],
    "two files at once": [[Page((file(0, "a", 4), file(0, "b", 4))), Data(0, 0, b"ab"), Data(1, 0, b"ab")]],
    "one name twice": [[Page((file(0, "a"), file(0, "a")))]],
    "one name in two cases": [[Page((file(0, "Straße"), file(0, "STRASSE")))]],
    "a depth that nothing leads to": [[Page((directory(0, "a"), file(2, "b")))]],
    "a symlink that leads out": [[Page((directory(0, "a"), link(1, "b", "../../c")))]],
    "a finish without the files": [[Page((file(0, "a", 4),)), Finish(1, 0, 0, 0, bytes(32))]],
    "another root": [[Page((file(0, "a", 1),)), *contents(0, b"x"), Finish(1, 1, 1, 0, bytes(32))]],
}


@pytest.mark.parametrize("case", CASES)
def test_what_breaks_the_rules_leaves_nothing(world: World, case: str) -> None:
    with Attack(world.relay, CASES[case]) as attack:
        ask(world.page)
        world.page.click("#accept")
        status(world.page, "It did not work")
    assert told(attack) is Reason.MISBEHAVED
    assert not any(isinstance(message, Receipt) for message in attack.heard)
    assert not world.page.is_visible("#download")
    assert not stored(world.page)


def test_no_bad_name_is_taken(world: World) -> None:
    for case in ("traversal", "rlo", "nul device", "our own part"):
        with Attack(world.relay, [[Page((file(0, BAD_NAMES[case]),))]]) as attack:
            ask(world.page)
            world.page.click("#accept")
            assert "which is refused" in status(world.page, "It did not work")
        assert told(attack) is Reason.MISBEHAVED
        world.page.click("#again")


def test_what_a_sender_says_is_shown_without_what_cannot_be_seen(world: World) -> None:
    path = "<img src=x>\u202egpj.exe"
    with Attack(
        world.relay, [[Omitted(path, Reason.UNREADABLE)], [Abort(Reason.OTHER, "<b>\x1b[2Jno")]]
    ) as attack:
        ask(world.page)
        world.page.click("#accept")
        assert status(world.page, "It did not work") == "The sender gave up: <b>\\x1b[2Jno"
    assert (
        world.page.inner_text("#problem-list") == "<img src=x>\\u{202e}gpj.exe cannot be read at the sender."
    )
    assert any(isinstance(message, Accept) for message in attack.heard)
