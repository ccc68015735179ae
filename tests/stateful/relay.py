"""What an adversary between the two sides can do to messages, as rules of a machine.

A machine with these rules decides which side receives a message. Each rule delivers some messages first, so that it
applies at every point of a conversation. A message under way waits until a rule delivers it.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Final, TypeAlias

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from p2p_copy.protocol.rendezvous import Role
from tests.stateful.stage import other

ROLES: Final = st.sampled_from(Role)
PLACES: Final = st.integers(0, 2**16)
"""Position of a message in a list or of a byte in a message, as a fraction of its length."""
STEPS: Final = st.one_of(st.integers(0, 6), st.integers(0, 40))
"""Messages delivered in each direction before something happens: at most about a whole transfer."""
ONE_PLACE: Final = st.one_of(st.integers(0, 80), PLACES)
"""Bytes of a forged message; the first ones have a meaning for a relay."""

REMEMBERED: Final = 200
"""Messages of earlier links that can be replayed."""

Wire: TypeAlias = bytes | str


class Relay(RuleBasedStateMachine):
    """The messages under way in each direction, and all earlier ones."""

    def __init__(self) -> None:
        super().__init__()
        self.on_the_way: dict[Role, list[Wire]] = {role: [] for role in Role}
        self.passed: list[Wire] = []

    @abstractmethod
    def deliver(self, author: Role, message: Wire) -> None:
        """Deliver a message to the other side, if it has a link."""

    @abstractmethod
    def refill(self) -> bool:
        """Let both sides send while few messages are under way; return whether any are."""

    @abstractmethod
    def prepare(self) -> None:
        """Connect both sides."""

    def pass_on(self, author: Role) -> bool:
        """Deliver the next message of one side unchanged."""
        messages = self.on_the_way[author]
        if not messages:
            return False
        message = messages.pop(0)
        self.passed = [*self.passed[-REMEMBERED:], message]
        self.deliver(author, message)
        return True

    def carry(self, steps: int) -> None:
        """Deliver `steps` messages in each direction unchanged, or until neither side sends more."""
        for _ in range(steps):
            self.refill()
            moved = [self.pass_on(role) for role in Role]
            if not any(moved) and not self.refill():
                return

    def _after(self, steps: int) -> None:
        self.prepare()
        self.carry(steps)
        self.refill()

    @rule(steps=STEPS, author=ROLES, count=st.integers(1, 20))
    def hold_back(self, steps: int, author: Role, count: int) -> None:
        """Deliver the messages of one side only."""
        self._after(steps)
        for _ in range(count):
            self.refill()
            if not self.pass_on(author):
                return

    # Tampering

    def _put(self, author: Role, at: int, message: Wire) -> None:
        messages = self.on_the_way[author]
        messages.insert(at % (len(messages) + 1), message)

    @rule(steps=STEPS, author=ROLES, at=PLACES, bit=st.integers(0, 7), place=ONE_PLACE)
    def flip(self, steps: int, author: Role, at: int, bit: int, place: int) -> None:
        """Change one bit."""
        self._after(steps)
        if messages := self.on_the_way[author]:
            message = messages[at % len(messages)]
            changed = bytearray(message.encode() if isinstance(message, str) else message)
            if changed:
                changed[place % len(changed)] ^= 1 << bit
            messages[at % len(messages)] = bytes(changed)

    @rule(steps=STEPS, author=ROLES, at=PLACES, length=PLACES, more=st.binary(max_size=40))
    def cut_short(self, steps: int, author: Role, at: int, length: int, more: bytes) -> None:
        """Cut the end of a message off, or replace it."""
        self._after(steps)
        if messages := self.on_the_way[author]:
            message = messages[at % len(messages)]
            data = message.encode() if isinstance(message, str) else message
            messages[at % len(messages)] = data[: length % (len(data) + 1)] + more

    @rule(steps=STEPS, author=ROLES, at=PLACES)
    def drop(self, steps: int, author: Role, at: int) -> None:
        self._after(steps)
        if messages := self.on_the_way[author]:
            messages.pop(at % len(messages))

    @rule(steps=STEPS, author=ROLES, at=PLACES, to=PLACES)
    def move(self, steps: int, author: Role, at: int, to: int) -> None:
        """Move a message to another place in the order."""
        self._after(steps)
        if messages := self.on_the_way[author]:
            self._put(author, to, messages.pop(at % len(messages)))

    @rule(steps=STEPS, author=ROLES, listener=ROLES, at=PLACES, to=PLACES)
    def repeat(self, steps: int, author: Role, listener: Role, at: int, to: int) -> None:
        """Deliver a message twice, or reflect it to its sender."""
        self._after(steps)
        if messages := self.on_the_way[author]:
            self._put(other(listener), to, messages[at % len(messages)])

    @rule(steps=STEPS, author=ROLES, which=PLACES, to=PLACES)
    def replay(self, steps: int, author: Role, which: int, to: int) -> None:
        """Replay a message of either side, of this link or an earlier one."""
        self._after(steps)
        if self.passed:
            self._put(author, to, self.passed[which % len(self.passed)])

    @rule(
        steps=STEPS, author=ROLES, to=PLACES, message=st.one_of(st.binary(max_size=100), st.text(max_size=20))
    )
    def invent(self, steps: int, author: Role, to: int, message: Wire) -> None:
        """Send a forged message."""
        self._after(steps)
        self._put(author, to, message)
