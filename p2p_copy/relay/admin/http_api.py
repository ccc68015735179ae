"""The admin address: health, status, metrics and orders, over plain HTTP on this machine only.

Any program that reaches the address may give orders: it is a loopback port, or a unix socket that only the relay's own
user can open. Rules:
1. A request that a web page could have caused is refused: one with an `Origin`, one that the browser says comes from
   another site's page, one with a body of a form's type, or one for another host than this machine, as it would be for
   a name of the page's own (DNS rebinding).
2. One request a connection, `limits.ADMIN_TIMEOUT` seconds for it, or `limits.UPGRADE_TIMEOUT` to replace workers, and
   `limits.MAX_ADMIN_BODY` bytes of a body.
3. Nothing that happens here ends the relay, unless it is ordered.
"""

from __future__ import annotations

import ipaddress
import json
import re
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Protocol

import h11
import trio

from p2p_copy.errors import UsageError
from p2p_copy.relay import limits
from p2p_copy.relay.admin import metrics, settings
from p2p_copy.relay.admin.orders import ORDERS
from p2p_copy.relay.config import UNIX_PREFIX, Tcp, Unix
from p2p_copy.relay.entry.http_upgrade import read_head, sentence_about
from p2p_copy.relay.entry.listeners import listen
from p2p_copy.relay.log import events
from p2p_copy.relay.log.abuse import Abuse
from p2p_copy.relay.log.redact import Size, where_raised
from p2p_copy.transport import limits as transport_limits
from p2p_copy.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from p2p_copy.acme.interface import Status
    from p2p_copy.relay.config import Place, RelayConfig
    from p2p_copy.relay.entry.certificates import Certificates
    from p2p_copy.relay.log.abuse import AbuseCounter
    from p2p_copy.relay.snapshot import Snapshot
    from p2p_copy.relay.tally import Tally
    from p2p_copy.transport.tcp import TCPStream

REQUESTS: Final = {
    ("GET", "/healthz"): "200 while the relay serves clients, 503 before and after that.",
    (
        "GET",
        "/status",
    ): "Version, counts, tasks, limits, the certificate's end and its renewal, transfers, as JSON.",
    ("GET", "/metrics"): "The metrics in Prometheus' form; 501 without its library.",
    **{
        ("POST", f"/{name}"): f"{order.meaning} Body: `{json.dumps(order.example)}`."
        if order.words
        else order.meaning
        for name, order in ORDERS.items()
    },
}
"""The requests, and what each does."""

_TEXT: Final = "text/plain; charset=utf-8"
_JSON: Final = "application/json"
_AUTHORITY: Final = re.compile(
    r"(?:\[(?P<ipv6>[0-9a-f:.]+)\]|(?P<name>localhost)|(?P<ipv4>[0-9.]+))(?::(?P<port>[0-9]{0,5}))?",
    re.ASCII | re.IGNORECASE,
)
"""Host and port as in a URL (RFC 3986 section 3.2), for the hosts that may be this machine."""

_OF_THIS_MACHINE: Final = frozenset({"same-origin", "none"})
"""Values of `Sec-Fetch-Site`: a page of the admin address itself, and an address typed by a person."""


def admin_place(address: str) -> Tcp | Unix:
    """Return the place that `address` names: `HOST:PORT` of the loopback, or `unix:/PATH`.

    Raises:
        UsageError: the address has another form.

    """
    if address.startswith(UNIX_PREFIX + "/"):
        return Unix(address.removeprefix(UNIX_PREFIX), limits.ADMIN_SOCKET_MODE)
    host, port = _local(address.strip()) or ("", "")
    if not host or not port or int(port) > transport_limits.MAX_PORT:
        raise UsageError(
            "The admin address is for this machine only: 127.0.0.1:PORT, [::1]:PORT, localhost:PORT or unix:/PATH. "
            f"A PORT is a number up to {transport_limits.MAX_PORT}."
        )
    return Tcp(host, int(port))


def _local(authority: str) -> tuple[str, str] | None:
    """Return the host and the port of an authority, which may be empty; None if it is not this machine's."""
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        return None
    host, port = parts["ipv6"] or parts["name"] or parts["ipv4"], parts["port"] or ""
    try:
        is_local = (
            bool(parts["name"])
            or (ipaddress.IPv6Address(host) if parts["ipv6"] else ipaddress.IPv4Address(host)).is_loopback
        )
    except ValueError:
        return None
    return (host, port) if is_local else None


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request."""

    status: HTTPStatus
    body: bytes
    content_type: str = _TEXT


def _sentence(status: HTTPStatus, sentence: str) -> Answer:
    return Answer(status, f"{sentence}\n".encode())


class Administered(Protocol):
    """A relay of one process or of several, as the admin address sees it; attributes are those of `server.Relay`."""

    urls: list[str]
    tally: Tally
    certificates: Certificates | None

    @property
    def config(self) -> RelayConfig:
        """The configuration as it is now."""

    @property
    def draining(self) -> bool:
        """Whether the relay takes no more clients."""

    def change(self, config: RelayConfig) -> None:
        """Use the limits of another configuration from now on."""

    async def snapshot(self) -> Snapshot:
        """Return what the relay has done and is doing."""

    async def end(self, number: int) -> bool:
        """End the pairing with this number; return False if there is none."""


class Admin:
    """The admin address of one relay."""

    def __init__(
        self,
        relay: Administered,
        drain: Callable[[], None],
        reload: Callable[[], Awaitable[bool]],
        upgrade: Callable[[], Awaitable[bool]] | None = None,
        renewal: Callable[[], Status] | None = None,
    ) -> None:
        """Answer for `relay`; `drain`, `reload` and, at a relay with workers, `upgrade` do what a signal would do.

        `renewal` returns how it stands with a certificate that the relay gets by itself.
        """
        self._relay = relay
        self._drain = drain
        self._reload = reload
        self._upgrade = upgrade
        self._renewal = renewal
        self._requests = 0

    async def serve(
        self, where: Place, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Answer requests until cancelled. Reports the address.

        Raises:
            CannotListen: the address cannot be had.

        """
        listeners = await listen([where])
        try:
            url = listeners[0].url(tls=False)
            address = url if url.startswith(UNIX_PREFIX) else url.removeprefix("ws://")
            events.ADMIN.log(address=address)
            task_status.started(address)
            await trio.serve_listeners(self._handle, listeners)
        finally:
            for listener in listeners:
                await trio.aclose_forcefully(listener)

    async def _handle(self, stream: TCPStream) -> None:
        if self._requests >= limits.ADMIN_CONNECTIONS:
            return
        self._requests += 1
        try:
            with trio.move_on_after(limits.ADMIN_TIMEOUT) as scope:
                await self._exchange(stream, scope)
        except (OSError, trio.BrokenResourceError):
            pass
        except Exception as error:
            events.BUG.log(where=where_raised(error))
        finally:
            self._requests -= 1

    async def _exchange(self, stream: TCPStream, scope: trio.CancelScope) -> None:
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.MAX_HTTP_HEAD)
        try:
            request, body = await _read(stream, parser, self._relay.tally.abuse)
            answer = await self._answer(request, body, scope)
        except h11.RemoteProtocolError as error:
            answer = _sentence(HTTPStatus(error.error_status_hint), sentence_about(error))
        except UsageError as error:
            answer = _sentence(HTTPStatus.BAD_REQUEST, str(error))
        if parser.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        headers = [
            ("Content-Type", answer.content_type),
            ("Content-Length", str(len(answer.body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("Connection", "close"),
        ]
        response = h11.Response(status_code=answer.status, reason=answer.status.phrase, headers=headers)
        data = b"".join(
            parser.send(event) or b"" for event in (response, h11.Data(data=answer.body), h11.EndOfMessage())
        )
        await stream.send_all(data)
        await stream.send_eof()
        with trio.move_on_after(transport_limits.HTTP_LINGER):
            while await stream.receive_some(limits.MAX_HTTP_HEAD):
                pass

    async def _answer(self, request: h11.Request, body: bytes, scope: trio.CancelScope) -> Answer:
        headers = {name.decode(): value.decode("ascii", "replace") for name, value in request.headers}
        if (
            "origin" in headers
            or headers.get("sec-fetch-site", "none") not in _OF_THIS_MACHINE
            or _local(headers.get("host", "")) is None
        ):
            self._relay.tally.abuse.count(Abuse.ADMIN_REFUSED)
            return _sentence(HTTPStatus.FORBIDDEN, "This address is not for web pages, only for localhost.")
        if headers.get("content-type", _JSON).partition(";")[0].strip().lower() != _JSON:
            self._relay.tally.abuse.count(Abuse.ADMIN_REFUSED)
            return _sentence(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"The body of an order is {_JSON}.")
        method, path = request.method.decode(), request.target.decode("ascii", "replace")
        if (method, path) not in REQUESTS:
            if path in {known for _, known in REQUESTS}:
                return _sentence(
                    HTTPStatus.METHOD_NOT_ALLOWED, "Orders are given with POST, the rest is GET."
                )
            paths = " ".join(path for _, path in REQUESTS)
            return _sentence(HTTPStatus.NOT_FOUND, f"There is nothing at this path. The paths are: {paths}")
        order = ORDERS.get(path[1:])
        said = _json(body, *order.example) if order is not None and order.example else {}
        match path:
            case "/healthz":
                return self._health()
            case "/status":
                return Answer(
                    HTTPStatus.OK, json.dumps(await self.status(), indent=1).encode() + b"\n", _JSON
                )
            case "/metrics":
                return await self._metrics(headers.get("accept", ""))
            case "/drain":
                self._drain()
                return _sentence(
                    HTTPStatus.OK, "The relay takes no more clients, and stops after the last transfer."
                )
            case "/reload":
                if await self._reload():
                    return _sentence(HTTPStatus.OK, "Reloaded.")
                return _sentence(HTTPStatus.CONFLICT, "Not everything could be reloaded; the log says why.")
            case "/upgrade":
                scope.deadline = trio.current_time() + limits.UPGRADE_TIMEOUT
                return await self._replace_workers()
            case "/end":
                return await self._end(said["id"])
        name, value = said["name"], said["value"]
        self._relay.change(settings.changed(self._relay.config, name, value))
        return _sentence(
            HTTPStatus.OK, f"{name} is {settings.shown(name, value)}, until the relay is restarted."
        )

    async def _replace_workers(self) -> Answer:
        if self._upgrade is None:
            return _sentence(
                HTTPStatus.CONFLICT, "This relay is one process, without workers. To upgrade it, restart it."
            )
        if await self._upgrade():
            return _sentence(HTTPStatus.OK, "New workers serve; the old ones end with their last transfers.")
        return _sentence(HTTPStatus.CONFLICT, "Not all workers could be replaced; the log says why.")

    def _state(self) -> str:
        return "stopping" if self._relay.draining else "serving" if self._relay.urls else "starting"

    def _health(self) -> Answer:
        state = self._state()
        healthy = state == "serving"
        return _sentence(HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE, state)

    async def status(self) -> dict[str, Any]:
        """Return the relay's status, in which nothing identifies a client."""
        relay, found = self._relay, await self._relay.snapshot()
        certificate_ends = relay.certificates.expires if relay.certificates else None
        return {
            "version": VERSION,
            "state": self._state(),
            "seconds": round(relay.tally.seconds),
            "connections": found.connections,
            "waiting": found.waiting,
            "rooms": found.rooms,
            "tasks": found.tasks,
            "workers": found.workers,
            "served": found.served,
            "copied": Size(found.received.total()),
            "memory_held": found.memory_held,
            "certificate_ends": None if certificate_ends is None else round(certificate_ends),
            "renewal": None if self._renewal is None else _renewal(self._renewal()),
            "limits": settings.current(relay.config),
            "pairings": [
                {"id": number, "seconds": seconds, "copied": Size(copied)}
                for number, seconds, copied in sorted(found.pairings)
            ],
        }

    async def _metrics(self, accept: str) -> Answer:
        certificates = self._relay.certificates
        try:
            body, content_type = metrics.render(
                await self._relay.snapshot(),
                certificates.expires if certificates else None,
                self._renewal() if self._renewal is not None else None,
                accept,
            )
        except ImportError:
            return _sentence(
                HTTPStatus.NOT_IMPLEMENTED,
                "Metrics need Prometheus' library: pip install 'p2p-copy[relay]', and start the relay again.",
            )
        return Answer(HTTPStatus.OK, body, content_type)

    async def _end(self, number: object) -> Answer:
        if not isinstance(number, int) or not await self._relay.end(number):
            return _sentence(HTTPStatus.NOT_FOUND, "There is no transfer with this id; it may be over.")
        return _sentence(HTTPStatus.OK, "Ended.")


def _renewal(status: Status) -> dict[str, Any]:
    """Return for JSON how it stands with a certificate that the relay gets by itself; times are Unix times."""
    return {
        "names": status.names,
        "last_try": None if status.last_try is None else round(status.last_try),
        "next_try": None if status.next_try is None else round(status.next_try),
        "failures": status.failures,
        "last_error": status.last_error,
        "needs_attention": status.needs_attention(time.time()),
    }


async def _read(stream: TCPStream, parser: h11.Connection, abuse: AbuseCounter) -> tuple[h11.Request, bytes]:
    """Read one request with its body.

    Raises:
        h11.RemoteProtocolError: it is none.
        UsageError: its body is too long.

    """
    request = await read_head(stream, parser, abuse)
    if request is None:
        raise trio.BrokenResourceError
    body = b""
    while True:
        match event := parser.next_event():
            case h11.NEED_DATA:
                parser.receive_data(bytes(await stream.receive_some(limits.MAX_ADMIN_BODY)))
            case h11.Data():
                body += event.data
                if len(body) > limits.MAX_ADMIN_BODY:
                    raise UsageError("The request is too long.")
            case h11.EndOfMessage():
                return request, body
            case _:
                raise trio.BrokenResourceError


def _json(body: bytes, *keys: str) -> dict[str, Any]:
    """Return a body that is one JSON object with exactly these keys.

    Raises:
        UsageError: it is not.

    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or value.keys() != set(keys):
        raise UsageError(f"The request's body is a JSON object with: {', '.join(keys)}.")
    return value
