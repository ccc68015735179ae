"""Where a user keeps configuration and state: absolute places, or none at all.

A relative path would mean another place in each working directory, and `~` is only the name of a file for the system.
"""

from __future__ import annotations

import os
import sys

if sys.platform != "win32":
    import pwd


def user_place(variable: str, *below: str) -> str:
    """Return the directory that an environment variable names, else what lies `below` the home directory.

    Empty if neither is an absolute path: for a user without a home directory, say, or without any environment. The
    variable is not believed if it names a relative path, as the XDG specification wants, or another user's directory.
    """
    named = os.environ.get(variable, "")
    if os.path.isabs(named) and not is_foreign(named):
        return named
    base = home()
    return os.path.join(base, *below) if base else ""


def home() -> str:
    """Return this user's home directory: what the environment says, or else what the system knows; empty if nothing.

    The environment is not believed if it names another user's directory and the system knows one of our own.
    """
    named = os.path.expanduser("~") if os.environ.get("HOME") != "" else ""
    if not os.path.isabs(named):
        return ""
    if sys.platform == "win32" or not is_foreign(named):
        return named
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return named


def is_foreign(directory: str) -> bool:
    """Return whether a directory belongs to another user, as with `sudo -E`: what is written there would lock him out.

    A directory of root's is nobody's home but root's; whether others may write there, the system decides.
    """
    if sys.platform == "win32":
        return False
    try:
        owner = os.stat(directory).st_uid
    except OSError:
        return False
    return owner not in (0, os.geteuid())
