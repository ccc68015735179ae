"""How the words of a command line are parsed."""

from __future__ import annotations

import pytest

from p2p_copy.cli.commands.relay_server import places
from p2p_copy.cli.options.arguments import host_port, receive_words, send_words, with_serve_value
from p2p_copy.errors import UsageError
from p2p_copy.relay.config import Place, Tcp, Unix

URL = "wss://relay.example:443"


def test_words_without_a_relay_are_paths() -> None:
    assert send_words(["a", "b"]) == (None, None, ("a", "b"))


@pytest.mark.parametrize("url", [URL, "ws://localhost:8765", "WSS://relay.example"])
def test_a_first_word_that_is_a_url_is_the_relay_and_the_next_one_the_code(url: str) -> None:
    assert send_words([url, "lab7-a long passphrase", "a", "b"]) == (
        url,
        "lab7-a long passphrase",
        ("a", "b"),
    )
    assert receive_words([url, "lab7-a long passphrase"]) == (url, "lab7-a long passphrase")


def test_a_url_may_have_a_blank_before_it() -> None:
    assert receive_words([f" {URL}", "some-code"]) == (f" {URL}", "some-code")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["127.0.0.1", "1"], [Tcp("127.0.0.1", 1)]),
        (["127.0.0.1:1", "::1", "2"], [Tcp("127.0.0.1", 1), Tcp("::1", 2)]),
        (["[::1]:1", "localhost:2"], [Tcp("::1", 1), Tcp("localhost", 2)]),
        (["[::1]", "1"], [Tcp("::1", 1)]),
        ([" ::", "1 ", "unix:/x"], [Tcp("::", 1), Unix("/x")]),
    ],
)
def test_a_relay_listens_at_pairs_in_either_form(words: list[str], expected: list[Place]) -> None:
    assert places(words) == expected


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["localhost"], "followed by a PORT"),
        (["localhost", "99999"], "from 0 to 65535"),
        (["localhost:99999"], "from 0 to 65535"),
        (["8765"], "followed by a PORT"),
        (["443", "444"], "address to listen at is missing"),
        ([":443"], "0.0.0.0:443"),
    ],
)
def test_a_wrong_place_to_listen_at_is_explained(words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        places(words)


def test_only_the_first_word_can_be_the_relay() -> None:
    assert send_words(["a", URL]) == (None, None, ("a", URL))
    with pytest.raises(UsageError):
        receive_words(["some-code and more", URL])


@pytest.mark.parametrize("words", [[], [URL], [URL, "code-or path"]])
def test_a_send_without_anything_to_send_is_refused(words: list[str]) -> None:
    with pytest.raises(UsageError, match="p2p-copy send"):
        send_words(words)


def test_receive_takes_a_relay_a_code_both_or_none() -> None:
    assert receive_words([]) == (None, None)
    assert receive_words(["some-code"]) == (None, "some-code")
    assert receive_words([URL]) == (URL, None)


@pytest.mark.parametrize("words", [["one", "two"], [URL, "one", "two"]])
def test_receive_refuses_more_words_and_repeats_none_of_them(words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        receive_words(words)
    assert "two" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("host:1234", ("host", 1234)),
        ("192.0.2.1:443", ("192.0.2.1", 443)),
        ("[::1]:1234", ("::1", 1234)),
        ("[fe80::1%eth0]:1234", ("fe80::1%eth0", 1234)),
        (":1234", ("", 1234)),
        (":0", ("", 0)),
        (" host:1234\t", ("host", 1234)),
    ],
)
def test_what_looks_like_host_and_port_is_host_and_port(text: str, expected: tuple[str, int]) -> None:
    assert host_port(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "file", "host:", "host:port", "dir/host:1", "C:\\1", "a b:1", "::1:1234", ":65536", "a:1:2", "x:-1"],
)
def test_what_does_not_look_like_host_and_port_is_a_path(text: str) -> None:
    assert host_port(text) is None


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ("send --serve dir", "send --serve=auto dir"),
        ("send dir --serve", "send dir --serve=auto"),
        ("send --serve 0.0.0.0:99 dir", "send --serve=0.0.0.0:99 dir"),
        ("send --serve=:99 dir", "send --serve=:99 dir"),
        ("send --serve [::1]:99 dir", "send --serve=[::1]:99 dir"),
        ("send --serve localhost:99999 dir", "send --serve=localhost:99999 dir"),
        ("send --serve --quiet dir", "send --serve=auto --quiet dir"),
        ("send --serve -- host:1", "send --serve=auto -- host:1"),
        ("send -- --serve host:1", "send -- --serve host:1"),
        ("receive --serve host:1", "receive --serve host:1"),
        ("", ""),
    ],
)
def test_serve_takes_the_next_word_only_if_it_is_host_and_port(argv: str, expected: str) -> None:
    assert with_serve_value(argv.split()) == expected.split()
