"""Parsing and formatting of times, sizes and rates."""

from __future__ import annotations

import pytest

from p2p_copy.units import amount, parse_duration, parse_rate, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("90", 90),
        ("1.5", 1.5),
        ("10m", 600),
        ("1h30m", 5400),
        ("2d", 172_800),
        ("1H 5 s", 3605),
        (" 1.5h ", 5400),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", " ", "h", "5x", "-5", "5m-", "1h30m!", "nan", "inf", "1h30", "1 2", "1.2.3s", "9" * 400]
)
def test_wrong_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="1h30m"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("12", 12),
        ("12B", 12),
        ("12 b", 12),
        ("7.0", 7),
        ("1K", 1024),
        ("1k", 1024),
        ("1kB", 1000),
        ("1KiB", 1024),
        ("1Ki", 1024),
        ("2 MiB", 2 << 20),
        ("1MB", 10**6),
        ("10 mb", 10**7),
        ("3g", 3 << 30),
        ("1.5G", 3 << 29),
        ("1.5GB", 1_500_000_000),
        ("0.0001K", 0),
        ("1TiB", 1 << 40),
        ("2P", 2 << 50),
        ("123456789.123456789EB", 123456789123456789 * 10**9),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "-1", "G", "1X", "1 000", "1,5G", "0.5", "1.5B", "1e3", "8Mbit", "1iB", "1KK", "1K/s", "nan"]
)
def test_wrong_sizes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="10MiB"):
        parse_size(text)


@pytest.mark.parametrize("size", [7, 3000, 5 << 20, 123456789, 7 << 40, 3 << 61])
def test_a_shown_size_can_be_typed(size: int) -> None:
    assert parse_size(amount(size)) == pytest.approx(size, rel=0.1)


def test_a_rate_is_a_size_with_or_without_the_second() -> None:
    assert parse_rate("10MB/s") == parse_rate("10MB") == 10**7
    assert parse_rate("1.5M /S") == 3 << 19
    for text in ("", "/s", "fast", "1M/m", "1M/s/s"):
        with pytest.raises(ValueError, match="10MB/s"):
            parse_rate(text)
