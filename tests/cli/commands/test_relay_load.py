"""`p2p-copy relay-load` against real relays, in processes of their own."""

from __future__ import annotations

import itertools
import re
import signal
import ssl
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

from p2p_copy.relay.access.tokens import line_for
from p2p_copy.transport.certificate import pin_of, pin_text
from tests.cli.processes import run
from tests.relay.access.test_proxies import proxy_header
from tests.support import processes
from tests.support.certificates import Certificates
from tests.support.json_events import names, objects
from tests.support.processes import Running, environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ALLOWED = ("--no-tls", "--allow-load-test")
SHORT = ("--ramp", "0.2s", "--duration", "0.5s")
A_BIT = ("--waiters", "3", "--pairings", "2", "--size", "300K", "--rate", "none", *SHORT)
LONG = ("--waiters", "3", "--pairings", "2", "--ramp", "0.2s", "--duration", "10m")

needs_time = pytest.mark.slow
"""Each starts three processes, and measures for half a second."""


def report_in(out: str) -> dict[str, Any]:
    """Return the report that `--json` has written, after a start."""
    made = objects(out)
    assert names(made)[:2] == ["started", "load_report"]
    return made[1]


@needs_time
@pytest.mark.parametrize("count", [1, 2])
def test_what_is_sent_through_a_relay_arrives_and_is_measured(count: int) -> None:
    with processes.relay(*ALLOWED) as (url, _):
        code, out, err = run("relay-load", url, *A_BIT, "--processes", str(count), "--json")
    assert (code, err) == (0, "")
    report = report_in(out)
    assert (report["is_whole"], report["is_gone"], report["processes"]) == (True, False, count)
    assert (report["waiters"], report["failures"]) == (3, [])
    assert report["pairings"] in (1, 2)  # the most at once: two that are over in milliseconds may not meet
    assert report["completed"] > 0
    assert report["received"] >= report["completed"] * 300 * 1024
    assert report["rate"] > 0
    for step in ("connect", "welcome", "pair", "round_trip"):
        times = report[step]
        assert 0 < times["p50"] <= times["p90"] <= times["p99"] <= times["longest"]
    assert report["connect"]["count"] >= report["welcome"]["count"] >= 3 + 2 * report["completed"]
    assert report["pair"]["count"] >= report["completed"]


@needs_time
@pytest.mark.parametrize("trust", ["--ca-file", "--pin"])
def test_with_tls_people_read_the_same(tmp_path: Path, trust: str) -> None:
    certificates = Certificates(tmp_path)
    with open(certificates.certificate, encoding="ascii") as file:
        pin = pin_text(pin_of(ssl.PEM_cert_to_DER_cert(file.read())))
    options = (trust, certificates.authority if trust == "--ca-file" else pin)
    with processes.relay(*certificates.options, "--allow-load-test") as (url, _):
        code, out, err = run("relay-load", url, *A_BIT, *options)
    assert code == 0, err
    assert "3 clients wait, 2 pairings of 300.0 KiB each as fast as it goes, from 1 process" in err
    assert re.search(r"^Measured for 0\.\d s, after all clients had come\.$", out, re.MULTILINE)
    assert re.search(r"^milliseconds +times +50 % +90 % +99 % +longest$", out, re.MULTILINE)
    for step in ("connect (TCP, TLS, WebSocket)", "hello to welcome", "connect to paired", "round trip"):
        assert re.search(rf"^{re.escape(step)} +\d+ +\d+\.\d ", out, re.MULTILINE)
    assert re.search(r"^At once: 3 waiting, (1 pairing|2 pairings)\.", out, re.MULTILINE)  # see above
    assert out.endswith("Nothing failed.\n")


def test_a_relay_that_does_not_allow_it_is_left_alone() -> None:
    with processes.relay("--no-tls") as (url, _):
        code, out, err = run("relay-load", url, *A_BIT)
        assert (code, out) == (9, "")
        assert "does not say that it may be loaded" in err
        assert "start it with --allow-load-test." in err
        code, out, _ = run("relay-load", url, *A_BIT, "--json")
        assert code == 9
        assert names(objects(out)) == ["started", "error"]


@needs_time
def test_a_limit_that_refuses_is_named_before_and_after() -> None:
    with processes.relay(*ALLOWED, "--max-waiting", "4") as (url, _):
        code, out, err = run("relay-load", url, "--waiters", "7", "--pairings", "0", *SHORT)
        assert code == 9
        assert "it allows 4 by --max-waiting, and this needs 7" in err
        assert re.search(r"^Refused, \d+ times \(--max-waiting\): As many clients as", out, re.MULTILINE)
        assert "At once: 4 waiting" in out


@asynccontextmanager
async def in_between(
    url: str, *, first: bytes = b"", changed: int = sys.maxsize, most: int = sys.maxsize
) -> AsyncIterator[str]:
    """Pass on what comes to another port, after `first`. Yield the address.

    Of what the relay sends over each connection the byte number `changed` is changed. Connections after the first
    `most` get no answer.
    """
    port = int(url.rpartition(":")[2])
    connections = itertools.count()

    async def copy(
        source: trio.abc.Stream,
        target: trio.abc.Stream,
        scope: trio.CancelScope,
        changed: int = sys.maxsize,
    ) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := bytearray(await source.receive_some(2**18)):
                if 0 <= changed < len(data):
                    data[changed] ^= 1
                changed -= len(data)
                await target.send_all(data)
        scope.cancel()

    async def handle(client: trio.SocketStream) -> None:
        if next(connections) >= most:
            await trio.sleep_forever()
        async with await trio.open_tcp_stream("127.0.0.1", port) as relay:
            await relay.send_all(first)
            async with trio.open_nursery() as both:
                both.start_soon(copy, client, relay, both.cancel_scope)
                both.start_soon(copy, relay, client, both.cancel_scope, changed)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
        yield f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def load(url: str, *options: str) -> tuple[int, str, str]:
    words = [sys.executable, "-m", "p2p_copy", "relay-load", url, *options]
    done = await trio.run_process(
        words, capture_stdout=True, capture_stderr=True, check=False, env=environment()
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@needs_time
@pytest.mark.parametrize(
    ("option", "number", "needed"),
    [("max-per-source", 6, 9), ("connections-per-minute", 5, 7), ("joins-per-minute", 5, 7)],
)
async def test_the_limits_of_a_source_are_not_waived(option: str, number: int, needed: int) -> None:
    """A proxy names another machine as the source, which has limits of its own."""
    limits = {
        "max-per-source": 0,
        "max-pending-per-source": 0,
        "connections-per-minute": 0,
        "joins-per-minute": 0,
    }
    options = [
        word for name, value in (limits | {option: number}).items() for word in (f"--{name}", str(value))
    ]
    with processes.relay(*ALLOWED, "--trusted-proxy", "127.0.0.1", *options) as (url, _):
        async with in_between(url, first=proxy_header("192.0.2.1")) as through:
            code, out, _ = await load(through, "--waiters", "7", "--pairings", "0", *SHORT, "--json")
    report = report_in(out)
    assert [tuple(low.values()) for low in report["low_limits"]] == [(option, number, needed)]
    (failure,) = report["failures"]
    if option == "joins-per-minute":
        assert (code, failure["kind"], failure["limit"]) == (9, "refused", option)
    else:  # the relay closes the connection before it reads anything
        assert (code, failure["kind"]) == (13, "not_connected")
    assert report["waiters"] == min(number, 7) - 2  # one pairing measures the round trip


@needs_time
async def test_bytes_that_arrive_changed_are_noticed() -> None:
    with processes.relay(*ALLOWED) as (url, _):
        async with in_between(url, changed=50_000) as through:  # in the first long message
            code, out, _ = await load(
                through, "--waiters", "0", "--pairings", "1", "--size", "1M", *SHORT, "--json"
            )
    report = report_in(out)
    assert code == 13
    assert report["completed"] == 0
    assert {failure["kind"] for failure in report["failures"]} == {"changed"}


@needs_time
async def test_clients_that_are_still_on_their_way_at_the_end_are_named() -> None:
    with processes.relay(*ALLOWED) as (url, _):
        async with in_between(url, most=4) as through:  # one pairing measures the round trip
            code, out, _ = await load(through, "--waiters", "3", "--pairings", "1", *SHORT, "--json")
    report = report_in(out)
    assert (code, report["is_whole"], report["pairings"]) == (13, False, 0)
    (failure,) = report["failures"]
    assert (failure["kind"], failure["count"]) == ("late", 3 - report["waiters"] + 1)


@needs_time
def test_a_relay_that_is_killed_ends_it_with_what_was_measured() -> None:
    """It takes `GONE_AFTER` seconds until the relay is given up."""
    with processes.relay(*ALLOWED, "--log-level", "debug") as (url, relay):
        running = Running("relay-load", url, *LONG, "--json")
        wait_for_pairs(relay, 3)
        relay.process.kill()
        code, out, _ = running.wait()
        relay.process.communicate()
    report = report_in(out)
    assert code == 13
    assert report["is_gone"]
    assert 1 <= report["waiters"] <= 3
    assert {failure["kind"] for failure in report["failures"]} == {"lost", "not_connected"}


@needs_time
def test_an_interrupt_shows_what_was_measured() -> None:
    with processes.relay(*ALLOWED, "--log-level", "debug") as (url, relay):
        running = Running("relay-load", url, *LONG)
        wait_for_pairs(relay, 3)
        running.process.send_signal(signal.SIGINT)
        code, out, err = running.wait()
    assert code == 130
    assert err.endswith("p2p-copy: Interrupted.\n")
    assert re.search(r"At once: [1-3] waiting, [0-2] pairings?\.", out)
    assert "Nothing failed." in out


def wait_for_pairs(relay: Running, count: int) -> None:
    """Read the relay's log until so many pairs were paired."""
    assert relay.process.stdout is not None
    for line in relay.process.stdout:
        if re.search(rf"pairing {count} begins", line):
            return
    raise AssertionError("the relay has ended")


@needs_time
def test_a_relay_that_wants_a_token_is_given_it(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("a token for tests\n")
    known = tmp_path / "known"
    known.write_text(line_for("load", "a token for tests") + "\n")
    with processes.relay(*ALLOWED, "--tokens-file", str(known)) as (url, _):
        code, _, err = run("relay-load", url, *A_BIT)
        assert (code, "wants an access token" in err) == (9, True)
        assert run("relay-load", url, *A_BIT, "--token-file", str(token))[0] == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("ws://127.0.0.1:9", "--waiters", "0", "--pairings", "0"), "no load"),
        (("ws://127.0.0.1:9", "--rate", "1"), "at least 64K"),
        (("ws://127.0.0.1:9", "--size", "0"), "size"),
        (("ws://127.0.0.1:9", "--ca-file", "x"), "--ca-file has no effect"),
        (("http://127.0.0.1:9",), "ws://"),
        ((), "URL"),
    ],
)
def test_a_command_line_that_cannot_be_meant_is_refused(words: tuple[str, ...], sentence: str) -> None:
    code, out, err = run("relay-load", *words)
    assert (code, out) == (2, "")
    assert sentence in err


def test_a_token_is_not_sent_in_clear() -> None:
    code, _, err = run("relay-load", "ws://relay.example", env={"P2P_COPY_TOKEN": "secret"})
    assert code == 2
    assert "secret" not in err


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
def test_too_few_descriptors_are_said_before_anything_is_opened() -> None:
    words = [sys.executable, "-m", "p2p_copy", "relay-load", "ws://127.0.0.1:9", "--waiters", "500"]
    done = subprocess.run(
        ["sh", "-c", 'ulimit -n 256; exec "$0" "$@"', *words],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert done.returncode == 25
    assert "Each process needs 584 connections" in done.stderr
    assert "--processes 4" in done.stderr


def test_without_a_relay_it_says_so_at_once() -> None:
    code, out, err = run("relay-load", "ws://127.0.0.1:9")
    assert (code, out) == (4, "")
    assert "refuses connections" in err
