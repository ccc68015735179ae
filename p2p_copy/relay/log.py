"""The relay's log: one line an event, on the standard output.

No line holds an address, a room, a code or anything else that a client said. `>` somebody came, `<` somebody
left, `=` two were paired, `!` something went wrong.
"""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Final

LOGGER: Final = logging.getLogger("p2p_copy.relay")


def configure(level: int = logging.INFO) -> None:
    """Write the relay's lines from `level` on to the standard output, each at once; quieten the libraries."""
    handler = logging.StreamHandler(sys.stdout)  # flushes after every line
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    LOGGER.handlers = [handler]
    LOGGER.setLevel(level)
    LOGGER.propagate = False
    # At DEBUG it logs every message it moves, and what pings hold.
    logging.getLogger("trio-websocket").setLevel(logging.WARNING)


def size(count: int) -> str:
    """Return a number of bytes with one digit that counts, so that a log does not identify a file."""
    value, units = float(f"{count:.1g}"), iter(("B", "kB", "MB", "GB", "TB"))
    unit = next(units)
    while value >= 1000:
        value, unit = value / 1000, next(units, unit)
    return f"{value:g} {unit}"


def place(error: BaseException) -> str:
    """Return what failed where, without the words of the exception: a stranger may have put them there."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {frames[-1].name}, line {frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"
