"""p2p-copy: copies files between two machines that can only make outgoing connections, through a small relay.

    import p2p_copy as p2p

    code = p2p.Code.generate()
    report = p2p.Client(relay="wss://relay.example").send("results", code=code)

`Client` blocks, `AsyncClient` runs under Trio and asyncio; docs/api.md shows both. The public names are those in
`__all__`. They are imported on first use, so that `p2p-copy --help` need not wait for them.

The modules in this folder are shared by all others and import only each other. `protocol/` is pure: no input or output,
no clock, no randomness. Only `files/` touches paths, only `cli/` prints. Newcomers read `protocol/messages.py` first,
then `transfer/send.py` and `transfer/receive.py`. docs/protocol.md describes the wire, docs/architecture.md the code.
"""

from __future__ import annotations

# Type checkers take it as true. Importing `typing` is slow, and Ctrl-C might come in the middle of it.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from p2p_copy.api.blocking import Client
    from p2p_copy.api.client import AsyncClient
    from p2p_copy.api.events import (
        Accepted,
        Asked,
        Connecting,
        Deleted,
        Event,
        Missed,
        Moving,
        NotAccepted,
        Notice,
        Paired,
        Problem,
        Progress,
        Reconnecting,
        Resumed,
        Skipped,
        Stalled,
        Verifying,
        Waiting,
    )
    from p2p_copy.api.preview import SourceItem, preview
    from p2p_copy.api.relay import Relay, RelayCounts
    from p2p_copy.api.report import Report
    from p2p_copy.api.rooms import Rooms
    from p2p_copy.api.saved import SavedTransfer, default_state_dir
    from p2p_copy.api.streams import IncomingStream
    from p2p_copy.api.transfer import Transfer
    from p2p_copy.api.transfer_thread import ClientClosed
    from p2p_copy.api.verify import verify
    from p2p_copy.errors import (
        CannotListen,
        CertificateNotTrusted,
        Declined,
        Failure,
        IncompatiblePeer,
        LocalError,
        NoSpace,
        NotAProxy,
        NotARelay,
        NothingToSend,
        NotSaved,
        NotTheRelay,
        NotVerified,
        OutputNotWritable,
        P2PCopyError,
        PartialTransfer,
        PeerError,
        PeerFailed,
        PeerLost,
        PeerMisbehaved,
        PeerTimeout,
        PipeFailed,
        ProxyForbids,
        ProxyUnreachable,
        ProxyWantsLogin,
        RelayError,
        RelayExpectsTLS,
        RelayLost,
        RelayRefused,
        RelayUnreachable,
        RelayWithoutTLS,
        SystemFailed,
        TooMuch,
        UsageError,
        WrongCode,
    )
    from p2p_copy.files.receipts.verify import Verdict
    from p2p_copy.observer import Deletion, PreviewEntry, TransferPreview
    from p2p_copy.options import (
        Conflict,
        Names,
        Preserve,
        ReceiveOptions,
        RelayAccess,
        SendOptions,
        Standard,
        Symlinks,
    )
    from p2p_copy.protocol.code import Code, CodeTypo
    from p2p_copy.protocol.escape import escape
    from p2p_copy.protocol.limits import (
        CODE_WORDS,
        MAX_CODE_WORDS,
        MAX_ENTRIES,
        MAX_LINKS,
        MIN_CODE_WORDS,
    )

    __version__: str

__all__ = [
    "CODE_WORDS",
    "MAX_CODE_WORDS",
    "MAX_ENTRIES",
    "MAX_LINKS",
    "MIN_CODE_WORDS",
    "Accepted",
    "Asked",
    "AsyncClient",
    "CannotListen",
    "CertificateNotTrusted",
    "Client",
    "ClientClosed",
    "Code",
    "CodeTypo",
    "Conflict",
    "Connecting",
    "Declined",
    "Deleted",
    "Deletion",
    "Event",
    "Failure",
    "IncomingStream",
    "IncompatiblePeer",
    "LocalError",
    "Missed",
    "Moving",
    "Names",
    "NoSpace",
    "NotAProxy",
    "NotARelay",
    "NotAccepted",
    "NotSaved",
    "NotTheRelay",
    "NotVerified",
    "NothingToSend",
    "Notice",
    "OutputNotWritable",
    "P2PCopyError",
    "Paired",
    "PartialTransfer",
    "PeerError",
    "PeerFailed",
    "PeerLost",
    "PeerMisbehaved",
    "PeerTimeout",
    "PipeFailed",
    "Preserve",
    "PreviewEntry",
    "Problem",
    "Progress",
    "ProxyForbids",
    "ProxyUnreachable",
    "ProxyWantsLogin",
    "ReceiveOptions",
    "Reconnecting",
    "Relay",
    "RelayAccess",
    "RelayCounts",
    "RelayError",
    "RelayExpectsTLS",
    "RelayLost",
    "RelayRefused",
    "RelayUnreachable",
    "RelayWithoutTLS",
    "Report",
    "Resumed",
    "Rooms",
    "SavedTransfer",
    "SendOptions",
    "Skipped",
    "SourceItem",
    "Stalled",
    "Standard",
    "Symlinks",
    "SystemFailed",
    "TooMuch",
    "Transfer",
    "TransferPreview",
    "UsageError",
    "Verdict",
    "Verifying",
    "Waiting",
    "WrongCode",
    "__version__",
    "default_state_dir",
    "escape",
    "preview",
    "verify",
]

_HOMES = {
    "p2p_copy.api.blocking": ("Client",),
    "p2p_copy.api.client": ("AsyncClient",),
    "p2p_copy.api.events": (
        "Accepted",
        "Asked",
        "Connecting",
        "Event",
        "Missed",
        "Moving",
        "NotAccepted",
        "Notice",
        "Paired",
        "Problem",
        "Progress",
        "Reconnecting",
        "Resumed",
        "Deleted",
        "Skipped",
        "Stalled",
        "Verifying",
        "Waiting",
    ),
    "p2p_copy.api.preview": ("SourceItem", "preview"),
    "p2p_copy.api.relay": ("Relay", "RelayCounts"),
    "p2p_copy.api.report": ("Report",),
    "p2p_copy.api.rooms": ("Rooms",),
    "p2p_copy.api.saved": ("SavedTransfer", "default_state_dir"),
    "p2p_copy.api.streams": ("IncomingStream",),
    "p2p_copy.api.transfer": ("Transfer",),
    "p2p_copy.api.transfer_thread": ("ClientClosed",),
    "p2p_copy.api.verify": ("verify",),
    "p2p_copy.errors": (
        "CannotListen",
        "CertificateNotTrusted",
        "Declined",
        "Failure",
        "IncompatiblePeer",
        "LocalError",
        "NoSpace",
        "PeerTimeout",
        "NotAProxy",
        "NotARelay",
        "NotSaved",
        "NotTheRelay",
        "NothingToSend",
        "NotVerified",
        "OutputNotWritable",
        "P2PCopyError",
        "PartialTransfer",
        "PeerError",
        "PeerFailed",
        "PeerLost",
        "PeerMisbehaved",
        "PipeFailed",
        "ProxyForbids",
        "ProxyUnreachable",
        "ProxyWantsLogin",
        "RelayError",
        "RelayExpectsTLS",
        "RelayLost",
        "RelayRefused",
        "RelayUnreachable",
        "RelayWithoutTLS",
        "SystemFailed",
        "TooMuch",
        "UsageError",
        "WrongCode",
    ),
    "p2p_copy.files.receipts.verify": ("Verdict",),
    "p2p_copy.observer": (
        "Deletion",
        "PreviewEntry",
        "TransferPreview",
    ),
    "p2p_copy.options": (
        "Conflict",
        "Names",
        "Preserve",
        "ReceiveOptions",
        "RelayAccess",
        "SendOptions",
        "Standard",
        "Symlinks",
    ),
    "p2p_copy.protocol.code": (
        "Code",
        "CodeTypo",
    ),
    "p2p_copy.protocol.escape": ("escape",),
    "p2p_copy.protocol.limits": (
        "CODE_WORDS",
        "MAX_CODE_WORDS",
        "MAX_ENTRIES",
        "MAX_LINKS",
        "MIN_CODE_WORDS",
    ),
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name == "__version__":
        return import_module("p2p_copy.version").VERSION
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
