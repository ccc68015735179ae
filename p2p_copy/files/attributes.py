"""Sets the owners and extended attributes of received files, as far as the system allows.

Only extended attributes of users (`user.`) are sent: the others are capabilities, access lists and labels, which grant
rights. Only root may give files to other users, so owners are preserved for root only.

No file is lost here: each function returns whether it could set everything.
"""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from p2p_copy.protocol.messages import Extra, Owner

_NAMES: Final = 1024
"""How many numbers of users, and of groups, are remembered."""


def is_root() -> bool:
    """Return whether this process may give files to other users."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def give(itself: int | str, extra: Extra) -> bool:
    """Set the extended attributes and the owner of a file or directory; return whether all were set."""
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
    """Set the owner of a symlink in the directory `fd`; return whether it was set."""
    if extra.owner is not None and sys.platform != "win32":
        try:
            os.chown(name, *ids_of(extra.owner), dir_fd=fd, follow_symlinks=False)
        except (OSError, OverflowError):
            return False
    return True


def ids_of(owner: Owner) -> tuple[int, int]:
    """Return the ids of user and group: those that their names have here, else those at the sender."""
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
