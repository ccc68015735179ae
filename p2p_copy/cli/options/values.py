"""Parses the values of options for cyclopts: times, and all that a function of a text reads. Imports nothing slow."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from p2p_copy.cli.options.parameter import Parameter
from p2p_copy.units import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    PathText = str
else:
    PathText = Path
"""The type of an option that is a path, as typed: `PATH` keeps it text, and shells complete it as they do any path."""

_CLOCK: Final = re.compile(r"([0-9]{1,2}):([0-9]{2})", re.ASCII)


def moment_of(text: str, now: datetime) -> float:
    """Return the seconds from `now` to a moment: a duration, a time of the next 24 hours, or a date and time.

    Raises:
        ValueError: it is none of these, or in the past.

    """
    from datetime import datetime, timedelta  # most command lines have no such option

    if clock := _CLOCK.fullmatch(text):
        try:
            then = now.replace(hour=int(clock[1]), minute=int(clock[2]), second=0, microsecond=0)
        except ValueError:
            raise ValueError("there is no such time of day") from None
        return ((then if then > now else then + timedelta(days=1)) - now).total_seconds()
    try:
        return parse_duration(text)
    except ValueError:
        pass
    try:
        then = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            "it must be a time from now (55m), a time of day (23:50), or a date and time"
        ) from None
    left = (then - (now if then.tzinfo is None else now.astimezone())).total_seconds()
    if left <= 0:
        raise ValueError("that time is in the past")
    return left


def parsed_by(parse: Callable[[str], object], metavar: str, **settings: Any) -> Parameter:
    """Return the settings of an option whose value `parse` reads; it raises ValueError with a sentence."""
    return Parameter(parse=parse, metavar=metavar, **settings)


def _deadline(text: str) -> float:
    from datetime import datetime

    return moment_of(text, datetime.now())


def short(seconds: float) -> str:
    """Return a time in the largest unit in which it is a whole number, as options accept it: `12h`."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s" if seconds else "0"


DURATION: Final = parsed_by(parse_duration, "TIME", show_default=short)
"""For an option that is a length of time: seconds, or with s, m, h, d."""

POSITIVE: Final = Parameter(above=0)
"""For an option that must be more than 0."""

DEADLINE: Final = parsed_by(_deadline, "TIME")
"""For an option that is a moment: a length of time from now, or a time of day or date."""

EACH: Final = Parameter(name="*")
"""For an object each of whose fields is an option."""

FLAG: Final = Parameter(negative="", show_default=False)
"""For an option that is off unless it is named."""


def _as_typed(hint: Any, tokens: Sequence[Any]) -> object:
    """Return the text of one path, or of each: `-` and a `/` at the end mean something."""
    texts = tuple(token.value for token in tokens)
    return texts if getattr(hint, "__origin__", None) is tuple else texts[0]


PATH: Final = Parameter(converter=_as_typed)
"""For an option of the type `PathText`."""
