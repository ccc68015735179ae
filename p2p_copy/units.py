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
    r"[0-9]+(?:\.[0-9]+)?|(?:[0-9]+(?:\.[0-9]+)? ?[dhms] ?)+", re.ASCII | re.IGNORECASE
)
_PART: Final = re.compile(r"([0-9.]+) ?([dhms]?)", re.ASCII | re.IGNORECASE)
_SECONDS: Final = {"d": 86400, "h": 3600, "m": 60, "s": 1, "": 1}


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


def duration(seconds: float) -> str:
    """Return a number of seconds as text: `0:35`, `2:03:04`."""
    minutes, second = divmod(int(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02d}:{second:02d}" if hour else f"{minute}:{second:02d}"
