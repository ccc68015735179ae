"""Who looks where, and who forgets what: explored in all states that an adversary can bring about, without a loop."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import pytest

from p2p_copy.errors import (
    IncompatiblePeer,
    NobodyCame,
    NotARelay,
    PeerFailed,
    PeerLost,
    PeerMisbehaved,
    RelayLost,
    RelayRefused,
    RelayUnreachable,
    WrongCode,
)
from p2p_copy.peer import limits
from p2p_copy.peer.retry import GiveUp, Knowledge, OtherRoom, Outcome, Reconnect, Retry, Turns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from p2p_copy.errors import P2PCopyError
    from p2p_copy.peer.retry import Room

T1, T2, T3 = b"1", b"2", b"3"


class Pair(NamedTuple):
    """What both sides hold, and how often somebody could try a guess at each one's code, as long as it remembers it."""

    sender: Knowledge
    receiver: Knowledge
    guesses: tuple[int, int] = (0, 0)


def renamed(pair: Pair) -> Pair:
    """Return the same with tickets numbered in the order in which they stand there, so that states are few."""
    order = dict.fromkeys(pair.sender.tickets + pair.receiver.tickets)
    names = {ticket: bytes([number]) for number, ticket in enumerate(order)}

    def rename(side: Knowledge) -> Knowledge:
        return Knowledge(tuple(names[each] for each in side.tickets), side.sure, side.spent)

    return Pair(rename(pair.sender), rename(pair.receiver), pair.guesses)


def conversations(pair: Pair, room: Room) -> Iterator[Pair]:
    """Yield what may be left of one conversation: it can be cut, and either side killed, between any two steps."""
    sender, receiver, (at_sender, at_receiver) = pair
    ticket = room or sender.in_common(None, b"new", receiver.tickets)
    if room is None:
        receiver = receiver.tried()
        yield Pair(
            sender, receiver, (at_sender, at_receiver + 1)
        )  # whoever got the proof could try one guess
        sender = sender.proved()
        yield Pair(sender.offered(ticket), receiver, (at_sender, at_receiver + 1))
        receiver = receiver.proved()
    yield Pair(sender, receiver, pair.guesses)
    sender = sender.offered(ticket)
    yield Pair(sender, receiver, pair.guesses)
    if not receiver.tickets:  # else its user has said yes before, and is not asked again
        yield Pair(sender.declined(ticket), receiver, pair.guesses)
    receiver = receiver.agreed(ticket)
    for known in (sender, sender.agreed(ticket)):
        yield Pair(known, receiver, pair.guesses)
        # One side ends for good. It may believe that it was heard although the last word was dropped.
        for sender_told, receiver_told in itertools.product((True, False), repeat=2):
            yield Pair(known.parted(told=sender_told), receiver.parted(told=receiver_told), pair.guesses)


def steps(pair: Pair) -> Iterator[Pair]:
    """Yield the states that can follow."""
    sender, receiver, (at_sender, at_receiver) = pair
    for room in set(sender.rooms) & set(receiver.rooms):
        if room is not None or not (sender.spent or receiver.spent):
            yield from conversations(pair, room)
        else:  # who holds a code that is spent says so
            yield Pair(sender.tried(), receiver, pair.guesses)
            yield Pair(sender, receiver.tried(), pair.guesses)
    if not sender.spent:
        yield Pair(sender.tried(), receiver, (at_sender + 1, at_receiver))
    if not receiver.spent:
        yield Pair(sender, receiver.tried(), (at_sender, at_receiver + 1))
    yield Pair(Knowledge(), receiver, (0, at_receiver))
    yield Pair(sender, Knowledge(), (at_sender, 0))


def ends(side: Knowledge) -> bool:
    """Whether a side ends, at once or soon, with an error that says what to do."""
    return side.is_lost or side.is_in_doubt


def is_told(side: Knowledge, other: Knowledge) -> bool:
    """Whether a side ends when the other one tells it, in the room of the code, that the code is used up."""
    return other.spent and ends(side.tried())


def way(pair: Pair, seen: dict[Pair, Pair | None]) -> list[Pair]:
    """Return how it has come to this, for a person."""
    states = [pair]
    while (before := seen[states[-1]]) is not None:
        states.append(before)
    return states[::-1]


def test_whatever_either_side_remembers_both_meet_or_one_says_what_to_do_and_nobody_guesses_twice() -> None:
    seen: dict[Pair, Pair | None] = {}
    todo: list[tuple[Pair, Pair | None]] = [(Pair(Knowledge(), Knowledge()), None)]
    while todo:
        pair, before = todo.pop(0)
        pair = renamed(pair)
        if pair in seen:
            continue
        seen[pair] = before
        sender, receiver, guesses = pair
        assert max(guesses) <= 1, f"a second guess: {pair}"
        common = set(sender.rooms) & set(receiver.rooms)
        meet = bool(common - {None}) or not (sender.spent or receiver.spent)
        told = is_told(sender, receiver) or is_told(receiver, sender)
        assert meet or told or ends(sender) or ends(receiver), f"parted for good: {way(pair, seen)}"
        todo += [(after, pair) for after in steps(pair)]
    assert len(seen) > 50, "it has looked at many"


def test_after_a_no_the_ticket_of_an_earlier_meeting_is_good_again() -> None:
    """The receiver that said no is not the one that has begun; that one may still come."""
    earlier = Knowledge((T1,), sure=True)
    asked = earlier.offered(T2)
    assert asked == Knowledge((T2, T1))
    assert asked.declined(T2) == earlier
    assert asked.offered(T3) == Knowledge((T3, T1)), "never more than two"
    assert Knowledge().offered(T1).declined(T1) == Knowledge()


# Turns


def presence(knowledge: Knowledge, room: Room, began: float, whole: float) -> Iterator[tuple[float, float]]:
    """Yield from when to when a side is in a room."""
    turns, now = Turns(), began
    while now < began + whole:
        turn = turns.next(knowledge, whole)
        if turn.room == room:
            yield now + CONNECTING, now + turn.seconds
        now += turn.seconds


CONNECTING = 0.5
"""Seconds that a side needs to get from one room into another."""


@pytest.mark.parametrize("whole", [200.0, 3600.0, 43_200.0])
@pytest.mark.parametrize(
    ("sender", "receiver", "room"),
    [
        (Knowledge((T1,), sure=True), Knowledge((T1,), sure=True), T1),
        (Knowledge((T1,)), Knowledge((T1,), sure=True), T1),
        (Knowledge((T2, T1)), Knowledge((T1,), sure=True), T1),
        (Knowledge((T2, T1)), Knowledge((T2,), sure=True), T2),
        (Knowledge((T1,), sure=True), Knowledge(), None),
        (Knowledge((T1,)), Knowledge(), None),
        (Knowledge((T2, T1)), Knowledge(), None),
        (Knowledge(), Knowledge((T1,), sure=True), None),
        (Knowledge((T2,)), Knowledge((T1,), sure=True), None),
        (Knowledge((T1,), sure=True, has_code=False), Knowledge((T1,), sure=True), T1),
    ],
)
def test_two_sides_do_not_miss_each_other(
    sender: Knowledge, receiver: Knowledge, room: Room, whole: float
) -> None:
    """However much later one of them begins; and within a few rounds."""
    longest = limits.ROOM_TURN_MOST * (2 * limits.ROOM_TURNS + 1)
    for late in itertools.chain(range(0, 60, 2), range(60, 600, 23)):
        if late + 2 * longest > whole and late:
            break
        ours = list(presence(sender, room, 0.0, min(whole, 2000.0)))
        theirs = list(presence(receiver, room, late, min(whole, 2000.0)))
        meetings = [max(a, c) for a, b in ours for c, d in theirs if max(a, c) < min(b, d)]
        assert meetings, late
        assert min(meetings) - late <= 4 * longest, late


def test_turns_become_longer_and_fit_into_a_short_patience() -> None:
    knowledge = Knowledge((T1,), sure=True)
    turns = Turns()
    rounds = [[turns.next(knowledge, 3600.0) for _ in knowledge.rooms] for _ in range(5)]
    assert [turn.room for turn in rounds[0]] == [T1, None]
    assert [turn.seconds for _, turn in rounds] == [5, 10, 20, 20, 20]
    assert all(ticket.seconds == limits.ROOM_TURNS * code.seconds for ticket, code in rounds)
    turns = Turns()
    assert sum(turns.next(knowledge, 4.0).seconds for _ in range(4)) == pytest.approx(4.0)
    assert Turns().next(Knowledge(), 60.0) == (None, 60.0)


# What to do after a try

HERE: Room = None


def decided(
    error: P2PCopyError,
    *,
    met: bool = False,
    room: Room = HERE,
    has_ticket: bool = True,
    waited: bool = False,
) -> object:
    others = has_ticket
    return Reconnect(has_ticket=has_ticket).after(
        Outcome(error, met, room, others, waited), has_ticket=has_ticket
    )


@pytest.mark.parametrize("error", [WrongCode(), PeerMisbehaved(), IncompatiblePeer()])
def test_a_failed_exchange_by_the_code_ends_nothing_that_has_a_ticket(error: P2PCopyError) -> None:
    assert decided(error) == OtherRoom()
    assert decided(error, has_ticket=False) == GiveUp(error)
    assert decided(error, met=True, room=T1) == GiveUp(error)


def test_a_failed_exchange_by_a_ticket_is_one_more_loss() -> None:
    assert decided(PeerMisbehaved(), room=T1) == Retry()
    other_version = IncompatiblePeer()
    assert decided(other_version, room=T1) == GiveUp(other_version)


@pytest.mark.parametrize("error", [PeerLost(), RelayLost(), RelayUnreachable(), RelayRefused(passes=True)])
def test_what_passes_is_tried_again_after_a_pause_once_both_have_met(error: P2PCopyError) -> None:
    assert decided(error, room=T1) == Retry()
    assert decided(error) == OtherRoom(), "a full room of the code keeps nobody from that of the ticket"
    assert decided(error, met=True, has_ticket=False) == Retry()


def test_who_waited_for_nobody_looks_into_the_next_room() -> None:
    assert decided(NobodyCame(), room=T1, waited=True) == OtherRoom()
    assert decided(NobodyCame(), room=T1) == Retry(), "the relay said so at once"
    nobody = NobodyCame()
    assert decided(nobody, has_ticket=False) == GiveUp(nobody)


def test_a_relay_that_was_never_there_is_not_waited_for() -> None:
    error = RelayUnreachable()
    assert decided(error, has_ticket=False) == GiveUp(error)
    login = NotARelay()
    assert decided(login, room=T1) == GiveUp(login)
    reconnect = Reconnect(has_ticket=False)
    met = Outcome(PeerLost(), met=True, room=None, others=False, waited=False)
    assert reconnect.after(met, has_ticket=False) == Retry()
    page = Outcome(login, met=False, room=T1, others=True, waited=False)
    assert reconnect.after(page, has_ticket=True) == Retry(), (
        "where the relay was, somebody else answers for a while"
    )


def test_what_the_other_side_has_ended_for_is_over() -> None:
    error = PeerFailed()
    assert decided(error, met=True, room=T1) == GiveUp(error)
