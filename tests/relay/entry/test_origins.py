from __future__ import annotations

import pytest

from p2p_copy.errors import UsageError
from p2p_copy.relay.entry.origins import Origins


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (b"https://relay.example", b"relay.example"),
        (b"https://relay.example", b"relay.example:443"),
        (b"https://relay.example:8443", b"relay.example:8443"),
        (b"https://relay.example", b"Relay.Example"),
        (b"https://192.0.2.7", b"192.0.2.7"),
        (b"https://[2001:db8::1]:8443", b"[2001:db8::1]:8443"),
        (b"https://127.0.0.1:8765", b"127.0.0.1:8765"),
        (b"https://localhost", b"localhost"),
        (b"http://localhost:8765", b"localhost:8765"),
        (b"http://localhost", b"localhost:80"),
        (b"http://127.0.0.1:8765", b"127.0.0.1:8765"),
        (b"http://[::1]:8765", b"[::1]:8765"),
    ],
)
def test_the_relays_own_page_is_known_by_the_host_of_its_request(origin: bytes, host: bytes) -> None:
    assert Origins(own=True).allow([origin], [host])
    assert not Origins().allow([origin], [host]), "a relay without a page has none"


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (b"https://other.example", b"relay.example"),
        (b"https://relay.example.evil.example", b"relay.example"),
        (b"https://evil.example/relay.example", b"relay.example"),
        (b"https://relay.example:8443", b"relay.example"),
        (b"https://relay.example", b"relay.example:8443"),
        (b"https://relay.example", b""),
        (b"https://", b""),
        # A name that points to this machine for a while: without TLS nothing proves it.
        (b"http://evil.example:8765", b"evil.example:8765"),
        (b"http://127.0.0.1.evil.example", b"127.0.0.1.evil.example"),
        (b"http://localhost.evil.example", b"localhost.evil.example"),
        (b"http://localhost:3000", b"localhost:8765"),
        (b"http://192.168.0.1", b"192.168.0.1"),
        (b"null", b"null"),
        (b"file://", b""),
        (b"", b""),
        (b"https://relay.ex\xe4mple", b"relay.ex\xe4mple"),
    ],
)
def test_every_other_page_is_refused(origin: bytes, host: bytes) -> None:
    allowed = Origins(own=True).allow([origin], [host])
    assert not allowed


def test_what_no_browser_sends_is_refused() -> None:
    own, host = b"https://relay.example", b"relay.example"
    assert not Origins(own=True).allow([own, own], [host])
    assert not Origins(own=True).allow([own], [host, host])
    assert not Origins(own=True).allow([own], [])
    assert not Origins(own=True).allow([], [host])


def test_named_origins_are_allowed_whatever_the_host_is() -> None:
    named = Origins(["https://Files.example:443", "http://localhost:3000", "null"])
    for origin in (b"https://files.example", b"http://localhost:3000", b"null"):
        assert named.allow([origin], [b"x"])
    for origin in (b"https://files.example:8443", b"http://files.example", b"https://x"):
        assert not named.allow([origin], [b"x"])


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "*",
        "file://",
        "files.example",
        "https://files.example/",
        "wss://files.example",
        "https://a b",
        "https://*.example",
    ],
)
def test_what_is_no_origin_is_refused_at_the_start(origin: str) -> None:
    with pytest.raises(UsageError, match="is no origin of a web page"):
        Origins([origin])
