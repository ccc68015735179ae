"""Numbers as people write them."""

from __future__ import annotations

from typing import Final

from p2p_copy import limits

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def amount(size: float) -> str:
    """Return so many bytes as people write them: `1.2 GiB`."""
    step = 0
    while size >= 1000 and step < len(_UNITS) - 1:
        size /= limits.KIB
        step += 1
    return f"{size:.{min(step, 1)}f} {_UNITS[step]}"


def duration(seconds: float) -> str:
    """Return so many seconds as people write them: `0:35`, `2:03:04`."""
    minutes, second = divmod(int(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02d}:{second:02d}" if hour else f"{minute}:{second:02d}"
