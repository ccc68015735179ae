"""The names of the environment variables that commands read."""

from __future__ import annotations

from typing import Final

SERVER_VARIABLE: Final = "P2P_COPY_SERVER"
"""The relay's address."""

CODE_VARIABLE: Final = "P2P_COPY_CODE"
"""The code."""

TOKEN_VARIABLE: Final = "P2P_COPY_TOKEN"  # noqa: S105 - a name, not a token
"""The access token for a relay that wants one."""

CONFIG_VARIABLE: Final = "P2P_COPY_CONFIG"
"""Path of the configuration file."""

DEBUG_VARIABLE: Final = "P2P_COPY_DEBUG"
"""Asks for tracebacks when set to 1."""
