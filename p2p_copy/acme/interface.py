"""What a keeper of certificates and the relay that shows them tell each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

ACME_PROTOCOL: Final = "acme-tls/1"
"""The ALPN name by which an authority asks for a challenge's certificate (RFC 8737, section 6.2)."""

NEAR_END: Final = 1 / 6
"""Rest of a certificate's life below which something is wrong: renewals are tried from a third, or a half, on."""


class Challenges(Protocol):
    """The relay, as the keeper sees it: it shows a challenge's certificate to the authority.

    At most one challenge is open at a time, so a client that offers `ACME_PROTOCOL` and nothing else can be given the
    one that is open, whatever name it asks for. (For an IP address it asks for a name under `in-addr.arpa` or
    `ip6.arpa`: RFC 8738, section 6.)
    """

    async def open(self, identifier: str, certificate_pem: bytes, key_pem: bytes) -> None:
        """Show this certificate, with `acmeIdentifier`, from now on. The handshake ends with ALPN `ACME_PROTOCOL`.

        When this returns all ports and workers show it. If it raises OSError, the try counts as failed.
        """
        ...

    async def close(self, identifier: str) -> None:
        """Show it no longer. Is called once for each `open`, also if that failed, and when the keeper is cancelled.

        It has a second then.
        """
        ...


@dataclass(frozen=True, slots=True)
class Status:
    """What a keeper knows at a moment. Times are Unix times.

    Attributes:
        names: of the certificate that is wanted.
        valid_from: when the certificate in use began; None without one.
        expires: when it ends; None without one.
        last_try: when an order was last begun; None if this never happened.
        next_try: when one will be, as far as it is known; None while one runs, and while the relay drains.
        failures: tries that failed since the last one that did not.
        last_error: why the last of them failed, in the authority's own words where it said something; None if the last
            try did not fail.
        is_wanted: whether the certificate in use is for the names, authority and kind that are wanted now.

    """

    names: tuple[str, ...]
    valid_from: float | None = None
    expires: float | None = None
    last_try: float | None = None
    next_try: float | None = None
    failures: int = 0
    last_error: str | None = None
    is_wanted: bool = True

    def needs_attention(self, now: float) -> bool:
        """Return whether an operator should look: a try brought no certificate, or the end of the one in use is near.

        What is in use for other names than the wanted ones is no certificate in this respect.
        What is near depends on its life, so this is right for certificates of days as well as of months.
        """
        if self.valid_from is None or self.expires is None:
            return self.failures > 0
        if self.failures > 0 and not self.is_wanted:
            return True
        return self.expires - now < (self.expires - self.valid_from) * NEAR_END


@dataclass(frozen=True, slots=True)
class CertificateFound:
    """The folder had a certificate at the start, and it is in use."""

    expires: float


@dataclass(frozen=True, slots=True)
class AccountMade:
    """The authority has made an account. `terms` is the address of what its use agrees to, if it named one."""

    directory: str
    terms: str | None


@dataclass(frozen=True, slots=True)
class OrderBegun:
    """A certificate is about to be ordered; `resumed` if an order that an earlier process began goes on."""

    names: tuple[str, ...]
    directory: str
    resumed: bool


@dataclass(frozen=True, slots=True)
class CertificateObtained:
    """A new certificate is in use."""

    names: tuple[str, ...]
    expires: float


@dataclass(frozen=True, slots=True)
class TryFailed:
    """A try failed.

    Attributes:
        why: sentences with the authority's own words.
        next_try: Unix time of the next one.
        failures: how many have failed in a row.
        expires: Unix time at which the certificate in use ends; None without one.

    """

    why: str
    next_try: float
    failures: int
    expires: float | None


@dataclass(frozen=True, slots=True)
class OtherOrders:
    """Another process orders in this folder. This one waits, and uses the certificate if it has the same names."""

    folder: Path


Event: TypeAlias = CertificateFound | AccountMade | OrderBegun | CertificateObtained | TryFailed | OtherOrders
"""What a keeper reports."""

OnCertificate: TypeAlias = "Callable[[Path, Path], Awaitable[bool]]"
"""Is given the files of a chain and of its key (PEM), and returns whether they are in use now.

The files stay in place as long as the process runs and their certificate is the newest one or the one before it. The
next certificate lies in other files. False keeps the old one; the log of the relay says why.
"""
