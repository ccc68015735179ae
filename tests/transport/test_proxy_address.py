"""Addresses of proxies, and which one the environment names for a relay."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from p2p_copy.errors import UsageError
from p2p_copy.transport.address import RelayAddress, parse_address
from p2p_copy.transport.proxy_address import ProxyAddress, chosen_proxy, named_proxy, parse_proxy

RELAY = parse_address("wss://relay.example")
SECRET = "secretpassword"


def proxy(text: str) -> ProxyAddress:
    found = parse_proxy(text)
    assert found is not None
    return found


# How one is written


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://proxy.example:3128", ProxyAddress("http", "proxy.example", 3128)),
        ("proxy.example:3128", ProxyAddress("http", "proxy.example", 3128)),
        ("proxy", ProxyAddress("http", "proxy", 80)),
        (" HTTP://Proxy.Example/ \r\n", ProxyAddress("http", "proxy.example", 80)),
        ("https://proxy.example", ProxyAddress("https", "proxy.example", 443)),
        ("socks5://proxy.example", ProxyAddress("socks5", "proxy.example", 1080)),
        ("socks5h://proxy.example:9", ProxyAddress("socks5", "proxy.example", 9)),
        ("socks://127.0.0.1:1081/", ProxyAddress("socks5", "127.0.0.1", 1081)),
        ("http://[2001:db8::1]:8080", ProxyAddress("http", "2001:db8::1", 8080)),
        ("http://bücher.example", ProxyAddress("http", "xn--bcher-kva.example", 80)),
        ("http://user:pw@proxy:1", ProxyAddress("http", "proxy", 1, "user", "pw")),
        ("user:pw@proxy:1", ProxyAddress("http", "proxy", 1, "user", "pw")),
        ("http://user@proxy:1", ProxyAddress("http", "proxy", 1, "user", "")),
        ("http://@proxy:1", ProxyAddress("http", "proxy", 1)),
        ("http://user:p@ss:w%2f%23@proxy:1", ProxyAddress("http", "proxy", 1, "user", "p@ss:w/#")),
        (r"http://DOMAIN%5Cuser:%C3%A4@proxy:1", ProxyAddress("http", "proxy", 1, r"DOMAIN\user", "ä")),
        (f"socks5://u:{'p' * 255}@proxy", ProxyAddress("socks5", "proxy", 1080, "u", "p" * 255)),
    ],
)
def test_an_address_is_parsed(text: str, address: ProxyAddress) -> None:
    assert parse_proxy(text) == address


@pytest.mark.parametrize("text", ["none", " NONE\n"])
def test_none_is_no_proxy(text: str) -> None:
    assert parse_proxy(text) is None
    assert chosen_proxy(RELAY, text, {"https_proxy": "http://proxy"}) is None


@pytest.mark.parametrize(
    "text",
    [
        "", "http://", "http://:80", "http://proxy:0", "http://proxy:65536", "http://proxy:port", "http://::1:80",
        "http://[::1", "http://x y", "http://x\\y", "http://x/path", "http://x?a=b", "http://x#a", "http://a..b",
        "http://a\xb4b", "http://a\uff20b",
        "http://" + "x" * 70, "ftp://x", "socks4://x", "pac+http://x", "http://x\0y",
        f"http://user:{SECRET}#1@proxy:1", f"http://user:{SECRET}/1@proxy:1", f"http://us%3Aer:{SECRET}@proxy:1",
        f"ftp://user:{SECRET}@proxy", f"http://user:{SECRET}@proxy:port", f"http://user:{SECRET} @proxy",
        f"socks5://user:{SECRET}{'x' * 250}@proxy", f"socks5://{'ä' * 128}:{SECRET}@proxy",
    ],
)  # fmt: skip
def test_other_text_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(UsageError, match="proxy") as caught:
        parse_proxy(text)
    assert SECRET not in str(caught.value)


def test_an_error_names_the_variable() -> None:
    with pytest.raises(UsageError, match="HTTPS_PROXY in the environment"):
        chosen_proxy(RELAY, None, {"HTTPS_PROXY": "ftp://proxy"})


def test_a_password_is_never_shown() -> None:
    address = proxy(f"http://somebody:{SECRET}@proxy:3128")
    for text in (str(address), repr(address), address.where, address.source):
        assert SECRET not in text
        assert "somebody" not in text
    assert str(address) == "http://proxy:3128"


@given(st.text(max_size=60), st.text(min_size=1, max_size=60), st.sampled_from(["http", "https", "socks5"]))
def test_any_user_and_password_can_be_written(password: str, user: str, scheme: str) -> None:
    if scheme != "socks5":
        user = user.replace(":", "") or "u"
    quoted = [
        "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "replace")) for text in (user, password)
    ]
    address = proxy(f"{scheme}://{quoted[0]}:{quoted[1]}@proxy:1")
    expected = [text.encode("utf-8", "replace").decode() for text in (user, password)]
    assert [address.user, address.password] == expected


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    for start in ("", "http://", "socks5://u:p@", "https://["):
        try:
            found = parse_proxy(start + text)
        except UsageError:
            continue
        assert found is None or parse_proxy(str(found)) == ProxyAddress(found.scheme, found.host, found.port)


# Which one the environment names


@pytest.mark.parametrize(
    ("variables", "wss", "ws"),
    [
        ({}, None, None),
        ({"https_proxy": "a"}, "a", None),
        ({"HTTPS_PROXY": "a"}, "a", None),
        ({"http_proxy": "a"}, None, "a"),
        ({"HTTP_PROXY": "a"}, None, "a"),
        ({"HTTP_PROXY": "a", "REQUEST_METHOD": "GET"}, None, None),
        ({"http_proxy": "a", "REQUEST_METHOD": "GET"}, None, "a"),
        ({"HTTPS_PROXY": "a", "REQUEST_METHOD": "GET"}, "a", None),
        ({"all_proxy": "a"}, "a", "a"),
        ({"ALL_PROXY": "a"}, "a", "a"),
        ({"ALL_PROXY": "a", "https_proxy": "b"}, "b", "a"),
        ({"https_proxy": "a", "HTTPS_PROXY": "b"}, "a", None),
        ({"https_proxy": "", "HTTPS_PROXY": "b"}, None, None),
        ({"https_proxy": " ", "ALL_PROXY": "c"}, "c", "c"),
        ({"HTTPS_PROXY": "a", "no_proxy": "*"}, None, None),
        ({"HTTPS_PROXY": "a", "NO_PROXY": "relay.example"}, None, None),
        ({"HTTPS_PROXY": "a", "no_proxy": "", "NO_PROXY": "relay.example"}, "a", None),
    ],
)
def test_which_variable_counts(variables: dict[str, str], wss: str | None, ws: str | None) -> None:
    for url, name in (("wss://relay.example", wss), ("ws://relay.example", ws)):
        found = chosen_proxy(parse_address(url), None, variables)
        assert (found and found.host) == name
        if found is not None:
            assert variables[found.variable] == found.host
            assert found.variable in found.source


def test_what_is_named_expressly_comes_first_and_the_default_last() -> None:
    variables = {"HTTPS_PROXY": "http://environment", "NO_PROXY": "other.example"}
    assert chosen_proxy(RELAY, "http://given", variables) == ProxyAddress("http", "given", 80)
    found = named_proxy(RELAY, variables, "http://default")
    assert found == ("http://environment", "HTTPS_PROXY")
    assert named_proxy(RELAY, {}, "http://default") == ("http://default", "")
    assert named_proxy(parse_address("wss://other.example"), variables, "http://default") is None


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost.", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"]
)
def test_the_loopback_is_reached_directly_unless_a_proxy_is_named_expressly(host: str) -> None:
    address = RelayAddress(True, host, 443)
    assert chosen_proxy(address, None, {"all_proxy": "http://proxy"}) is None
    assert named_proxy(address, {}, "http://default") is None
    assert chosen_proxy(address, "http://proxy", {}) == ProxyAddress("http", "proxy", 80)


@pytest.mark.parametrize(
    ("listed", "host", "is_direct"),
    [
        ("relay.example", "relay.example", True),
        ("RELAY.Example", "relay.example", True),
        ("relay.example", "Relay.Example.", True),
        ("relay.example.", "relay.example", True),
        ("example", "relay.example", True),
        (".example", "relay.example", True),
        (".relay.example", "relay.example", True),
        ("*.example", "relay.example", True),
        ("lay.example", "relay.example", False),
        ("relay.exam", "relay.example", False),
        ("a.relay.example", "relay.example", False),
        ("other, relay.example", "relay.example", True),
        ("other relay.example", "relay.example", True),
        ("other,,\trelay.example,", "relay.example", True),
        ("*", "relay.example", True),
        ("other,*", "relay.example", True),
        ("*", "192.0.2.7", True),
        ("re*", "relay.example", False),
        ("relay.example:443", "relay.example", True),
        ("relay.example:8765", "relay.example", False),
        (".example:443", "relay.example", True),
        ("bücher.example", "xn--bcher-kva.example", True),
        ("192.0.2.7", "192.0.2.7", True),
        ("192.0.2.7:443", "192.0.2.7", True),
        ("192.0.2.7:80", "192.0.2.7", False),
        ("192.0.2.8", "192.0.2.7", False),
        ("192.0.2.0/24", "192.0.2.7", True),
        ("192.0.2.1/24", "192.0.2.7", True),
        ("192.0.3.0/24", "192.0.2.7", False),
        ("192.0.2.0/24", "relay.example", False),
        ("0.0.0.0/0", "::7", False),
        ("2.7", "192.0.2.7", False),
        (".7", "192.0.2.7", False),
        ("2001:db8::7", "2001:db8::7", True),
        ("[2001:db8::7]", "2001:db8::7", True),
        ("[2001:db8::7]:443", "2001:db8::7", True),
        ("[2001:db8::7]:80", "2001:db8::7", False),
        ("2001:DB8:0::7", "2001:db8::7", True),
        ("2001:db8::/32", "2001:db8::7", True),
        ("192.0.2.0/24", "::ffff:192.0.2.7", True),
        ("10.0.0.0/99, relay.example", "relay.example", True),
        ("10.0.0.0/99", "10.0.0.1", False),
        ("a..b,\x00,[,]:,:,.,*.,/", "relay.example", False),
        ("", "relay.example", False),
    ],
)
def test_who_is_reached_directly(listed: str, host: str, is_direct: bool) -> None:
    address = RelayAddress(True, host, 443)
    for name in ("no_proxy", "NO_PROXY"):
        assert (named_proxy(address, {"all_proxy": "proxy", name: listed}) is None) is is_direct


@given(st.text(max_size=40), st.sampled_from(["relay.example", "192.0.2.7", "2001:db8::7"]))
def test_any_list_is_read(listed: str, host: str) -> None:
    address = RelayAddress(True, host, 443)
    named_proxy(address, {"all_proxy": "proxy", "no_proxy": listed})
    assert named_proxy(address, {"all_proxy": "proxy", "no_proxy": f"{listed},{host}"}) is None


@pytest.mark.parametrize("end", ["", "."])
def test_a_host_is_no_longer_than_dns_allows(end: str) -> None:
    longest = ".".join(["a" * 49] * 5) + ".bcd"
    assert len(longest) == 253
    found = parse_proxy(f"socks5://{longest}{end}:1")
    assert found is not None
    assert found.host == longest + end
    with pytest.raises(UsageError, match="of the wrong form"):
        parse_proxy(f"socks5://{longest}e{end}:1")
