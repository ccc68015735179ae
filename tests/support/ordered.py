"""Relays that get their certificates from a real authority, as the whole program."""

from __future__ import annotations

import json
import socket
import ssl
import urllib.request
from typing import TYPE_CHECKING

from cryptography import x509

from tests.support.processes import QUICK

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.acme_authorities import Served

ADDRESS = "127.0.0.1"


class Ordered:
    """What makes a relay of the tests one that orders at pebble; stands for its certificate.

    Attributes:
        authority: file with the root by which clients trust the certificates; see `trust`.
        folder: where the relay keeps its certificates.

    """

    def __init__(self, served: Served, folder: Path, *names: str) -> None:
        self._served = served
        self.folder = folder / "acme"
        self.authority = str(folder / "root.pem")
        self._names = names or (ADDRESS,)

    @property
    def options(self) -> tuple[str, ...]:
        served = self._served
        named = [word for name in self._names for word in ("--acme", name)]
        where = ("--acme-directory", served.directory, "--acme-ca-file", str(served.ca_file))
        return (*named, *where, "--acme-dir", str(self.folder))

    @property
    def where(self) -> tuple[str, ...]:
        """Where the authority looks for the relay."""
        return (f"{ADDRESS}:{self._served.tls_port}",)

    def trust(self) -> None:
        """Write the root of this authority, which pebble makes anew whenever it starts."""
        config = json.loads((self._served.ca_file.parent / "config.json").read_text())
        context = ssl.create_default_context(cafile=self._served.ca_file)
        url = f"https://{config['pebble']['managementListenAddress']}/roots/0"
        with (
            urllib.request.urlopen(url, context=context, timeout=QUICK) as answer,
            open(self.authority, "wb") as file,
        ):
            file.write(answer.read())

    def shown(self, *protocols: str) -> x509.Certificate:
        """Return the certificate that a new client is shown which trusts the authority."""
        context = ssl.create_default_context(cafile=self.authority)
        if protocols:
            context.set_alpn_protocols(list(protocols))
        with (
            socket.create_connection((ADDRESS, self._served.tls_port), timeout=QUICK) as tcp,
            context.wrap_socket(tcp, server_hostname=ADDRESS) as secure,
        ):
            certificate = secure.getpeercert(binary_form=True)
        assert certificate is not None
        return x509.load_der_x509_certificate(certificate)
