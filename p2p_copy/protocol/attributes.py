"""Decides which attributes a receiver accepts from a sender, beyond an entry's name, size, mode and time."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from p2p_copy.protocol import limits
from p2p_copy.protocol.messages import Kind, Preserved

if TYPE_CHECKING:
    from p2p_copy.protocol.messages import Extra, Xattrs

XATTR_PREFIX: Final = "user."
"""The namespace of extended attributes without a meaning for the system: capabilities and access lists have others."""

_NO_OWNER: Final = 2**32 - 1
"""The number that tells the system to leave an owner unchanged (chown)."""


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
