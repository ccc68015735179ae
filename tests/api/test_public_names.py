"""What is public. A change of this list is a change for every program that uses the package."""

from __future__ import annotations

import subprocess
import sys

import pytest

import p2p_copy as p2p

CLIENTS = {"AsyncClient", "Client", "ClientClosed", "IncomingStream", "Transfer"}
RELAYS = {"Relay", "RelayConfig", "RelayCounts", "serve"}
VALUES = {"Code", "Failure", "PreviewEntry", "Report", "TransferPreview", "__version__"}
OPTIONS = {"Conflict", "Names", "Preserve", "ReceiveOptions", "SendOptions", "Symlinks"}
EVENTS = {
    "Accepted", "Asked", "Connecting", "Event", "Missed", "Moving", "NotAccepted", "Notice", "Paired", "Problem",
    "Progress", "Reconnecting", "Resumed", "Skipped", "Stalled", "Verifying", "Waiting",
}  # fmt: skip
ERRORS = {
    "CannotListen", "CertificateNotTrusted", "CodeTypo", "Declined", "IncompatiblePeer", "LocalError", "NoSpace",
    "NotARelay", "NotTheRelay", "NothingToSend", "OutputNotWritable", "P2PCopyError", "PartialTransfer",
    "PeerError", "PeerFailed", "PeerLost", "PeerMisbehaved", "PeerTimeout", "PipeFailed", "RelayError",
    "RelayExpectsTLS", "RelayLost",
    "RelayRefused", "RelayUnreachable", "RelayWithoutTLS", "SystemFailed", "TooMuch", "UsageError", "WrongCode",
}  # fmt: skip


def test_what_is_public() -> None:
    assert set(p2p.__all__) == CLIENTS | RELAYS | VALUES | OPTIONS | EVENTS | ERRORS
    assert dir(p2p) == sorted(p2p.__all__)


@pytest.mark.parametrize("name", sorted(CLIENTS | RELAYS | VALUES | OPTIONS | EVENTS | ERRORS))
def test_a_public_name_is_there_and_described(name: str) -> None:
    value = getattr(p2p, name)
    if isinstance(value, type):
        assert value.__doc__
    if name in ERRORS:
        assert issubclass(value, p2p.P2PCopyError)


def test_no_other_name_is_there() -> None:
    with pytest.raises(AttributeError, match="gaga"):
        _ = p2p.gaga


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import p2p_copy; p2p_copy.__all__; print(set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in {"{'p2p_copy'}", "{'__future__', 'p2p_copy'}", "{'p2p_copy', '__future__'}"}
