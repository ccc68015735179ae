"""The signals that commands obey; Windows has fewer of them."""

from __future__ import annotations

import signal
import sys
from typing import Final

STOP_RELAY: Final = (signal.SIGINT, signal.SIGTERM)
"""Stop a relay."""

if sys.platform == "win32":
    STOP_TRANSFER: Final = STOP_RELAY
    """Stop a transfer."""

    RELOAD_RELAY: Final = None
    """Makes a relay read its files again."""

    UPGRADE_RELAY: Final = None
    """Makes a relay replace its workers."""
else:
    STOP_TRANSFER: Final = (*STOP_RELAY, signal.SIGHUP, signal.SIGUSR1)
    RELOAD_RELAY: Final = signal.SIGHUP
    UPGRADE_RELAY: Final = signal.SIGUSR2
