from __future__ import annotations

from hypothesis import settings, strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from p2p_copy.protocol.rendezvous import Role
from p2p_copy.relay.lobby import Lobby, Matched, Room, Taken, Waiting

ROOM = Room(False, "a")


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


def test_a_pair_is_nobody_s_business() -> None:
    lobby = Lobby[Seat]()
    lobby.join(ROOM, Role.SENDER, Seat())
    lobby.join(ROOM, Role.RECEIVER, Seat())
    for role in Role:
        assert lobby.join(ROOM, role, Seat()) == Taken()
        assert lobby.waiting(ROOM) is None


def test_when_one_of_a_pair_leaves_the_room_is_for_new_ones() -> None:
    lobby = Lobby[Seat]()
    pair = Seat(), Seat()
    lobby.join(ROOM, Role.SENDER, pair[0])
    lobby.join(ROOM, Role.RECEIVER, pair[1])
    lobby.leave(ROOM, pair[1])
    assert len(lobby) == 0
    assert lobby.join(ROOM, Role.SENDER, Seat()) == Waiting()
    lobby.leave(ROOM, pair[0])
    assert len(lobby) == 1, "who has left already puts nobody out"


def test_the_two_forms_have_rooms_of_their_own() -> None:
    lobby = Lobby[Seat]()
    assert lobby.join(Room(False, "x"), Role.SENDER, Seat()) == Waiting()
    assert lobby.join(Room(True, "x"), Role.RECEIVER, Seat()) == Waiting()


rooms = st.builds(Room, st.booleans(), st.sampled_from("ab"))


class ALobby(RuleBasedStateMachine):
    """A lobby beside a list of who should be where."""

    guests = Bundle("guests")

    def __init__(self) -> None:
        super().__init__()
        self.lobby = Lobby[Seat]()
        self.inside: dict[Room, list[tuple[Role, Seat]]] = {}

    @rule(target=guests, room=rooms, role=st.sampled_from(Role))
    def join(self, room: Room, role: Role) -> tuple[Room, Seat]:
        seat = Seat()
        there = self.inside.get(room, [])
        decision = self.lobby.join(room, role, seat)
        if any(taken is role for taken, _ in there):
            assert decision == Taken()
        elif there:
            assert isinstance(decision, Matched)
            assert decision.first is there[0][1]
            there.append((role, seat))
        else:
            assert decision == Waiting()
            self.inside[room] = [(role, seat)]
        return room, seat

    @rule(guest=consumes(guests))
    def leave(self, guest: tuple[Room, Seat]) -> None:
        room, seat = guest
        self.lobby.leave(room, seat)
        if any(one is seat for _, one in self.inside.get(room, [])):
            del self.inside[room]

    @rule(guest=guests)
    def leave_twice(self, guest: tuple[Room, Seat]) -> None:
        self.leave(guest)
        self.leave(guest)

    @invariant()
    def holds_nothing_else(self) -> None:
        assert len(self.lobby) == len(self.inside)
        for room, there in self.inside.items():
            assert self.lobby.waiting(room) is (there[0][1] if len(there) == 1 else None)
        assert all({role for role, _ in there} <= set(Role) for there in self.inside.values())


TestALobby = ALobby.TestCase
TestALobby.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
