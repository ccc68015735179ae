"""Parsing and formatting of times, sizes and rates."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from p2p_copy.units import (
    GIB,
    amount,
    count,
    duration,
    elapsed,
    exact_duration,
    exact_size,
    parse_duration,
    parse_rate,
    parse_size,
    part_of,
    short_number,
)


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
        ("2 min 3 s", 123),
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


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1000, "1 kB"),
        (64 << 10, "64 KiB"),
        (1_500_000, "1.5 MB"),
        (2 << 20, "2 MiB"),
        (3 << 29, "1.5 GiB"),
        (1_234_567, "1234567 B"),
        (1023 << 20, "1023 MiB"),
        (2**62, "4 EiB"),
    ],
)
def test_an_exact_size_can_be_typed(size: int, text: str) -> None:
    assert exact_size(size) == text
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.25, "0.25 s"),
        (10, "10 s"),
        (90.5, "1 min 30.5 s"),
        (3600.0, "1 h"),
        (5400, "1 h 30 min"),
        (86_401, "1 d 1 s"),
    ],
)
def test_an_exact_duration_can_be_typed(seconds: float, text: str) -> None:
    assert exact_duration(seconds) == text
    assert parse_duration(text) == seconds


@given(st.integers(0, 2**63))
def test_every_exact_size_can_be_typed(size: int) -> None:
    assert parse_size(exact_size(size)) == size


def test_a_rate_is_a_size_with_or_without_the_second() -> None:
    assert parse_rate("10MB/s") == parse_rate("10MB") == 10**7
    assert parse_rate("1.5M /S") == 3 << 19
    for text in ("", "/s", "fast", "1M/m", "1M/s/s"):
        with pytest.raises(ValueError, match="10MB/s"):
            parse_rate(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (5 * GIB, "5.0 GiB"),
        (2**63, "8.0 EiB"),
    ],
)
def test_amounts_are_written_as_people_write_them(size: int, text: str) -> None:
    assert amount(size) == text


@pytest.mark.parametrize(
    ("seconds", "text", "rough"),
    [
        (-1, "0 s", "0 s"),
        (0.4, "0 s", "0 s"),
        (35, "35 s", "35 s"),
        (59.6, "1 min", "1 min"),
        (65.9, "1 min 6 s", "1 min 6 s"),
        (755, "12 min 35 s", "12 min"),
        (3605, "1 h", "1 h"),
        (7384, "2 h 3 min", "2 h 3 min"),
        (43_199.99, "12 h", "12 h"),
        (183_600, "2 d 3 h", "2 d 3 h"),
        (400 * 86_400 + 3600, "400 d 1 h", "400 d"),
    ],
)
def test_durations_are_written_as_people_write_them(seconds: float, text: str, rough: str) -> None:
    assert (duration(seconds), duration(seconds, rough=True)) == (text, rough)


@pytest.mark.parametrize("seconds", [35, 65, 755, 3600, 7380, 43_200, 183_600])
def test_a_shown_duration_can_be_typed(seconds: float) -> None:
    assert parse_duration(duration(seconds).replace("min", "m")) == seconds


def test_what_took_less_than_a_minute_has_tenths() -> None:
    assert [elapsed(seconds) for seconds in (0.04, 35.12, 59.94, 59.96, 65)] == [
        "0.0 s",
        "35.1 s",
        "59.9 s",
        "1 min",
        "1 min 5 s",
    ]


def test_numbers_of_things_have_their_plural() -> None:
    assert [count(number, "file") for number in (0, 1, 2, 1_234_567)] == [
        "0 files",
        "1 file",
        "2 files",
        "1,234,567 files",
    ]
    assert [count(number, "entry", "entries") for number in (1, 2)] == ["1 entry", "2 entries"]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (99_999, "99999"),
        (123_456, "123k"),
        (1_234_567, "1.23M"),
        (12_345_678, "12.3M"),
        (123_456_789, "123M"),
        (2**40, "1100G"),
    ],
)
def test_short_numbers(number: int, text: str) -> None:
    assert short_number(number) == text


def test_a_part_of_a_size_names_one_unit_if_both_have_it() -> None:
    assert part_of(36.7 * 2**20, 60.8 * 2**20) == "36.7 of 60.8 MiB"
    assert part_of(999.9 * GIB, 2.9 * 2**40) == "999.9 GiB of 2.9 TiB"
