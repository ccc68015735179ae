"""What an operator may choose, and how it is told that something is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from p2p_copy.acme.settings import AcmeSettings, canonical_name, is_address
from p2p_copy.errors import UsageError

FOLDER = Path("acme")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("relay.example", "relay.example"),
        (" Relay.EXAMPLE. ", "relay.example"),
        ("münchen.example", "xn--mnchen-3ya.example"),
        ("MÜNCHEN.example", "xn--mnchen-3ya.example"),
        ("localhost", "localhost"),
        ("a-1.example", "a-1.example"),
        ("192.0.2.7", "192.0.2.7"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
    ],
)
def test_names_are_brought_into_one_form(given: str, name: str) -> None:
    assert canonical_name(given) == name


@pytest.mark.parametrize(
    "given",
    ["", " ", ".", "a..b", "-a.example", "a-.example", "a_b.example", "relay.example:443", "https://relay.example",
     "relay.example/", "a" * 64 + ".example", ".".join(["a" * 60] * 5), "1.2.3", "300.1.1.1", "fe80::1%eth0", "a b",
     "a\n.example", "xn--\udcff", "ü" * 70 + ".example"],
)  # fmt: skip
def test_what_is_no_name_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match="neither a DNS name nor an IP address"):
        canonical_name(given)


@pytest.mark.parametrize("given", ["*.relay.example", "*"])
def test_a_wildcard_is_refused_with_its_own_sentence(given: str) -> None:
    with pytest.raises(UsageError, match="wildcard"):
        canonical_name(given)


@pytest.mark.parametrize(
    ("name", "is_one"), [("192.0.2.7", True), ("2001:db8::1", True), ("a1.example", False)]
)
def test_addresses_are_told_from_names(name: str, is_one: bool) -> None:
    assert is_address(name) == is_one


def test_a_name_that_is_given_twice_counts_once_and_the_order_stays() -> None:
    assert AcmeSettings(("b.example", "a.example", "B.example."), FOLDER).names == ("b.example", "a.example")


def test_authorities_have_short_names() -> None:
    assert "staging" not in AcmeSettings(("a.example",), FOLDER).directory
    assert "staging" in AcmeSettings(("a.example",), FOLDER, directory="LetsEncrypt-Staging").directory
    own = "https://ca.example:14000/dir"
    assert AcmeSettings(("a.example",), FOLDER, directory=own).directory == own


@pytest.mark.parametrize(
    ("values", "option"),
    [
        ({"names": ()}, "acme"),
        ({"names": tuple(f"{number}.example" for number in range(101))}, "acme"),
        ({"directory": "letsencrypt2"}, "acme_directory"),
        ({"directory": "http://ca.example/dir"}, "acme_directory"),
        ({"directory": "https://"}, "acme_directory"),
        ({"directory": "https://me:secret@ca.example/dir"}, "acme_directory"),
        ({"directory": "https://ca.example:99999/dir"}, "acme_directory"),
        ({"email": "nobody"}, "acme_email"),
        ({"email": "a@example,b@example"}, "acme_email"),
        ({"email": "a@exa mple"}, "acme_email"),
        ({"profile": ""}, "acme_profile"),
        ({"profile": "short lived"}, "acme_profile"),
        ({"eab_kid": "kid"}, "acme_eab_kid"),
        ({"eab_key": "c2VjcmV0"}, "acme_eab_kid"),
        ({"eab_kid": "k id", "eab_key": "c2VjcmV0"}, "acme_eab_kid"),
        ({"eab_kid": "kid", "eab_key": ""}, "acme_eab_key_file"),
        ({"eab_kid": "kid", "eab_key": "c2Vj cmV0"}, "acme_eab_key_file"),
        ({"eab_kid": "kid", "eab_key": "c2VjcmV0c"}, "acme_eab_key_file"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_option(values: dict[str, Any], option: str) -> None:
    with pytest.raises(UsageError, match=f"`{option}`") as refused:
        AcmeSettings(**{"names": ("a.example",), "folder": FOLDER, **values})
    assert "c2Vj" not in str(refused.value)
    assert "secret" not in str(refused.value)


def test_the_key_of_an_external_account_is_never_shown() -> None:
    chosen = AcmeSettings(("a.example",), FOLDER, eab_kid="kid", eab_key="c2Vj_cmV0/+==\n")
    assert chosen.eab_key == "c2Vj_cmV0_-"
    assert "c2Vj" not in repr(chosen)
    assert "kid" in repr(chosen)
