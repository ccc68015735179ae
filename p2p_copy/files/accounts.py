"""The users and groups of this system, which have numbers and names on POSIX systems.

Windows has other ones: there no number has a name, no name has a number, and this process has no number.
"""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from typing import Final

if sys.platform != "win32":
    import grp
    import pwd

_REMEMBERED: Final = 1024
"""How many names, and how many numbers, of users and of groups are remembered: a directory service may be slow."""


def own_id() -> int | None:
    """Return the number of the user with whose rights this process works; None on Windows."""
    if sys.platform == "win32":
        return None
    return os.geteuid()


def own_home() -> str:
    """Return the home directory of that user by the system's list, empty if it has none."""
    if sys.platform != "win32":
        try:
            return pwd.getpwuid(os.geteuid()).pw_dir
        except KeyError:
            pass
    return ""


@lru_cache(_REMEMBERED)
def user_id(name: str) -> int | None:
    """Return the number of a user, None if there is no such user."""
    if sys.platform != "win32":
        try:
            return pwd.getpwnam(name).pw_uid
        except (KeyError, ValueError):
            pass
    return None


@lru_cache(_REMEMBERED)
def group_id(name: str) -> int | None:
    """Return the number of a group, None if there is no such group."""
    if sys.platform != "win32":
        try:
            return grp.getgrnam(name).gr_gid
        except (KeyError, ValueError):
            pass
    return None


@lru_cache(_REMEMBERED)
def user_name(uid: int) -> str:
    """Return the name of a user, empty if there is none."""
    if sys.platform != "win32":
        try:
            return pwd.getpwuid(uid).pw_name
        except KeyError:
            pass
    return ""


@lru_cache(_REMEMBERED)
def group_name(gid: int) -> str:
    """Return the name of a group, empty if there is none."""
    if sys.platform != "win32":
        try:
            return grp.getgrgid(gid).gr_name
        except KeyError:
            pass
    return ""
