"""The relay's log: one line an event, few lines in a flood, nothing that identifies a client."""

from __future__ import annotations

import io
import json
import logging
import re
import time
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from p2p_copy.protocol.rendezvous import Refused, Role, room_path
from p2p_copy.relay import limits
from p2p_copy.relay.log import events, lines
from p2p_copy.relay.log.abuse import Abuse, AbuseCounter
from p2p_copy.relay.log.events import EVENTS, Event
from p2p_copy.relay.log.redact import LOGGER, Size
from tests.relay.clients import Relay, answer, exchange, hello, relay_running, room

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CANARY = "canary4711"


@contextmanager
def logging_to(
    stream: io.StringIO, *, level: int = logging.INFO, as_json: bool = False, journal: bool = False
) -> Iterator[lines.Lines]:
    old, propagate = LOGGER.level, LOGGER.propagate
    handler = lines.configure(stream.write, level=level, as_json=as_json, journal=journal)
    try:
        yield handler
    finally:
        LOGGER.removeHandler(handler)
        handler.close()
        LOGGER.setLevel(old)
        LOGGER.propagate = propagate


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(lines.Lines.__init__, "__kwdefaults__", {"journal": False, "clock": clock})
    return clock


async def strangers(relay: Relay) -> None:
    """Say the canary in every place where a client can say something."""
    for request in (
        f"GET /{CANARY} HTTP/1.1\r\nHost: {CANARY}\r\nX-{CANARY}: {CANARY}\r\n\r\n",
        f"{CANARY}\r\n\r\n",
        f"GET /v1/{CANARY} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nUser-Agent: \x1b[31m{CANARY}\r\n\r\n",
    ):
        async with await relay.tcp() as stream:
            await stream.send_all(request.encode())
            await stream.send_eof()
            while await stream.receive_some(1000):
                pass
    for words in (
        f'{{"type":"hello","role":"{CANARY}"}}',
        f'{{"type":"hello","v":1,"role":"sender","program":"{CANARY}","token":"{CANARY}\\u001b"}}',
        CANARY,
    ):
        async with relay.client(room_path(room(CANARY))) as link:
            await link.send(words)
            assert isinstance(await answer(link), Refused)


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("addresses", [False, True])
async def test_no_line_at_any_level_holds_what_a_client_said(
    as_json: bool, addresses: bool, tmp_path: Path
) -> None:
    log = io.StringIO()
    (tmp_path / "tokens").write_text(f"{CANARY} sha256:{'0' * 64}\n")
    with logging_to(log, level=logging.DEBUG, as_json=as_json):
        async with relay_running(log_addresses=addresses) as relay:
            async with relay.pair(CANARY) as (sender, receiver):
                await exchange(sender, receiver)
                async with relay.client(room_path(room(CANARY))) as third:
                    await third.send(hello(Role.SENDER))
                    await answer(third)
                    assert isinstance(await answer(third), Refused)
                await sender.send(CANARY.encode() * 1234)
                await receiver.receive()
            await strangers(relay)
        async with (
            relay_running(tokens_file=str(tmp_path / "tokens"), log_addresses=addresses) as relay,
            relay.client(room_path(room(CANARY))) as link,
        ):
            await link.send(hello(Role.SENDER))
            assert isinstance(await answer(link), Refused)
    text = log.getvalue()
    assert "pairing 1 ended" in text
    assert "refused" in text
    for secret in (CANARY, room(CANARY), room(CANARY)[:12], "12344", "\x1b"):
        assert secret not in text
    assert ("127.0.0.1" in text) == addresses


async def test_the_ends_of_a_pair_and_of_the_relay_are_all_that_is_logged_without_options() -> None:
    log = io.StringIO()
    with logging_to(log):
        async with relay_running() as relay:
            async with relay.pair("a") as (sender, receiver):
                await exchange(sender, receiver)
                await sender.aclose()
            await strangers(relay)
        pair, end = log.getvalue().splitlines()
    assert " stopped: " in end
    assert re.search(
        r" info pairing 1 ended: complete, 4 B from the sender, 4 B from the receiver, 0 s, .*/s$", pair
    )


def test_each_json_line_has_its_event_and_its_facts_and_rounded_sizes() -> None:
    log = io.StringIO()
    with logging_to(log, as_json=True):
        facts = {"from_sender": Size(123_456), "from_receiver": Size(7), "seconds": 3, "rate": Size(41_154)}
        events.PAIR_ENDED.log(("192.0.2.1", "2001:db8::1"), pairing=9, outcome="complete", **facts)
    line = json.loads(log.getvalue())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", line.pop("time"))
    assert line == {
        "level": "info",
        "event": "pair-ended",
        "text": "pairing 9 ended: complete, 100 kB from the sender, 7 B from the receiver, 3 s, 40 kB/s",
        "pairing": 9,
        "outcome": "complete",
        "from_sender": 100_000,
        "from_receiver": 7,
        "seconds": 3,
        "rate": 40_000,
        "addresses": ["192.0.2.1", "2001:db8::1"],
    }


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("text", ["a\nb", "\x1b[31m", "\x07", "\x85", "\u202e", "\u2028", "\ud800", "\0"])
def test_control_characters_are_escaped_and_one_event_is_one_line(text: str, as_json: bool) -> None:
    log = io.StringIO()
    with logging_to(log, as_json=as_json):
        events.CERTIFICATE_KEPT.log(why=text)
    assert log.getvalue().endswith("\n")
    assert log.getvalue()[:-1].isprintable()


@pytest.mark.parametrize(
    ("event", "facts", "priority"),
    [
        (events.BUG, {"where": "x"}, 3),
        (events.CERTIFICATE_EXPIRES, {"left": "1 day"}, 4),
        (events.TOKENS_RELOADED, {"count": 1}, 6),
        (events.TOO_SLOW, {}, 7),
    ],
)
def test_the_journal_gets_priorities_and_no_times(event: Event, facts: dict[str, Any], priority: int) -> None:
    log = io.StringIO()
    with logging_to(log, level=logging.DEBUG, journal=True):
        event.log(**facts)
    assert log.getvalue() == f"<{priority}>{event.text % facts}\n"


def test_a_flood_of_the_same_line_is_summed_up(clock: Clock) -> None:
    log = io.StringIO()
    with logging_to(log, level=logging.DEBUG) as handler:
        for _ in range(1000):
            events.TOO_SLOW.log()
        events.NO_CLIENT.log()
        assert len(log.getvalue().splitlines()) == limits.LOG_REPEATS + 1
        clock.now += limits.LOG_WINDOW
        events.LEFT.log()
        *_, summary, last = log.getvalue().splitlines()
        assert summary.endswith(" debug too slow ... 995 more of these in 60 s")
        assert last.endswith(" a client left while waiting")
        handler.sum_up()
        assert log.getvalue().splitlines()[-1] == last


@pytest.mark.parametrize("kind", Abuse)
def test_each_kind_of_abuse_is_one_line_and_one_that_sums_up_what_follows(clock: Clock, kind: Abuse) -> None:
    """At the level that a relay has without options; and each case is counted."""
    log = io.StringIO()
    abuse = AbuseCounter()
    with logging_to(log) as handler:
        for _ in range(1000):
            abuse.count(kind)
        (line,) = log.getvalue().splitlines()
        assert line.endswith(kind.event.text)
        clock.now += limits.LOG_WINDOW
        handler.sum_up()
        assert log.getvalue().splitlines()[1].endswith(f"{kind.event.text} ... 999 more of these in 60 s")
        clock.now += limits.LOG_WINDOW
        handler.sum_up()
        assert len(log.getvalue().splitlines()) == 2
    assert abuse.counts[kind.event.name] == 1000


def test_lines_that_differ_in_their_address_only_are_the_same(clock: Clock) -> None:
    log = io.StringIO()
    with logging_to(log, level=logging.DEBUG, as_json=True):
        for number in range(100):
            events.REFUSED.log((f"192.0.2.{number}",), code="busy")
    *written, summary = map(json.loads, log.getvalue().splitlines())
    assert [line["addresses"] for line in written] == [[f"192.0.2.{number}"] for number in range(5)]
    assert summary["more"] == 95
    assert "addresses" not in summary


def test_pairings_that_stall_alike_are_summed_up_without_a_number(clock: Clock) -> None:
    log, machine = io.StringIO(), io.StringIO()
    for stream, as_json in ((log, False), (machine, True)):
        with logging_to(stream, as_json=as_json) as handler:
            for number in range(100):
                events.STALLED.log((), pairing=number, why="the receiver takes nothing", seconds=60)
            handler.sum_up()
    *written, summary = log.getvalue().splitlines()
    assert [line.partition(" info ")[2] for line in written] == [
        f"pairing {number} stalls: the receiver takes nothing for 60 s" for number in range(5)
    ]
    assert summary.endswith(
        " info a pairing stalls: the receiver takes nothing for 60 s ... 95 more of these in 0 s"
    )
    *objects, last = map(json.loads, machine.getvalue().splitlines())
    assert [each["pairing"] for each in objects] == [0, 1, 2, 3, 4]
    assert (last["more"], "pairing" in last) == (95, False)


@pytest.mark.parametrize(
    ("zone", "offset"), [("UTC0", "+00:00"), ("XYZ-05:30", "+05:30"), ("XYZ+3", "-03:00")]
)
def test_a_line_has_the_time_of_its_zone_and_its_level(
    monkeypatch: pytest.MonkeyPatch, zone: str, offset: str
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    log = io.StringIO()
    with logging_to(log):
        events.CERTIFICATE_EXPIRES.log(left="1 day")
    monkeypatch.undo()
    time.tzset()
    (line,) = log.getvalue().splitlines()
    at, _, said = line.partition(" ")
    assert said == "warning the certificate expires in 1 day: renew it"
    assert at.endswith(offset)
    assert abs(datetime.fromisoformat(at).timestamp() - time.time()) < 60


def test_pairs_that_end_are_never_summed_up() -> None:
    log = io.StringIO()
    with logging_to(log):
        for _ in range(100):
            events.PAIR_ENDED.log(
                (), pairing=1, outcome="complete", from_sender=0, from_receiver=0, seconds=0, rate=0
            )
    assert len(log.getvalue().splitlines()) == 100


def test_a_log_that_cannot_be_written_stops_no_client(capsys: pytest.CaptureFixture[str]) -> None:
    closed = io.StringIO()
    with logging_to(closed):
        closed.close()
        events.CERTIFICATE_EXPIRED.log()
    assert capsys.readouterr().err == ""


def test_the_number_of_lost_lines_is_a_line_as_all_others_are() -> None:
    with logging_to(io.StringIO(), level=logging.ERROR, as_json=True) as handler:
        line = json.loads(handler.describe(123))
        assert (line["event"], line["level"], line["count"]) == ("lines-dropped", "warning", 123)
    with logging_to(io.StringIO(), journal=True) as handler:
        assert handler.describe(123) == "<4>... lines dropped: 123\n"


def test_where_the_relay_listens_is_told_at_every_level() -> None:
    log = io.StringIO()
    with logging_to(log, level=logging.ERROR):
        events.ADMIN.log(address="127.0.0.1:1")
        events.LISTENING.log(urls="ws://127.0.0.1:2")
    assert log.getvalue().endswith(" Relay listening on ws://127.0.0.1:2\n")
    assert log.getvalue().count("\n") == 1


def test_events_have_names_and_meanings_of_their_own() -> None:
    every = (*EVENTS, *(kind.event for kind in Abuse))
    for attribute in ("name", "text", "meaning"):
        assert len({getattr(event, attribute) for event in every}) == len(every) > 15
    assert all(re.fullmatch(r"[a-z-]+", event.name) for event in every)
