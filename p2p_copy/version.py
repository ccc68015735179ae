"""Name and version of this program."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

VERSION: Final = version("p2p-copy")
"""The installed version."""

FULL_NAME: Final = f"p2p-copy {VERSION}"
"""For people."""

PROGRAM: Final = f"p2p-copy/{VERSION}"
"""For relays and peers, on the wire."""
