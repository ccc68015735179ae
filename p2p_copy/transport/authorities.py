"""Finds the file or directory with the certificates of the authorities that this machine trusts.

OpenSSL looks where it was told when it was built. A Python that is not the distribution's (conda's, uv's, one that
was built elsewhere) may have been told places that this machine does not have, and OpenSSL then trusts no authority
and does not say so. For that case the places of the distributions are known here.
"""

from __future__ import annotations

import os
import re
import ssl
import sys
from typing import Final

from p2p_copy.value import NamedTuple

_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch, Gentoo
    "/etc/pki/tls/certs/ca-bundle.crt",  # Red Hat, Rocky, Fedora until 43
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # the same, and later ones
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/var/lib/ca-certificates/ca-bundle.pem",  # the same
    "/etc/ssl/cert.pem",  # Alpine, BSD, macOS
)
"""Where distributions have the authorities that they trust, in one file."""

_HASHED: Final = re.compile(r"[0-9a-f]{8}\.[0-9]+")
"""Names by which OpenSSL finds certificates in a directory (openssl-rehash(1)); it sees no others."""


class Authorities(NamedTuple):
    """Where the authorities come from.

    Attributes:
        places: files and directories; none if there are no authorities.
        variables: the environment variables that name places, or say that there are none.
        to_load: the file that OpenSSL does not read by itself; empty if there is none.

    """

    places: tuple[str, ...]
    variables: tuple[str, ...] = ()
    to_load: str = ""


def find_authorities() -> Authorities:
    """Return where this machine's authorities are. It reads directories, so it may wait for a disk.

    If `SSL_CERT_FILE` or `SSL_CERT_DIR` is set, OpenSSL's own choice counts, as with every program that uses OpenSSL:
    with a wrong path there may be no authority.
    """
    if sys.platform == "win32":  # Python reads it there, and the variables' places besides
        return Authorities(("the store of Windows",))
    paths = ssl.get_default_verify_paths()
    named = (paths.openssl_cafile_env, paths.openssl_capath_env)
    variables = tuple(name for name in named if os.environ.get(name))
    directory = paths.capath if paths.capath and _is_hashed(paths.capath) else None
    if (places := tuple(filter(None, (paths.cafile, directory)))) or variables:
        return Authorities(places, variables)
    for bundle in (*_BUNDLES, _of_certifi()):
        if os.path.isfile(bundle) and os.access(bundle, os.R_OK):
            return Authorities((bundle,), to_load=bundle)
    return Authorities(())


def _is_hashed(directory: str) -> bool:
    """Return whether OpenSSL finds certificates in a directory."""
    try:
        return any(map(_HASHED.fullmatch, os.listdir(directory)))
    except OSError:
        return False


def _of_certifi() -> str:
    """Return the path of the authorities that Mozilla trusts, if the package with them is installed; else nothing."""
    from importlib.util import find_spec  # rarely needed

    spec = find_spec("certifi")
    return os.path.join(os.path.dirname(spec.origin), "cacert.pem") if spec and spec.origin else ""
