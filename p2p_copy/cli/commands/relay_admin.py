"""`p2p-copy relay-admin`: shows the status of a relay on this machine, and gives it orders.

Another program may listen at the address, so the answer is not trusted: it is limited in time and size, checked as a
whole before any of it is used, and printed only escaped.
"""

from __future__ import annotations

import http.client
import io
import json
import socket
import time
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from p2p_copy.cli import limits
from p2p_copy.cli.ui.display import displayed, one_line
from p2p_copy.cli.ui.terminal import Terminal
from p2p_copy.errors import NotARelay, RelayRefused, RelayUnreachable, UsageError
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.relay import limits as relay_limits
from p2p_copy.relay.admin.http_api import admin_place
from p2p_copy.relay.admin.orders import ORDERS, USAGE
from p2p_copy.relay.admin.settings import shown
from p2p_copy.relay.config import Unix
from p2p_copy.relay.log.redact import size
from p2p_copy.relay.unix_socket import unix_socket
from p2p_copy.units import duration
from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p2p_copy.relay.config import Tcp

QUESTIONS: Final = {
    "status": "Show the status and the limits.",
    "pairings": "List the running transfers: number, seconds, bytes.",
}
"""What can be asked with the relay's status; the orders are the relay's own."""

_TIMEOUT: Final = relay_limits.ADMIN_TIMEOUT + 5
"""Seconds for the whole exchange: a little more than the relay takes at most."""

_UPGRADE_TIMEOUT: Final = relay_limits.UPGRADE_TIMEOUT + 5
"""The same for an upgrade, which is answered when the new workers serve."""

_MOST: Final = 2**24
"""Bytes of an answer at most: enough for tens of thousands of transfers."""

_MOST_NUMBER: Final = 2**63 - 1
_MOST_TIME: Final = 2**36
"""Seconds since 1970 at most: later dates cannot be converted on every system."""

_TEXT: Final = "text/plain; charset=utf-8"
_JSON: Final = "application/json"
"""A relay answers orders with a sentence of the first type, and a status request with the second. Other types show that
it is no relay."""


class _Renewal(NamedTuple):
    """How it stands with a certificate that a relay gets by itself; times are Unix times."""

    names: tuple[str, ...]
    last_try: int | None
    next_try: int | None
    failures: int
    last_error: str | None


class _Status(NamedTuple):
    """The parts of a relay's status that are printed here."""

    version: str
    state: str
    certificate_ends: int | None
    limits: dict[str, float | None]
    pairings: list[tuple[int, int, int]]
    """Number, seconds, bytes."""
    seconds: int
    connections: int
    waiting: int
    served: int
    copied: int
    workers: int
    """0 for a relay of one process, and for one of a version without workers."""
    renewal: _Renewal | None
    """None for a relay that does not get its certificate by itself."""


_NUMBERS: Final = ("seconds", "connections", "waiting", "served", "copied")


def relay_admin(address: str, order: str, words: Sequence[str]) -> int:
    """Give one order to the relay with this admin address, and print its answer.

    Raises:
        UsageError: there is no such order, or the address has the wrong form.
        RelayUnreachable: there is no answer, or not in time.
        NotARelay: what answers is no relay.
        RelayRefused: the relay refuses the order.

    """
    terminal = Terminal.standard()
    known = ORDERS.get(order)
    if known is not None and len(words) == len(known.words):
        seconds = _UPGRADE_TIMEOUT if order == "upgrade" else _TIMEOUT
        said = _ask(address, "POST", f"/{order}", known.body(*words) or None, seconds=seconds)
        terminal.result(_sentence(said))
    elif order == "status" and not words:
        for line in _describe(_status(address)):
            terminal.result(line)
    elif order == "pairings" and not words:
        running = _status(address).pairings
        for number, seconds, copied in running:
            terminal.result(f"{number}: {duration(seconds)}, {size(copied)}")
        if not running:
            terminal.result("No transfers are running.")
    else:
        raise UsageError(f"An order is one of: {', '.join(QUESTIONS)}, {USAGE}.")
    return 0


def _status(address: str) -> _Status:
    try:
        return _checked(json.loads(_ask(address, "GET", "/status"), parse_constant=_no_number))
    except (ValueError, RecursionError):
        raise _no_relay() from None


def _checked(said: object) -> _Status:
    """Return the status that a relay has sent.

    Raises:
        ValueError: it has not the form of a relay's status.

    """
    status = _object(said)
    ends = status.get("certificate_ends")
    pairings = status.get("pairings")
    if not isinstance(pairings, list):
        raise ValueError("pairings")
    numbers = {name: _whole(status.get(name)) for name in _NUMBERS}
    return _Status(
        _word(status.get("version")),
        _word(status.get("state")),
        None if ends is None else _whole(ends, _MOST_TIME),
        {_word(name): _setting(value) for name, value in _object(status.get("limits")).items()},
        [
            (_whole(each.get("id")), _whole(each.get("seconds")), _whole(each.get("copied")))
            for each in map(_object, pairings)
        ],
        workers=_whole(status.get("workers", 0)),
        renewal=None if status.get("renewal") is None else _renewal(_object(status["renewal"])),
        **numbers,
    )


def _renewal(said: dict[str, object]) -> _Renewal:
    names, error = said.get("names"), said.get("last_error")
    if not isinstance(names, list):
        raise ValueError("names")
    last, following = (
        None if moment is None else _whole(moment, _MOST_TIME)
        for moment in (said.get("last_try"), said.get("next_try"))
    )
    return _Renewal(
        tuple(map(_word, names)),
        last,
        following,
        _whole(said.get("failures")),
        None if error is None else _text(error),
    )


def _text(value: object) -> str:
    """Return a text of several words, escaped and in one line."""
    if not isinstance(value, str):
        raise ValueError("no text")
    return one_line(value[: protocol_limits.MAX_TEXT])


def _no_number(constant: str) -> NoReturn:
    raise ValueError(constant)


def _object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value


def _word(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("no text")
    return displayed(value, limits.NAME_COLUMNS)


def _whole(value: object, most: int = _MOST_NUMBER) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise ValueError("no number")
    return value


def _setting(value: object) -> float | None:
    """Return the value of a limit: a number, or None."""
    if value is None or (isinstance(value, float) and 0 <= value <= _MOST_NUMBER):
        return value
    return _whole(value)


def _describe(status: _Status) -> list[str]:
    return [
        f"p2p-copy {status.version}, {status.state}, up for {duration(status.seconds)}",
        *([f"workers: {status.workers}"] if status.workers else []),
        f"connections: {status.connections}",
        f"clients waiting: {status.waiting}",
        f"transfers running: {len(status.pairings)}",
        f"transfers ended: {status.served}",
        f"bytes: {size(status.copied)}",
        *_describe_certificate(status.certificate_ends, status.renewal),
        *(f"{name}: {shown(name, value)}" for name, value in status.limits.items()),
    ]


def _describe_certificate(end: int | None, renewal: _Renewal | None) -> list[str]:
    lines = [f"certificate ends: {_moment(end)}" if end else "no certificate"]
    if renewal is None:
        return lines
    lines.append(f"certificate of: {', '.join(renewal.names)}")
    if renewal.last_try is not None:
        lines.append(f"last order: {_moment(renewal.last_try)}")
    if renewal.next_try is not None:
        lines.append(f"next order: {_moment(renewal.next_try)}")
    lines.append(f"failed orders in a row: {renewal.failures}")
    if renewal.last_error is not None:
        lines.append(f"last failure: {renewal.last_error}")
    return lines


def _moment(moment: int) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M UTC}"


def _sentence(text: bytes) -> str:
    """Return a relay's sentence, escaped and in one line."""
    return one_line(text.decode("utf-8", "replace").strip()[: protocol_limits.MAX_TEXT])


def _ask(
    address: str,
    method: str,
    path: str,
    order: dict[str, Any] | None = None,
    *,
    seconds: float = _TIMEOUT,
    most: int = _MOST,
) -> bytes:
    """Return the body of the answer to one request, which may take `seconds` and have `most` bytes.

    Raises:
        RelayUnreachable: there is no answer, or not in time.
        NotARelay: what answers is no relay.
        RelayRefused: the relay refuses the order.

    """
    connection = _Connection(admin_place(address), seconds, most)
    try:
        connection.request(method, path, json.dumps(order) if order is not None else None)
        with connection.getresponse() as response:
            body = response.read(most)
            if response.length:  # the answer is shorter than announced, or too long
                raise _no_relay()
    except (http.client.HTTPException, ValueError):
        raise _no_relay() from None
    except TimeoutError:
        raise RelayUnreachable(
            f"The relay's admin address has not answered within {seconds:.0f} s. Check that it is the relay's, and "
            "look into the relay's log."
        ) from None
    except OSError as error:
        raise RelayUnreachable(
            f"The relay's admin address cannot be reached: {error.strerror or error}. Check that the relay runs, was "
            "started with this --admin address, and is yours."
        ) from None
    finally:
        connection.close()
    kind = response.getheader("Content-Type")
    if response.status == HTTPStatus.OK and kind in {_TEXT, _JSON}:
        return body
    if response.status < HTTPStatus.BAD_REQUEST or kind != _TEXT:
        raise _no_relay()
    raise RelayRefused(f"The relay refused the order: {_sentence(body)}")


def _no_relay() -> NotARelay:
    return NotARelay(
        "What answers at that address is not the admin interface of a relay, or not of this version."
    )


class _Connection(http.client.HTTPConnection):
    """An HTTP connection to an address of this machine, with one deadline for everything sent and read."""

    def __init__(self, place: Tcp | Unix, seconds: float, most: int) -> None:
        super().__init__("localhost" if isinstance(place, Unix) else place.host)
        self._place = place
        self._seconds = seconds
        self._most = most
        self._until = time.monotonic() + seconds

    def connect(self) -> None:
        if isinstance(self._place, Unix):
            plain = unix_socket()
            try:
                plain.settimeout(self._seconds)
                plain.connect(self._place.path)
            except BaseException:
                plain.close()
                raise
        else:
            plain = socket.create_connection((self._place.host, self._place.port), self._seconds)
        self.sock = cast("socket.socket", _Timed(plain, self._until, self._most))


class _Timed:
    """The methods of a socket that the HTTP library uses, each limited by the deadline."""

    def __init__(self, plain: socket.socket, until: float, most: int) -> None:
        self._plain = plain
        self._until = until
        self._most = most

    def sendall(self, data: bytes) -> None:
        self._set_timeout()
        self._plain.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        assert mode == "rb", "the library reads answers from a binary file"
        # The library closes the socket before it reads an answer of unknown length, so read from a duplicate.
        return io.BufferedReader(_Answer(_Timed(self._plain.dup(), self._until, self._most), 2 * self._most))

    def recv_into(self, buffer: memoryview) -> int:
        self._set_timeout()
        return self._plain.recv_into(buffer)

    def close(self) -> None:
        self._plain.close()

    def _set_timeout(self) -> None:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._plain.settimeout(left)


class _Answer(io.RawIOBase):
    """The bytes of an answer, up to a limit, so that endless headers and chunks end as well."""

    def __init__(self, connection: _Timed, most: int) -> None:
        self._connection = connection
        self._left = most

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._connection.close()
        super().close()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # BufferedReader passes a memoryview
        count = self._connection.recv_into(buffer)
        self._left -= count
        if self._left < 0:
            raise ValueError("the answer is too long")
        return count
