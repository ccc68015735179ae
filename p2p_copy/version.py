"""What this program calls itself."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

VERSION: Final = version("p2p-copy")
"""The installed version."""

FULL_NAME: Final = f"p2p-copy {VERSION}"
"""How it is named to people."""

PROGRAM: Final = f"p2p-copy/{VERSION}"
"""How it introduces itself to relays and peers."""
