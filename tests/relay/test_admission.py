"""Decisions about who may come in, at times that the test chooses."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from p2p_copy import limits
from p2p_copy.relay.admission import Admission, Guest, Over, Source, source_of
from p2p_copy.relay.config import RelayConfig

KEY = bytes(32)
A, B = Source(b"a"), Source(b"b")


def admission(descriptors: int | None = None, **settings: int) -> Admission:
    return Admission(RelayConfig("127.0.0.1", 0, **settings), descriptors)  # type: ignore[arg-type]


def let_in(house: Admission, source: Source | None, now: float = 0) -> Guest:
    guest = house.arrive(source, now)
    assert isinstance(guest, Guest), guest
    return guest


# Sources


def test_an_ipv4_address_is_a_source_however_it_is_written() -> None:
    assert source_of("192.0.2.1", KEY) == source_of("::ffff:192.0.2.1", KEY) != source_of("192.0.2.2", KEY)


def test_an_ipv6_slash_64_is_one_source() -> None:
    assert source_of("2001:db8::1", KEY) == source_of("2001:db8::ffff:2", KEY)
    assert source_of("2001:db8::1", KEY) != source_of("2001:db8:0:1::1", KEY)
    assert source_of("fe80::1%eth0", KEY) == source_of("fe80::1", KEY)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "", "unix", None])
def test_this_machine_and_what_is_no_address_are_no_source(address: str | None) -> None:
    assert source_of(address, KEY) is None


def test_a_source_tells_nothing_without_the_key() -> None:
    assert source_of("192.0.2.1", KEY) != source_of("192.0.2.1", b"another key")
    assert b"\xc0\x00\x02\x01" not in (source_of("192.0.2.1", KEY) or b"")


# Limits


def test_the_total_counts_those_without_a_hello_and_what_the_system_allows() -> None:
    house = admission(max_connections=2, max_pending=1)
    for _ in range(2):
        house.settle(let_in(house, None))
    assert house.is_full
    last = let_in(house, None)
    assert house.arrive(None, 0) is Over.TOTAL
    house.leave(last, 0)
    house.leave(let_in(house, None), 0)
    assert admission(descriptors=0).arrive(None, 0) is Over.TOTAL


def test_those_without_a_hello_are_limited() -> None:
    house = admission(max_pending=1)
    first = let_in(house, None)
    assert house.arrive(None, 0) is Over.PENDING
    house.settle(first)
    let_in(house, None)


def test_one_source_has_a_limit_and_others_do_not_feel_it() -> None:
    house = admission(max_per_source=2)
    guests = [let_in(house, A) for _ in range(2)]
    for guest in guests:
        house.settle(guest)
    assert house.arrive(A, 0) is Over.PER_SOURCE
    let_in(house, B)
    let_in(house, None)
    house.leave(guests[0], 0)
    let_in(house, A)


def test_one_source_without_hellos_has_a_smaller_limit() -> None:
    house = admission(max_pending_per_source=2)
    first, _ = let_in(house, A), let_in(house, A)
    assert house.arrive(A, 0) is Over.PENDING_PER_SOURCE
    house.settle(first)
    let_in(house, A)
    let_in(house, B)


def test_one_source_may_come_so_often_in_a_minute() -> None:
    house = admission(arrivals_per_minute=60)
    for _ in range(60):
        house.leave(let_in(house, A), 0)
    assert house.arrive(A, 0) is Over.ARRIVALS
    let_in(house, B)
    house.leave(let_in(house, A, now=1), 1)
    assert house.arrive(A, 1) is Over.ARRIVALS


def test_coming_back_does_not_help_and_a_minute_does() -> None:
    house = admission(arrivals_per_minute=2)
    house.leave(let_in(house, A), 0)
    house.leave(let_in(house, A), 0)
    assert house.arrive(A, 0) is Over.ARRIVALS
    for _ in range(2):
        house.leave(let_in(house, A, now=60), 60)


def test_joins_are_counted_by_source_and_the_refusal_tells_when_to_come_back() -> None:
    house = admission(joins_per_minute=30)
    guest, other = let_in(house, A), let_in(house, A)
    assert [house.join(guest, 0) for _ in range(30)] == [0] * 30
    assert house.join(other, 0) == 2
    assert house.join(let_in(house, B), 0) == 0
    assert house.join(other, 2) == 0


def test_a_limit_of_a_source_that_is_0_is_none() -> None:
    house = admission(max_per_source=0, max_pending_per_source=0, arrivals_per_minute=0, joins_per_minute=0)
    guests = [let_in(house, A) for _ in range(100)]
    assert not any(house.join(guest, 0) for guest in guests)


def test_those_without_a_source_have_no_limit_of_a_source() -> None:
    house = admission(max_per_source=1, max_pending_per_source=1, arrivals_per_minute=1, joins_per_minute=1)
    guests = [let_in(house, None) for _ in range(100)]
    assert not any(house.join(guest, 0) for guest in guests)


# Proxies


def test_a_guest_whom_a_proxy_names_counts_for_its_source_from_then_on() -> None:
    house = admission(max_per_source=1)
    guest = let_in(house, None)
    assert house.name(guest, A, 0) is None
    assert house.arrive(A, 0) is Over.PER_SOURCE
    second = let_in(house, None)
    assert house.name(second, A, 0) is Over.PER_SOURCE
    house.leave(second, 0)
    house.leave(guest, 0)
    let_in(house, A)


def test_naming_a_guest_anew_frees_its_first_source() -> None:
    house = admission(max_per_source=1)
    guest = let_in(house, A)
    assert house.name(guest, B, 0) is None
    let_in(house, A)
    assert house.arrive(B, 0) is Over.PER_SOURCE


# Change and memory


def test_limits_that_change_hold_for_newcomers_and_put_nobody_out() -> None:
    house = admission()
    guests = [let_in(house, A) for _ in range(3)]
    house.config = replace(house.config, max_per_source=1)
    assert house.arrive(A, 0) is Over.PER_SOURCE
    for guest in guests:
        house.settle(guest)
    assert house.places == 3


def test_what_is_remembered_of_those_who_left_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RELAY_REMEMBERED_SOURCES", 10)
    house = admission()
    for number in range(100):
        house.leave(let_in(house, Source(b"%d" % number)), 0)
        assert len(house._absent) <= 10
    house.leave(let_in(house, A, now=60), 60)
    assert list(house._absent) == [A]


@given(
    st.lists(st.tuples(st.sampled_from(["arrive", "settle", "name", "join", "leave"]), st.integers(0, 9))),
    st.lists(st.floats(0, 30), min_size=1),
)
def test_the_counts_are_right_whatever_happens(steps: list[tuple[str, int]], pauses: list[float]) -> None:
    house = admission(max_connections=6, max_pending=4, max_per_source=3, max_pending_per_source=2)
    inside: list[Guest] = []
    now = 0.0
    sources = (A, B, None)
    for index, (step, number) in enumerate(steps):
        now += pauses[index % len(pauses)]
        if step == "arrive":
            guest = house.arrive(sources[number % 3], now)
            if isinstance(guest, Guest):
                inside.append(guest)
        elif inside:
            guest = inside[number % len(inside)]
            if step == "settle":
                house.settle(guest)
            elif step == "name" and guest.pending:
                house.name(guest, sources[number % 3], now)
            elif step == "join":
                house.join(guest, now)
            elif step == "leave":
                inside.remove(guest)
                house.leave(guest, now)
        assert house.places == len(inside) <= 10
        assert house.pending == sum(guest.pending for guest in inside) <= 4
        for source in (A, B):
            record = house._present.get(source)
            mine = [guest for guest in inside if guest.source == source]
            assert (record.places if record else 0) == len(mine) <= 3
            assert (record.pending if record else 0) == sum(guest.pending for guest in mine) <= 2
    for guest in inside:
        house.leave(guest, now)
    assert (len(house._present), house.places, house.pending) == (0, 0, 0)
