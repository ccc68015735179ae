"""Sizes, rates and times as people write and read them: what everything that a person types or sees is held to.

Options, the configuration file, the tokens file and orders to a relay all go through the `parse_` functions here, so
that a form that works in one place works in all of them. docs/cli.md, "Times and sizes", is their description.
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
    """Return the seconds that `90`, `1.5`, `10m`, `1h30m` or `2d` mean; a number without a unit is seconds.

    Raises:
        ValueError: they mean none. The sentence says what would.

    """
    text = text.strip()
    seconds = math.inf
    if _DURATION.fullmatch(text):
        seconds = sum(float(number) * _SECONDS[unit.lower()] for number, unit in _PART.findall(text))
    if seconds == math.inf:
        raise ValueError("a time is written as 90 (seconds), 30s, 10m, 1h30m or 2d")
    return seconds


def parse_size(text: str) -> int:
    """Return the bytes that `7`, `500G`, `10 MiB` or `1.5 GB` mean; a fraction of a byte is dropped.

    K, M, G, T, P and E, alone or with iB behind, multiply by 1024 each; kB, MB, GB, TB, PB and EB by 1000 each.

    Raises:
        ValueError: they mean none. The sentence says what would.

    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or (match[2] and not match[3] and int(match[2])):  # half a byte is a mistake
        raise ValueError("a size is written as 1000000 (bytes), 64K, 10MiB, 1.5G or 20GB")
    whole, fraction, prefix, ending = match[1], match[2] or "", match[3] or " ", (match[4] or "").upper()
    step = 1000 if ending == "B" else KIB
    return int(whole + fraction) * int(step ** _PREFIXES.index(prefix.upper())) // int(10 ** len(fraction))


def parse_rate(text: str) -> int:
    """Return the bytes per second that a size, with or without `/s` behind it, means.

    Raises:
        ValueError: it means none. The sentence says what would.

    """
    try:
        return parse_size(re.sub(r" ?/s\Z", "", text.strip(), flags=re.IGNORECASE))
    except ValueError:
        raise ValueError("a rate is a size for each second, as 64K, 10MB/s or 1.5MiB/s") from None


def amount(size: float) -> str:
    """Return so many bytes as people write them: `1.2 GiB`."""
    step = 0
    while size >= 1000 and step < len(_UNITS) - 1:
        size /= KIB
        step += 1
    return f"{size:.{min(step, 1)}f} {_UNITS[step]}"


def duration(seconds: float) -> str:
    """Return so many seconds as people write them: `0:35`, `2:03:04`."""
    minutes, second = divmod(int(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02d}:{second:02d}" if hour else f"{minute}:{second:02d}"
