"""CPace: two sides with the same short secret get the same strong key, and a listener learns nothing.

This is CPACE-X25519-SHA512 of draft-irtf-cfrg-cpace in the initiator-responder setting. Names follow the
draft: PRS is the secret, CI the channel identifier, sid the session identifier, Y a share, AD the data
bound to it, K the shared point, ISK the result. Rules:

1. Scalars are arguments: 32 random bytes, used for one run and never again.
2. K goes into `isk_ir` and nowhere else: with K an attacker could try secrets offline.
3. X25519 takes constant time; the map to the curve is Python arithmetic and does not. It is computed once for
   each secret, so an attacker can time it only once: a code is used once.
"""

from __future__ import annotations

import hashlib
from typing import Final

# X25519 needs it, and would import it at its first use, while the other side waits.
import cryptography.hazmat.backends.openssl  # noqa: F401
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from p2p_copy.errors import WrongCode

SCALAR: Final = 32
"""Bytes of a scalar."""

SHARE: Final = 32
"""Bytes of a share, of a generator and of the shared point."""

DSI: Final = b"CPace255"
DSI_ISK: Final = b"CPace255_ISK"
_S_IN_BYTES: Final = 128
"""Block size of SHA-512 in bytes."""

_Q: Final = 2**255 - 19
"""Order of the field under Curve25519 (RFC 7748 section 4.1)."""
_A: Final = 486662
"""The curve is v^2 = u^3 + A u^2 + u."""
_Z: Final = 2
"""The non-square that Elligator 2 uses on this curve (RFC 9380 section 6.7.1)."""


def prepend_len(data: bytes) -> bytes:
    """Return `data` behind its length in LEB128 (draft, appendix "prepend_len function")."""
    length = len(data)
    prefix = bytearray()
    while length >= 0x80:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    prefix.append(length)
    return bytes(prefix) + data


def lv_cat(*parts: bytes) -> bytes:
    """Return the parts joined, each preceded by its length (draft, appendix "lv_cat function")."""
    return b"".join(map(prepend_len, parts))


def generator_string(prs: bytes, ci: bytes, sid: bytes) -> bytes:
    """Return the input of the hash that gives the generator (draft, "Common function for computing generators").

    The padding fills the first block, so that hashing takes the same time for every short secret.
    """
    padding = max(0, _S_IN_BYTES - 1 - len(prepend_len(prs)) - len(prepend_len(DSI)))
    return lv_cat(DSI, prs, bytes(padding), ci, sid)


def calculate_generator(prs: bytes, ci: bytes, sid: bytes) -> bytes:
    """Return this run's generator, as an encoded u coordinate (draft, "CPace group objects G_X25519")."""
    digest = hashlib.sha512(generator_string(prs, ci, sid)).digest()[:SHARE]
    return encode_u(elligator2(decode_u(digest)))


def decode_u(data: bytes) -> int:
    """Return the u coordinate in 32 bytes; the highest bit is ignored (RFC 7748 section 5)."""
    return int.from_bytes(data, "little") & (2**255 - 1)


def encode_u(u: int) -> bytes:
    """Return a u coordinate as 32 bytes (RFC 7748 section 5)."""
    return u.to_bytes(SHARE, "little")


def elligator2(r: int) -> int:
    """Return the u coordinate of the curve's point for a field element (RFC 9380 section 6.7.1)."""
    # 1 + Z r^2 is never 0: -1/Z is no square.
    v = -_A * pow(1 + _Z * r * r, -1, _Q) % _Q
    on_curve = pow(v * (v * v + _A * v + 1), (_Q - 1) // 2, _Q) == 1
    # One of these two is on the curve itself, the other on its twist.
    return v if on_curve else (-v - _A) % _Q


def share(scalar: bytes, generator: bytes) -> bytes:
    """Return our share Y: the generator times our scalar."""
    return scalar_mult_vfy(scalar, generator)


def scalar_mult_vfy(scalar: bytes, point: bytes) -> bytes:
    """Return X25519(scalar, point), which is the shared point K if `point` is the other side's share.

    Raises:
        WrongCode: the result is the neutral element. The draft demands that this ends the run: only a
            share of low order gives it, and no correct program sends one.

    """
    ours = X25519PrivateKey.from_private_bytes(scalar)
    theirs = X25519PublicKey.from_public_bytes(point)
    try:
        return ours.exchange(theirs)
    except ValueError:
        raise WrongCode from None


def isk_ir(sid: bytes, k: bytes, ya: bytes, ada: bytes, yb: bytes, adb: bytes) -> bytes:
    """Return ISK, 64 bytes (draft, "CPace protocol instructions", transcript_ir); A is the initiator."""
    transcript = lv_cat(ya, ada, yb, adb)
    return hashlib.sha512(lv_cat(DSI_ISK, sid, k) + transcript).digest()
