"""When to renew, for every life, window, clock and number of failures."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from p2p_copy.acme import limits, schedule
from p2p_copy.acme.schedule import Validity, Window

DAY = limits.DAY
NOW = 1_800_000_000.0

SLACK = 1.0001
"""Times of day are floats, too."""

LIVES = st.floats(10.0, 400 * DAY)
CHOICES = st.floats(0.0, 1.0)
TIMES = st.floats(NOW - 400 * DAY, NOW + 400 * DAY)


def windows() -> st.SearchStrategy[Window | None]:
    return st.builds(Window.checked, TIMES, TIMES)


@pytest.mark.parametrize(
    ("days", "share"), [(90, 2 / 3), (64, 2 / 3), (45, 2 / 3), (10, 2 / 3), (9.9, 1 / 2), (6, 1 / 2)]
)
def test_without_a_window_the_life_decides(days: float, share: float) -> None:
    validity = Validity(NOW, NOW + days * DAY)
    assert schedule.renewal_time(validity, None, 0.3) == pytest.approx(NOW + share * days * DAY)


@given(LIVES, windows(), CHOICES)
def test_a_renewal_begins_while_there_is_time_for_failures(
    life: float, window: Window | None, choice: float
) -> None:
    validity = Validity(NOW, NOW + life)
    assert schedule.renewal_time(validity, window, choice) <= NOW + life * 5 / 6 + 1e-3


@given(windows(), CHOICES)
def test_a_window_is_followed_where_it_can_be(window: Window | None, choice: float) -> None:
    validity = Validity(NOW - 1000 * DAY, NOW + 10_000 * DAY)
    if window is not None:
        assert window.start <= schedule.renewal_time(validity, window, choice) <= window.end


@pytest.mark.parametrize(("start", "end"), [(5.0, 4.0), (5.0, 5.0)])
def test_a_window_that_ends_before_it_starts_is_none(start: float, end: float) -> None:
    assert Window.checked(start, end) is None


@given(LIVES)
def test_the_least_time_between_two_certificates(life: float) -> None:
    gap = schedule.least_gap(life)
    assert life / 10 <= gap * SLACK
    assert gap < life / 2
    if life >= 3 * limits.HOUR:
        assert gap * SLACK >= limits.HOUR


@given(LIVES, windows(), CHOICES, st.floats(0, 10 * DAY))
def test_a_window_in_the_past_does_not_renew_for_ever(
    life: float, window: Window | None, choice: float, waited: float
) -> None:
    now = NOW + waited
    due = schedule.order_time(Validity(NOW, NOW + life), NOW, window, choice, now)
    assert due - NOW >= schedule.least_gap(life) / SLACK - 1e-3


@pytest.mark.parametrize("life", [0.0, -90 * DAY])
def test_a_certificate_without_life_is_not_ordered_without_a_pause(life: float) -> None:
    past = Window(NOW - 10 * DAY, NOW - 9 * DAY)
    assert schedule.order_time(Validity(NOW, NOW + life), NOW, past, 0.5, NOW) >= NOW + 1


def test_a_certificate_from_the_future_does_not_hold_renewals_up() -> None:
    validity = Validity(NOW - 60 * DAY, NOW + 30 * DAY)
    assert schedule.order_time(validity, NOW + 500 * DAY, None, 0.5, NOW) == pytest.approx(NOW)


@given(st.integers(1, 5000), CHOICES, CHOICES)
def test_pauses_grow_up_to_an_hour_without_a_certificate(failures: int, one: float, other: float) -> None:
    first = schedule.pause(failures, None, NOW, one)
    assert 0.8 * limits.FIRST_PAUSE <= first * SLACK <= 1.2 * limits.HOUR * SLACK**2
    if first < 0.8 * limits.HOUR / 2:
        assert schedule.pause(failures + 1, None, NOW, other) > first


@given(st.integers(1, 5000), LIVES, st.floats(-2.0, 1.0), CHOICES)
def test_pauses_fit_into_what_is_left_of_a_life(
    failures: int, life: float, left: float, choice: float
) -> None:
    pause = schedule.pause(failures, Validity(NOW + left * life - life, NOW + left * life), NOW, choice)
    pause /= SLACK
    assert 0 < pause <= 1.2 * limits.LONGEST_CALM_PAUSE
    assert pause <= 1.2 * max(limits.HOUR, left * life / 10)
    if failures == 1:
        assert pause <= 1.2 * life / limits.SHORT_PAUSES


def test_in_the_first_hour_no_limit_of_the_largest_authority_is_met() -> None:
    """Five failed proofs an hour, of which one comes back every twelve minutes."""
    for choice in (0.0, 0.5, 1.0):
        at, tokens, last = 0.0, 5.0, 0.0
        for failures in range(1, 40):
            tokens = min(5.0, tokens + (at - last) / 720) - 1
            assert tokens >= 0
            last, at = at, at + schedule.pause(failures, None, NOW, choice)


@given(st.none() | st.floats(0, 100 * DAY), LIVES)
def test_an_authority_is_asked_when_to_renew_as_often_as_it_says_within_bounds(
    named: float | None, life: float
) -> None:
    interval = schedule.ari_interval(named, Validity(NOW, NOW + life))
    assert min(limits.ARI_LEAST, life / 10) <= interval * SLACK
    assert interval <= limits.ARI_MOST
    if named is not None and limits.ARI_LEAST <= named <= min(life / 10, limits.ARI_MOST):
        assert interval == pytest.approx(named, rel=1e-4)
