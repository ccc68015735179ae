"""The orders that a relay takes at its admin address, and how a person writes them.

`http_api` obeys them; `relay-admin`, its help and the manual read this table. It imports nothing slow.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from p2p_copy.errors import UsageError
from p2p_copy.relay.admin import settings

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Order:
    """One order, which is a POST request at the path of its name.

    Attributes:
        meaning: what it does.
        words: what a person writes after its name.
        body: makes the body of the request from these words; raises UsageError if they are wrong.
        example: a body, or none; each body has exactly its keys.

    """

    meaning: str
    words: tuple[str, ...] = ()
    body: Callable[..., dict[str, Any]] = dict
    example: dict[str, Any] = field(default_factory=dict)


def _end(number: str) -> dict[str, Any]:
    if not (number.isascii() and number.isdecimal() and len(number) < 20):
        raise UsageError("The NUMBER of a transfer is the one that relay-admin ADDR pairings shows.")
    return {"id": int(number)}


def _set(name: str, text: str) -> dict[str, Any]:
    return {"name": name, "value": settings.parsed(name, text)}


ORDERS: Final = {
    "drain": Order("Take no more clients, and stop when the last transfer is over, as after SIGTERM."),
    "reload": Order(
        "Read certificate and tokens again, as after SIGHUP. Refused (409) if a file cannot be used."
    ),
    "upgrade": Order(
        "Replace the workers by new ones, of the program as it is on the disk now, as after SIGUSR2. The old ones end "
        "with their last transfers. Refused (409) by a relay of one process."
    ),
    "end": Order(
        "End the transfer with this number. Refused (404) if there is none.", ("NUMBER",), _end, {"id": 7}
    ),
    "set": Order(
        "Change a limit until the relay is restarted.",
        ("NAME", "VALUE"),
        _set,
        {"name": "rate-total", "value": 1048576},
    ),
}
USAGE: Final = ", ".join(" ".join((name, *order.words)) for name, order in ORDERS.items())
"""All orders with their words, for a sentence."""
