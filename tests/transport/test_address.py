"""Addresses of relays, as people write them and as they are shown."""

from __future__ import annotations

import pytest

from p2p_copy.errors import UsageError
from p2p_copy.transport.address import RelayAddress, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ws://localhost", RelayAddress(False, "localhost", 80)),
        ("wss://relay.example", RelayAddress(True, "relay.example", 443)),
        ("wss://Relay.Example/", RelayAddress(True, "relay.example", 443)),
        ("ws://127.0.0.1:8765", RelayAddress(False, "127.0.0.1", 8765)),
        ("\t ws://127.0.0.1:8765 \r\n", RelayAddress(False, "127.0.0.1", 8765)),
        ("wss://[2001:db8::1]:8443/a/b/", RelayAddress(True, "2001:db8::1", 8443, "/a/b")),
        ("WSS://bücher.example:1", RelayAddress(True, "xn--bcher-kva.example", 1)),
    ],
)
def test_an_address_is_parsed_and_shown_in_one_form(text: str, address: RelayAddress) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "", "relay", "relay.example:443", "http://x", "https://x", "wss:", "wss://", "wss:///x", "wss://:443",
        "wss://x:0", "wss://x:65536", "wss://x:port", "wss://x:-1", "wss://[::1", "wss://x y", "wss://::1:443",
        "wss://2001:db8::1",
        "wss://user:secret@x", "wss://x?a=b", "wss://x#a", "wss://x\\y", "wss://x/ä", "wss://" + "x" * 70,
        "wss://a..b", "wss://a\xb4b", "wss://a\uff0fb", "lab7-a long passphrase",
    ],
)  # fmt: skip
def test_other_text_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_address(text)
    assert "secret" not in str(caught.value)
    assert "passphrase" not in str(caught.value)


@pytest.mark.parametrize(
    ("texts", "canonical"),
    [
        (
            ("wss://relay.example", "WSS://Relay.Example:443/", "wss://relay.example./"),
            "wss://relay.example:443",
        ),
        (("ws://bücher.example/a/", "ws://xn--bcher-kva.example:80/a"), "ws://xn--bcher-kva.example:80/a"),
        (("wss://[2001:DB8::1]", "wss://[2001:db8:0:0::0.0.0.1]:443"), "wss://[2001:db8::1]:443"),
        (("ws://127.0.0.1",), "ws://127.0.0.1:80"),
    ],
)
def test_all_spellings_of_an_address_have_one_canonical_form(texts: tuple[str, ...], canonical: str) -> None:
    assert {parse_address(text).canonical for text in texts} == {canonical}


def test_the_host_header_has_the_port_unless_it_is_the_scheme_s_own() -> None:
    for text, header in (
        ("ws://x", "x"),
        ("wss://x", "x"),
        ("ws://x:443", "x:443"),
        ("wss://x:80", "x:80"),
        ("wss://[::1]:1", "[::1]:1"),
    ):
        assert parse_address(text).host_header == header


@pytest.mark.parametrize("end", ["", "."])
def test_a_host_is_no_longer_than_dns_allows(end: str) -> None:
    longest = ".".join(["a" * 49] * 5) + ".bcd"
    assert len(longest) == 253
    found = parse_address(f"wss://{longest}{end}:1")
    assert found.host == longest + end
    with pytest.raises(UsageError, match="of the wrong form"):
        parse_address(f"wss://{longest}e{end}:1")
