"""Which side looks where and forgets what, in all states that an adversary can bring about, without a loop."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import pytest

from p2p_copy.errors import (
    IncompatiblePeer,
    NotAProxy,
    NotARelay,
    PeerFailed,
    PeerLost,
    PeerMisbehaved,
    PeerTimeout,
    ProxyForbids,
    ProxyUnreachable,
    ProxyWantsLogin,
    RelayLost,
    RelayRefused,
    RelayUnreachable,
    UsageError,
    WrongCode,
)
from p2p_copy.peer import limits
from p2p_copy.peer.retry import GiveUp, Knowledge, OtherRoom, Reconnect, Retry, Turn, Turns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from p2p_copy.errors import P2PCopyError
    from p2p_copy.peer.retry import Room

T1, T2, T3 = b"1", b"2", b"3"


class Pair(NamedTuple):
    """What both sides have, and how often another client could guess at the code of each while it remembers it."""

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
    ticket = room or sender.ticket_of_meeting(None, b"new", receiver.tickets)
    if room is None:
        receiver = receiver.tried()
        # Another client that got the proof could try one guess.
        yield Pair(sender, receiver, (at_sender, at_receiver + 1))
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
        else:  # the side with a spent code says so
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


def test_from_every_state_both_meet_or_one_says_what_to_do_and_no_client_guesses_twice() -> None:
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
    assert Turns().next(Knowledge(), 60.0) == Turn(None, 60.0)


# What to do after a try


NO_TICKET = Knowledge()
TICKET = Knowledge((T1,), sure=True)


@dataclass
class Remembered:
    """What a side remembers; unless another knowledge is given, it is that after a first meeting."""

    knowledge: Knowledge = TICKET
    patience: float = 60.0
    is_over: bool = False


def doubling() -> Iterator[float]:
    """Yield pauses of 1, 2, 4 ... seconds."""
    return (2.0**number for number in itertools.count())


def searching(knowledge: Knowledge = TICKET, *, wait: float = 600.0, patience: float = 60.0) -> Reconnect:
    return Reconnect(Remembered(knowledge, patience), wait=wait, now=0.0, pauses=doubling)


def decided(
    error: P2PCopyError,
    *,
    met: bool = False,
    room: Room = None,
    knowledge: Knowledge = TICKET,
    waited: bool = False,
) -> object:
    """Return what follows when the search's first try in a room ends so, at once or when its turn is over."""
    search = searching(knowledge)
    turn = search.next_turn(0.0)
    while turn.room != room:
        turn = search.next_turn(0.0)
    return search.after(error, met=met, now=turn.seconds if waited else 0.0)


@pytest.mark.parametrize("error", [WrongCode(), PeerMisbehaved(), IncompatiblePeer()])
def test_a_failed_exchange_by_the_code_ends_nothing_that_has_a_ticket(error: P2PCopyError) -> None:
    assert decided(error) == OtherRoom()
    assert decided(error, knowledge=NO_TICKET) == GiveUp(error)
    assert decided(error, met=True, room=T1) == GiveUp(error)


def test_a_failed_exchange_by_a_ticket_is_one_more_loss() -> None:
    assert decided(PeerMisbehaved(), room=T1) == Retry(1.0, left=60.0)
    other_version = IncompatiblePeer()
    assert decided(other_version, room=T1) == GiveUp(other_version)


@pytest.mark.parametrize(
    "error",
    [PeerLost(), RelayLost(), RelayUnreachable(), ProxyUnreachable(), RelayRefused(transient=True)],
)
def test_what_is_transient_is_tried_again_after_a_pause_once_both_have_met(error: P2PCopyError) -> None:
    assert decided(error, room=T1) == Retry(1.0, left=60.0)
    assert decided(error) == OtherRoom(), "a full room of the code does not delay that of the ticket"
    assert decided(error, met=True, knowledge=NO_TICKET) == Retry(1.0, left=60.0)


@pytest.mark.parametrize("error", [ProxyForbids(), NotAProxy(), NotARelay()])
def test_what_another_network_may_have_answered_is_transient_after_both_have_met(error: P2PCopyError) -> None:
    assert decided(error, met=True, room=T1) == Retry(1.0, left=60.0)
    assert decided(error, room=T1) == GiveUp(error)


def test_a_login_that_a_proxy_refuses_is_not_tried_again() -> None:
    refused = ProxyWantsLogin()
    assert decided(refused, met=True, room=T1) == GiveUp(refused)
    assert decided(refused, room=T1) == GiveUp(refused)


def test_a_side_that_waited_in_vain_looks_into_the_next_room() -> None:
    assert decided(PeerTimeout(), room=T1, waited=True) == OtherRoom()
    assert decided(PeerTimeout(), room=T1) == Retry(1.0, left=600.0), "the relay said so at once"
    late = PeerTimeout()
    assert decided(late, knowledge=NO_TICKET) == GiveUp(late)


def test_a_relay_that_was_never_there_is_not_waited_for() -> None:
    error = RelayUnreachable()
    assert decided(error, knowledge=NO_TICKET) == GiveUp(error)
    login = NotARelay()
    assert decided(login, room=T1) == GiveUp(login)
    search = searching()
    search.next_turn(0.0)
    assert isinstance(search.after(PeerLost(), met=True, now=1.0), Retry)
    assert search.next_turn(2.0).room == T1
    assert search.after(login, met=False, now=2.0) == Retry(2.0, left=59.0), (
        "where the relay was, something else answers for a while"
    )


def test_what_the_other_side_has_ended_for_is_over() -> None:
    error = PeerFailed()
    assert decided(error, met=True, room=T1) == GiveUp(error)


# For how long


def test_a_search_lasts_as_long_as_the_patience_and_its_pauses_grow() -> None:
    search = searching(patience=10.0)
    search.next_turn(0.0)
    error = RelayLost()
    assert search.after(error, met=True, now=100.0) == Retry(1.0, left=10.0), "a new search"
    assert search.after(error, met=False, now=101.0) == Retry(2.0, left=9.0)
    assert search.after(error, met=False, now=104.0) == Retry(4.0, left=6.0)
    assert search.after(error, met=False, now=109.0) == Retry(1.0, left=1.0), (
        "the last try is at the end of the patience"
    )
    assert search.after(error, met=False, now=110.0) == GiveUp(error)


def test_a_turn_knows_how_long_the_whole_search_lasts() -> None:
    search = searching(wait=100.0, patience=600.0)
    turn = search.next_turn(10.0)
    assert turn.seconds < 100.0
    assert turn.left == 590.0
    assert searching(NO_TICKET, wait=100.0).next_turn(10.0) == Turn(None, 90.0, left=0.0), "the only one"


def test_each_loss_of_a_conversation_begins_a_new_search() -> None:
    search = searching(patience=10.0)
    search.next_turn(0.0)
    for now in (100.0, 105.0, 500.0):
        assert search.after(PeerLost(), met=True, now=now) == Retry(1.0, left=10.0)


def test_a_side_without_patience_gives_up_after_the_first_loss() -> None:
    error = PeerLost()
    search = searching(NO_TICKET, patience=0.0)
    search.next_turn(0.0)
    assert search.after(error, met=True, now=1.0) == GiveUp(error)


def test_the_other_side_may_take_its_time_to_come_and_a_relay_that_is_gone_may_not() -> None:
    search = searching(wait=600.0, patience=10.0)
    assert search.next_turn(0.0).room == T1
    error = RelayUnreachable()
    assert search.after(error, met=False, now=11.0) == GiveUp(error)
    assert isinstance(search.after(PeerTimeout(), met=False, now=11.0), Retry)
    decision = search.after(PeerTimeout(), met=False, now=700.0)
    assert isinstance(decision, GiveUp)
    assert "within 11 min 29 s" in str(decision.error), "as long as this search, in both rooms"


def test_after_a_no_the_sender_waits_on_for_what_is_left_of_its_time() -> None:
    search = searching(NO_TICKET, wait=600.0)
    search.next_turn(0.0)
    assert search.after_decline(100.0) == 500.0
    assert search.next_turn(110.0) == Turn(None, 490.0)
    assert search.after(RelayUnreachable(), met=False, now=110.0) == Retry(1.0, left=500.0), (
        "and for its relay"
    )
    assert search.after_decline(700.0) < 0


def test_a_side_that_has_done_all_comes_back_for_its_patience_only() -> None:
    search = Reconnect(Remembered(patience=5.0, is_over=True), wait=600.0, now=0.0, pauses=doubling)
    assert search.next_turn(0.0).seconds < 5.0
    assert search.after(RelayLost(), met=False, now=1.0) == Retry(1.0, left=4.0)
    assert isinstance(search.after(RelayLost(), met=False, now=5.0), GiveUp)


def test_what_leaves_nothing_to_meet_by_is_said_before_a_try() -> None:
    with pytest.raises(WrongCode, match="used up"):
        searching(NO_TICKET.tried()).next_turn(0.0)
    with pytest.raises(UsageError, match="its code is not known here"):
        searching(Knowledge(has_code=False)).next_turn(0.0)


def test_a_ticket_that_the_other_side_may_not_have_is_tried_for_a_few_minutes() -> None:
    search = searching(Knowledge((T1,), spent=True), wait=3600.0, patience=3600.0)
    search.next_turn(0.0)
    assert isinstance(search.after(PeerTimeout(), met=False, now=limits.DOUBT_PATIENCE - 1), OtherRoom)
    search = searching(Knowledge((T1,), spent=True), wait=3600.0, patience=3600.0)
    search.next_turn(0.0)
    decision = search.after(PeerTimeout(), met=False, now=limits.DOUBT_PATIENCE)
    assert isinstance(decision, GiveUp)
    assert isinstance(decision.error, WrongCode)
