"""`relay-admin` at an address where another program listens: answers are checked, escaped and bounded in time."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, strategies as st

from p2p_copy.cli.commands import relay_admin as module
from p2p_copy.cli.commands.relay_admin import relay_admin
from p2p_copy.errors import NotARelay, P2PCopyError, RelayRefused, RelayUnreachable
from tests.support.other_protocols import SSH

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

GOOD = {
    "version": "0.2.0",
    "state": "serving",
    "seconds": 1,
    "connections": 2,
    "waiting": 1,
    "served": 3,
    "copied": 1000,
    "certificate_ends": None,
    "limits": {"max-wait": 3600.5, "rate": None},
    "pairings": [{"id": 1, "seconds": 2, "copied": 30}],
}


@contextmanager
def listening(*answers: Iterable[bytes]) -> Iterator[str]:
    """Answer each connection with these pieces; yield the address."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            for pieces in answers:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    connection.recv(65536)
                    for piece in pieces:
                        connection.sendall(piece)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def answer(body: bytes, status: str = "200 OK", kind: str = "text/plain; charset=utf-8") -> list[bytes]:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return [head.encode() + body]


def odd(**changes: object) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def without(name: str) -> bytes:
    return json.dumps({key: value for key, value in GOOD.items() if key != name}).encode()


ODD = {
    "no JSON": b"hello",
    "nothing": b"",
    "no UTF-8": b"\xff\xfe\x00",
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "deep inside": b'{"a":' * 50_000,
    "huge number": odd(seconds=0).replace(b'"seconds": 0', b'"seconds": ' + b"9" * 5000),
    "large number": odd(copied=10**400),
    "large time": odd(certificate_ends=2**60),
    "not a number": odd(copied=float("nan")),
    "endless": odd(limits={"rate": float("inf")}),
    "a text for a number": odd(connections="2"),
    "yes for a number": odd(connections=True),
    "less than nothing": odd(served=-1),
    "a number for a text": odd(state=1),
    "pairings are no list": odd(pairings={"id": 1}),
    "a pairing is none": odd(pairings=[1]),
    "a pairing without a number": odd(pairings=[{"seconds": 1, "copied": 1}]),
    "limits are a list": odd(limits=["rate"]),
    "a limit is a list": odd(limits={"rate": []}),
    **{f"no {name}": without(name) for name in GOOD if name != "certificate_ends"},
}  # fmt: skip


@pytest.mark.fault(106, "odd JSON")
@pytest.mark.parametrize("order", ["status", "pairings"])
@pytest.mark.parametrize("body", ODD.values(), ids=ODD.keys())
def test_a_wrong_status_shows_that_it_is_no_relay(
    order: str, body: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    with listening(answer(body, kind="application/json")) as address, pytest.raises(NotARelay):
        relay_admin(address, order, ())
    assert capsys.readouterr().out == ""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(GOOD)), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(
    said=JSON
    | st.dictionaries(st.sampled_from(sorted(GOOD)), JSON, min_size=1).map(lambda some: {**GOOD, **some})
)
@example(said=GOOD)
@example(said={**GOOD, "limits": {"\ud800": 1}, "state": "\x1b[2J"})
def test_any_answer_is_a_status_or_no_relay(said: object) -> None:
    with suppress(ValueError, RecursionError):
        checked = module._checked(json.loads(json.dumps(said), parse_constant=module._no_number))
        assert all(line.isprintable() for line in module._describe(checked))


@pytest.mark.fault(106, "escapes")
def test_an_answer_is_printed_escaped_and_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    sentence = b"Done.\r\n\x1b[2J   \xe2\x80\xaep2p-copy:      all is well\n\n" + b"x" * 10_000
    status = odd(state="serving\x1b]0;title\x07\nup", limits={"rate\r\n": 1})
    with listening(answer(sentence), answer(status, kind="application/json")) as address:
        relay_admin(address, "drain", ())
        relay_admin(address, "status", ())
    out = capsys.readouterr().out
    assert out.replace("\n", "").isprintable()
    first, *lines = out.splitlines()
    assert first.startswith("Done.\\r\\n\\x1b[2J \\u202ep2p-copy: all is well\\n\\nxxx")
    assert len(first) < 600
    assert lines[0] == "p2p-copy 0.2.0, serving\\x1b]0;title\\x07\\nup, up for 1 s"
    assert lines[-1] == "rate\\r\\n: 1"


def test_a_refusal_is_shown_and_the_page_of_another_server_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    page = answer(b"<html>\x1b[2J", "404 Not Found", "text/html")
    moved = [b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"]
    with listening(answer(b"No\x1b.\n", "409 Conflict"), page, moved) as address:
        with pytest.raises(RelayRefused, match=r"The relay refused the order: No\\x1b\.$"):
            relay_admin(address, "reload", ())
        for _ in range(2):
            with pytest.raises(NotARelay):
                relay_admin(address, "reload", ())
    assert capsys.readouterr().out == ""


CUT = {
    "no answer": [b""],
    "no HTTP": [SSH],
    "half a head": [b"HTTP/1.1 200 OK\r\nContent-Le"],
    "half a body": [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nDone."],
    "half a chunk": [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nDone."],
    "no chunk": [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nDone."],
    "many headers": [b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n"],
}


@pytest.mark.parametrize("pieces", CUT.values(), ids=CUT.keys())
def test_an_answer_that_is_cut_or_none_is_not_a_relays(pieces: list[bytes]) -> None:
    with listening(pieces) as address, pytest.raises((NotARelay, RelayUnreachable)):
        relay_admin(address, "drain", ())


def test_chunks_are_an_answer_too(capsys: pytest.CaptureFixture[str]) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = head + b"3\r\nDon\r\n2\r\ne.\r\n0\r\n\r\n"
    with listening([chunks]) as address:
        assert relay_admin(address, "drain", ()) == 0
    assert capsys.readouterr().out == "Done.\n"


def drip(head: bytes, piece: bytes) -> Iterator[bytes]:
    yield head
    while True:
        time.sleep(0.05)
        yield piece


ENDLESS = {
    "status line": (b"HTTP/1.1 200 ", b"O"),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"a: b\r\n"),
    "goes on": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b" "),
    "no length": (b"HTTP/1.1 200 OK\r\n\r\n", b" "),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
}


@pytest.mark.fault(106, "dripping answer")
@pytest.mark.parametrize("what", ENDLESS)
def test_an_answer_that_drips_ends_in_time(what: str) -> None:
    with (
        listening(drip(*ENDLESS[what])) as address,
        pytest.raises(RelayUnreachable, match="has not answered"),
    ):
        # One piece each 0.05 s: none of them alone is late.
        module._ask(address, "GET", "/status", seconds=0.4)


@pytest.mark.fault(106, "endless answer")
@pytest.mark.parametrize("what", ["goes on", "body", "no length", "chunks"])
def test_an_answer_without_end_is_not_a_relays(what: str) -> None:
    head, piece = ENDLESS[what]
    with listening([head, *[piece * 10_000] * 30]) as address, pytest.raises(P2PCopyError) as raised:
        module._ask(address, "GET", "/status", most=100_000)
    assert isinstance(raised.value, NotARelay)
