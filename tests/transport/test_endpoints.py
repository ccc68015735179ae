"""From an address to a link: every way in which a relay cannot be reached has its own sentence."""

from __future__ import annotations

import hashlib
import re
import shutil
import socket
import ssl
import subprocess
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trustme

from p2p_copy.errors import (
    CertificateNotTrusted,
    NotARelay,
    P2PCopyError,
    RelayExpectsTLS,
    RelayRefused,
    RelayUnreachable,
    RelayWithoutTLS,
    UsageError,
)
from p2p_copy.protocol.rendezvous import room_path
from p2p_copy.transport import limits
from p2p_copy.transport.address import RelayAddress
from p2p_copy.transport.certificate import parse_pin, pin_of, pin_text
from p2p_copy.transport.endpoints import accept
from p2p_copy.transport.link import LinkBroken
from tests.relay.clients import relay_running
from tests.support.certificates import Issued
from tests.support.hanging import hanging
from tests.support.links import MAX, connect, serving, taken
from tests.support.other_protocols import SSH, TLS_ALERT
from tests.support.transfers import CODE, receive
from tests.support.websocket import let_pass, movable_time, virtual_time

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from p2p_copy.transport.tcp import TCPStream


def over_tls(address: RelayAddress, host: str = "127.0.0.1") -> RelayAddress:
    return RelayAddress(True, host, address.port, address.prefix)


# Calling a relay


def answering_with(data: bytes, *, endless: bytes = b"") -> Callable[[TCPStream], Awaitable[None]]:
    """Return a server that reads a request, sends `data` and then `endless` again and again, and never closes."""

    async def handle(stream: TCPStream) -> None:
        with suppress(trio.BrokenResourceError):
            await stream.receive_some(4096)
            await stream.send_all(data)
            while endless:
                await stream.send_all(endless)
            await stream.receive_some(1)

    return handle


HTML = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 15\r\n\r\n<html>Hi</html>"
NGINX = (
    b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\nContent-Type: text/html\r\nContent-Length: 77\r\n\r\n"
    b"<html><title>400 The plain HTTP request was sent to HTTPS port</title></html>"
)
GO = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
BAD_101 = (
    b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n"
)


@pytest.mark.fault(76, "captive portal", "proxy")
@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (HTML, NotARelay, "HTTP status 200"),
        (
            b"HTTP/1.1 302 Found\r\nLocation: https://login/\r\n\r\n",
            NotARelay,
            r"redirects to 'https://login/' \(",
        ),
        (
            b"HTTP/1.1 301 Moved\nlocation:/x\x1b[2J\xff\n\n",
            NotARelay,
            r"to '/x\?\[2J\?' \(HTTP status 301\)",
        ),
        (b"HTTP/1.1 308 Moved\r\nLocation: " + b"y" * 900 + b"\r\n\r\n", NotARelay, r"to 'y{120}\.\.\.' \("),
        (b"HTTP/1.1 302 Found\r\n\r\nLocation: https://body/\r\n", NotARelay, r"redirects \("),
        (b"HTTP/1.1 401 Unauthorized\r\n\r\n", NotARelay, "The server at .* wants a login"),
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
            NotARelay,
            "A proxy of the network .* wants a login",
        ),
        (b"HTTP/1.1 500 Internal Server Error\r\n\r\n", RelayUnreachable, "fault of its own"),
        (b"HTTP/1.1 403 No\r\nContent-Length: 999999999\r\n\r\n<html>", NotARelay, "HTTP status 403"),
        (b"HTTP/1.1 400 No\r\nContent-Length: 3\r\n\r\nbad", NotARelay, "HTTP status 400"),
        (
            b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n",
            NotARelay,
            "a proxy in between does not pass",
        ),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n", NotARelay, "HTTP status 103"),
        (b"HTTP/1.1 429 Too Many Requests\r\n\r\n", RelayRefused, "too many connections from your network"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", RelayUnreachable, "the relay behind it does not"),
        (BAD_101, NotARelay, "speaks WebSocket wrongly"),
        (BAD_101.replace(b"Upgrade\r\n", b"\xff\r\n"), NotARelay, "speaks WebSocket wrongly"),
        (SSH, NotARelay, "no web server"),
        (b"\xff" * 40_000, NotARelay, "no web server"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 40_000, NotARelay, "HTTP status 200"),
        (TLS_ALERT, RelayExpectsTLS, "wss://"),
        (NGINX, RelayExpectsTLS, "wss://"),
    ],
)
async def test_the_first_bytes_tell_what_answers_in_place_of_a_relay(
    answer: bytes, error: type[P2PCopyError], words: str
) -> None:
    async with serving(answering_with(answer)) as address:
        with trio.fail_after(5), pytest.raises(error, match=words) as caught:
            async with connect(address, "/"):
                raise AssertionError("no relay is there")
    assert f":{address.port}" in str(caught.value)
    assert not isinstance(caught.value.__cause__, ExceptionGroup)


async def test_a_redirect_is_shown_without_the_room() -> None:
    room = room_path("0123456789abcdef" * 4)
    location = f"https://elsewhere/p2p{room}".encode()
    async with serving(
        answering_with(b"HTTP/1.1 301 Moved\r\nLocation: " + location + b"\r\n\r\n")
    ) as address:
        with pytest.raises(NotARelay, match="to 'https://elsewhere/p2p'"):
            async with connect(address, room):
                raise AssertionError("no relay is there")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Upgrade: websocket\r\n", b""),
        (b"Upgrade: websocket", b"Upgrade: h2c"),
        (b"Connection: Upgrade", b"Connection: close"),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"Sec-WebSocket-Version: 13\r\n", b""),
    ],
)
async def test_a_proxy_that_changes_the_request_is_recognised(old: bytes, new: bytes) -> None:
    """The client gets what the relay answers to the changed request."""

    async def proxy(stream: TCPStream) -> None:
        request = bytes(await stream.receive_some(4096))
        changed, times = re.subn(re.escape(old), new, request, flags=re.IGNORECASE)
        assert times == 1
        async with await trio.open_tcp_stream("127.0.0.1", relay.address.port) as behind:
            await behind.send_all(changed)
            while answer := await behind.receive_some(4096):
                await stream.send_all(answer)

    async with relay_running() as relay, serving(proxy) as address:
        with pytest.raises(RelayUnreachable, match="proxy in between does not pass it on"):
            async with connect(address, room_path("0" * 64)):
                raise AssertionError("no relay can be there")


async def test_a_400_that_mentions_https_may_end_with_the_connection() -> None:
    async def handle(stream: TCPStream) -> None:
        await stream.receive_some(4096)
        await stream.send_all(GO)

    async with serving(handle) as address:
        with pytest.raises(RelayExpectsTLS):
            async with connect(address, "/"):
                raise AssertionError("no relay is there")


@pytest.mark.fault(76, "endless answer")
@pytest.mark.parametrize("status", [400, 403])
async def test_an_endless_answer_is_not_read(status: int) -> None:
    head = b"HTTP/1.1 %d No\r\nTransfer-Encoding: chunked\r\n\r\n" % status
    async with serving(answering_with(head, endless=b"8\r\nendless!\r\n")) as address:
        with trio.fail_after(5), pytest.raises(NotARelay, match=f"HTTP status {status}"):
            async with connect(address, "/"):
                raise AssertionError("no relay is there")


@pytest.mark.fault(76, "closed at once")
async def test_a_server_that_closes_at_once_may_be_busy_or_want_the_other_scheme() -> None:
    async def handle(stream: TCPStream) -> None:
        pass

    async with serving(handle) as address:
        with pytest.raises(RelayUnreachable, match=r"busy.*wss://"):
            async with connect(address, "/"):
                raise AssertionError("no relay is there")
        with pytest.raises(RelayUnreachable, match=r"busy.*ws://"):
            async with connect(over_tls(address), "/"):
                raise AssertionError("no relay is there")


@pytest.mark.fault(76, "silent after TCP")
@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 2"])
@pytest.mark.parametrize("tls", [False, True])
@movable_time()
async def test_a_silent_server_is_given_up_in_time(said: bytes, tls: bool) -> None:
    async def handle(stream: TCPStream) -> None:
        assert await stream.receive_some(4096)
        if not tls:
            await stream.send_all(said)
            await taken(stream)  # before its time is over
        await let_pass(limits.CONNECT_TIMEOUT)
        await trio.sleep_forever()

    async with serving(handle) as address:
        with trio.fail_after(60), pytest.raises(NotARelay if said and not tls else RelayUnreachable):
            async with connect(over_tls(address) if tls else address, "/"):
                raise AssertionError("no relay is there")


async def test_a_closed_port_is_unreachable() -> None:
    async with serving(answering_with(b"")) as address:
        pass
    with pytest.raises(RelayUnreachable, match=f"127\\.0\\.0\\.1:{address.port} refuses connections"):
        async with connect(address, "/"):
            raise AssertionError("no relay is there")


@pytest.mark.fault(76, "silent after the upgrade")
@movable_time()
async def test_a_relay_that_says_nothing_after_the_upgrade_is_given_up_in_time(tmp_path: Path) -> None:
    assert limits.CONNECT_TIMEOUT <= 15

    async def handle(stream: TCPStream) -> None:
        async with accept(stream, max_message=MAX) as (_, link):
            await link.receive()
            await let_pass(limits.CONNECT_TIMEOUT)
            await trio.sleep_forever()

    async with serving(handle) as address:
        with trio.fail_after(60), pytest.raises(NotARelay, match="does not welcome us"):
            await receive(str(tmp_path), relay=str(address), code=CODE)


@pytest.mark.fault(77, "IPv6")
async def test_an_address_that_takes_nothing_gives_way_to_the_next_one() -> None:
    """IPv6 is there and leads nowhere, which must not delay IPv4."""

    class Resolver(trio.abc.HostnameResolver):
        async def getaddrinfo(self, host: Any, port: Any, *_: Any, **__: Any) -> Any:
            return [
                (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)),
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
            ]

        async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
            raise AssertionError("nobody asks for names")

    async with serving(greet) as address:
        with full(address.port) as broken:
            trio.socket.set_custom_hostname_resolver(Resolver())
            with trio.fail_after(10):
                async with connect(RelayAddress(False, "relay.example", address.port), "/") as link:
                    assert await link.receive() == "hello over TLS"
        assert broken


@contextmanager
def full(port: int) -> Iterator[bool]:
    """Occupy a port of the IPv6 loopback so that connections to it are neither refused nor accepted."""
    try:
        listener = socket.create_server(("::1", port), family=socket.AF_INET6, backlog=0)
    except OSError:
        pytest.skip("there is no IPv6 here")
    waiting = []
    with listener:
        for _ in range(4):
            one = socket.socket(socket.AF_INET6)
            one.setblocking(False)
            one.connect_ex(("::1", port))
            waiting.append(one)
        yield True
        for one in waiting:
            one.close()


@pytest.mark.fault(77, "name")
async def test_an_unknown_name_is_unreachable() -> None:
    with pytest.raises(RelayUnreachable, match=r"relay\.invalid cannot be resolved"):
        async with connect(RelayAddress(True, "relay.invalid", 443), "/"):
            raise AssertionError("no relay is there")


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return str(file)


def secure(certificate: trustme.LeafCert, handler: Callable[[trio.abc.Stream], Awaitable[None]]) -> Any:
    """Return a handler that does TLS before it calls the given one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return over(context, handler)


def over(context: ssl.SSLContext, handler: Callable[[trio.abc.Stream], Awaitable[None]]) -> Any:
    """Do the same with the given context."""

    async def handle(stream: TCPStream) -> None:
        wrapped = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        with suppress(trio.BrokenResourceError, LinkBroken):  # a client may only look at the certificate
            await wrapped.do_handshake()
            await handler(wrapped)

    return handle


async def greet(stream: trio.abc.Stream) -> None:
    async with accept(stream, max_message=MAX) as (_, link):
        await link.send("hello over TLS")


async def test_tls_with_an_authority_from_ca_file(authority: trustme.CA, ca_file: str) -> None:
    async with serving(secure(authority.issue_cert("127.0.0.1", "localhost"), greet)) as address:
        for host in ("127.0.0.1", "localhost"):
            async with connect(over_tls(address, host), "/", ca_file=ca_file) as link:
                assert await link.receive() == "hello over TLS"


def expired(authority: trustme.CA) -> trustme.LeafCert:
    return authority.issue_cert("127.0.0.1", not_after=datetime(2020, 1, 1, tzinfo=UTC))


@pytest.mark.fault(76, "untrusted", "expired", "other host")
@pytest.mark.parametrize(
    ("issue", "trusted", "words"),
    [
        (lambda ca: ca.issue_cert("127.0.0.1"), False, "authority that is not known here"),
        (lambda ca: ca.issue_cert("relay.example"), True, "for another address"),
        (expired, True, "has expired"),
    ],
)
async def test_the_error_says_why_a_certificate_is_not_trusted(
    authority: trustme.CA, ca_file: str, issue: Any, trusted: bool, words: str
) -> None:
    async with serving(secure(issue(authority), greet)) as address:
        with pytest.raises(CertificateNotTrusted, match=words):
            async with connect(over_tls(address), "/", ca_file=ca_file if trusted else None):
                raise AssertionError("nobody to trust")


@pytest.mark.parametrize(
    ("name", "shown"),
    [("Acme Gateway", "Acme Gateway"), ("Acme\x1b[2J'ä", r"Acme\?\[2J'\?"), ("y" * 64, "y{64}")],
)
async def test_an_authority_that_is_not_known_is_named(name: str, shown: str) -> None:
    """People recognise the name of the box that decrypts their network's TLS."""
    issued = trustme.CA(organization_name=name).issue_cert("127.0.0.1")
    async with serving(secure(issued, greet)) as address:
        with pytest.raises(
            CertificateNotTrusted, match=f"issued by '{shown}', an authority that is not"
        ) as told:
            async with connect(over_tls(address), "/"):
                raise AssertionError("nobody to trust")
    assert "the network decrypts TLS" in str(told.value)


async def test_a_pinned_key_is_trusted_and_no_other(authority: trustme.CA) -> None:
    issued = authority.issue_cert("elsewhere.example", not_after=datetime(2020, 1, 1, tzinfo=UTC))
    leaf = issued.cert_chain_pems[0].bytes()
    pin = pin_of(ssl.PEM_cert_to_DER_cert(leaf.decode()))
    async with serving(secure(issued, greet)) as address:
        async with connect(over_tls(address), "/", pin=pin) as link:
            assert await link.receive() == "hello over TLS"
        with pytest.raises(CertificateNotTrusted, match="not the one that `pin` names") as told:
            async with connect(over_tls(address), "/", pin=bytes(32)):
                raise AssertionError("another key")
    assert pin_text(pin) in str(told.value)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed here")
def test_a_pin_is_what_openssl_and_curl_call_it(authority: trustme.CA) -> None:
    leaf = authority.issue_cert("127.0.0.1").cert_chain_pems[0].bytes()
    key = subprocess.run(
        ["openssl", "x509", "-pubkey", "-noout"], input=leaf, capture_output=True, check=True
    )
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-outform", "der"], input=key.stdout, capture_output=True, check=True
    )
    assert hashlib.sha256(der.stdout).digest() == pin_of(ssl.PEM_cert_to_DER_cert(leaf.decode()))


@pytest.mark.parametrize(
    "text",
    [
        "sha256//AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        " sha256/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        bytes(range(32)).hex(),
        f"SHA256:{bytes(range(32)).hex(':').upper()}",
    ],
)
def test_a_pin_is_read_in_each_usual_form(text: str) -> None:
    assert parse_pin(text) == bytes(range(32))
    assert parse_pin(pin_text(bytes(range(32)))) == bytes(range(32))


@pytest.mark.parametrize(
    "text", ["", "sha256//", "x" * 64, "00" * 31, "sha1//AAEC", "ä" * 44, "A" * 42 + "=="]
)
def test_another_text_is_no_pin(text: str) -> None:
    with pytest.raises(UsageError, match="`pin` is the SHA-256"):
        parse_pin(text)


async def test_an_authority_that_breaks_the_rules_is_not_called_unknown(tmp_path: Path) -> None:
    """The same with every version of Python: only 3.13 and later check this by themselves."""
    certificate, key, authority = Issued(lax=True).write(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    async with serving(over(context, greet)) as address:
        with pytest.raises(CertificateNotTrusted, match="not accepted: Basic Constraints of CA cert") as told:
            async with connect(over_tls(address), "/", ca_file=authority):
                raise AssertionError("nobody to trust")
    assert "`ca_file`" not in str(told.value)


@pytest.mark.fault(76, "other host")
async def test_the_error_says_that_a_certificate_is_for_another_name(
    authority: trustme.CA, ca_file: str
) -> None:
    async with serving(secure(authority.issue_cert("relay.example"), greet)) as address:
        with pytest.raises(CertificateNotTrusted, match="another host name"):
            async with connect(over_tls(address, "localhost"), "/", ca_file=ca_file):
                raise AssertionError("nobody to trust")


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad\r\n\r\n", b"SSH-2.0-x\r\n", b"\x00" * 100])
async def test_the_error_says_that_the_port_does_not_speak_tls(answer: bytes) -> None:
    async with serving(answering_with(answer)) as address:
        with pytest.raises(RelayWithoutTLS, match="does not speak TLS"):
            async with connect(over_tls(address), "/"):
                raise AssertionError("no TLS is there")


async def test_the_error_says_that_there_is_no_common_version_of_tls() -> None:
    async with serving(answering_with(TLS_ALERT)) as address:
        with pytest.raises(RelayUnreachable, match="cannot agree on TLS"):
            async with connect(over_tls(address), "/"):
                raise AssertionError("no TLS is there")


async def test_the_error_says_that_the_port_speaks_tls(authority: trustme.CA) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    async def handle(stream: TCPStream) -> None:
        wrapped = trio.SSLStream(stream, context, server_side=True)
        with pytest.raises(trio.BrokenResourceError):
            await wrapped.do_handshake()

    async with serving(handle) as address:
        # It hangs up without a word, as a busy one would.
        with pytest.raises(RelayUnreachable, match="wss://"):
            async with connect(address, "/"):
                raise AssertionError("no plain text is there")


@pytest.mark.fault(76, "silent after TLS")
@movable_time()
async def test_a_server_that_is_silent_after_tls_is_given_up_in_time(
    authority: trustme.CA, ca_file: str
) -> None:
    async def silent(stream: trio.abc.Stream) -> None:
        assert await stream.receive_some(4096), "it asks for the upgrade"
        await let_pass(limits.CONNECT_TIMEOUT)
        await trio.sleep_forever()

    async with serving(secure(authority.issue_cert("127.0.0.1"), silent)) as address:
        with trio.fail_after(60), pytest.raises(RelayUnreachable, match="does not answer"):
            async with connect(over_tls(address), "/", ca_file=ca_file):
                raise AssertionError("no relay is there")


async def test_a_disk_that_does_not_answer_ends_the_wait_for_authorities(
    ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FILE_TIMEOUT", 0.2)
    with hanging(Path(ca_file)), pytest.raises(RelayUnreachable, match="`ca_file`"):
        async with connect(RelayAddress(True, "127.0.0.1", 1), "/", ca_file=ca_file):
            raise AssertionError("nobody is there")


async def test_a_server_that_closes_after_tls_may_be_busy(authority: trustme.CA, ca_file: str) -> None:
    async def close(stream: trio.abc.Stream) -> None:
        await stream.receive_some(4096)
        await stream.aclose()

    async with serving(secure(authority.issue_cert("127.0.0.1"), close)) as address:
        with pytest.raises(RelayUnreachable, match="busy"):
            async with connect(over_tls(address), "/", ca_file=ca_file):
                raise AssertionError("no relay is there")


async def test_the_error_says_why_a_file_of_authorities_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    for name, words in (("empty.pem", "no certificates"), ("missing.pem", "cannot be read")):
        with pytest.raises(UsageError, match=words):
            async with connect(RelayAddress(True, "127.0.0.1", 1), "/", ca_file=str(tmp_path / name)):
                raise AssertionError("there is no such authority")


@virtual_time()
async def test_an_address_without_a_machine_costs_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nobody(_host: str, _port: int) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(trio, "open_tcp_stream", nobody)
    began = trio.current_time()
    with pytest.raises(RelayUnreachable, match="does not answer"):
        async with connect(RelayAddress(False, "relay.example", 1), "/"):
            raise AssertionError("nobody is there")
    assert trio.current_time() - began == pytest.approx(limits.DIAL_TIMEOUT)
