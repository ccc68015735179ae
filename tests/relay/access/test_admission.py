"""Decisions about who may come in, at times that the test chooses."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import example, given, strategies as st

from p2p_copy.relay import limits
from p2p_copy.relay.access.admission import Admission, Client, LimitHit, Source, Sources, sources_of
from p2p_copy.relay.config import RelayConfig

KEY = bytes(32)


def source(name: bytes) -> Sources:
    return ((Source(name), 1),)


A, B = source(b"a"), source(b"b")


def address(home: int, subnet: int, host: int = 1, site: int = 0) -> Sources:
    """Return the sources of an IPv6 address in a /48, in a /56 of it, in a /64 of that."""
    return sources_of(f"2001:db8:{site:x}:{home:02x}{subnet:02x}::{host:x}", KEY)


def nobody(client: Client) -> None:
    raise AssertionError("nobody has to go")


def admission(descriptors: int | None = None, **settings: int) -> Admission:
    return Admission(RelayConfig("127.0.0.1", 0, **settings), descriptors)  # type: ignore[arg-type]


def let_in(house: Admission, sources: Sources, now: float = 0) -> Client:
    client = house.arrive(sources, now, nobody)
    assert isinstance(client, Client), client
    return client


def over(house: Admission, sources: Sources, now: float = 0) -> LimitHit:
    found = house.arrive(sources, now, nobody)
    assert isinstance(found, LimitHit), found
    return found


# Sources


def test_an_ipv4_address_is_a_source_however_it_is_written() -> None:
    assert sources_of("192.0.2.1", KEY) == sources_of("::ffff:192.0.2.1", KEY) != sources_of("192.0.2.2", KEY)


def test_an_ipv6_slash_64_is_one_source() -> None:
    assert sources_of("2001:db8::1", KEY) == sources_of("2001:db8::ffff:2", KEY)
    assert sources_of("2001:db8::1", KEY) != sources_of("2001:db8:0:1::1", KEY)
    assert sources_of("fe80::1%eth0", KEY) == sources_of("fe80::1", KEY)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "", "unix", None])
def test_this_machine_and_what_is_no_address_are_no_source(address: str | None) -> None:
    assert sources_of(address, KEY) == ()


def test_a_source_tells_nothing_without_the_key() -> None:
    assert sources_of("192.0.2.1", KEY) != sources_of("192.0.2.1", b"another key")
    ((found, _),) = sources_of("192.0.2.1", KEY)
    assert b"\xc0\x00\x02\x01" not in bytes(found)


def test_an_ipv6_source_counts_for_its_home_and_its_site_and_an_ipv4_one_for_itself() -> None:
    first, same_home, same_site, other = address(1, 1), address(1, 2), address(2, 1), address(1, 1, site=1)
    assert [multiple for _, multiple in first] == list(limits.NETWORK_MULTIPLES.values())
    for one, shared in ((address(1, 1, 9), 3), (same_home, 2), (same_site, 1), (other, 0)):
        assert len(set(first) & set(one)) == shared
    ((_, multiple),) = sources_of("192.0.2.1", KEY)
    assert multiple == 1


# Limits


def test_the_total_counts_those_without_a_hello_and_what_the_system_allows() -> None:
    house = admission(max_connections=2, max_pending=1)
    assert (house.most, admission(descriptors=1).most) == (3, 1)
    for _ in range(2):
        house.settle(let_in(house, ()))
    assert house.is_full
    last = let_in(house, ())
    house.settle(last)
    assert over(house, ()) is LimitHit.TOTAL
    house.leave(last, 0)
    house.leave(let_in(house, ()), 0)
    assert over(admission(descriptors=0), ()) is LimitHit.TOTAL


def test_a_newcomer_takes_the_place_of_the_oldest_one_without_a_hello() -> None:
    house = admission(max_pending=2)
    settled, old, new = let_in(house, ()), let_in(house, ()), None
    house.settle(settled)
    new = let_in(house, ())
    gone: list[Client] = []
    newest = house.arrive((), 0, gone.append)
    assert isinstance(newest, Client)
    assert gone == [old]
    assert (house.places, house.pending) == (3, 2)
    for client in (old, settled, new, newest):
        house.leave(client, 0)
    assert (house.places, house.pending) == (0, 0)


def test_those_of_the_most_crowded_network_go_first() -> None:
    house = admission(max_pending=6)
    honest = let_in(house, A)
    crowd = [let_in(house, B) for _ in range(5)]
    gone: list[Client] = []
    for number in range(8):
        assert isinstance(house.arrive(source(b"%d" % number), 0, gone.append), Client)
        assert (honest in gone) == (number >= 4), "with one of each left, it is the oldest"
    assert gone[:4] == crowd[:4]


def test_a_wide_network_is_as_crowded_as_it_has_more_than_it_may() -> None:
    """A line at home with many networks is one, and phones that share a wide network are not in each other's way."""
    house = admission(max_pending=41)
    phones = [let_in(house, address(home, home)) for home in range(15)]
    line = [let_in(house, address(7, subnet, site=1)) for subnet in range(26)]
    gone: list[Client] = []
    for number in range(20):
        house.arrive(source(b"%d" % number), 0, gone.append)
    assert gone == line[:20]
    assert not any(client.gone for client in phones)


def test_those_without_a_source_go_only_when_they_are_very_many() -> None:
    house = admission(max_pending=20)
    proxy = [let_in(house, ()) for _ in range(16)]
    line = [let_in(house, A) for _ in range(4)]
    gone: list[Client] = []
    for number in range(5):
        house.arrive(source(b"%d" % number), 0, gone.append)
    assert gone == [*line[:3], proxy[0], line[3]]


def test_the_one_who_was_evict_can_neither_settle_nor_move() -> None:
    house = admission(max_pending=1)
    old = let_in(house, A)
    gone: list[Client] = []
    house.arrive(B, 0, gone.append)
    assert gone == [old]
    house.settle(old)
    assert house.move(old, A, 0) is None
    assert house.join(old, 0) == 0
    house.excuse(old, 0)
    assert (house.places, house.pending, list(house._present)) == (1, 1, [B[0][0]])


def test_who_is_over_a_limit_puts_nobody_out() -> None:
    house = admission(max_pending=2, max_pending_per_source=1)
    let_in(house, A)
    let_in(house, B)
    assert over(house, A) is LimitHit.PENDING_PER_SOURCE


def test_lowering_the_limit_makes_as_many_go_as_are_too_many() -> None:
    house = admission()
    for _ in range(5):
        let_in(house, A)
    house.config = replace(house.config, max_pending=2)
    gone: list[Client] = []
    house.arrive(B, 0, gone.append)
    assert (len(gone), house.pending) == (4, 2)


def test_when_all_places_are_taken_by_clients_newcomers_have_to_go() -> None:
    house = admission(descriptors=2)
    for _ in range(2):
        house.settle(let_in(house, ()))
    assert over(house, ()) is LimitHit.TOTAL


@pytest.mark.parametrize(("home", "most"), [(True, 4), (False, 16)], ids=["/56", "/48"])
def test_a_wider_network_has_a_multiple_of_each_limit(home: bool, most: int) -> None:
    def member(number: int) -> Sources:
        return address(7, number) if home else address(number, number)

    house = admission(max_pending_per_source=1)
    for number in range(most):
        let_in(house, member(number))
    assert over(house, member(most)) is LimitHit.NETWORK
    let_in(house, address(0, 0, site=1))

    house = admission(max_per_source=1, max_pending_per_source=0)
    for number in range(most):
        house.settle(let_in(house, member(number)))
    assert over(house, member(most)) is LimitHit.NETWORK

    house = admission(arrivals_per_minute=60)
    for number in range(60 * most):
        house.leave(let_in(house, member(number % 250)), 0)
    assert over(house, member(0)) is LimitHit.NETWORK
    let_in(house, member(1), now=1)

    house = admission(joins_per_minute=1)
    clients = [let_in(house, member(number)) for number in range(most + 1)]
    assert [house.join(client, 0) for client in clients] == [0] * most + [math.ceil(60 / most)]


def test_one_source_has_a_limit_and_others_do_not_feel_it() -> None:
    house = admission(max_per_source=2)
    clients = [let_in(house, A) for _ in range(2)]
    for client in clients:
        house.settle(client)
    assert over(house, A) is LimitHit.PER_SOURCE
    let_in(house, B)
    let_in(house, ())
    house.leave(clients[0], 0)
    let_in(house, A)


def test_one_source_without_hellos_has_a_smaller_limit() -> None:
    house = admission(max_pending_per_source=2)
    first, _ = let_in(house, A), let_in(house, A)
    assert over(house, A) is LimitHit.PENDING_PER_SOURCE
    house.settle(first)
    let_in(house, A)
    let_in(house, B)


def test_one_source_may_come_so_often_in_a_minute() -> None:
    house = admission(arrivals_per_minute=60)
    for _ in range(60):
        house.leave(let_in(house, A), 0)
    assert over(house, A) is LimitHit.ARRIVALS
    let_in(house, B)
    house.leave(let_in(house, A, now=1), 1)
    assert over(house, A, 1) is LimitHit.ARRIVALS


def test_coming_back_does_not_help_and_a_minute_does() -> None:
    house = admission(arrivals_per_minute=2)
    house.leave(let_in(house, A), 0)
    house.leave(let_in(house, A), 0)
    assert over(house, A) is LimitHit.ARRIVALS
    for _ in range(2):
        house.leave(let_in(house, A, now=60), 60)


def test_joins_are_counted_by_source_and_the_refusal_tells_when_to_come_back() -> None:
    house = admission(joins_per_minute=30)
    client, other = let_in(house, A), let_in(house, A)
    assert [house.join(client, 0) for _ in range(30)] == [0] * 30
    assert house.join(other, 0) == 2
    assert house.join(let_in(house, B), 0) == 0
    assert house.join(other, 2) == 0


def test_a_limit_of_a_source_that_is_0_is_none() -> None:
    house = admission(max_per_source=0, max_pending_per_source=0, arrivals_per_minute=0, joins_per_minute=0)
    clients = [let_in(house, A) for _ in range(100)]
    assert not any(house.join(client, 0) for client in clients)


def test_those_without_a_source_have_no_limit_of_a_source() -> None:
    house = admission(max_per_source=1, max_pending_per_source=1, arrivals_per_minute=1, joins_per_minute=1)
    clients = [let_in(house, ()) for _ in range(100)]
    assert not any(house.join(client, 0) for client in clients)


# Proxies


def test_a_guest_whom_a_proxy_names_counts_for_its_source_from_then_on() -> None:
    house = admission(max_per_source=1)
    client = let_in(house, ())
    assert house.move(client, A, 0) is None
    assert over(house, A) is LimitHit.PER_SOURCE
    second = let_in(house, ())
    assert house.move(second, A, 0) is LimitHit.PER_SOURCE
    house.leave(second, 0)
    house.leave(client, 0)
    let_in(house, A)


def test_naming_a_guest_anew_frees_its_first_source() -> None:
    house = admission(max_per_source=1)
    client = let_in(house, A)
    assert house.move(client, B, 0) is None
    let_in(house, A)
    assert over(house, B) is LimitHit.PER_SOURCE


# Change and memory


def test_limits_that_change_hold_for_newcomers_and_put_nobody_out() -> None:
    house = admission()
    clients = [let_in(house, A) for _ in range(3)]
    house.config = replace(house.config, max_per_source=1)
    assert over(house, A) is LimitHit.PER_SOURCE
    for client in clients:
        house.settle(client)
    assert house.places == 3


def test_what_is_remembered_of_those_who_left_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REMEMBERED_SOURCES", 10)
    house = admission()
    for number in range(100):
        house.leave(let_in(house, address(number, number)), 0)
        assert len(house._absent) <= 10
    house.leave(let_in(house, A, now=60), 60)
    assert list(house._absent) == [A[0][0]]


SOURCES = (
    A,
    B,
    (),
    *(address(home, subnet, site=site) for site in (0, 1) for home in (0, 1) for subnet in (0, 1)),
)
STEPS = st.sampled_from(["arrive", "arrive", "settle", "name", "join", "excuse", "leave", "fewer"])


@given(
    st.lists(st.tuples(STEPS, st.integers(0, 98))),
    st.lists(st.floats(0, 30), min_size=1),
)
@example([("arrive", 0), ("arrive", 0), ("arrive", 1), ("arrive", 1), ("fewer", 0), ("arrive", 0)], [0.0])
def test_the_counts_are_right_whatever_happens(steps: list[tuple[str, int]], pauses: list[float]) -> None:
    house = admission(max_connections=6, max_pending=5, max_per_source=3, max_pending_per_source=2)
    inside: list[Client] = []
    all_of_them: list[Client] = []
    now = 0.0
    most = 5

    def evict(client: Client) -> None:
        waiting = [each for each in inside if each.pending or each is client]
        assert client in waiting, "it had said hello"
        inside.remove(client)

    for index, (step, number) in enumerate(steps):
        now += pauses[index % len(pauses)]
        sources = SOURCES[number % len(SOURCES)]
        if step == "arrive":
            arrived = house.arrive(sources, now, evict)
            if isinstance(arrived, Client):
                inside.append(arrived)
                all_of_them.append(arrived)
        elif step == "fewer":
            most = 5 - most % 3
            house.config = replace(house.config, max_pending=most)
        elif all_of_them:
            client = all_of_them[number % len(all_of_them)]
            if step == "settle":
                house.settle(client)
            elif step == "name" and client.pending:
                house.move(client, sources, now)
            elif step == "join":
                house.join(client, now)
            elif step == "excuse":
                house.excuse(client, now)
            elif step == "leave":
                house.leave(client, now)
                if client in inside:
                    inside.remove(client)
        assert [client for client in all_of_them if not client.gone] == inside
        assert house.places == len(inside) <= 11
        assert list(house._pending) == [client for client in inside if client.pending]
        if step == "arrive" and isinstance(arrived, Client):
            assert house.pending <= most  # whoever is refused puts nobody out
        for source, multiple in {pair for each in SOURCES for pair in each}:
            record = house._present.get(source)
            mine = [client for client in inside if (source, multiple) in client.sources]
            assert (record.places if record else 0) == len(mine) <= 3 * multiple
            assert (record.pending if record else 0) == sum(client.pending for client in mine) <= 2 * multiple
            assert not (source in house._present and source in house._absent)
    for client in all_of_them:
        house.leave(client, now)
    assert (len(house._present), house.places, house.pending) == (0, 0, 0)


@given(st.lists(st.sampled_from(SOURCES), max_size=40))
def test_who_goes_is_the_oldest_of_those_in_the_most_crowded_network(arrivals: list[Sources]) -> None:
    house = admission(max_pending=12, max_pending_per_source=4)
    inside: dict[Client, Sources] = {}

    def crowd(sources: Sources) -> float:
        if not sources:
            return sum(not each for each in inside.values()) / max(limits.NETWORK_MULTIPLES.values())
        return max(sum(one in each for each in inside.values()) / one[1] for one in sources)

    def evict(client: Client) -> None:
        assert client is max(inside, key=lambda one: crowd(inside[one]))
        del inside[client]

    for sources in arrivals:
        arrived = house.arrive(sources, 0, evict)
        if isinstance(arrived, Client):
            inside[arrived] = sources
