"""`p2p-copy relay-admin`: asks a relay on this machine how it is, and gives it orders."""

from __future__ import annotations

import http.client
import json
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from p2p_copy.cli.terminal import Terminal
from p2p_copy.errors import NotARelay, RelayRefused, RelayUnreachable, UsageError
from p2p_copy.relay import settings
from p2p_copy.relay.admin import admin_place
from p2p_copy.relay.listeners import Unix
from p2p_copy.relay.log import size

if TYPE_CHECKING:
    from collections.abc import Sequence

ORDERS: Final = {
    "status": (0, "How the relay is, with its limits."),
    "pairings": (0, "The transfers that run: number, seconds, bytes."),
    "drain": (0, "Take no more clients, and stop after the last transfer."),
    "reload": (0, "Read certificate and tokens again."),
    "end": (1, "End the transfer with this number."),
    "set": (2, "Change a limit, until the relay is started again."),
}
"""Each with the number of words that come after it, and what it means."""

_TIMEOUT: Final = 15.0
"""Seconds for the answer: a little more than the relay takes."""

_MOST: Final = 2**24
"""Bytes of an answer that are read: tens of thousands of transfers."""


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def relay_admin(address: str, order: str, words: Sequence[str]) -> int:
    """Give one order to the relay whose admin address this is, and print its answer.

    Raises:
        UsageError: there is no such order, or address.
        RelayUnreachable: nobody answers there.
        NotARelay: somebody else does.
        RelayRefused: the relay says no.

    """
    count, _ = ORDERS.get(order, (-1, ""))
    if len(words) != count:
        raise UsageError(
            "Say what the relay is to do: status, pairings, drain, reload, end NUMBER or set NAME VALUE."
        )
    terminal = Terminal.standard()
    match order:
        case "status":
            for line in _describe(_status(address)):
                terminal.result(line)
        case "pairings":
            for pairing in _status(address)["pairings"]:
                terminal.result(f"{pairing['id']}: {pairing['seconds']} s, {size(pairing['copied'])}")
        case "end":
            if not (words[0].isascii() and words[0].isdecimal()):
                raise UsageError("The number of a transfer is what relay-admin ADDR pairings shows.")
            terminal.result(_ask(address, "POST", "/end", {"id": int(words[0])}))
        case "set":
            name, text = words
            value = settings.parsed(name, text)
            terminal.result(_ask(address, "POST", "/set", {"name": name, "value": value}))
        case _:
            terminal.result(_ask(address, "POST", f"/{order}"))
    return 0


def _status(address: str) -> dict[str, Any]:
    try:
        status = json.loads(_ask(address, "GET", "/status"))
        assert isinstance(status, dict)
        assert isinstance(status["pairings"], list)
    except (ValueError, AssertionError, LookupError):
        raise NotARelay("What answers at that address is not a relay's admin address.") from None
    return status


def _describe(status: dict[str, Any]) -> list[str]:
    end = status["certificate_ends"]
    return [
        f"p2p-copy {status['version']}, {status['state']}, up for {status['seconds']} s",
        f"connections: {status['connections']}",
        f"clients that wait: {status['waiting']}",
        f"transfers that run: {len(status['pairings'])}",
        f"transfers that ended: {status['served']}",
        f"bytes: {size(status['copied'])}",
        f"certificate ends: {datetime.fromtimestamp(end, UTC):%Y-%m-%d %H:%M UTC}"
        if end
        else "no certificate",
        *(f"{name}: {'none' if value is None else value}" for name, value in status["limits"].items()),
    ]


def _ask(address: str, method: str, path: str, order: dict[str, Any] | None = None) -> str:
    place = admin_place(address)
    connection = (
        _UnixConnection(place.path)
        if isinstance(place, Unix)
        else http.client.HTTPConnection(place.host, place.port, timeout=_TIMEOUT)
    )
    try:
        connection.request(method, path, json.dumps(order) if order is not None else None)
        response = connection.getresponse()
        text = response.read(_MOST).decode("utf-8", "replace").strip()
    except http.client.HTTPException:
        raise NotARelay("What answers at that address is not a relay's admin address.") from None
    except OSError as error:
        raise RelayUnreachable(
            f"The relay's admin address cannot be reached: {error.strerror or error}. Check that the relay runs, was "
            "started with this --admin address, and is yours."
        ) from None
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise RelayRefused(f"The relay did not do it: {text if text.isprintable() else ascii(text)}")
    return text
