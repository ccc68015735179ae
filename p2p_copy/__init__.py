"""p2p-copy: copies files between two machines that can only make outgoing connections, through a small relay.

The public names are `send`, `receive`, `serve` (a relay), their options and reports, and the base of the errors. They
run under Trio. They are imported on first use, so that `p2p-copy --help` need not wait for them.

The modules in this folder are shared by all others and import only each other. `protocol/` is pure: no input or output,
no clock, no randomness. Only `files/` touches paths, only `cli/` prints. Newcomers read `protocol/messages.py` first,
then `transfer/send.py` and `transfer/receive.py`. docs/protocol.md describes the wire, docs/architecture.md the code.
"""

from __future__ import annotations

# Type checkers take it as true. Importing `typing` is slow, and Ctrl-C might come in the middle of it.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from p2p_copy.errors import LocalError, P2PCopyError, PeerError, RelayError
    from p2p_copy.observer import Observer, Report, TransferPreview
    from p2p_copy.options import Conflict, Names, Preserve, ReceiveOptions, RelayAccess, SendOptions, Symlinks
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
