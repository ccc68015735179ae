"""Redacts what events say of clients: sizes are rounded, exceptions lose their text, addresses are optional."""

from __future__ import annotations

import logging
import traceback
from contextvars import ContextVar
from typing import Final, Self

LOGGER: Final = logging.getLogger("p2p_copy.relay")

ADDRESS: Final[ContextVar[str | None]] = ContextVar("ADDRESS", default=None)
"""Address of the client whose connection is being handled, if the operator wants addresses in the log."""


WORKER: Final[ContextVar[int | None]] = ContextVar("WORKER", default=None)
"""Number of the worker process whose event is being logged, at a relay of several processes."""


class Size(int):
    """A number of bytes with one significant digit, so that a log does not identify a file; `300 kB` as text."""

    def __new__(cls, count: float) -> Self:
        """Round `count` bytes."""
        return super().__new__(cls, float(f"{count:.1g}"))

    def __str__(self) -> str:
        """Return the number as text for people."""
        return size(self)


def size(count: int) -> str:
    """Return a number of bytes, rounded to one significant digit."""
    value, units = float(f"{count:.1g}"), iter(("B", "kB", "MB", "GB", "TB"))
    unit = next(units)
    while value >= 1000:
        value, unit = value / 1000, next(units, unit)
    return f"{value:g} {unit}"


def where_raised(error: BaseException) -> str:
    """Return the type of an exception and where it was raised, without its words, which a client may have chosen."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {frames[-1].name}, line {frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"
