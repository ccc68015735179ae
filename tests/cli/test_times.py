from __future__ import annotations

from datetime import datetime

import pytest

from p2p_copy.cli.times import moment_of, seconds_of

NOW = datetime(2026, 5, 4, 22, 30)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("90", 90), ("1.5", 1.5), ("10m", 600), ("1h30m", 5400), ("2d", 172_800), ("1H 5 s", 3605)],
)
def test_durations(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "5x", "-5", "5m-", "1h30m!", "nan"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError):
        seconds_of(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("55m", 3300), ("23:30", 3600), ("22:30", 86_400), ("2026-05-04T22:31", 60), ("2026-05-05", 5400)],
)
def test_moments(text: str, seconds: float) -> None:
    assert moment_of(text, NOW) == seconds


@pytest.mark.parametrize("text", ["25:00", "2026-05-04T22:30", "2020-01-01", "soon"])
def test_what_is_no_moment_to_come(text: str) -> None:
    with pytest.raises(ValueError):
        moment_of(text, NOW)
