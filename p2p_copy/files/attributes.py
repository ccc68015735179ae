"""Owners and extended attributes: given at the receiver, as far as the system allows.

Of extended attributes only those of users travel (`user.`): others are capabilities, access lists and labels, which
decide what somebody may do. Whoever is not root gives nothing away, so owners are for root.

Nothing here costs a file: what cannot be given is said by the answer.
"""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from p2p_copy.protocol.messages import Extra, Owner

_NAMES: Final = 1024
"""Names of users and groups whose numbers are remembered."""


def is_root() -> bool:
    """Return whether this process may give files to anybody."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def give(itself: int | str, extra: Extra) -> bool:
    """Give a file or directory its extended attributes and its owner; False if it did not get all."""
    complete = True
    if sys.platform == "linux":
        for name, value in extra.xattrs:
            try:
                os.setxattr(itself, name, value)
            except OSError:
                complete = False
    if extra.owner is not None and sys.platform != "win32":
        try:
            os.chown(itself, *ids_of(extra.owner))
        except (OSError, OverflowError):
            complete = False
    return complete


def give_symlink(name: str, fd: int | None, extra: Extra) -> bool:
    """Give a symbolic link its owner; `fd` is the directory in which it lies. False if it did not get that."""
    if extra.owner is not None and sys.platform != "win32":
        try:
            os.chown(name, *ids_of(extra.owner), dir_fd=fd, follow_symlinks=False)
        except (OSError, OverflowError):
            return False
    return True


def ids_of(owner: Owner) -> tuple[int, int]:
    """Return the numbers that the names have here, else those that they had at the sender."""
    uid = _uid(owner.user) if owner.user else None
    gid = _gid(owner.group) if owner.group else None
    return owner.uid if uid is None else uid, owner.gid if gid is None else gid


@lru_cache(_NAMES)
def _uid(name: str) -> int | None:
    import pwd

    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):
        return None


@lru_cache(_NAMES)
def _gid(name: str) -> int | None:
    import grp

    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        return None
