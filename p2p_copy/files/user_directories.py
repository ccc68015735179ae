"""Where a user keeps configuration and state: absolute paths, or none.

A relative path would name another directory from each working directory, and `~` means nothing to the system.
"""

from __future__ import annotations

import os

from p2p_copy.files import accounts


def user_directory(variable: str, *below: str) -> str:
    """Return the directory that an environment variable names, else the one `below` the home directory.

    Empty if neither is an absolute path: for a user without a home directory, say, or with an empty environment. The
    variable is ignored if it names a relative path, as the XDG specification wants, or another user's directory.
    """
    named = os.environ.get(variable, "")
    if os.path.isabs(named) and not belongs_to_other_user(named):
        return named
    base = home_directory()
    return os.path.join(base, *below) if base else ""


def home_directory() -> str:
    """Return this user's home directory by the environment, else by the system's list of users; empty if there is none.

    The environment is ignored if it names another user's directory and the system's list has one for this user.
    """
    named = os.path.expanduser("~") if os.environ.get("HOME") != "" else ""
    if not os.path.isabs(named):
        return ""
    return (accounts.own_home() or named) if belongs_to_other_user(named) else named


def belongs_to_other_user(directory: str) -> bool:
    """Return whether a directory belongs to another user, as with `sudo -E`, who could not change what we write there.

    A directory that belongs to root is not foreign: the system's permissions say who may write there.
    """
    us = accounts.own_id()
    try:
        owner = os.stat(directory).st_uid
    except OSError:
        return False
    return us is not None and owner not in (0, us)
