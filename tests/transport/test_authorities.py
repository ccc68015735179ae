"""Where the authorities come from, with real certificates and OpenSSL's own variables."""

from __future__ import annotations

import os
import ssl
import sys
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import trio

from p2p_copy.errors import CertificateNotTrusted
from p2p_copy.transport import authorities
from p2p_copy.transport.authorities import Authorities, find_authorities
from p2p_copy.transport.endpoints import accept
from p2p_copy.transport.link import LinkBroken
from tests.support.certificates import Certificates
from tests.support.links import MAX, connect, serving

if TYPE_CHECKING:
    from pathlib import Path

    from p2p_copy.transport.tcp import TCPStream

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has a store of its own")


class Places:
    """What a Python was told when it was built: a file and a directory that need not exist."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file, self.directory = folder / "openssl.pem", folder / "openssl"
        self.bundle = folder / "bundle.crt"
        for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setattr(ssl, "get_default_verify_paths", self._paths)
        monkeypatch.setattr(authorities, "_BUNDLES", (str(folder / "nothing"), str(self.bundle)))
        self.of_certifi = authorities._of_certifi
        monkeypatch.setattr(authorities, "_of_certifi", str)

    def _paths(self) -> Any:  # typeshed knows no None there
        file = os.environ.get("SSL_CERT_FILE", str(self.file))
        directory = os.environ.get("SSL_CERT_DIR", str(self.directory))
        return SimpleNamespace(
            cafile=file if os.path.isfile(file) else None,
            capath=directory if os.path.isdir(directory) else None,
            openssl_cafile_env="SSL_CERT_FILE",
            openssl_capath_env="SSL_CERT_DIR",
        )


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    return Places(tmp_path, monkeypatch)


def test_openssl_finds_its_own_places(places: Places) -> None:
    places.file.touch()
    places.bundle.touch()
    assert find_authorities() == Authorities((str(places.file),))
    places.file.unlink()
    places.directory.mkdir()
    (places.directory / "0123abcd.0").touch()
    assert find_authorities() == Authorities((str(places.directory),))


def test_a_directory_in_which_openssl_finds_nothing_is_no_place(places: Places) -> None:
    """Red Hat has /etc/ssl/certs with a bundle in it, and no names that OpenSSL looks for."""
    places.directory.mkdir()
    (places.directory / "ca-bundle.crt").touch()
    assert find_authorities() == Authorities(())
    places.bundle.touch()
    assert find_authorities() == Authorities((str(places.bundle),), to_load=str(places.bundle))


def test_what_the_environment_names_is_not_widened(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    places.bundle.touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(places.file))
    assert find_authorities() == Authorities((), ("SSL_CERT_FILE",))
    places.file.touch()
    assert find_authorities() == Authorities((str(places.file),), ("SSL_CERT_FILE",))


def test_the_certificates_of_a_package_are_the_last_resort(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "certifi"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "cacert.pem").touch()
    monkeypatch.setattr(authorities, "_of_certifi", places.of_certifi)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "certifi", raising=False)
    found = str(package / "cacert.pem")
    assert find_authorities() == Authorities((found,), to_load=found)
    places.bundle.touch()
    assert find_authorities().to_load == str(places.bundle)


async def test_a_relay_is_trusted_by_the_file_that_openssl_does_not_know(
    places: Places, tmp_path: Path
) -> None:
    certificates = Certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate, certificates.key)

    async def greet(plain: TCPStream) -> None:
        stream = trio.SSLStream(plain, context, server_side=True, https_compatible=True)
        with suppress(LinkBroken):
            async with accept(stream, max_message=MAX) as (_, link):
                await link.send("hello")

    async with serving(greet) as address:
        relay = address._replace(tls=True)
        places.bundle.touch()
        with pytest.raises(CertificateNotTrusted, match="an authority that is not known here"):
            async with connect(relay, "/"):
                raise AssertionError("its authority is nowhere")
        places.bundle.unlink()
        places.bundle.hardlink_to(certificates.authority)
        async with connect(relay, "/") as link:
            assert await link.receive() == "hello"
