"""Both sides show the same two words; a user who says that they differ ends the transfer for both."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

from p2p_copy.errors import Declined, NotVerified, PeerLost
from p2p_copy.files.state.facts import Facts
from p2p_copy.files.state.store import States
from p2p_copy.observer import Observer
from p2p_copy.options import RelayAccess
from p2p_copy.peer.connect import meet
from p2p_copy.peer.meeting import ConnectOptions
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.transfer import limits
from p2p_copy.transfer.resumption import Resumption
from p2p_copy.units import MIB
from tests.support.lossy_relay import lossy_relay
from tests.support.transfers import CODE, Both, copy, receive, running_relay, send
from tests.support.two_sides import ID
from tests.support.websocket import let_pass, movable_time

if TYPE_CHECKING:
    from pathlib import Path

ROLES = ["sender", "receiver"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "file"
    file.write_bytes(b"contents")
    return file


class Listener:
    """A user who compares the words: gives the answer as soon as `heard` is set, and remembers what was shown."""

    def __init__(self, answer: bool | None = True) -> None:
        self.answer = answer
        self.seen: list[tuple[str, str]] = []
        self.cancelled = False
        self.heard = trio.Event()
        self.heard.set()

    async def __call__(self, words: tuple[str, str]) -> bool:
        self.seen.append(words)
        try:
            await self.heard.wait()
            if self.answer is None:
                await trio.sleep_forever()
        except trio.Cancelled:
            self.cancelled = True
            raise
        return bool(self.answer)


def verifying(**listeners: Listener) -> dict[str, Any]:
    keys = {"sender": "sending", "receiver": "receiving"}
    return {keys[role]: {"verify": listener, "wait": 5} for role, listener in listeners.items()}


async def test_both_users_are_shown_the_same_words(tmp_path: Path, source: Path) -> None:
    users = {role: Listener() for role in ROLES}
    both = await copy([source], tmp_path / "out", **verifying(**users))
    assert both.reports[1].files == 1
    (words,) = users["sender"].seen
    assert users["receiver"].seen == [words]
    assert both.sender.words == both.receiver.words == [(words, True)]


async def test_words_differ_from_transfer_to_transfer(tmp_path: Path, source: Path) -> None:
    seen = {(await copy([source], tmp_path / str(number))).sender.words[0][0] for number in range(3)}
    assert len(seen) == 3


@pytest.mark.parametrize("role", ROLES)
async def test_a_side_that_does_not_ask_knows_the_words_and_that_the_other_asks(
    tmp_path: Path, source: Path, role: str
) -> None:
    user = Listener()
    both = await copy([source], tmp_path / "out", **verifying(**{role: user}))
    assert both.reports[1].files == 1
    here, there = (both.sender, both.receiver) if role == "sender" else (both.receiver, both.sender)
    assert here.words == [(user.seen[0], False)]
    assert there.words == [(user.seen[0], True)]


@pytest.mark.parametrize("role", ROLES)
async def test_a_no_ends_the_transfer_for_both_and_leaves_nothing(
    tmp_path: Path, source: Path, role: str
) -> None:
    states = {each: States(str(tmp_path / each)) for each in ROLES}
    other = Listener(None)  # still compares when the first one has said no
    users = {each: Listener(False) if each == role else other for each in ROLES}
    options = verifying(**users)
    for each, key in (("sender", "sending"), ("receiver", "receiving")):
        options[key] |= {"patience": 60, "state": states[each].create(ID, Facts())}
    with trio.fail_after(10):  # neither side waits for another try
        both = await copy([source], tmp_path / "out", **options)
    outcomes = {"sender": both.sent, "receiver": both.received}
    assert all(isinstance(outcome, NotVerified) for outcome in outcomes.values())
    assert NotVerified.exit_code == Declined.exit_code
    assert "You said that the two sides show different words" in str(outcomes.pop(role))
    assert f"The {role}'s user did not confirm" in str(outcomes.popitem()[1])
    assert other.cancelled
    assert not (tmp_path / "out").exists()
    assert [list(states[each].all()) for each in ROLES] == [[], []]


@pytest.mark.parametrize("role", ROLES)
async def test_without_an_answer_the_transfer_ends(
    tmp_path: Path, source: Path, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ANSWER_TIMEOUT", 0.05)
    both = await copy([source], tmp_path / "out", **verifying(**{role: Listener(None)}))
    assert isinstance(both.sent, NotVerified)
    assert isinstance(both.received, NotVerified)
    assert "There was no answer" in str(both.sent if role == "sender" else both.received)


@pytest.mark.parametrize("role", ROLES)
@movable_time()
async def test_the_other_side_waits_for_the_answer_longer_than_for_an_offer(
    tmp_path: Path, source: Path, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "OFFER_TIMEOUT", 5.0)
    user = Listener()
    user.heard = trio.Event()

    async def answer_late() -> None:
        while not user.seen:  # noqa: ASYNC110
            await trio.sleep(0.001)
        await let_pass(2 * limits.OFFER_TIMEOUT)
        user.heard.set()

    both = Both()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer_late)
        await copy([source], tmp_path / "out", both=both, **verifying(**{role: user}))
    assert both.reports[1].files == 1


async def test_the_question_ends_when_the_other_side_is_gone(tmp_path: Path, source: Path) -> None:
    user = Listener(None)
    async with lossy_relay() as at:

        async def cut() -> None:
            while not user.seen:  # noqa: ASYNC110
                await trio.sleep(0.001)
            at.cut()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(cut)
            both = await copy([source], tmp_path / "out", relay=at.address, **verifying(sender=user))
    assert user.cancelled
    assert not isinstance(both.sent, NotVerified)
    assert isinstance(both.received, PeerLost | Exception)


async def test_a_reconnect_by_the_ticket_asks_nothing_but_shows_new_words(tmp_path: Path) -> None:
    source = tmp_path / "large"
    source.write_bytes(os.urandom(3 * MIB))
    users = {role: Listener() for role in ROLES}
    options = verifying(**users)
    for key in options:
        options[key] |= {"patience": 30}
    async with lossy_relay() as at:
        at.cut_after(1 * MIB)
        both = await copy([source], tmp_path / "out", relay=at.address, **options)
    assert both.reports[1].files == 1
    assert at.cuts == 1
    assert [len(user.seen) for user in users.values()] == [1, 1]
    assert len({words for words, _ in both.sender.words}) == 2
    assert both.sender.words == both.receiver.words


async def test_a_man_in_the_middle_who_has_the_code_is_seen(tmp_path: Path, source: Path) -> None:
    """Each side is connected with the attacker, who is a receiver to one and a sender to the other."""
    shown: dict[Role, tuple[str, str]] = {}
    async with running_relay() as near, running_relay() as far:

        async def attack(relay: str, role: Role) -> None:
            options = ConnectOptions(role, [RelayAccess(relay)], CODE, 10, Observer(), verifies=True)
            async with meet(options, Resumption(None, 0).meeting(options), 10) as (_, session):
                shown[role] = session.words
                await trio.sleep_forever()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(attack, near, Role.RECEIVER)
            nursery.start_soon(attack, far, Role.SENDER)
            sender, receiver = Listener(False), Listener(False)
            async with trio.open_nursery() as victims:
                victims.start_soon(_alone, near, tmp_path, source, sender, "sender")
                victims.start_soon(_alone, far, tmp_path, source, receiver, "receiver")
            nursery.cancel_scope.cancel()
    assert sender.seen == [shown[Role.RECEIVER]]
    assert receiver.seen == [shown[Role.SENDER]]
    assert sender.seen != receiver.seen
    assert not (tmp_path / "out").exists()


async def _alone(relay: str, tmp_path: Path, source: Path, user: Listener, role: str) -> None:
    """Run one side, whose user says no."""
    side = partial(send, [str(source)]) if role == "sender" else partial(receive, str(tmp_path / "out"))
    with pytest.raises(NotVerified):
        await side(relay=relay, code=CODE, verify=user, patience=0)
