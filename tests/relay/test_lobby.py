from __future__ import annotations

from hypothesis import settings, strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from p2p_copy.protocol.rendezvous import Role
from p2p_copy.relay.lobby import Lobby, Matched, Returned, Room, Taken, Waiting

ROOM = Room(False, "a")
MINE, YOURS = "a" * 32, "b" * 32


class Seat:
    """Equal to all others, so that only identity can tell them apart."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Seat)

    def __hash__(self) -> int:
        return 0


def test_the_first_waits_and_the_second_is_matched_with_it_in_either_order() -> None:
    for first_role, second_role in ((Role.SENDER, Role.RECEIVER), (Role.RECEIVER, Role.SENDER)):
        lobby = Lobby[Seat]()
        first = Seat()
        assert lobby.join(ROOM, first_role, first) == Waiting()
        decision = lobby.join(ROOM, second_role, Seat())
        assert isinstance(decision, Matched)
        assert decision.first is first


def test_a_role_that_waits_is_taken_and_its_holder_still_waits() -> None:
    lobby = Lobby[Seat]()
    first = Seat()
    lobby.join(ROOM, Role.SENDER, first)
    assert lobby.join(ROOM, Role.SENDER, Seat()) == Taken()
    assert lobby.waiting(ROOM) is first


def test_a_pair_keeps_its_room_from_all_others() -> None:
    lobby = Lobby[Seat]()
    lobby.join(ROOM, Role.SENDER, Seat())
    lobby.join(ROOM, Role.RECEIVER, Seat())
    for role in Role:
        assert lobby.join(ROOM, role, Seat()) == Taken()
        assert lobby.waiting(ROOM) is None


def test_a_claim_that_turns_up_in_another_room_frees_the_place_that_it_had() -> None:
    lobby = Lobby[Seat]()
    other_room = Room(False, "b")
    mine, yours = Seat(), Seat()
    lobby.join(ROOM, Role.SENDER, mine, MINE)
    lobby.join(ROOM, Role.RECEIVER, yours, YOURS)
    assert lobby.vacate_elsewhere(ROOM, MINE) is None, "this is no other room"
    assert lobby.vacate_elsewhere(other_room, None) is None
    assert lobby.vacate_elsewhere(other_room, "c" * 32) is None
    assert lobby.vacate_elsewhere(other_room, MINE) is mine
    assert len(lobby) == 0
    assert lobby.vacate_elsewhere(other_room, MINE) is None, "it was freed already"
    assert lobby.vacate_elsewhere(other_room, YOURS) is None, "their pairing is over for both"
    assert lobby.join(other_room, Role.SENDER, Seat(), MINE) == Waiting()
    assert not lobby._claims.keys() - {MINE}, "no claim of a client that left is remembered"


def test_when_one_of_a_pair_leaves_the_room_is_free() -> None:
    lobby = Lobby[Seat]()
    pair = Seat(), Seat()
    lobby.join(ROOM, Role.SENDER, pair[0])
    lobby.join(ROOM, Role.RECEIVER, pair[1])
    lobby.leave(ROOM, pair[1])
    assert len(lobby) == 0
    assert lobby.join(ROOM, Role.SENDER, Seat()) == Waiting()
    lobby.leave(ROOM, pair[0])
    assert len(lobby) == 1, "a client that has left already evicts no other"


def test_the_two_forms_have_rooms_of_their_own() -> None:
    lobby = Lobby[Seat]()
    assert lobby.join(Room(False, "x"), Role.SENDER, Seat()) == Waiting()
    assert lobby.join(Room(True, "x"), Role.RECEIVER, Seat()) == Waiting()


def returned(decision: object, former: Seat) -> bool:
    return isinstance(decision, Returned) and decision.former is former


def test_a_waiting_client_that_reconnects_takes_its_seat_over() -> None:
    lobby = Lobby[Seat]()
    old, new, partner = Seat(), Seat(), Seat()
    lobby.join(ROOM, Role.SENDER, old, MINE)
    assert returned(lobby.join(ROOM, Role.SENDER, new, MINE), old)
    assert lobby.waiting(ROOM) is new
    lobby.leave(ROOM, old)
    decision = lobby.join(ROOM, Role.RECEIVER, partner, YOURS)
    assert isinstance(decision, Matched)
    assert decision.first is new


def test_one_of_a_pair_that_reconnects_waits_for_the_other_one_to_do_so() -> None:
    for role, other in ((Role.SENDER, Role.RECEIVER), (Role.RECEIVER, Role.SENDER)):
        lobby = Lobby[Seat]()
        claims = {Role.SENDER: MINE, Role.RECEIVER: YOURS}
        old = {each: Seat() for each in Role}
        for each in Role:
            lobby.join(ROOM, each, old[each], claims[each])
        new = Seat()
        assert returned(lobby.join(ROOM, role, new, claims[role]), old[role])
        assert lobby.waiting(ROOM) is new
        for seat in old.values():
            lobby.leave(ROOM, seat)
        assert lobby.waiting(ROOM) is new, "a client of the old pair evicts no other"
        decision = lobby.join(ROOM, other, Seat(), claims[other])
        assert isinstance(decision, Matched)
        assert decision.first is new


def test_a_client_without_the_claim_is_a_stranger() -> None:
    for claim, said in (
        (MINE, YOURS),
        (MINE, None),
        (None, MINE),
        (None, None),
        (MINE, MINE + "a"),
        (MINE, ""),
    ):
        lobby = Lobby[Seat]()
        first = Seat()
        lobby.join(ROOM, Role.SENDER, first, claim)
        assert lobby.join(ROOM, Role.SENDER, Seat(), said) == Taken()
        assert lobby.waiting(ROOM) is first
        lobby.join(ROOM, Role.RECEIVER, Seat())
        assert lobby.join(ROOM, Role.SENDER, Seat(), said) == Taken()
        assert lobby.waiting(ROOM) is None


def test_a_claim_is_one_role_s_and_one_room_s() -> None:
    lobby = Lobby[Seat]()
    lobby.join(ROOM, Role.SENDER, Seat(), MINE)
    assert lobby.join(Room(False, "b"), Role.SENDER, Seat(), MINE) == Waiting()
    assert lobby.join(Room(True, "a"), Role.SENDER, Seat(), MINE) == Waiting()
    lobby.join(ROOM, Role.RECEIVER, Seat(), YOURS)
    assert lobby.join(ROOM, Role.RECEIVER, Seat(), MINE) == Taken()
    assert lobby.join(ROOM, Role.SENDER, Seat(), YOURS) == Taken()


def test_a_claim_is_forgotten_with_the_seat() -> None:
    lobby = Lobby[Seat]()
    seat = Seat()
    lobby.join(ROOM, Role.SENDER, seat, MINE)
    assert lobby.owns(ROOM, Role.SENDER, MINE)
    lobby.leave(ROOM, seat)
    assert not lobby.owns(ROOM, Role.SENDER, MINE)
    assert lobby.join(ROOM, Role.SENDER, Seat(), MINE) == Waiting()


rooms = st.builds(Room, st.booleans(), st.sampled_from("ab"))


class ALobby(RuleBasedStateMachine):
    """A lobby beside a list of the seats that should be taken."""

    seated = Bundle("seated")

    def __init__(self) -> None:
        super().__init__()
        self.lobby = Lobby[Seat]()
        self.inside: dict[Room, list[tuple[Role, Seat, str | None]]] = {}

    @rule(
        target=seated,
        room=rooms,
        role=st.sampled_from(Role),
        claim=st.none() | st.sampled_from([MINE, YOURS]),
    )
    def join(self, room: Room, role: Role, claim: str | None) -> tuple[Room, Seat]:
        seat = Seat()
        there = self.inside.get(room, [])
        former = [(one, known) for taken, one, known in there if taken is role]
        decision = self.lobby.join(room, role, seat, claim)
        if former and claim is not None and former[0][1] == claim:
            assert returned(decision, former[0][0])
            self.inside[room] = [(role, seat, claim)]
        elif former:
            assert decision == Taken()
        elif there:
            assert isinstance(decision, Matched)
            assert decision.first is there[0][1]
            there.append((role, seat, claim))
        else:
            assert decision == Waiting()
            self.inside[room] = [(role, seat, claim)]
        return room, seat

    @rule(client=consumes(seated))
    def leave(self, client: tuple[Room, Seat]) -> None:
        room, seat = client
        self.lobby.leave(room, seat)
        if any(one is seat for _, one, _ in self.inside.get(room, [])):
            del self.inside[room]

    @rule(client=seated)
    def leave_twice(self, client: tuple[Room, Seat]) -> None:
        self.leave(client)
        self.leave(client)

    @invariant()
    def holds_nothing_else(self) -> None:
        assert len(self.lobby) == len(self.inside)
        for room, there in self.inside.items():
            assert self.lobby.waiting(room) is (there[0][1] if len(there) == 1 else None)
        assert all({role for role, *_ in there} <= set(Role) for there in self.inside.values())


TestALobby = ALobby.TestCase
TestALobby.settings = settings(max_examples=60, stateful_step_count=30)
