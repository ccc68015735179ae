"""Derives all keys: one function and one key for each purpose.

HKDF with SHA-256 (RFC 5869). The key exchange's result is extracted once, with the hash of the whole
transcript as salt. Every key is expanded from that under a label of its own, so all keys of a
session are different, and no two sessions have a key in common.
"""

from __future__ import annotations

import hashlib
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

KEY: Final = 32
"""Bytes of every key."""

_MARK: Final = 8
"""Bytes that tell the two tickets of a transfer apart. A collision would gain an attacker nothing."""


def room_id(room: str) -> str:
    """Return the room that the relay sees: 64 lower-case hexadecimal digits for a code's public part.

    The secret part is no input: from a hash of it the relay could find it with a dictionary.
    """
    return hashlib.sha256(b"p2p-copy/1 room" + room.encode()).hexdigest()


def extract(salt: bytes, key_material: bytes) -> bytes:
    """Return HKDF-Extract (RFC 5869 section 2.2): the key `prk` from which those of one session are expanded."""
    return HKDF.extract(SHA256(), salt, key_material)


def expand(prk: bytes, info: bytes, length: int = KEY) -> bytes:
    """Return HKDF-Expand: `length` bytes, at most 8160 (RFC 5869 section 2.3)."""
    return HKDFExpand(SHA256(), length, info).derive(prk)


def confirm_sender(prk: bytes) -> bytes:
    """Return the key with which the sender proves that it has the same secret."""
    return expand(prk, b"p2p-copy/1 confirm S")


def confirm_receiver(prk: bytes) -> bytes:
    """Return the key with which the receiver proves that it has the same secret."""
    return expand(prk, b"p2p-copy/1 confirm R")


def sender_to_receiver(prk: bytes) -> bytes:
    """Return the key of the first records from sender to receiver."""
    return expand(prk, b"p2p-copy/1 s2r\0\0")


def receiver_to_sender(prk: bytes) -> bytes:
    """Return the key of the first records from receiver to sender."""
    return expand(prk, b"p2p-copy/1 r2s\0\0")


def resume(prk: bytes) -> bytes:
    """Return the secret, called ticket, with which the same two sides meet again after a loss."""
    return expand(prk, b"p2p-copy/1 resume")


def resume_room(ticket: bytes) -> str:
    """Return the room in which two sides with this ticket meet again, in the form of `room_id`."""
    return expand(ticket, b"p2p-copy/1 resume room").hex()


def resume_mark(ticket: bytes) -> str:
    """Return a mark by which each side sees whether the other has the same ticket. The mark reveals nothing else."""
    return expand(ticket, b"p2p-copy/1 resume mark", _MARK).hex()


def opening(scalar: bytes) -> bytes:
    """Return the sender's random value to which it commits before it sees the receiver's share; see `verification`."""
    return expand(scalar, b"p2p-copy/1 opening")


def verify(prk: bytes, opening: bytes) -> bytes:
    """Return what two people may compare to exclude that an attacker, who has the code, is between them."""
    return expand(prk, b"p2p-copy/1 verify" + opening)


def links(prk: bytes) -> bytes:
    """Return the secret of a session's further links."""
    return expand(prk, b"p2p-copy/1 links")


def link_room(secret: bytes, number: int) -> str:
    """Return the room of a session's link with this number, from its `links` secret, in the form of `room_id`."""
    return expand(secret, b"p2p-copy/1 link room" + bytes((number,))).hex()


def ack_sender(secret: bytes) -> bytes:
    """Return the key of the sender's acks, from a session's `links` secret."""
    return expand(secret, b"p2p-copy/1 note S")


def ack_receiver(secret: bytes) -> bytes:
    """Return the key of the receiver's acks, from a session's `links` secret."""
    return expand(secret, b"p2p-copy/1 note R")


def next_key(key: bytes) -> bytes:
    """Return the record key that follows `key`, which cannot be computed from it."""
    return expand(key, b"p2p-copy/1 rekey")
