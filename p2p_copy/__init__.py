"""p2p-copy: copy files between two machines that can both only reach out, through a small relay.

Reading order for newcomers. `protocol/messages.py` first: the vocabulary. Then `sender.py`, the story those
words tell, with `outgoing.py`, what it says; `receiver.py` and `incoming.py` are their mirrors; `meet.py` is
how the two find each other. `relay/pairing.py` is what stands between them, and sees opaque bytes only.
`protocol/` is pure: no input or output, no clock, no randomness. Only `link.py` knows the WebSocket library,
only `files/` touches paths, only `cli/` prints. docs/protocol.md is the wire, docs/architecture.md the map.

The public names are `send`, `receive`, `serve` (a relay), what they take and return, and the errors. They run under
Trio. They are imported when first used, so that `p2p-copy --help` need not wait for them.
"""

from __future__ import annotations

TYPE_CHECKING = (
    False  # as type checkers take it; `typing` takes long to import, and Ctrl-C may come meanwhile
)
if TYPE_CHECKING:
    from p2p_copy.errors import LocalError, P2PCopyError, PeerError, RelayError
    from p2p_copy.observer import Observer, Report, TransferPreview
    from p2p_copy.options import (
        Conflict,
        Names,
        Preserve,
        ReceiveOptions,
        RelayAccess,
        SendOptions,
        Symlinks,
    )
    from p2p_copy.protocol.code import Code
    from p2p_copy.relay.config import RelayConfig
    from p2p_copy.relay.server import serve
    from p2p_copy.transfer.receive import receive
    from p2p_copy.transfer.send import send

__all__ = [
    "Code",
    "Conflict",
    "LocalError",
    "Names",
    "Observer",
    "P2PCopyError",
    "PeerError",
    "Preserve",
    "ReceiveOptions",
    "RelayAccess",
    "RelayConfig",
    "RelayError",
    "Report",
    "SendOptions",
    "Symlinks",
    "TransferPreview",
    "receive",
    "send",
    "serve",
]

_HOME = {
    "Code": "p2p_copy.protocol.code",
    "Conflict": "p2p_copy.options",
    "LocalError": "p2p_copy.errors",
    "Names": "p2p_copy.options",
    "Observer": "p2p_copy.observer",
    "TransferPreview": "p2p_copy.observer",
    "P2PCopyError": "p2p_copy.errors",
    "PeerError": "p2p_copy.errors",
    "Preserve": "p2p_copy.options",
    "ReceiveOptions": "p2p_copy.options",
    "RelayAccess": "p2p_copy.options",
    "SendOptions": "p2p_copy.options",
    "Symlinks": "p2p_copy.options",
    "RelayConfig": "p2p_copy.relay.config",
    "RelayError": "p2p_copy.errors",
    "Report": "p2p_copy.observer",
    "receive": "p2p_copy.transfer.receive",
    "send": "p2p_copy.transfer.send",
    "serve": "p2p_copy.relay.server",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
