"""Where a user keeps configuration and state: absolute places, or none at all.

A relative path would mean another place in each working directory, and `~` is only the name of a file for the system.
"""

from __future__ import annotations

import os


def user_place(variable: str, *below: str) -> str:
    """Return the directory that an environment variable names, else what lies `below` the home directory.

    Empty if neither is an absolute path: for a user without a home directory, say, or without any environment.
    """
    named = os.environ.get(variable, "")
    if os.path.isabs(named):
        return named  # says the XDG specification: a relative one is to be ignored
    home = os.path.expanduser("~") if os.environ.get("HOME") != "" else ""
    return os.path.join(home, *below) if os.path.isabs(home) else ""
