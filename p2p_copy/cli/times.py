"""Times as people give them to options. Nothing heavy is imported here."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from cyclopts import CoercionError, Parameter

if TYPE_CHECKING:
    from collections.abc import Sequence

_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([dhms]?)\s*", re.ASCII | re.IGNORECASE)
_CLOCK: Final = re.compile(r"([0-9]{1,2}):([0-9]{2})", re.ASCII)
_SECONDS: Final = {"d": 86400, "h": 3600, "m": 60, "s": 1, "": 1}


def seconds_of(text: str) -> float:
    """Return the seconds that `90`, `10m`, `1h30m` or `2d` mean.

    Raises:
        ValueError: they mean none.

    """
    total, at = 0.0, 0
    while at < len(text):
        part = _PART.match(text, at)
        if part is None:
            raise ValueError("not a duration")
        total += float(part[1]) * _SECONDS[part[2].lower()]
        at = part.end()
    if not text:
        raise ValueError("not a duration")
    return total


def moment_of(text: str, now: datetime) -> float:
    """Return how many seconds after `now` something is: a duration, a time of the next 24 hours, or a date and time.

    Raises:
        ValueError: it is none of these, or over.

    """
    if clock := _CLOCK.fullmatch(text):
        then = now.replace(hour=int(clock[1]), minute=int(clock[2]), second=0, microsecond=0)
        return ((then if then > now else then + timedelta(days=1)) - now).total_seconds()
    try:
        return seconds_of(text)
    except ValueError:
        then = datetime.fromisoformat(text)
        left = (then - (now if then.tzinfo is None else now.astimezone())).total_seconds()
        if left <= 0:
            raise ValueError("that time is over") from None
        return left


def _duration(_type: object, tokens: Sequence[Any]) -> float:
    return _number(seconds_of, tokens[0])


def _deadline(_type: object, tokens: Sequence[Any]) -> float:
    return _number(lambda text: moment_of(text, datetime.now()), tokens[0])


def _number(read: Any, token: Any) -> float:
    try:
        return float(read(token.value))
    except ValueError:
        raise CoercionError(token=token, target_type=float) from None


DURATION: Final = Parameter(converter=_duration, n_tokens=1, accepts_keys=False, metavar="TIME")
"""Of an option that is a length of time: seconds, or with s, m, h, d."""

DEADLINE: Final = Parameter(converter=_deadline, n_tokens=1, accepts_keys=False, metavar="TIME")
"""Of an option that is a moment: a length of time from now, or by the clock."""
