"""The admin address: what it answers, what it does, and which requests it refuses."""

from __future__ import annotations

import json
import os
import stat
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

from p2p_copy.errors import UsageError
from p2p_copy.protocol.rendezvous import Role, Welcome
from p2p_copy.relay import limits
from p2p_copy.relay.admin.http_api import REQUESTS, Admin, admin_place
from p2p_copy.relay.config import RelayConfig, Tcp, Unix
from p2p_copy.relay.server import Relay
from p2p_copy.transport.link import LinkBroken
from tests.relay import clients
from tests.relay.clients import answer, exchange

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path


class AdminClient:
    """A relay with its admin address, and a way to ask it."""

    def __init__(self, relay: Relay, port: int, address: str) -> None:
        self.relay = relay
        self.clients = clients.Relay(port, None)
        self.address = address

    async def raw(self, request: bytes) -> tuple[int, dict[str, str], str]:
        stream: trio.SocketStream
        if self.address.startswith("unix:"):
            stream = await trio.open_unix_socket(self.address.removeprefix("unix:"))
        else:
            host, port = self.address.split(":")
            stream = await trio.open_tcp_stream(host, int(port))
        async with stream:
            await stream.send_all(request)
            reply = b"".join([bytes(chunk) async for chunk in stream])
        head, _, body = reply.decode().partition("\r\n\r\n")
        first, *lines = head.split("\r\n")
        return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in lines), body

    async def ask(self, method: str, path: str, order: Any = None, headers: str = "") -> tuple[int, str]:
        body = json.dumps(order) if order is not None else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        status, _, text = await self.raw((head + body).encode())
        return status, text

    async def status(self) -> Any:
        code, text = await self.ask("GET", "/status")
        assert code == 200
        return json.loads(text)


@asynccontextmanager
async def admin_running(
    address: str = "127.0.0.1:0", upgrade: Callable[[], Awaitable[bool]] | None = None, **settings: Any
) -> AsyncIterator[AdminClient]:
    relay = Relay(RelayConfig("127.0.0.1", 0, **settings))
    async with trio.open_nursery() as nursery:
        bound = await nursery.start(relay.run)
        admin = Admin(relay, lambda: relay.drain(60), relay.reload, upgrade)
        where = await nursery.start(admin.serve, admin_place(address))
        yield AdminClient(relay, bound[0][1], where)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("127.0.0.1:9765", Tcp("127.0.0.1", 9765)),
        ("127.3.2.1:1", Tcp("127.3.2.1", 1)),
        ("[::1]:9765", Tcp("::1", 9765)),
        ("localhost:0", Tcp("localhost", 0)),
        ("unix:/run/p2p-copy/admin", Unix("/run/p2p-copy/admin", 0o600)),
    ],
)
def test_an_admin_address_is_on_this_machine(address: str, place: object) -> None:
    assert admin_place(address) == place


@pytest.mark.parametrize(
    "address",
    [
        *("", ":", ":9765", "9765", "0.0.0.0:9765", "[::]:9765", "192.0.2.1:9765", "relay.example:9765"),
        *("127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000", "127.0.0.1:-1", "127.0.0.1:\u0661"),
        "127.0.0.1:0000070000",
        *("127.0.0.1]:80", "[127.0.0.1]:80", "[::1:80", "::1:80", "[::1]evil:80", "[::1%lo]:80", "127.1:80"),
        *("unix:relative", "unix:", "localhost.example:1", "127.0.0.1:" + "1" * 5000),
    ],
)
def test_any_other_admin_address_is_refused_with_a_sentence(address: str) -> None:
    with pytest.raises(UsageError, match="for this machine only"):
        admin_place(address)


async def test_health_follows_the_relay() -> None:
    async with admin_running() as admin, admin.clients.pair("a"):
        assert await admin.ask("GET", "/healthz") == (200, "serving\n")
        assert (await admin.ask("POST", "/drain"))[0] == 200
        assert await admin.ask("GET", "/healthz") == (503, "stopping\n")


async def test_the_status_counts_and_rounds() -> None:
    async with admin_running() as admin, admin.clients.waiting(Role.SENDER, "waits"):
        async with admin.clients.pair("canary") as (sender, receiver):
            await sender.send(bytes(123_456))
            await receiver.receive()
            status = await admin.status()
        assert status.pop("limits")["rate"] is None
        (pairing,) = status.pop("pairings")
        assert (pairing["id"], pairing["copied"]) == (1, 100_000)
        assert pairing.keys() == {"id", "seconds", "copied"}
        assert status.items() >= {"state": "serving", "connections": 3, "waiting": 1, "served": 0}.items()
        assert (status["copied"], status["certificate_ends"]) == (100_000, None)
        assert status["rooms"] == 2
        assert status["tasks"] > trio.lowlevel.current_statistics().tasks_living, (
            "those of the pair were there"
        )


async def test_a_pairing_is_ended_by_its_number_and_no_other_one_is() -> None:
    async with admin_running() as admin, admin.clients.pair("a") as first, admin.clients.pair("b") as second:
        ids = [pairing["id"] for pairing in (await admin.status())["pairings"]]
        assert (await admin.ask("POST", "/end", {"id": ids[0]}))[0] == 200
        for link in first:
            with pytest.raises(LinkBroken) as caught:
                await link.receive()
            assert caught.value.close_code == 4004
        await exchange(*second)
        assert (await admin.ask("POST", "/end", {"id": 99}))[0] == 404
        assert (await admin.ask("POST", "/end", {"id": str(ids[1])}))[0] == 404


async def test_a_changed_limit_holds_for_clients_that_come_later() -> None:
    async with admin_running() as admin:
        assert (await admin.ask("POST", "/set", {"name": "max-wait", "value": 77}))[0] == 200
        async with admin.clients.client("/v1/" + clients.room("a")) as link:
            await link.send(clients.hello(Role.SENDER))
            welcome = await answer(link)
            assert isinstance(welcome, Welcome)
            assert welcome.wait == 77
        assert (await admin.ask("POST", "/set", {"name": "rate-total", "value": 1 << 20}))[0] == 200
        assert (await admin.status())["limits"]["rate-total"] == 1 << 20
        assert (await admin.ask("POST", "/set", {"name": "rate-total", "value": None}))[0] == 200
        await admin.clients.works("b")


@pytest.mark.parametrize(
    "order",
    [
        {"name": "max-wait", "value": "77"},
        {"name": "max-wait", "value": True},
        {"name": "max-wait", "value": float("nan")},
        {"name": "max-wait", "value": float("inf")},
        {"name": "max-wait", "value": None},
        {"name": "max-connections", "value": 0},
        {"name": "max-connections", "value": 1.5},
        {"name": "max-connections", "value": 10**400},
        {"name": "rate", "value": 1},
        {"name": "tokens-file", "value": 1},
        {"name": ["rate"], "value": 1},
        {"name": "rate"},
        {"name": "rate", "value": None, "more": 1},
        [],
        None,
    ],
)
async def test_a_limit_that_cannot_be_is_refused_and_changes_nothing(order: Any) -> None:
    async with admin_running() as admin:
        before = admin.relay.config
        assert (await admin.ask("POST", "/set", order))[0] == 400
        assert admin.relay.config is before


async def test_an_upgrade_has_the_time_in_which_workers_start() -> None:
    left = []

    async def upgrade() -> bool:
        left.append(trio.current_effective_deadline() - trio.current_time())
        return True

    async with admin_running(upgrade=upgrade) as admin:
        assert (await admin.ask("POST", "/upgrade"))[0] == 200
    assert left[0] > limits.WORKER_START


async def test_a_reload_tells_whether_it_worked(tmp_path: Path) -> None:
    (tmp_path / "tokens").touch()
    async with admin_running(tokens_file=str(tmp_path / "tokens")) as admin:
        assert (await admin.ask("POST", "/reload"))[0] == 200
        (tmp_path / "tokens").write_text("garbage")
        assert (await admin.ask("POST", "/reload"))[0] == 409


@pytest.mark.parametrize(
    "host",
    [
        *(
            "evil.example",
            "evil.example:80",
            "localhost.evil.example",
            "localhost.",
            "192.0.2.1",
            "[::2]",
            "",
        ),
        *("[::1]evil.example", "[::1", "::1", "[127.0.0.1]", "[localhost]", "127.0.0.1evil.example", "127.1"),
        *(
            "evil@127.0.0.1",
            "127.0.0.1@evil.example",
            "localhost:evil.example",
            "localhost:1:1",
            "localhost/",
        ),
        *("127.0.0.1.evil.example", "0x7f000001", "localhost, evil.example", "localhost evil"),
    ],
)
async def test_a_request_for_another_host_is_refused(host: str) -> None:
    async with admin_running() as admin:
        for method, path in REQUESTS:
            request = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"
            assert (await admin.raw(request.encode()))[0] == 403
        assert not admin.relay.draining
    assert admin.relay.tally.abuse.counts["admin-refused"] == len(REQUESTS)


@pytest.mark.parametrize(
    "header",
    [
        *(
            "Origin: http://localhost",
            "Origin: null",
            "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Site: same-site",
        ),
        *("Content-Type: application/x-www-form-urlencoded", "Content-Type: text/plain"),
        *("Content-Type: multipart/form-data; boundary=x", "Content-Type: text/plain; application/json"),
        "Content-Type:",
    ],
)
async def test_a_web_page_can_neither_ask_nor_order(header: str) -> None:
    async with admin_running() as admin:
        for method, path in REQUESTS:
            assert (await admin.ask(method, path, headers=f"{header}\r\n"))[0] in (403, 415)
        assert not admin.relay.draining
    assert admin.relay.tally.abuse.counts["admin-refused"] == len(REQUESTS)


async def test_programs_and_people_of_this_machine_can_ask() -> None:
    async with admin_running() as admin:
        for host in (
            "localhost",
            "LOCALHOST:1",
            "127.0.0.1:9765",
            "127.2.3.4",
            "[::1]:9765",
            "[0:0::1]",
            "[::1]:",
        ):
            assert (await admin.raw(f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()))[0] == 200
        for header in ("Content-Type: application/json", "Content-Type: Application/JSON; charset=utf-8"):
            order = {"name": "max-wait", "value": 77}
            assert (await admin.ask("POST", "/set", order, f"{header}\r\n"))[0] == 200
        for site in ("none", "same-origin"):
            assert (await admin.ask("GET", "/status", headers=f"Sec-Fetch-Site: {site}\r\n"))[0] == 200


async def test_a_long_head_is_refused_to_the_byte_and_a_long_body_too() -> None:
    async with admin_running() as admin:
        for size, status in ((limits.MAX_HTTP_HEAD, 200), (limits.MAX_HTTP_HEAD + 1, 431)):
            head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: "
            request = head + b"x" * (size - len(head) - 4) + b"\r\n\r\n"
            assert (await admin.raw(request))[0] == status
        for body, status in ((b"[" * limits.MAX_ADMIN_BODY, 400), (b"[" * (limits.MAX_ADMIN_BODY + 1), 400)):
            head = b"POST /end HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            code, _, text = await admin.raw(head + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n")
            assert code == status
            assert ("too long" in text) == (len(body) > limits.MAX_ADMIN_BODY)


async def test_orders_are_not_given_with_get_and_nothing_else_is_there() -> None:
    async with admin_running() as admin:
        assert (await admin.ask("GET", "/drain"))[0] == 405
        assert (await admin.ask("POST", "/status"))[0] == 405
        assert (await admin.ask("GET", "/"))[0] == 404
        assert (await admin.ask("GET", "/healthz?x"))[0] == 404
        assert not admin.relay.draining


async def test_garbage_gets_an_answer_or_an_end_and_the_next_one_is_served() -> None:
    async with admin_running() as admin:
        assert (await admin.raw(b"garbage\r\n\r\n"))[0] == 400
        assert (await admin.raw(b"GET / HTTP/1.1\r\n\r\n"))[0] == 400
        assert (await admin.raw(b"GET /" + b"x" * 10_000))[0] in (400, 414, 431)
        assert (await admin.ask("POST", "/end", "x" * 5000))[0] == 400
        host, port = admin.address.split(":")
        for words in (
            b"",
            b"GET /healthz HT",
            b"POST /end HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{",
        ):
            stream = await trio.open_tcp_stream(host, int(port))
            await stream.send_all(words)
            clients.reset(stream)
        assert (await admin.ask("GET", "/healthz"))[0] == 200


async def test_a_unix_socket_is_for_its_owner_only(tmp_path: Path) -> None:
    async with admin_running(f"unix:{tmp_path}/admin") as admin:
        assert stat.S_IMODE(os.stat(tmp_path / "admin").st_mode) == 0o600
        assert await admin.ask("GET", "/healthz") == (200, "serving\n")
    assert not (tmp_path / "admin").exists()
