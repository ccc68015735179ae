"""Commands as a state remembers them, where a test cares for few of their values."""

from __future__ import annotations

from typing import Any

from p2p_copy.files.state.facts import KnownRelay, ReceiveCommand, SendCommand
from p2p_copy.options import ReceiveOptions, SendOptions

RELAY = "ws://127.0.0.1:9"


def send_command(*paths: str, relay: str = RELAY, **options: Any) -> SendCommand:
    return SendCommand(
        relays=(KnownRelay(relay, None),), paths=paths, options=SendOptions(**options), verify=False
    )


def receive_command(out: str, relay: str = RELAY, **options: Any) -> ReceiveCommand:
    return ReceiveCommand(
        relays=(KnownRelay(relay, None),), out=out, options=ReceiveOptions(**options), verify=False
    )
