"""What processes hand over, and what comes of it."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given, strategies as st

from p2p_copy.errors import P2PCopyError, RelayLost, RelayRefused, SystemFailed
from p2p_copy.load.figures import Failure, Figures, Kind, percentile, together
from p2p_copy.load.report import LoadReport, report_of

REFUSED = Failure("refused", "max-waiting", "Too many.")
LOST = Failure("lost", "", "It broke.")


def report(total: Figures, *, is_gone: bool = False) -> LoadReport:
    return report_of("ws://relay", total, round_trips=[0.25], low=(), processes=2, is_gone=is_gone)


def test_figures_are_the_same_after_they_were_handed_over() -> None:
    figures = Figures([0.5], [0.25, 0.125], waiting=3, failures=Counter({REFUSED: 2, LOST: 1}), is_whole=True)
    assert Figures.from_json(json.loads(json.dumps(figures.as_json()))) == figures


def test_figures_of_several_processes_add_up_and_the_busiest_counts() -> None:
    one = Figures([1.0], most_paired=2, received=10, moved=6, seconds=3.0, processor=2.0, is_whole=True)
    two = Figures(
        [2.0], most_paired=3, received=20, moved=9, seconds=2.5, processor=1.0, failures=Counter({LOST: 1})
    )
    total = together([one, two])
    assert sorted(total.connect) == [1.0, 2.0]
    assert (total.most_paired, total.received, total.moved) == (5, 30, 15)
    assert (total.seconds, total.processor, total.is_whole) == (3.0, 2.0, False)
    assert report(total).rate == 5
    assert report(total).processor == round(2 / 3, 3)


def test_without_figures_there_is_a_report() -> None:
    empty = report(together([]))
    assert (empty.connect, empty.pair, empty.rate, empty.is_whole, empty.is_bottleneck) == (
        None,
        None,
        0,
        False,
        False,
    )
    assert empty.round_trip is not None
    empty.raise_for_failures()


@given(st.lists(st.floats(0, 100), min_size=1), st.floats(0, 1))
def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed(
    values: list[float], share: float
) -> None:
    found = percentile(values, share)
    assert sum(value <= found for value in values) >= share * len(values)
    smaller = [value for value in values if value < found]
    assert len(smaller) < max(share * len(values), 1)


@pytest.mark.parametrize(
    ("kinds", "error"),
    [
        (["refused"], RelayRefused),
        (["lost"], RelayLost),
        (["late"], RelayLost),
        (["changed"], RelayLost),
        (["not_connected"], RelayLost),
        (["local"], SystemFailed),
        (["lost", "refused", "refused"], RelayRefused),
    ],
)
def test_the_most_frequent_failure_decides_the_exit_code(
    kinds: list[Kind], error: type[P2PCopyError]
) -> None:
    failures = Counter(Failure(kind, "", kind) for kind in kinds)
    with pytest.raises(error, match=f"{len(kinds)} failure"):
        report(Figures(failures=failures)).raise_for_failures()


def test_a_relay_that_is_gone_is_an_error_of_its_own() -> None:
    with pytest.raises(RelayLost, match="gone"):
        report(Figures(failures=Counter({REFUSED: 9})), is_gone=True).raise_for_failures()
