"""Key exchanges with an adversary in the middle, which can send any earlier message to any side, and change it.

A side that has keys shares them with exactly one other side, of the same room and the same secret, and both have
received each other's messages unchanged. Every other side fails for good, with an error that says why.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from p2p_copy.errors import IncompatiblePeer, P2PCopyError, PeerLost, PeerMisbehaved, WrongCode
from p2p_copy.protocol.key_exchange import HandshakeFailed, ReceiverHandshake, SenderHandshake
from p2p_copy.protocol.keys import room_id
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.protocol.session import ZSTD
from tests.stateful.profiles import EXCHANGES
from tests.stateful.relay import ONE_PLACE, PLACES, ROLES

pytestmark = pytest.mark.once

DOCUMENTED: Final = (IncompatiblePeer, PeerLost, PeerMisbehaved, WrongCode)
ROOMS: Final = (room_id("one"), room_id("two"))
SECRETS: Final = ("the right phrase", "a wrong phrase")

Change: TypeAlias = tuple[int, int, bytes]
"""How a message is changed: the bit that is flipped, the length (-1 for all), what is appended."""

CHANGES: Final[st.SearchStrategy[Change | None]] = st.one_of(
    st.none(), st.tuples(ONE_PLACE, st.one_of(st.just(-1), PLACES), st.binary(max_size=3))
)


class Party:
    """One side of one run, and the messages that it sent and received."""

    def __init__(self, role: Role, room: str, secret: str, number: int) -> None:
        side = SenderHandshake if role is Role.SENDER else ReceiverHandshake
        randomness = number.to_bytes(32, "big"), (number + 10**6).to_bytes(32, "big")
        self.machine = side(secret, room, *randomness, frozenset({ZSTD}))
        self.role, self.code = role, (room, secret)
        self.heard: list[bytes] = []
        self.said: list[bytes] = []
        self.error: P2PCopyError | None = None
        self._say(self.machine.start())

    def _say(self, message: bytes | None) -> None:
        self.said += [message] if message is not None else []

    @property
    def listens(self) -> bool:
        return self.error is None and self.machine.keys is None

    def hear(self, message: bytes) -> None:
        """Receive a message; only documented errors may be raised."""
        self.heard.append(message)
        shown = len(self.said) == 2 and self.role is Role.RECEIVER
        try:
            self._say(self.machine.receive(message))
        except HandshakeFailed as failure:
            self._fail(failure.error, failure.farewell, shown=shown)

    def _fail(self, error: P2PCopyError, farewell: bytes | None, *, shown: bool) -> None:
        assert isinstance(error, DOCUMENTED)
        if shown:
            assert isinstance(error, WrongCode), "a stranger has our proof, and may have guessed"
            assert farewell is None
        self.error = error
        self._say(farewell)

    def lose(self) -> None:
        """End what this side receives."""
        shown = len(self.said) == 2 and self.role is Role.RECEIVER
        self.error = self.machine.lost()
        assert isinstance(self.error, WrongCode if shown else PeerLost)

    def agrees(self, other: Party) -> bool:
        """Whether both received each other's messages unchanged, as far as this side's keys depend on them."""
        sender, receiver = (self, other) if self.role is Role.SENDER else (other, self)
        to_sender = sender.heard[:2] == receiver.said[:2] and len(sender.heard) >= 2
        to_receiver = receiver.heard[:1] == sender.said[:1]
        if self is receiver:
            to_receiver = receiver.heard[:2] == sender.said[:2] and len(receiver.heard) == 2
        return self.role is not other.role and self.code == other.code and to_sender and to_receiver


class Exchanges(RuleBasedStateMachine):
    """Any number of runs at once."""

    def __init__(self) -> None:
        super().__init__()
        self.parties: list[Party] = []
        self.pool: list[bytes] = []

    @rule(role=ROLES, room=st.sampled_from(ROOMS), secret=st.sampled_from((*SECRETS, SECRETS[0])))
    def come(self, role: Role, room: str, secret: str) -> None:
        self._come(role, room, secret)

    def _come(self, role: Role, room: str, secret: str) -> Party:
        party = Party(role, room, secret, len(self.parties))
        self.parties.append(party)
        self.pool += party.said
        return party

    def _tell(self, party: Party, message: bytes) -> None:
        before = len(party.said)
        party.hear(message)
        self.pool += party.said[before:]

    @rule(
        room=st.sampled_from(ROOMS),
        secrets=st.tuples(st.sampled_from(SECRETS), st.sampled_from(SECRETS)),
        at=st.integers(0, 3),
        change=CHANGES,
        stop=st.integers(1, 4),
    )
    def run(self, room: str, secrets: tuple[str, str], at: int, change: Change | None, stop: int) -> None:
        """Deliver the messages of a run, one of which may be changed, to its end or some way."""
        sender, receiver = (
            self._come(Role.SENDER, room, secrets[0]),
            self._come(Role.RECEIVER, room, secrets[1]),
        )
        for step in range(stop):
            author, listener = (receiver, sender) if step % 2 == 0 else (sender, receiver)
            if not listener.listens or len(author.said) <= step // 2:
                break
            message = author.said[step // 2]
            self._tell(listener, changed(message, change) if step == at else message)
        if secrets[0] != secrets[1]:
            assert sender.machine.keys is receiver.machine.keys is None
            if stop == 4 and change is None:
                if receiver.listens:
                    receiver.lose()
                assert isinstance(sender.error, WrongCode)
                assert isinstance(receiver.error, WrongCode)
        elif stop == 4 and (change is None or at >= 4):
            assert sender.machine.keys is not None
            assert receiver.machine.keys is not None

    @precondition(lambda self: self.parties and self.pool)
    @rule(whom=PLACES, which=PLACES, change=CHANGES)
    def tell(self, whom: int, which: int, change: Change | None) -> None:
        """Send a message of any run to any side: replayed, reflected, reordered, from another room."""
        party = self.parties[-1 - whom % len(self.parties)]
        if party.listens:
            self._tell(party, changed(self.pool[-1 - which % len(self.pool)], change))

    @precondition(lambda self: self.parties)
    @rule(whom=PLACES, message=st.binary(max_size=1200))
    def invent(self, whom: int, message: bytes) -> None:
        party = self.parties[-1 - whom % len(self.parties)]
        if party.listens:
            self._tell(party, message)

    @precondition(lambda self: self.parties)
    @rule(whom=PLACES)
    def lose(self, whom: int) -> None:
        party = self.parties[whom % len(self.parties)]
        if party.listens:
            party.lose()

    @invariant()
    def a_failed_side_has_no_keys_and_stays_failed(self) -> None:
        for party in self.parties:
            if party.error is not None:
                assert party.machine.keys is None
                with pytest.raises(RuntimeError):
                    party.machine.start()

    @invariant()
    def sides_with_keys_have_the_same_ones(self) -> None:
        seen: dict[bytes, Role] = {}
        for party in self.parties:
            ours = party.machine.keys
            if ours is None:
                continue
            (other,) = [each for each in self.parties if party.agrees(each)]
            theirs = other.machine.keys
            assert theirs is not None or party.role is Role.SENDER, (
                "the receiver is the last one to have them"
            )
            if theirs is not None:
                assert (ours.send_key, ours.receive_key) == (theirs.receive_key, theirs.send_key)
                assert (ours.resume, ours.verify) == (theirs.resume, theirs.verify)
            assert len({ours.send_key, ours.receive_key, ours.resume, ours.verify}) == 4
            assert seen.setdefault(ours.send_key, party.role) is party.role, "both ways under one key"


def changed(message: bytes, change: Change | None) -> bytes:
    """Return a message with a change."""
    if change is None or not message:
        return message
    bit, length, more = change
    data = bytearray(message)
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    return bytes(data if length < 0 else data[: length % (len(data) + 1)]) + more


TestExchanges = Exchanges.TestCase
TestExchanges.settings = EXCHANGES
