"""Sessions for tests: both sides of a real key exchange, without a link."""

from __future__ import annotations

from p2p_copy.protocol.key_exchange import ReceiverHandshake, SenderHandshake, SessionKeys
from p2p_copy.protocol.keys import room_id
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.protocol.session import ZSTD, Session


def both_keys(*capabilities: str) -> tuple[SessionKeys, SessionKeys]:
    """Return the sender's and the receiver's keys after an exchange with fixed randomness."""
    can = frozenset(capabilities or (ZSTD,))
    room = room_id("room")
    sender = SenderHandshake("a secret phrase", room, b"s" * 32, b"1" * 32, can)
    receiver = ReceiverHandshake("a secret phrase", room, b"r" * 32, b"2" * 32, can)
    message = receiver.start()
    side, other = sender, receiver
    while message is not None:
        message = side.receive(message)
        side, other = other, side  # type: ignore[assignment]
    assert sender.keys is not None
    assert receiver.keys is not None
    return sender.keys, receiver.keys


def both_sessions() -> tuple[Session, Session]:
    """Return a sender's and a receiver's session that understand each other."""
    sender_keys, receiver_keys = both_keys()
    return Session(Role.SENDER, sender_keys), Session(Role.RECEIVER, receiver_keys)
