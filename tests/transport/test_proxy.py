"""The way through a proxy: every answer that it may give, in any pieces, and what is said of it."""

from __future__ import annotations

import base64
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trustme
from hypothesis import given, strategies as st
from trio.testing import memory_stream_pair

from p2p_copy.errors import (
    CertificateNotTrusted,
    NotAProxy,
    NotARelay,
    P2PCopyError,
    ProxyForbids,
    ProxyUnreachable,
    ProxyWantsLogin,
    RelayUnreachable,
    RelayWithoutTLS,
)
from p2p_copy.transport import limits
from p2p_copy.transport.address import RelayAddress
from p2p_copy.transport.endpoints import accept
from p2p_copy.transport.proxy import connect_through
from p2p_copy.transport.proxy_address import ProxyAddress
from p2p_copy.transport.tcp import gathering
from tests.support.links import MAX, connect, serving
from tests.support.other_protocols import SSH, TLS_ALERT
from tests.support.proxies import OK, Tunnel, read_exactly, read_until, saying, serving_proxy
from tests.support.websocket import let_pass, movable_time, virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from p2p_copy.transport.tcp import TCPStream

RELAY = RelayAddress(True, "relay.example", 443)
SECRET = "secretpassword"


@asynccontextmanager
async def greeting(tls: trustme.LeafCert | None = None) -> AsyncIterator[RelayAddress]:
    """Run what greets each client over a WebSocket, as a relay may."""

    async def handle(plain: TCPStream) -> None:
        stream: trio.abc.Stream = plain
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.configure_cert(context)
            stream = trio.SSLStream(plain, context, server_side=True, https_compatible=True)
        async with accept(stream, max_message=MAX) as (_, link):
            await link.send("hello")

    async with serving(handle) as address:
        yield address._replace(tls=tls is not None)


async def refused(
    proxy: ProxyAddress, address: RelayAddress = RELAY, ca_file: str | None = None
) -> P2PCopyError:
    """Return the error of a connection, which names the proxy but not its password."""
    with trio.fail_after(60), pytest.raises(P2PCopyError) as caught:
        async with connect(address, "/", proxy=proxy, ca_file=ca_file):
            raise AssertionError("no relay is there")
    assert SECRET not in str(caught.value)
    return caught.value


# HTTP


@pytest.mark.parametrize("pieces", [0, 1, 20])
async def test_an_http_proxy_leads_to_the_relay_whatever_the_pieces_of_its_answer(pieces: int) -> None:
    tunnel = Tunnel(pieces=pieces)
    async with (
        greeting() as address,
        serving_proxy(tunnel) as proxy,
        connect(address, "/", proxy=proxy) as link,
    ):
        assert await link.receive() == "hello"
    (request,) = tunnel.requests
    assert request.startswith(f"CONNECT {address.where} HTTP/1.1\r\n".encode())
    assert f"host: {address.where}\r\n".encode() in request.lower()
    assert b"authorization" not in request.lower()


async def test_a_login_is_sent_as_basic_in_utf_8() -> None:
    tunnel = Tunnel()
    async with (
        greeting() as address,
        serving_proxy(tunnel) as proxy,
        connect(address, "/", proxy=proxy._replace(user="größe", password="a:b")) as link,
    ):
        assert await link.receive() == "hello"
    login = base64.b64encode("größe:a:b".encode())
    assert b"proxy-authorization: basic " + login.lower() in tunnel.requests[0].lower()
    assert login in tunnel.requests[0]


@pytest.mark.parametrize("relay_tls", [False, True])
@pytest.mark.parametrize("proxy_tls", [False, True])
async def test_tls_to_the_proxy_and_tls_to_the_relay_go_together(
    relay_tls: bool, proxy_tls: bool, tmp_path: Path
) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    scheme = "https" if proxy_tls else "http"
    async with (
        greeting(certificate if relay_tls else None) as address,
        serving_proxy(Tunnel(pieces=7), scheme, certificate if proxy_tls else None) as proxy,
        connect(address, "/", proxy=proxy, ca_file=str(ca_file)) as link,
    ):
        assert await link.receive() == "hello"


@pytest.mark.parametrize(
    "early", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 102 P\r\n\r\nHTTP/1.1 103 E\r\n\r\n"]
)
async def test_informational_answers_are_passed_over(early: bytes) -> None:
    ours, theirs = memory_stream_pair()
    await theirs.send_all(early + b"HTTP/1.0 204 Fine\r\nContent-Length: 5\r\nX: y\r\n\r\n")
    assert await connect_through(gathering(ours), ProxyAddress("http", "proxy", 1), RELAY) == b""


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (
            "407 Proxy Authentication Required",
            ProxyWantsLogin,
            "wants a user and a password .*HTTP status 407",
        ),
        ("401 Unauthorized", ProxyWantsLogin, "wants a user and a password .*HTTP status 401"),
        ("403 Forbidden", ProxyForbids, "does not allow connections to relay.example:443 .*403"),
        ("451 No", ProxyForbids, "does not allow"),
        ("429 Too Many Requests", ProxyForbids, "does not allow"),
        ("500 Unable to connect", RelayUnreachable, "cannot reach relay.example:443 .*500"),
        ("502 Bad Gateway", RelayUnreachable, "cannot reach relay.example:443"),
        ("503 Service Unavailable", RelayUnreachable, "cannot reach relay.example:443"),
        ("504 Gateway Timeout", RelayUnreachable, "cannot reach relay.example:443"),
        ("400 Bad Request", NotAProxy, "web server that does not connect"),
        ("404 Not Found", NotAProxy, "web server that does not connect"),
        ("405 Not Allowed", NotAProxy, "web server that does not connect"),
        ("501 Not Implemented", NotAProxy, "web server that does not connect"),
        ("302 Found\r\nLocation: http://login/", NotAProxy, "web server that does not connect"),
    ],
)
async def test_each_status_of_a_proxy_is_an_error_of_its_own(
    status: str, error: type[P2PCopyError], words: str
) -> None:
    answer = f"HTTP/1.1 {status}\r\nContent-Length: 999999\r\n\r\n<html>\x1b[2J".encode()
    async with serving_proxy(saying(answer, piece=10)) as proxy:
        caught = await refused(proxy)
    assert type(caught) is error
    assert pytest.RaisesExc(error, match=words).matches(caught)
    assert str(proxy) in str(caught)
    assert "\x1b" not in str(caught)


@pytest.mark.parametrize("status", ["401 No", "407 No"])
async def test_a_login_that_is_refused_is_told_from_one_that_is_missing(status: str) -> None:
    answer = f'HTTP/1.1 {status}\r\nProxy-Authenticate: Basic realm="x"\r\n\r\n'.encode()
    async with serving_proxy(saying(answer)) as proxy:
        caught = await refused(proxy._replace(user="somebody", password=SECRET, variable="ALL_PROXY"))
    assert isinstance(caught, ProxyWantsLogin)
    assert "refuses the user or the password in ALL_PROXY" in str(caught)


@pytest.mark.parametrize(
    ("offered", "named"),
    [
        (["Negotiate", "NTLM"], "Negotiate or NTLM"),
        (['Digest realm="x", nonce="y"'], "Digest"),
        (["\xff\xff"], "a way of its own"),
    ],
)
async def test_a_login_that_p2p_copy_does_not_know_is_named(offered: list[str], named: str) -> None:
    lines = "".join(f"Proxy-Authenticate: {way}\r\n" for way in offered)
    async with serving_proxy(saying(f"HTTP/1.1 407 No\r\n{lines}\r\n".encode("latin-1"))) as proxy:
        caught = await refused(proxy._replace(user="somebody", password=SECRET))
    assert isinstance(caught, ProxyWantsLogin)
    assert f"a login by {named} (" in str(caught)


async def test_basic_among_other_ways_is_enough() -> None:
    answer = b"HTTP/1.1 407 No\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: Basic realm=x\r\n\r\n"
    async with serving_proxy(saying(answer)) as proxy:
        assert "wants a user and a password" in str(await refused(proxy))


@pytest.mark.parametrize(
    "answer",
    [
        SSH,
        b"\x05\xff",
        TLS_ALERT,
        b"HTTP/1.1 999999 No\r\n\r\n",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nX\xff: \0\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\nHTTP/1.1 101 Again\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 40_000,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000,
        b"\xff" * 40_000,
    ],
)
async def test_nonsense_is_recognised(answer: bytes) -> None:
    async with serving_proxy(saying(answer, stays=False)) as proxy:
        caught = await refused(proxy)
    assert isinstance(caught, NotAProxy)
    assert "is no HTTP proxy" in str(caught)


@given(st.binary(max_size=200), st.booleans())
async def test_any_answer_is_a_way_or_an_error(answer: bytes, is_socks: bool) -> None:
    ours, theirs = memory_stream_pair()
    await theirs.send_all(answer)
    await theirs.send_eof()
    scheme = "socks5" if is_socks else "http"
    said = ""
    try:
        await connect_through(gathering(ours), ProxyAddress(scheme, "proxy", 1, "u", SECRET), RELAY)
    except P2PCopyError as error:
        said = str(error)
    assert SECRET not in said
    assert said.isprintable()


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_a_proxy_that_closes_without_an_answer_may_be_busy(scheme: str) -> None:
    async with serving_proxy(saying(b"", stays=False), scheme) as proxy:
        caught = await refused(proxy)
    assert isinstance(caught, ProxyUnreachable)
    assert caught.transient


@pytest.mark.parametrize(
    ("said", "tls", "error", "words"),
    [
        (SSH, True, RelayWithoutTLS, "does not speak TLS"),
        (SSH, False, NotARelay, "no p2p-copy relay"),
    ],
)
async def test_what_speaks_first_behind_a_proxy_is_no_relay(
    said: bytes, tls: bool, error: type[P2PCopyError], words: str
) -> None:
    async with serving_proxy(saying(OK + said)) as proxy:
        caught = await refused(proxy, RELAY._replace(tls=tls))
    assert type(caught) is error
    assert f"relay.example:443 {'does' if tls else 'is'}" in str(caught)
    assert words in str(caught)


# SOCKS 5

SOCKS_OK = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"


class Socks:
    """A SOCKS 5 proxy with a script: `heard` is what came after the greeting, the first greeting included."""

    def __init__(self, method: int, answer: bytes, *, login: bytes = b"", piece: int = 1) -> None:
        self.heard: list[bytes] = []
        self._method, self._answer, self._login, self._piece = method, answer, login, piece

    async def __call__(self, stream: trio.abc.Stream) -> None:
        async def say(data: bytes) -> None:
            for at in range(0, len(data), self._piece):
                await stream.send_all(data[at : at + self._piece])

        head = await read_exactly(stream, 2)
        self.heard.append(head + await read_exactly(stream, head[1]))
        await say(bytes((5, self._method)))
        if self._method == 2:
            said = await read_exactly(stream, 2)
            said += await read_exactly(stream, said[1] + 1)
            self.heard.append(said + await read_exactly(stream, said[-1]))
            await say(self._login)
        request = await read_exactly(stream, 5)
        left = {1: 3, 4: 15, 3: request[4]}[request[3]] + 2
        self.heard.append(request + await read_exactly(stream, left))
        await say(self._answer)
        await stream.receive_some(1)


async def through(socks: Socks, address: RelayAddress, user: str | None = None) -> None:
    ours, theirs = memory_stream_pair()
    proxy = ProxyAddress("socks5", "proxy", 1080, user, SECRET if user else "")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(socks, theirs)
        assert await connect_through(gathering(ours), proxy, address) == b""
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("piece", [1, 100])
@pytest.mark.parametrize(
    ("host", "wanted"),
    [
        ("relay.example", b"\x03\x0drelay.example"),
        ("192.0.2.7", b"\x01\xc0\x00\x02\x07"),
        ("2001:db8::7", b"\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x07"),
    ],
)
@pytest.mark.parametrize(
    "bound", [b"\x01" + bytes(6), b"\x04" + bytes(18), b"\x03\x05proxy\x00\x00", b"\x03\x00\x00\x00"]
)
async def test_socks_is_told_the_name_and_reads_no_more_than_its_answer(
    host: str, wanted: bytes, bound: bytes, piece: int
) -> None:
    socks = Socks(0, b"\x05\x00\x00" + bound, piece=piece)
    await through(socks, RelayAddress(True, host, 443))
    assert socks.heard == [b"\x05\x01\x00", b"\x05\x01\x00" + wanted + b"\x01\xbb"]


async def test_socks_is_told_user_and_password_if_it_wants_them() -> None:
    socks = Socks(2, SOCKS_OK, login=b"\x01\x00")
    await through(socks, RELAY, "größe")
    login = b"\x01\x07" + "größe".encode() + bytes((len(SECRET),)) + SECRET.encode()
    assert socks.heard[:2] == [b"\x05\x02\x00\x02", login]
    socks = Socks(0, SOCKS_OK)
    await through(socks, RELAY, "somebody")
    assert len(socks.heard) == 2


@pytest.mark.parametrize(
    ("answers", "user", "error", "words"),
    [
        ([b"\x05\xff"], None, ProxyWantsLogin, "wants a user and a password"),
        ([b"\x05\xff"], "somebody", ProxyWantsLogin, "refuses the user or the password"),
        ([b"\x05\x02", b"\x01\x01"], "somebody", ProxyWantsLogin, "refuses the user or the password"),
        (
            [b"\x05\x00", b"\x05\x01\x00\x01"],
            None,
            RelayUnreachable,
            "cannot reach relay.example:443: it does not say",
        ),
        (
            [b"\x05\x00", b"\x05\x02\x00\x01"],
            None,
            ProxyForbids,
            "does not allow connections to relay.example:443",
        ),
        ([b"\x05\x00", b"\x05\x03\x00\x01"], None, RelayUnreachable, "network there is unreachable"),
        ([b"\x05\x00", b"\x05\x04\x00\x01"], None, RelayUnreachable, "cannot be found"),
        ([b"\x05\x00", b"\x05\x05\x00\x01"], None, RelayUnreachable, "was refused"),
        ([b"\x05\x00", b"\x05\x06\x00\x01"], None, RelayUnreachable, "too many hops"),
        ([b"\x05\x00", b"\x05\x07\x00\x01"], None, ProxyForbids, "cannot connect to hosts such as"),
        ([b"\x05\x00", b"\x05\x08\x00\x01"], None, ProxyForbids, "cannot connect to hosts such as"),
        ([b"\x05\x00", b"\x05\x09\x00\x01"], None, NotAProxy, "no SOCKS 5 proxy"),
        ([b"\x05\x00", b"\x05\x00\x00\x02"], None, NotAProxy, "no SOCKS 5 proxy"),
        ([b"\x05\x00", b"\x04\x00\x00\x01"], None, NotAProxy, "no SOCKS 5 proxy"),
        ([b"\x05\x02"], None, NotAProxy, "no SOCKS 5 proxy"),
        ([b"\x04\x00"], None, NotAProxy, "no SOCKS 5 proxy"),
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], None, NotAProxy, "no SOCKS 5 proxy"),
        ([b"\x05"], None, ProxyUnreachable, "closed the connection"),
        ([b"\x05\x00", b"\x05\x00\x00\x01\x00"], None, ProxyUnreachable, "closed the connection"),
    ],
)
async def test_each_answer_of_socks_is_an_error_of_its_own(
    answers: list[bytes], user: str | None, error: type[P2PCopyError], words: str
) -> None:
    async with serving_proxy(saying(*answers, piece=1, stays=False), "socks5") as proxy:
        caught = await refused(proxy._replace(user=user, password=SECRET))
    assert type(caught) is error
    assert words in str(caught)


# Time, and the way to the proxy itself


@virtual_time()
@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_a_slow_answer_is_waited_for_no_longer_than_any_other(scheme: str) -> None:
    """A byte every two seconds keeps nothing open. (What is cancelled here is cancelled by the caller's deadline.)"""
    ours, theirs = memory_stream_pair()
    answer = b"\x05\x00" + SOCKS_OK if scheme == "socks5" else OK

    async def drip() -> None:
        for byte in answer:
            await trio.sleep(2)
            await theirs.send_all(bytes((byte,)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip)
        with trio.move_on_after(limits.CONNECT_TIMEOUT) as scope:
            await connect_through(gathering(ours), ProxyAddress(scheme, "proxy", 1), RELAY)
        assert scope.cancelled_caught
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("scheme", "error", "words"),
    [
        ("http", RelayUnreachable, r"did not connect to relay\.example:443 within"),
        ("https", ProxyUnreachable, "accepts connections, but does not begin TLS"),
        ("socks5", ProxyUnreachable, "does not answer as SOCKS 5"),
    ],
)
@movable_time()
async def test_a_silent_proxy_is_given_up_in_time(scheme: str, error: type[P2PCopyError], words: str) -> None:
    assert limits.DIAL_TIMEOUT <= limits.CONNECT_TIMEOUT <= 15

    async def handle(stream: trio.abc.Stream) -> None:
        assert await stream.receive_some(4096)
        await let_pass(limits.CONNECT_TIMEOUT)
        await trio.sleep_forever()

    async with serving_proxy(handle, scheme) as proxy:
        caught = await refused(proxy)
    assert type(caught) is error
    assert pytest.RaisesExc(error, match=words).matches(caught)
    assert caught.transient


@movable_time()
async def test_a_socks_proxy_that_takes_long_to_connect_is_not_blamed_for_its_greeting() -> None:
    async def handle(stream: trio.abc.Stream) -> None:
        assert await stream.receive_some(4096)
        await stream.send_all(b"\x05\x00")
        assert await stream.receive_some(4096), "it asks for the relay"
        await let_pass(limits.CONNECT_TIMEOUT)
        await trio.sleep_forever()

    async with serving_proxy(handle, "socks5") as proxy:
        assert "did not connect to relay.example:443" in str(await refused(proxy))


async def test_a_proxy_that_is_not_there_is_named_and_not_the_relay() -> None:
    async with serving_proxy(saying(b"")) as proxy:
        pass
    caught = await refused(proxy._replace(variable="https_proxy"))
    assert isinstance(caught, ProxyUnreachable)
    assert str(caught).startswith(
        f"The proxy {proxy} refuses connections. Check https_proxy in the environment"
    )
    caught = await refused(ProxyAddress("http", "proxy.invalid", 1))
    assert isinstance(caught, ProxyUnreachable)
    assert "its name cannot be resolved" in str(caught)


async def test_a_proxy_needs_a_good_certificate(tmp_path: Path) -> None:
    certificate = trustme.CA().issue_cert("127.0.0.1")
    async with serving_proxy(Tunnel(), "https", certificate) as proxy:
        caught = await refused(proxy)
    assert isinstance(caught, CertificateNotTrusted)
    assert str(caught).startswith(f"The certificate of the proxy {proxy} was issued by an authority")


async def test_a_proxy_without_tls_is_told_from_one_with_it() -> None:
    async with serving_proxy(saying(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "https") as proxy:
        caught = await refused(proxy)
    assert isinstance(caught, NotAProxy)
    assert "Use http:// instead of https://" in str(caught)
    async with serving_proxy(saying(b"", stays=False), "https") as proxy:
        assert isinstance(await refused(proxy), ProxyUnreachable)


async def test_a_cancelled_connection_through_a_proxy_leaves_nothing_open() -> None:
    ended = trio.Event()

    async def handle(stream: trio.abc.Stream) -> None:
        await read_until(stream, b"\r\n\r\n")
        scope.cancel()
        with pytest.raises((trio.BrokenResourceError, AssertionError)):
            await read_exactly(stream, 1)
        ended.set()

    with trio.CancelScope() as scope:
        async with serving_proxy(handle) as proxy:
            with trio.CancelScope() as scope:
                async with connect(RELAY, "/", proxy=proxy):
                    raise AssertionError("no relay is there")
            with trio.fail_after(5):
                await ended.wait()
