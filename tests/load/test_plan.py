"""How a load is shared among processes, and which limits of a relay it exceeds."""

from __future__ import annotations

from typing import Any

import pytest

from p2p_copy.load import limits
from p2p_copy.load.plan import LowLimit, Plan, low_limits
from p2p_copy.protocol.rendezvous import LoadTerms
from p2p_copy.units import KIB, MIB


def plan(**changes: Any) -> Plan:
    settings: dict[str, Any] = {
        "waiters": 0,
        "pairings": 0,
        "size": MIB,
        "rate": None,
        "ramp": 60.0,
        "duration": 30.0,
    }
    return Plan(**(settings | changes))


def terms(**changes: int) -> LoadTerms:
    """Return the terms of a relay that nearly anything fits into."""
    settings = {
        "max_connections": 4096,
        "max_pending": 256,
        "max_waiting": 3072,
        "max_per_source": 0,
        "max_pending_per_source": 0,
        "connections_per_minute": 0,
        "joins_per_minute": 0,
    }
    return LoadTerms(**(settings | changes))


@pytest.mark.parametrize("of", [1, 2, 3, 7])
def test_the_shares_are_the_whole(of: int) -> None:
    whole = plan(waiters=20, pairings=4)
    shares = [whole.share(number, of) for number in range(of)]
    assert sum(share.waiters for share in shares) == 20
    assert sum(share.pairings for share in shares) == 4
    assert max(share.waiters for share in shares) - min(share.waiters for share in shares) <= 1


@pytest.mark.parametrize(
    ("rate", "message"),
    [(None, limits.MESSAGE), (64 * KIB, 64 * KIB), (MIB, 256 * KIB), (99 * MIB, limits.MESSAGE)],
)
def test_messages_are_as_long_as_a_sender_s_records(rate: int | None, message: int) -> None:
    assert plan(rate=rate).message == message


@pytest.mark.parametrize(
    ("load", "limit", "low"),
    [
        ({"waiters": 4094}, {"max_waiting": 5000}, None),
        ({"waiters": 4095}, {"max_waiting": 5000}, LowLimit("max-connections", 4096, 4097)),
        ({"pairings": 5}, {"max_connections": 11}, LowLimit("max-connections", 11, 12)),
        ({"waiters": 9, "pairings": 3}, {"max_waiting": 9}, LowLimit("max-waiting", 9, 10)),
        ({"waiters": 300, "ramp": 0.0}, {}, LowLimit("max-pending", 256, 300)),
        ({"waiters": 300, "ramp": 1.0}, {}, None),
        ({"pairings": 3}, {"max_per_source": 7}, LowLimit("max-per-source", 7, 8)),
        ({"pairings": 3}, {"max_per_source": 8}, None),
        (
            {"waiters": 100, "ramp": 1.0},
            {"max_pending_per_source": 8},
            LowLimit("max-pending-per-source", 8, 10),
        ),
        ({"waiters": 100}, {"connections_per_minute": 60}, LowLimit("connections-per-minute", 60, 100)),
        ({"waiters": 100, "ramp": 120.0}, {"connections_per_minute": 60}, None),
        ({"pairings": 20}, {"joins_per_minute": 30}, LowLimit("joins-per-minute", 30, 40)),
        # Each moves its bytes in a second, and so 60 pairings follow in a minute.
        ({"pairings": 1, "rate": MIB}, {"joins_per_minute": 100}, LowLimit("joins-per-minute", 100, 120)),
    ],
)
def test_limits_that_are_too_low(load: dict[str, Any], limit: dict[str, int], low: LowLimit | None) -> None:
    assert low_limits(plan(**load), terms(**limit)) == (() if low is None else (low,))
