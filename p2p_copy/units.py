"""Parses and formats sizes, rates and times, in the same form everywhere.

Options, the configuration file, the tokens file and orders to a relay all use the `parse_` functions here, so that a
form that works in one place works in all of them. docs/configuration.md describes the forms under "Times and
sizes".
"""

from __future__ import annotations

import math
import re
from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")

_PREFIXES: Final = " KMGTPE"
_SIZE: Final = re.compile(
    r"([0-9]+)(?:\.([0-9]+))? ?(?:([KMGTPE])(iB?|B|))?(?(3)|B?)", re.ASCII | re.IGNORECASE
)
_DURATION: Final = re.compile(
    r"[0-9]+(?:\.[0-9]+)?|(?:[0-9]+(?:\.[0-9]+)? ?(?:d|h|min|m|s) ?)+", re.ASCII | re.IGNORECASE
)
_PART: Final = re.compile(r"([0-9.]+) ?(d|h|min|m|s|)", re.ASCII | re.IGNORECASE)
_LARGER_UNITS: Final = (("d", 86400), ("h", 3600), ("min", 60))
_SECONDS: Final = {**dict(_LARGER_UNITS), "m": 60, "s": 1, "": 1}


def parse_duration(text: str) -> float:
    """Return the seconds of a time: `90`, `1.5`, `10m`, `1h30m` or `2d`. A number without a unit is seconds.

    Raises:
        ValueError: it is no time. The message shows the form.

    """
    text = text.strip()
    seconds = math.inf
    if _DURATION.fullmatch(text):
        seconds = sum(float(number) * _SECONDS[unit.lower()] for number, unit in _PART.findall(text))
    if seconds == math.inf:
        raise ValueError("a time is written as 90 (seconds), 30s, 10m, 1h30m or 2d")
    return seconds


def parse_size(text: str) -> int:
    """Return the bytes of a size: `7`, `500G`, `10 MiB` or `1.5 GB`. A fraction of a byte is dropped.

    K, M, G, T, P and E, alone or followed by iB, are powers of 1024; kB, MB, GB, TB, PB and EB are powers of 1000.

    Raises:
        ValueError: it is no size. The message shows the form.

    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or (match[2] and not match[3] and int(match[2])):  # half a byte is an error
        raise ValueError("a size is written as 1000000 (bytes), 64K, 10MiB, 1.5G or 20GB")
    whole, fraction, prefix, ending = match[1], match[2] or "", match[3] or " ", (match[4] or "").upper()
    step = 1000 if ending == "B" else KIB
    return int(whole + fraction) * int(step ** _PREFIXES.index(prefix.upper())) // int(10 ** len(fraction))


def parse_rate(text: str) -> int:
    """Return the bytes per second of a rate: a size, with or without `/s`.

    Raises:
        ValueError: it is no rate. The message shows the form.

    """
    try:
        return parse_size(re.sub(r" ?/s\Z", "", text.strip(), flags=re.IGNORECASE))
    except ValueError:
        raise ValueError("a rate is a size for each second, as 64K, 10MB/s or 1.5MiB/s") from None


def amount(size: float) -> str:
    """Return a number of bytes as text: `1.2 GiB`."""
    step = 0
    while size >= 1000 and step < len(_UNITS) - 1:
        size /= KIB
        step += 1
    return f"{size:.{min(step, 1)}f} {_UNITS[step]}"


def duration(seconds: float, *, rough: bool = False) -> str:
    """Return a number of seconds as text, in at most two units: `35 s`, `1 min 5 s`, `12 h`, `2 d 3 h`.

    If it is `rough`, the smaller unit is left out beside 10 or more of the larger one: `12 min` for 12 min 35 s.
    """
    left = max(round(seconds), 0)
    parts = []
    for name, size in (*_LARGER_UNITS, ("s", 1)):
        number, left = divmod(left, size)
        if number:
            parts.append(f"{number} {name}")
        elif parts:
            break
        if len(parts) == 2 or (rough and number >= 10):
            break
    return " ".join(parts) or "0 s"


def elapsed(seconds: float) -> str:
    """Return how long something took: `0.2 s`, `35.1 s`, `1 min 5 s`."""
    return f"{seconds:.1f} s" if seconds < 59.95 else duration(seconds)


def count(number: int, one: str, several: str | None = None) -> str:
    """Return a number of things as text: `1 file`, `43 files`, `1,234,567 files`."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def short_number(number: int) -> str:
    """Return a number in at most five characters: `99999`, `123k`, `1.23M`."""
    if number < 100_000:
        return str(number)
    for name, size in (("k", 1000), ("M", 1000**2), ("G", 1000**3)):
        if number < 1000 * size or name == "G":
            break
    return f"{number / size:.{2 if number < 10 * size else 1 if number < 100 * size else 0}f}{name}"


def part_of(size: float, whole: float) -> str:
    """Return a part of a number of bytes as text: `36.7 of 60.8 MiB`, `12.0 MiB of 2.9 TiB`."""
    (number, _, unit), (all_, _, all_unit) = amount(size).partition(" "), amount(whole).partition(" ")
    return f"{number} of {all_} {all_unit}" if unit == all_unit else f"{number} {unit} of {all_} {all_unit}"


def exact_duration(seconds: float) -> str:
    """Return a time as text that `parse_duration` reads, unchanged down to milliseconds: `1 h 30 min`, `0.5 s`."""
    parts = []
    for unit, size in _LARGER_UNITS:
        if seconds >= size:
            number, seconds = divmod(seconds, size)
            parts.append(f"{number:.0f} {unit}")
    if seconds or not parts:
        parts.append(f"{round(seconds, 3):.12g} s")
    return " ".join(parts)


def exact_size(size: int) -> str:
    """Return a number of bytes as text that `parse_size` reads, unchanged: `256 MiB`, `1.5 MB`, `1234567 B`."""
    for power in range(len(_UNITS) - 1, 0, -1):
        for step, ending in ((KIB, "iB"), (1000, "B")):
            whole, rest = divmod(size * 10, step**power)
            if whole >= 10 and not rest:
                prefix = "k" if (power, step) == (1, 1000) else _PREFIXES[power]
                return f"{whole / 10:g} {prefix}{ending}" if whole < 10 * KIB else f"{size} B"
    return f"{size} B"
