from __future__ import annotations

from datetime import datetime

import pytest

from p2p_copy.cli.options.values import moment_of, short
from p2p_copy.units import parse_duration

NOW = datetime(2026, 5, 4, 22, 30)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("55m", 3300), ("23:30", 3600), ("22:30", 86_400), ("2026-05-04T22:31", 60), ("2026-05-05", 5400)],
)
def test_moments(text: str, seconds: float) -> None:
    assert moment_of(text, NOW) == seconds


@pytest.mark.parametrize("text", ["25:00", "2026-05-04T22:30", "2020-01-01", "soon"])
def test_wrong_moments_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        moment_of(text, NOW)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0"), (43200, "12h"), (300, "5m"), (172_800, "2d"), (90, "90s"), (2.5, "2.5s")]
)
def test_a_default_is_shown_in_a_form_that_the_option_takes(seconds: float, text: str) -> None:
    assert short(seconds) == text
    assert parse_duration(text) == seconds
