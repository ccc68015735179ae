"""Name and version of this program."""

from __future__ import annotations

from typing import Final

VERSION: Final = "0.2.0.dev0"
"""The version. The package is built with it, too; to read it from what is installed would delay each start."""

DOCUMENTATION: Final = "https://afuld.github.io/p2p-copy"
"""Where the documentation of the released version is."""

FULL_NAME: Final = f"p2p-copy {VERSION}"
"""For people."""

PROGRAM: Final = f"p2p-copy/{VERSION}"
"""For relays and peers, on the wire."""
