"""Which connections get a place, at times that the test chooses."""

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


def no_one_goes(client: Client) -> None:
    raise AssertionError("no client has to go")


def make_admission(descriptors: int | None = None, **settings: int) -> Admission:
    return Admission(RelayConfig("127.0.0.1", 0, **settings), descriptors)  # type: ignore[arg-type]


def let_in(admission: Admission, sources: Sources, now: float = 0) -> Client:
    client = admission.arrive(sources, now, no_one_goes)
    assert isinstance(client, Client), client
    return client


def limit_hit(admission: Admission, sources: Sources, now: float = 0) -> LimitHit:
    found = admission.arrive(sources, now, no_one_goes)
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
def test_this_machine_and_invalid_addresses_are_no_source(address: str | None) -> None:
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
    admission = make_admission(max_connections=2, max_pending=1)
    assert (admission.most, make_admission(descriptors=1).most) == (3, 1)
    for _ in range(2):
        admission.settle(let_in(admission, ()))
    assert admission.is_full
    last = let_in(admission, ())
    admission.settle(last)
    assert limit_hit(admission, ()) is LimitHit.TOTAL
    admission.leave(last, 0)
    admission.leave(let_in(admission, ()), 0)
    assert limit_hit(make_admission(descriptors=0), ()) is LimitHit.TOTAL


def test_a_newcomer_takes_the_place_of_the_oldest_one_without_a_hello() -> None:
    admission = make_admission(max_pending=2)
    settled, old, new = let_in(admission, ()), let_in(admission, ()), None
    admission.settle(settled)
    new = let_in(admission, ())
    gone: list[Client] = []
    newest = admission.arrive((), 0, gone.append)
    assert isinstance(newest, Client)
    assert gone == [old]
    assert (admission.places, admission.pending) == (3, 2)
    for client in (old, settled, new, newest):
        admission.leave(client, 0)
    assert (admission.places, admission.pending) == (0, 0)


def test_clients_of_the_most_crowded_network_are_evicted_first() -> None:
    admission = make_admission(max_pending=6)
    honest = let_in(admission, A)
    crowd = [let_in(admission, B) for _ in range(5)]
    gone: list[Client] = []
    for number in range(8):
        assert isinstance(admission.arrive(source(b"%d" % number), 0, gone.append), Client)
        assert (honest in gone) == (number >= 4), "with one of each left, it is the oldest"
    assert gone[:4] == crowd[:4]


def test_a_wide_network_counts_relative_to_its_multiple() -> None:
    """A home with many networks counts as one, and phones that share a wide network do not evict each other."""
    admission = make_admission(max_pending=41)
    phones = [let_in(admission, address(home, home)) for home in range(15)]
    line = [let_in(admission, address(7, subnet, site=1)) for subnet in range(26)]
    gone: list[Client] = []
    for number in range(20):
        admission.arrive(source(b"%d" % number), 0, gone.append)
    assert gone == line[:20]
    assert not any(client.gone for client in phones)


def test_clients_without_a_source_are_evicted_only_when_they_are_very_many() -> None:
    admission = make_admission(max_pending=20)
    proxy = [let_in(admission, ()) for _ in range(16)]
    line = [let_in(admission, A) for _ in range(4)]
    gone: list[Client] = []
    for number in range(5):
        admission.arrive(source(b"%d" % number), 0, gone.append)
    assert gone == [*line[:3], proxy[0], line[3]]


def test_an_evicted_client_can_neither_settle_nor_move() -> None:
    admission = make_admission(max_pending=1)
    old = let_in(admission, A)
    gone: list[Client] = []
    admission.arrive(B, 0, gone.append)
    assert gone == [old]
    admission.settle(old)
    assert admission.move(old, A, 0) is None
    assert admission.join(old, 0) == 0
    admission.excuse(old, 0)
    assert (admission.places, admission.pending, list(admission._present)) == (1, 1, [B[0][0]])


def test_a_newcomer_over_a_limit_evicts_no_client() -> None:
    admission = make_admission(max_pending=2, max_pending_per_source=1)
    let_in(admission, A)
    let_in(admission, B)
    assert limit_hit(admission, A) is LimitHit.PENDING_PER_SOURCE


def test_lowering_the_limit_evicts_as_many_as_are_over_it() -> None:
    admission = make_admission()
    for _ in range(5):
        let_in(admission, A)
    admission.config = replace(admission.config, max_pending=2)
    gone: list[Client] = []
    admission.arrive(B, 0, gone.append)
    assert (len(gone), admission.pending) == (4, 2)


def test_when_clients_have_all_places_newcomers_are_refused() -> None:
    admission = make_admission(descriptors=2)
    for _ in range(2):
        admission.settle(let_in(admission, ()))
    assert limit_hit(admission, ()) is LimitHit.TOTAL


@pytest.mark.parametrize(("home", "most"), [(True, 4), (False, 16)], ids=["/56", "/48"])
def test_a_wider_network_has_a_multiple_of_each_limit(home: bool, most: int) -> None:
    def member(number: int) -> Sources:
        return address(7, number) if home else address(number, number)

    admission = make_admission(max_pending_per_source=1)
    for number in range(most):
        let_in(admission, member(number))
    assert limit_hit(admission, member(most)) is LimitHit.NETWORK
    let_in(admission, address(0, 0, site=1))

    admission = make_admission(max_per_source=1, max_pending_per_source=0)
    for number in range(most):
        admission.settle(let_in(admission, member(number)))
    assert limit_hit(admission, member(most)) is LimitHit.NETWORK

    admission = make_admission(arrivals_per_minute=60)
    for number in range(60 * most):
        admission.leave(let_in(admission, member(number % 250)), 0)
    assert limit_hit(admission, member(0)) is LimitHit.NETWORK
    let_in(admission, member(1), now=1)

    admission = make_admission(joins_per_minute=1)
    clients = [let_in(admission, member(number)) for number in range(most + 1)]
    assert [admission.join(client, 0) for client in clients] == [0] * most + [math.ceil(60 / most)]


def test_one_source_has_a_limit_that_does_not_affect_others() -> None:
    admission = make_admission(max_per_source=2)
    clients = [let_in(admission, A) for _ in range(2)]
    for client in clients:
        admission.settle(client)
    assert limit_hit(admission, A) is LimitHit.PER_SOURCE
    let_in(admission, B)
    let_in(admission, ())
    admission.leave(clients[0], 0)
    let_in(admission, A)


def test_one_source_without_hellos_has_a_smaller_limit() -> None:
    admission = make_admission(max_pending_per_source=2)
    first, _ = let_in(admission, A), let_in(admission, A)
    assert limit_hit(admission, A) is LimitHit.PENDING_PER_SOURCE
    admission.settle(first)
    let_in(admission, A)
    let_in(admission, B)


def test_one_source_has_a_limit_of_arrivals_in_a_minute() -> None:
    admission = make_admission(arrivals_per_minute=60)
    for _ in range(60):
        admission.leave(let_in(admission, A), 0)
    assert limit_hit(admission, A) is LimitHit.ARRIVALS
    let_in(admission, B)
    admission.leave(let_in(admission, A, now=1), 1)
    assert limit_hit(admission, A, 1) is LimitHit.ARRIVALS


def test_reconnecting_does_not_reset_the_limit_and_a_minute_does() -> None:
    admission = make_admission(arrivals_per_minute=2)
    admission.leave(let_in(admission, A), 0)
    admission.leave(let_in(admission, A), 0)
    assert limit_hit(admission, A) is LimitHit.ARRIVALS
    for _ in range(2):
        admission.leave(let_in(admission, A, now=60), 60)


def test_joins_are_counted_by_source_and_the_refusal_says_when_to_retry() -> None:
    admission = make_admission(joins_per_minute=30)
    client, other = let_in(admission, A), let_in(admission, A)
    assert [admission.join(client, 0) for _ in range(30)] == [0] * 30
    assert admission.join(other, 0) == 2
    assert admission.join(let_in(admission, B), 0) == 0
    assert admission.join(other, 2) == 0


def test_a_limit_of_a_source_that_is_0_is_none() -> None:
    admission = make_admission(
        max_per_source=0, max_pending_per_source=0, arrivals_per_minute=0, joins_per_minute=0
    )
    clients = [let_in(admission, A) for _ in range(100)]
    assert not any(admission.join(client, 0) for client in clients)


def test_clients_without_a_source_have_no_limit_of_a_source() -> None:
    admission = make_admission(
        max_per_source=1, max_pending_per_source=1, arrivals_per_minute=1, joins_per_minute=1
    )
    clients = [let_in(admission, ()) for _ in range(100)]
    assert not any(admission.join(client, 0) for client in clients)


# Proxies


def test_a_client_that_a_proxy_names_counts_for_its_source_from_then_on() -> None:
    admission = make_admission(max_per_source=1)
    client = let_in(admission, ())
    assert admission.move(client, A, 0) is None
    assert limit_hit(admission, A) is LimitHit.PER_SOURCE
    second = let_in(admission, ())
    assert admission.move(second, A, 0) is LimitHit.PER_SOURCE
    admission.leave(second, 0)
    admission.leave(client, 0)
    let_in(admission, A)


def test_naming_a_client_again_frees_its_first_source() -> None:
    admission = make_admission(max_per_source=1)
    client = let_in(admission, A)
    assert admission.move(client, B, 0) is None
    let_in(admission, A)
    assert limit_hit(admission, B) is LimitHit.PER_SOURCE


# Change and memory


def test_changed_limits_hold_for_newcomers_and_evict_no_client() -> None:
    admission = make_admission()
    clients = [let_in(admission, A) for _ in range(3)]
    admission.config = replace(admission.config, max_per_source=1)
    assert limit_hit(admission, A) is LimitHit.PER_SOURCE
    for client in clients:
        admission.settle(client)
    assert admission.places == 3


def test_the_memory_of_sources_that_left_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REMEMBERED_SOURCES", 10)
    admission = make_admission()
    for number in range(100):
        admission.leave(let_in(admission, address(number, number)), 0)
        assert len(admission._absent) <= 10
    admission.leave(let_in(admission, A, now=60), 60)
    assert list(admission._absent) == [A[0][0]]


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
def test_the_counts_are_right_after_any_events(steps: list[tuple[str, int]], pauses: list[float]) -> None:
    admission = make_admission(max_connections=6, max_pending=5, max_per_source=3, max_pending_per_source=2)
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
            arrived = admission.arrive(sources, now, evict)
            if isinstance(arrived, Client):
                inside.append(arrived)
                all_of_them.append(arrived)
        elif step == "fewer":
            most = 5 - most % 3
            admission.config = replace(admission.config, max_pending=most)
        elif all_of_them:
            client = all_of_them[number % len(all_of_them)]
            if step == "settle":
                admission.settle(client)
            elif step == "name" and client.pending:
                admission.move(client, sources, now)
            elif step == "join":
                admission.join(client, now)
            elif step == "excuse":
                admission.excuse(client, now)
            elif step == "leave":
                admission.leave(client, now)
                if client in inside:
                    inside.remove(client)
        assert [client for client in all_of_them if not client.gone] == inside
        assert admission.places == len(inside) <= 11
        assert list(admission._pending) == [client for client in inside if client.pending]
        if step == "arrive" and isinstance(arrived, Client):
            assert admission.pending <= most  # a refused newcomer evicts no client
        for source, multiple in {pair for each in SOURCES for pair in each}:
            record = admission._present.get(source)
            mine = [client for client in inside if (source, multiple) in client.sources]
            assert (record.places if record else 0) == len(mine) <= 3 * multiple
            assert (record.pending if record else 0) == sum(client.pending for client in mine) <= 2 * multiple
            assert not (source in admission._present and source in admission._absent)
    for client in all_of_them:
        admission.leave(client, now)
    assert (len(admission._present), admission.places, admission.pending) == (0, 0, 0)


@given(st.lists(st.sampled_from(SOURCES), max_size=40))
def test_the_oldest_client_of_the_most_crowded_network_is_evicted(arrivals: list[Sources]) -> None:
    admission = make_admission(max_pending=12, max_pending_per_source=4)
    inside: dict[Client, Sources] = {}

    def crowd(sources: Sources) -> float:
        if not sources:
            return sum(not each for each in inside.values()) / max(limits.NETWORK_MULTIPLES.values())
        return max(sum(one in each for each in inside.values()) / one[1] for one in sources)

    def evict(client: Client) -> None:
        assert client is max(inside, key=lambda one: crowd(inside[one]))
        del inside[client]

    for sources in arrivals:
        arrived = admission.arrive(sources, 0, evict)
        if isinstance(arrived, Client):
            inside[arrived] = sources
