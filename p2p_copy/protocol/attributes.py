"""Encodes, decodes and checks attributes of an entry beyond its name, size, mode and time."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from p2p_copy.errors import PeerMisbehaved
from p2p_copy.protocol import limits
from p2p_copy.protocol.fields import U16, encode_text
from p2p_copy.protocol.messages import Extra, Kind, Owner, Preserved, Xattrs

if TYPE_CHECKING:
    from p2p_copy.protocol.fields import Reader

XATTR_PREFIX: Final = "user."
"""The namespace of extended attributes without a meaning for the system: capabilities and access lists have others."""

_NO_OWNER: Final = 2**32 - 1
"""The number that tells the system to leave an owner unchanged (chown)."""

_NAMED_AGAIN, _ORIGINAL, _OWNER, _XATTRS = 1, 2, 4, 8
"""Bits that say what an extra has."""

_INDEX: Final = struct.Struct(">I")
_IDS: Final = struct.Struct(">II")

_MOST_BUT_XATTRS: Final = 1 + _INDEX.size + _IDS.size + 2 * (U16.size + limits.MAX_NAME)

MOST_BYTES: Final = _MOST_BUT_XATTRS + U16.size + 2 * U16.size * limits.MAX_XATTRS + limits.MAX_XATTR_BYTES
"""Bytes of an extra, at most."""


def encode_extra(extra: Extra) -> bytes:
    """Return what follows an entry in a page."""
    has, parts = 0, []
    if extra.named_again:
        has |= _NAMED_AGAIN
    if extra.original is not None:
        has |= _ORIGINAL
        parts.append(_INDEX.pack(extra.original))
    if extra.owner is not None:
        has |= _OWNER
        uid, gid, user, group = extra.owner
        parts += _IDS.pack(uid, gid), encode_text(user, limits.MAX_NAME), encode_text(group, limits.MAX_NAME)
    if extra.xattrs or extra.xattrs_digest:
        has |= _XATTRS
        parts.append(extra.xattrs_digest or encode_xattrs(extra.xattrs))
    return bytes((has,)) + b"".join(parts)


def encode_xattrs(xattrs: Xattrs) -> bytes:
    """Return extended attributes as they stand in an extra."""
    each = (encode_text(name, limits.MAX_NAME) + U16.pack(len(value)) + value for name, value in xattrs)
    return U16.pack(len(xattrs)) + b"".join(each)


def most_bytes(extra: Extra) -> int:
    """Return an upper bound for the bytes of an extra."""
    return _MOST_BUT_XATTRS + (len(encode_xattrs(extra.xattrs)) if extra.xattrs else 0)


def decode_extra(reader: Reader) -> Extra:
    """Decode the extra that comes next in a page.

    Raises:
        PeerMisbehaved: it is not well-formed.

    """
    has = reader.take(1)[0]
    if not has or has & ~(_NAMED_AGAIN | _ORIGINAL | _OWNER | _XATTRS):
        raise PeerMisbehaved("The other side sent attributes of a file that make no sense.")
    original = reader.fields(_INDEX)[0] if has & _ORIGINAL else None
    owner = None
    if has & _OWNER:
        uid, gid = reader.fields(_IDS)
        owner = Owner(uid, gid, reader.text(limits.MAX_NAME), reader.text(limits.MAX_NAME))
    xattrs = _decode_xattrs(reader) if has & _XATTRS else ()
    return Extra(bool(has & _NAMED_AGAIN), original, owner, xattrs)


def _decode_xattrs(reader: Reader) -> Xattrs:
    (count,) = reader.fields(U16)
    if not 0 < count <= limits.MAX_XATTRS:
        raise PeerMisbehaved("The other side sent no extended attributes, or too many.")
    xattrs = []
    for _ in range(count):
        name = reader.text(limits.MAX_NAME)
        xattrs.append((name, bytes(reader.take(reader.fields(U16)[0]))))
    return tuple(xattrs)


def extra_refusal(kind: Kind, extra: Extra, preserve: Preserved) -> str | None:
    """Return what is wrong with an extra, None if nothing is. Only what is in `preserve` was asked for."""
    names = extra.named_again or extra.original is not None
    if names and (kind is not Kind.FILE or Preserved.HARD_LINKS not in preserve):
        return "that it has other names, which it cannot have or which this side has not asked for"
    if extra.owner is not None and Preserved.OWNER not in preserve:
        return "who owns it, which this side has not asked for"
    if extra.owner is not None and _NO_OWNER in extra.owner[:2]:
        return "that it has no owner"
    if extra.xattrs and (kind is Kind.SYMLINK or Preserved.XATTRS not in preserve):
        return "that it has extended attributes, which it cannot have or which this side has not asked for"
    return xattrs_refusal(extra.xattrs) if extra.xattrs else None


def xattrs_refusal(xattrs: Xattrs) -> str | None:
    """Return what is wrong with extended attributes, None if nothing is."""
    names = [name for name, _ in xattrs]
    if any(not name.startswith(XATTR_PREFIX) or name == XATTR_PREFIX or "\0" in name for name in names):
        return "that it has extended attributes that are not for users to set"
    if any(one >= other for one, other in pairwise(names)):
        return "that it has extended attributes that come twice or are not in order"
    size = sum(len(name.encode()) + len(value) for name, value in xattrs)
    if len(names) > limits.MAX_XATTRS or size > limits.MAX_XATTR_BYTES:
        return "that it has more extended attributes than it may have"
    return None
