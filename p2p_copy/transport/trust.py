"""Decides which certificates a client trusts, and says why it does not trust one.

A client trusts the authorities of the system (`authorities`) and those of `ca_file`. If the relay's key is known
beforehand (`pin`), the certificate must have that key, and nothing else about it counts: no name, no issuer, no date.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import trio

from p2p_copy.errors import RelayUnreachable, UsageError
from p2p_copy.transport import limits
from p2p_copy.transport.authorities import find_authorities
from p2p_copy.transport.timeouts import within

if TYPE_CHECKING:
    from collections.abc import Sequence

HTTP: Final = ("http/1.1",)
"""What a client speaks over TLS, by its name for ALPN (RFC 7301)."""

VERIFY_FLAGS: Final = ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
"""How clients check certificates: by all of RFC 5280, and the chain may end at any certificate that is trusted.

Python 3.13 has this as its default. Set by us, the same certificates are good for every version of Python.
"""

UNKNOWN_ISSUER: Final = frozenset((2, 18, 19, 20, 21))
"""OpenSSL's codes (X509_V_ERR) for a certificate whose issuer is not among the trusted ones; 18 is self-signed."""

_OBJECTIONS: Final = {
    9: "is not valid yet. Check the clock of this machine.",
    10: "has expired. Its operator must renew it; or the clock of this machine is wrong.",
    18: "is self-signed. If that is meant to be so, name it with `ca_file`, or its key with `pin`.",
    62: "is for another host name. Check the address.",
    64: "is for another address. Use the relay's name in place of its number.",
}
"""By OpenSSL's X509_V_ERR numbers."""


def objection(error: ssl.SSLCertVerificationError) -> str:
    """Return why a certificate is not trusted and what to do, as the end of a sentence about it."""
    if text := _OBJECTIONS.get(error.verify_code):
        return text
    if error.verify_code in UNKNOWN_ISSUER:
        return "was issued by an authority that is not known here. If it is the right one, name it with `ca_file`."
    return (  # this text is OpenSSL's: nothing of it comes from the other side
        f"is not accepted: {error.verify_message}. Its operator must replace it, or the one of the authority that "
        "issued it."
    )


def has_unknown_issuer(cause: BaseException | None) -> bool:
    """Return whether a certificate was refused because of its issuer, who is not known here."""
    return (
        isinstance(cause, ssl.SSLCertVerificationError)
        and cause.verify_code in UNKNOWN_ISSUER
        and cause.verify_code not in _OBJECTIONS
    )


def unchecked_context(protocols: Sequence[str] = HTTP) -> ssl.SSLContext:
    """Return a TLS context that checks no certificate, for a connection whose certificate is looked at afterwards."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # reads no certificates, so the loop may make it
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return _tuned(context, protocols)


async def client_context(ca_file: str | None, protocols: Sequence[str] = HTTP) -> ssl.SSLContext:
    """Return a client's TLS context with the authorities to trust: the system's, and those of `ca_file`.

    They are read in a thread: that takes milliseconds, or for ever if a disk is gone. `protocols` are offered to the
    server (ALPN, RFC 7301), so a context serves one connection only.

    Raises:
        UsageError: `ca_file`, or the file in SSLKEYLOGFILE, cannot be used.
        RelayUnreachable: the disk does not answer within `limits.FILE_TIMEOUT`.

    """
    with within(limits.FILE_TIMEOUT):
        return await trio.to_thread.run_sync(_read_context, ca_file, protocols, abandon_on_cancel=True)
    raise RelayUnreachable(
        f"The certificates to trust here (the system's, and `ca_file`) could not be read in {limits.FILE_TIMEOUT:.0f} "
        "s: the disk or network mount does not answer."
    )


def _read_context(ca_file: str | None, protocols: Sequence[str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context()
    except OSError as error:  # of the file to which keys are written for debugging
        raise UsageError(
            f"The file that SSLKEYLOGFILE names cannot be written: {error.strerror}. Unset that variable, or name "
            "another file."
        ) from None
    if bundle := find_authorities().to_load:
        with suppress(OSError):  # it has no certificates: then none is trusted, and the first one says so
            context.load_verify_locations(cafile=bundle)
    _tuned(context, protocols)
    if ca_file is not None:
        named = f"The file '{ca_file}' (`ca_file`)"
        try:
            context.load_verify_locations(cafile=ca_file)
        except ssl.SSLError:
            raise UsageError(f"{named} holds no certificates in PEM form.") from None
        except OSError as error:
            raise UsageError(f"{named} cannot be read: {error.strerror}.") from None
    return context


def _tuned(context: ssl.SSLContext, protocols: Sequence[str]) -> ssl.SSLContext:
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.verify_flags |= VERIFY_FLAGS
    context.set_alpn_protocols([*protocols])
    return context
