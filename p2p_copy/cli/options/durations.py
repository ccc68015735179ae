"""Options that are times. Nothing heavy is imported here."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from cyclopts import CoercionError, Parameter, validators

from p2p_copy.units import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_CLOCK: Final = re.compile(r"([0-9]{1,2}):([0-9]{2})", re.ASCII)


def moment_of(text: str, now: datetime) -> float:
    """Return how many seconds after `now` something is: a duration, a time of the next 24 hours, or a date and time.

    Raises:
        ValueError: it is none of these, or over.

    """
    if clock := _CLOCK.fullmatch(text):
        try:
            then = now.replace(hour=int(clock[1]), minute=int(clock[2]), second=0, microsecond=0)
        except ValueError:
            raise ValueError("no clock shows that time") from None
        return ((then if then > now else then + timedelta(days=1)) - now).total_seconds()
    try:
        return parse_duration(text)
    except ValueError:
        pass
    try:
        then = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("it is a time from now (55m), by the clock (23:50), or a date and time") from None
    left = (then - (now if then.tzinfo is None else now.astimezone())).total_seconds()
    if left <= 0:
        raise ValueError("that time is over")
    return left


def reads(parse: Callable[[str], float]) -> Callable[[object, Sequence[Any]], float]:
    """Return a converter for an option's value from a function that raises ValueError with a sentence."""

    def convert(_type: object, tokens: Sequence[Any]) -> float:
        (token,) = tokens
        try:
            return parse(token.value)
        except ValueError as error:
            raise wrong(token, str(error)) from None

    return convert


def wrong(token: Any, reason: str) -> CoercionError:
    """Return the error that an option's value has the wrong form; `reason` has no full stop."""
    place = "" if token.source in ("cli", "env") else f" in {token.source}"
    return CoercionError(f'"{token.value}"{place}: {reason}.', token=token)


def _deadline(text: str) -> float:
    return moment_of(text, datetime.now())


def short(seconds: float) -> str:
    """Return a time in the largest unit in which it is whole, in a form that the options take: `12h`."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s" if seconds else "0"


DURATION: Final = Parameter(
    converter=reads(parse_duration),
    n_tokens=1,
    accepts_keys=False,
    metavar="TIME",
    show_default=short,
)
"""Of an option that is a length of time: seconds, or with s, m, h, d."""

POSITIVE: Final = Parameter(validator=validators.Number(gt=0))
"""Of one that may not be 0."""

DEADLINE: Final = Parameter(converter=reads(_deadline), n_tokens=1, accepts_keys=False, metavar="TIME")
"""Of an option that is a moment: a length of time from now, or by the clock."""
