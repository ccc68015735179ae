"""What an operator chooses about certificates from an ACME authority, checked as a whole."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from p2p_copy.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

DIRECTORIES: Final = {
    "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
    "letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
}
"""Authorities that have a short name, and the addresses of their directories."""

MOST_NAMES: Final = 100
"""Names in one certificate. Let's Encrypt takes no more."""

_LABEL: Final = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)", re.ASCII)
_NAME_SIZE: Final = 253
_EMAIL: Final = re.compile(r"[!-~]+@[!-~]+")
_WORD: Final = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class AcmeSettings:
    """Which certificate to get, from whom, and where to keep it. What is given is brought into one form.

    Attributes:
        names: DNS names (lower case, IDNA) and IP addresses of the certificate, without wildcards.
        folder: where account, keys and chains are kept. It is made with its parents, for this user only.
        email: where the authority may write to; None for nowhere.
        directory: https address of the authority's directory, or a key of `DIRECTORIES`.
        profile: which kind of certificate the authority shall issue; None for its default.
        eab_kid: name of the account at the authority to which ours is bound (external account binding, RFC 8555,
            section 7.3.4); None for none.
        eab_key: key of that account, in base64url. A secret.
        ca_file: PEM file with the authorities that are trusted for the connection to `directory`; None for public ones.

    """

    names: tuple[str, ...]
    folder: Path
    email: str | None = None
    directory: str = "letsencrypt"
    profile: str | None = None
    eab_kid: str | None = None
    eab_key: str | None = field(default=None, repr=False)
    ca_file: Path | None = None

    def __post_init__(self) -> None:
        """Check all and bring it into one form.

        Raises:
            UsageError: a value has the wrong form. The sentence names the option of the command line's `--acme…`.

        """
        names = tuple(dict.fromkeys(map(canonical_name, self.names)))
        if not names:
            raise UsageError("`acme` needs the name that the certificate is for.")
        if len(names) > MOST_NAMES:
            raise UsageError(f"`acme` names {len(names)} names. A certificate has room for {MOST_NAMES}.")
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "directory", _directory(self.directory))
        if self.email is not None and (not _EMAIL.fullmatch(self.email) or set(self.email) & set(",?&")):
            raise UsageError(f"`acme_email` '{self.email}' is no email address.")
        if self.profile is not None and not _WORD.fullmatch(self.profile):
            raise UsageError(
                "`acme_profile` is one word, by which the authority knows a kind of certificate."
            )
        if (self.eab_kid is None) != (self.eab_key is None):
            raise UsageError("`acme_eab_kid` and `acme_eab_key_file` are given together, or neither of them.")
        if self.eab_kid is not None and not _WORD.fullmatch(self.eab_kid):
            raise UsageError("`acme_eab_kid` is one word, which the authority gave together with its key.")
        if self.eab_key is not None:
            object.__setattr__(self, "eab_key", _eab_key(self.eab_key))


def canonical_name(name: str) -> str:
    """Return a DNS name in lower case and IDNA, without the dot at its end, or an IP address in its shortest form.

    Raises:
        UsageError: it is neither, or a wildcard.

    """
    bare = name.strip().removesuffix(".").lower()
    if "%" not in bare:  # an address with a zone means something on one machine only
        with suppress(ValueError):
            return str(ipaddress.ip_address(bare.removeprefix("[").removesuffix("]")))
    if "*" in bare:
        raise UsageError(
            f"`acme` cannot take the wildcard '{name}': authorities prove wildcards by DNS only. Name each host."
        )
    try:
        bare = bare if bare.isascii() else bare.encode("idna").decode("ascii")
    except UnicodeError:
        raise _no_name(name) from None
    labels = bare.split(".")
    if len(bare) > _NAME_SIZE or labels[-1].isdigit() or not all(map(_LABEL.fullmatch, labels)):
        raise _no_name(name)
    return bare


def is_address(name: str) -> bool:
    """Return whether a canonical name is an IP address."""
    return ":" in name or name.rpartition(".")[2].isdigit()


def _no_name(name: str) -> UsageError:
    return UsageError(
        f"`acme` '{name}' is neither a DNS name nor an IP address. It is a name alone, without https:// and port."
    )


def _directory(given: str) -> str:
    directory = DIRECTORIES.get(given.strip().lower(), given.strip())
    try:
        parts = urlsplit(directory)
        usable = parts.scheme == "https" and bool(parts.hostname) and "@" not in parts.netloc
        usable = usable and parts.port != 0  # asking for the port checks it
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(f"`acme_directory` is an address with https://, or one of {', '.join(DIRECTORIES)}.")
    return directory


def _eab_key(given: str) -> str:
    """Return the key in base64url without padding. What is wrong with a secret is never shown."""
    key = given.strip().rstrip("=").replace("+", "-").replace("/", "_")
    try:
        raw = base64.b64decode(key + "=" * (-len(key) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not raw:
        raise UsageError("`acme_eab_key_file` has to hold one key in base64url, as the authority gave it.")
    return key
