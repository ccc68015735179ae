"""Two workers are one relay: clients meet whichever way they come, and limits, orders and counts hold for the whole."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

import anyio
import pytest
import trio
from wsproto.events import Ping

from p2p_copy.errors import CannotListen, RelayUnreachable
from p2p_copy.protocol.rendezvous import (
    LEGACY_PATH,
    READY,
    STILL_WAITING,
    CloseCode,
    Hello,
    Paired,
    Refusal,
    Refused,
    Role,
    Welcome,
    encode,
    room_path,
)
from p2p_copy.relay import limits
from p2p_copy.relay.access.tokens import line_for
from p2p_copy.transport.link import LINK_ERRORS, LinkBroken
from p2p_copy.transport.tls import TLSStream
from tests.faults.attackers import half_a_pair, tcp_below, waiting as raw_waiting
from tests.relay.clients import Relay, answer, exchange, hello, reset, room
from tests.relay.workers.relays import HintingClients, WorkersRelay, waiting
from tests.support.certificates import Certificates
from tests.support.links import connect
from tests.support.processes import QUICK, environment
from tests.support.websocket import PING, RawClient, frame

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Meeting


@pytest.mark.slow  # 24 pairings over TLS, a megabyte each
@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
async def test_all_clients_meet_with_and_without_a_hint(
    start: Callable[..., WorkersRelay], tls: bool
) -> None:
    relay = start(tls=tls)
    hinted, plain = relay.clients, relay.plain_clients
    for number in range(24):
        one, other = ((hinted, hinted), (plain, plain), (hinted, plain), (plain, hinted))[number % 4]
        name = f"room {number}"
        async with waiting(one, Role.SENDER, name) as sender, waiting(other, Role.RECEIVER, name) as receiver:
            assert await answer(sender) == await answer(receiver) == Paired()
            await exchange(sender, receiver)
            big = os.urandom(1_000_000)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sender.send, big)
                assert await receiver.receive() == big
    served = {int(number) for number in re.findall(r"pairing \d+ ended.*\(worker (\d)\)", relay.log)}
    assert served == {1, 2}, "both had some"
    numbers = re.findall(r"pairing (\d+) begins", relay.log)
    assert len(set(numbers)) == len(numbers) == 24


@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
async def test_clients_of_the_legacy_path_meet(start: Callable[..., WorkersRelay], tls: bool) -> None:
    relay = start(tls=tls)
    for number in range(4):
        async with AsyncExitStack() as stack:
            links = []
            for role in ("sender", "receiver"):
                link = await stack.enter_async_context(relay.plain_clients.client(LEGACY_PATH))
                said = {"type": "hello", "role": role, "code_hash_hex": room(f"old {number}")}
                await link.send(json.dumps(said))
                links.append(link)
            assert await links[0].receive() == READY
            await exchange(links[0], links[1])


async def test_a_wrong_hint_does_no_harm(
    start: Callable[..., WorkersRelay], of_place: Callable[[int], str]
) -> None:
    relay = start(tls=True)
    for place in (0, 1):
        name = of_place(place)
        wrong = f"p2p-copy-0{1 - place}"
        async with AsyncExitStack() as stack:
            links = []
            for role in (Role.SENDER, Role.RECEIVER):
                link = await stack.enter_async_context(
                    connect(
                        relay.clients.address,
                        room_path(room(name)),
                        ca_file=relay.ca_file,
                        hint=wrong if role is Role.SENDER else None,
                    )
                )
                await link.send(hello(role))
                assert isinstance(await answer(link), Welcome)
                links.append(link)
            assert await answer(links[0]) == await answer(links[1]) == Paired()
            await exchange(links[0], links[1])


async def test_a_client_that_was_passed_on_is_told_how_the_other_one_ended(
    start: Callable[..., WorkersRelay], of_place: Callable[[int], str]
) -> None:
    """The way through another worker ends as a way without it does, and leaves nothing behind."""
    relay = start(tls=True)
    name = of_place(1)
    async with waiting(relay.plain_clients, Role.SENDER, name) as sender:
        async with waiting(relay.clients, Role.RECEIVER, name) as receiver:
            assert await answer(sender) == await answer(receiver) == Paired()
            await receiver.close(CloseCode.WRONG_CODE)
        with pytest.raises(anyio.EndOfStream):
            await sender.receive()
    relay.wait_for("pairing [0-9]+ ended: wrong code")
    await until(lambda: relay.status["connections"] == 0)


@pytest.mark.parametrize("role", Role, ids=lambda role: role.value)
async def test_a_reset_reaches_the_other_side_through_another_worker(
    start: Callable[..., WorkersRelay], of_place: Callable[[int], str], role: Role
) -> None:
    relay = start(tls=True)
    async with half_a_pair(relay.plain_clients, of_place(1), role) as (client, survivor):
        reset(tcp_below(client.stream))
        with trio.fail_after(QUICK), pytest.raises(LINK_ERRORS):
            await survivor.receive()
    await until(lambda: relay.status["connections"] == 0)


@pytest.mark.slow  # the flood
async def test_a_flood_of_pings_through_another_worker_ends_with_its_reset(
    start: Callable[..., WorkersRelay], of_place: Callable[[int], str]
) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux tells of a reset before all that came before it is read")
    relay = start(tls=True)
    async with raw_waiting(relay.plain_clients, of_place(1)) as client:
        with trio.move_on_after(3):
            while True:
                await client.stream.send_all(frame(PING, bytes(125)) * 1000)
        reset(tcp_below(client.stream))
    await until(lambda: relay.status["connections"] == 0)


async def until(holds: Callable[[], bool]) -> None:
    with trio.fail_after(QUICK):
        while not await trio.to_thread.run_sync(holds):  # noqa: ASYNC110 - it is another process' doing
            await trio.sleep(0.02)


async def test_a_unix_socket_and_a_proxys_header_and_forwarded_addresses(
    start: Callable[..., WorkersRelay], tmp_path: Path, of_place: Callable[[int], str]
) -> None:
    """Behind a unix socket all clients have the addresses that the proxy tells, in either way, and limits hold."""
    path = str(tmp_path / "socket")
    relay = start("--log-addresses", "--max-per-source", "2", where=(f"unix:{path}",))

    async def answer_pings(raw: RawClient) -> None:
        with suppress(trio.ClosedResourceError):
            while event := await raw.next():
                if isinstance(event, Ping):
                    await raw.send(event.response())

    async def client(stack: AsyncExitStack, role: Role, name: str, header: bytes, forwarded: str) -> None:
        stream = await stack.enter_async_context(await trio.open_unix_socket(path))
        await stream.send_all(header)
        raw = RawClient(stream)
        await raw.upgrade(
            room_path(room(name)), ((b"X-Forwarded-For", forwarded.encode()),) if forwarded else ()
        )
        await raw.send(hello(role))
        nursery.start_soon(answer_pings, raw)

    for place in (0, 1):
        async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
            name = of_place(place)
            await client(stack, Role.SENDER, name, proxy_header("192.0.2.1"), "")
            await client(stack, Role.RECEIVER, name, b"", "192.0.2.2")
            await until(lambda: bool(relay.status["pairings"]))
            assert relay.status["connections"] == 2
    relay.wait_for(r"pairing \d+ ended", times=2)
    ended = re.findall(r"pairing \d+ ended.*\[(.*)\]", relay.log)
    assert ended == ["192.0.2.1, 192.0.2.2"] * 2
    # Of one source there are two places, whichever workers have them.
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        await client(stack, Role.SENDER, of_place(0), proxy_header("192.0.2.9"), "")
        await client(stack, Role.SENDER, of_place(1), b"", "192.0.2.9")
        await until(lambda: relay.status["waiting"] == 2)
        with pytest.raises((AssertionError, trio.BrokenResourceError)):
            await client(stack, Role.SENDER, of_place(1), proxy_header("192.0.2.9"), "")
        with pytest.raises(AssertionError):
            await client(stack, Role.SENDER, of_place(0), b"", "192.0.2.9")


def proxy_header(address: str) -> bytes:
    body = socket.inet_aton(address) + socket.inet_aton("127.0.0.1") + struct.pack("!HH", 1, 2)
    return b"\r\n\r\n\x00\r\nQUIT\n\x21\x11" + struct.pack("!H", len(body)) + body


async def test_browsers_and_strangers_get_the_same_answers(start: Callable[..., WorkersRelay]) -> None:
    relay = start(tls=True)
    for said, expected in (
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"speaks TLS"),
        (b"nonsense here\r\n", b"TLS"),
    ):
        async with await relay.clients.tcp() as stranger:
            await stranger.send_all(said)
            got = b""
            with trio.fail_after(QUICK):
                while data := await stranger.receive_some():
                    got += data
            assert b"400" in got
            assert expected in got
    async with await relay.clients.tcp() as silent:
        await silent.send_eof()
    await until(lambda: relay.status["connections"] == 0)
    await relay.clients.works("after them")


# Limits for the whole


async def refused(
    clients: Relay, role: Role, name: str, token: str | None = None
) -> Refused | Welcome | None:
    """Return the answer to a hello; None if the connection was closed before it."""
    try:
        async with clients.client(room_path(room(name))) as link:
            await link.send(encode(Hello(role, program="tests", token=token)))
            said = await answer(link)
            link.abort()
            assert not isinstance(said, Paired)
            return said
    except (RelayUnreachable, *LINK_ERRORS):
        return None


async def test_places_are_counted_for_the_whole(
    start: Callable[..., WorkersRelay], of_place: Callable[[int], str]
) -> None:
    relay = start("--max-connections", "3", "--max-pending", "8")
    async with AsyncExitStack() as stack:
        for place in (0, 1, 0):
            await stack.enter_async_context(waiting(relay.clients, Role.SENDER, of_place(place)))
        for place in (0, 1):
            said = await refused(relay.clients, Role.SENDER, of_place(place))
            assert isinstance(said, Refused)
            assert said.code == Refusal.BUSY
        assert relay.status["connections"] in {3, 4, 5}
    await until(lambda: relay.status["connections"] == 0)
    await relay.clients.works("later")


async def test_those_that_wait_are_counted_for_the_whole(
    start: Callable[..., WorkersRelay], of_place: Callable[[int], str]
) -> None:
    relay = start("--max-waiting", "2")
    async with AsyncExitStack() as stack:
        names = [of_place(0), of_place(1)]
        for name in names:
            await stack.enter_async_context(waiting(relay.clients, Role.SENDER, name))
        for place in (0, 1):
            said = await refused(relay.clients, Role.SENDER, of_place(place))
            assert isinstance(said, Refused)
            assert "waiting already" in said.reason
        for name in names:  # their partners have a place
            assert isinstance(await refused(relay.clients, Role.RECEIVER, name), Welcome)


async def test_the_oldest_connection_without_a_hello_is_closed_wherever_it_is(
    start: Callable[..., WorkersRelay], of_place: Callable[[int], str]
) -> None:
    relay = start("--max-pending", "2")
    async with AsyncExitStack() as stack:
        silent = await stack.enter_async_context(relay.clients.client(room_path(room(of_place(1)))))
        await stack.enter_async_context(relay.clients.client(room_path(room(of_place(0)))))
        await stack.enter_async_context(await relay.clients.tcp())  # says nothing, so no worker has it
        with trio.fail_after(QUICK), pytest.raises(LINK_ERRORS):
            await silent.receive()
    relay.wait_for(r"closed: the oldest connection without a hello")
    pytest.importorskip("prometheus_client", reason="the extra [relay] is not installed")
    assert 'p2p_copy_relay_abuse_total{kind="evicted"} 1.0' in relay.ask("GET", "/metrics")[1]


async def test_a_connection_is_closed_for_a_newer_one_although_its_worker_has_not_seen_it_yet(
    start: Callable[..., WorkersRelay], of_place: Callable[[int], str]
) -> None:
    relay = start("--max-pending", "1", "--accept-budget", "10m")
    for pid in relay.pids.values():
        os.kill(pid, signal.SIGSTOP)
    async with await relay.clients.tcp() as older:
        await older.send_all(f"GET {room_path(room(of_place(1)))} HTTP/1.1\r\n".encode())
        async with await relay.clients.tcp():
            await trio.sleep(0.2)  # until both orders lie there; nobody reads them
            for pid in relay.pids.values():
                os.kill(pid, signal.SIGCONT)
            with trio.fail_after(QUICK), suppress(trio.BrokenResourceError):
                assert await older.receive_some(1) == b"", "at once, and not when its time is over"
    relay.wait_for(r"closed: the oldest connection without a hello")


async def test_tokens_and_quotas_hold_for_the_whole(
    start: Callable[..., WorkersRelay], tmp_path: Path, of_place: Callable[[int], str]
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(line_for("one", "secret") + " quota=3M\n")
    relay = start("--tokens-file", str(tokens))
    assert isinstance(await refused(relay.clients, Role.SENDER, of_place(1), "guess"), Refused)
    assert isinstance(await refused(relay.clients, Role.SENDER, of_place(0)), Refused)

    async def move(place: int, size: int) -> None:
        async with AsyncExitStack() as stack:
            links = []
            name = of_place(place)
            for role in (Role.SENDER, Role.RECEIVER):
                link = await stack.enter_async_context(relay.clients.client(room_path(room(name))))
                await link.send(encode(Hello(role, program="tests", token="secret")))
                said = await answer(link)
                assert isinstance(said, Welcome)
                links.append(link)
            assert await answer(links[0]) == await answer(links[1]) == Paired()
            for _ in range(size // 500_000):
                await links[0].send(bytes(500_000))
                assert await links[1].receive() == bytes(500_000)

    await move(0, 1_000_000)
    await move(1, 1_000_000)
    with pytest.raises(LinkBroken) as caught:
        await move(0, 2_000_000)
    assert caught.value.close_code == CloseCode.QUOTA_USED
    assert "quota used" in relay.wait_for(r"pairing \d+ ended: (quota used)")[0]
    # What is left is less than a piece, and said to be so at either worker.
    said = await refused(relay.clients, Role.SENDER, of_place(1), "secret")
    assert isinstance(said, Welcome)
    assert said.quota is not None
    assert said.quota < 1_200_000
    tokens.write_text(line_for("other", "new") + "\n")
    relay.signal(signal.SIGHUP)
    relay.wait_for("tokens reloaded")
    assert isinstance(await refused(relay.clients, Role.SENDER, of_place(0), "secret"), Refused)
    assert isinstance(await refused(relay.clients, Role.SENDER, of_place(1), "new"), Welcome)


@pytest.mark.slow  # megabytes at a limited rate
async def test_a_rate_of_the_whole_is_shared_by_pairings_of_both_workers(
    start: Callable[..., WorkersRelay], of_place: Callable[[int], str]
) -> None:
    """Two at each worker get equal parts of what one of them would get: four equal counts, and the sum of the rate."""
    relay = start("--rate-total", "2M")
    moved = [0, 0, 0, 0]
    enough = trio.Event()
    enough_again = trio.Event()

    async def pump(number: int) -> None:
        async with relay.clients.pair(of_place(number % 2)) as (sender, receiver):

            async def feed() -> None:
                while True:
                    await sender.send(bytes(60_000))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(feed)
                while True:
                    moved[number] += len(await receiver.receive())
                    if sum(moved) >= 4 << 20:
                        enough.set()
                    if sum(moved) >= 10 << 20:
                        enough_again.set()

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(pump, number)
        with trio.fail_after(QUICK):
            await enough.wait()
            began, before = trio.current_time(), list(moved)
            await enough_again.wait()
        seconds = trio.current_time() - began
        nursery.cancel_scope.cancel()
    parts = [now - then for now, then in zip(moved, before, strict=True)]
    assert min(parts) > max(parts) / 2, parts
    assert sum(parts) / seconds < 2.6 * (1 << 20), "each worker alone would let as much pass"


# Claims


async def test_a_client_that_comes_to_a_room_of_another_worker_leaves_its_old_place(
    start: Callable[..., WorkersRelay], of_place: Callable[[int], str]
) -> None:
    """As when two sides that have met continue in a room of their own: the partner of the first is free at once."""
    relay = start()
    claim = "c" * 32
    first, second = of_place(0), of_place(1)
    async with (
        waiting(relay.clients, Role.SENDER, first, claim) as sender,
        waiting(relay.clients, Role.RECEIVER, first) as receiver,
    ):
        assert await answer(sender) == await answer(receiver) == Paired()
        async with waiting(relay.clients, Role.SENDER, second, claim):
            with trio.fail_after(QUICK):
                with pytest.raises(LinkBroken) as caught:
                    await receiver.receive()
                assert caught.value.close_code == CloseCode.PEER_LOST
                with pytest.raises(LinkBroken) as caught:
                    await sender.receive()
                assert caught.value.close_code == CloseCode.REPLACED
    async with relay.clients.client(room_path(room(first))) as dialling:
        await dialling.send(encode(Hello(Role.SENDER, features=(STILL_WAITING,), claim=claim)))
        assert isinstance(await answer(dialling), Welcome)


# Death


async def test_a_connection_that_a_worker_has_not_taken_when_it_dies_is_its_successors(
    start: Callable[..., WorkersRelay], of_place: Callable[[int], str]
) -> None:
    relay = start()
    for pid in relay.pids.values():
        os.kill(pid, signal.SIGSTOP)
    async with trio.open_nursery() as nursery:
        for place in (0, 1):
            nursery.start_soon(relay.clients.works, of_place(place))
        await trio.sleep(0.2)  # until they are passed on; nobody reads them
        for pid in relay.pids.values():
            os.kill(pid, signal.SIGKILL)
        nursery.cancel_scope.deadline = trio.current_time() + QUICK
    assert not nursery.cancel_scope.cancelled_caught
    assert not re.search("clients there: [^0]", relay.log)
    await until(lambda: relay.status["served"] == 2)


@pytest.mark.slow  # the pauses grow
async def test_a_worker_that_is_killed_is_started_again_and_the_other_ones_clients_notice_nothing(
    start: Callable[..., WorkersRelay], of_place: Callable[[int], str]
) -> None:
    relay = start()
    staying, going = of_place(1), of_place(0)
    place_of = {}
    async with relay.clients.pair(staying) as (sender, receiver):
        place_of[1] = int(relay.wait_for(r"pairing \d+ begins \(worker (\d)\)")[1])
        async with relay.clients.pair(going) as pair:
            place_of[0] = int(relay.wait_for(r"pairing \d+ begins \(worker (\d)\)", times=2)[1])
            assert place_of[0] != place_of[1]
            os.kill(relay.pids[place_of[0]], signal.SIGKILL)
            for link in pair:
                with trio.fail_after(QUICK), pytest.raises(LINK_ERRORS):
                    await link.receive()
        # It waits until the new worker is ready, and is not turned away.
        with trio.fail_after(QUICK):
            await relay.clients.works(going)
        await exchange(sender, receiver)
    relay.wait_for(rf"worker died \(killed by SIGKILL\).*clients there: 2 \(worker {place_of[0]}\)")
    await until(lambda: relay.status["served"] == 2)
    for times in (2, 3):  # the one in that place dies again and again
        relay.wait_for("worker started", times=1 + times)
        os.kill(relay.pids[max(relay.pids)], signal.SIGKILL)
        relay.wait_for(r"worker died", times=times)
    pauses = [int(seconds) for seconds in re.findall(r"started again in (\d+) s", relay.log)]
    assert pauses == [0, 1, 2]


@pytest.mark.slow  # a report a second, and workers that start
async def test_what_a_killed_worker_has_counted_stays_counted(
    start: Callable[..., WorkersRelay], of_place: Callable[[int], str]
) -> None:
    relay = start()
    for _ in range(2):
        await relay.clients.works(of_place(0))
        await relay.clients.works(of_place(1))
    await until(lambda: relay.status["served"] == 4)
    await trio.sleep(2 * limits.WORKER_REPORT_INTERVAL)  # for the next report of each worker
    for pid in relay.pids.values():
        os.kill(pid, signal.SIGKILL)
    relay.wait_for("worker died", times=2)
    assert relay.status["served"] == 4
    relay.wait_for("worker started", times=4)
    await relay.clients.works(of_place(0))
    await until(lambda: relay.status["served"] == 5)


async def test_a_client_without_a_hint_waits_for_a_worker_that_is_just_started(
    start: Callable[..., WorkersRelay], of_place: Callable[[int], str]
) -> None:
    """The first worker has decrypted what it says, and passes it on when the second one is there again."""
    relay = start(tls=True)
    name = of_place(1)
    await relay.clients.works(name)
    busy = int(relay.wait_for(r"pairing \d+ begins \(worker (\d)\)")[1])
    os.kill(relay.pids[busy], signal.SIGKILL)
    relay.wait_for("worker died")
    with trio.fail_after(QUICK):
        await relay.plain_clients.works(name)
    assert relay.log.index("worker started, as", relay.log.index("worker died")) > 0


@pytest.mark.slow  # it hangs for two seconds
async def test_a_worker_that_hangs_is_killed(
    start: Callable[..., WorkersRelay], of_place: Callable[[int], str]
) -> None:
    relay = start(shortened={"WORKER_SILENT": 2.0})
    pids = relay.pids
    os.kill(pids[1], signal.SIGSTOP)
    relay.wait_for(r"worker has not answered for 2 s, and is killed \(worker 1\)")
    relay.wait_for(r"worker died \(killed by SIGKILL\)")
    for place in (0, 1):
        await relay.clients.works(of_place(place))


def test_the_workers_end_with_the_first_process(start: Callable[..., WorkersRelay]) -> None:
    relay = start()
    pids = list(relay.pids.values())
    relay.signal(signal.SIGKILL)
    relay.process.wait(QUICK)
    assert len(pids) == 2  # `close` looks whether they are gone


# Orders for the whole


async def test_an_operator_sees_and_orders_the_whole(
    start: Callable[..., WorkersRelay], of_place: Callable[[int], str]
) -> None:
    relay = start()
    async with (
        relay.clients.pair(of_place(0)) as one,
        relay.clients.pair(of_place(1)) as two,
        waiting(relay.clients, Role.SENDER, of_place(1)),
    ):
        await exchange(*one)
        await exchange(*two)
        status = relay.status
        assert (status["connections"], status["waiting"], status["rooms"], len(status["pairings"])) == (
            5,
            1,
            3,
            2,
        )
        assert status["copied"] == 20, "16, with one significant digit"
        assert status["workers"] == 2
        command = [sys.executable, "-m", "p2p_copy", "relay-admin", f"unix:{relay.admin}", "status"]
        shown = await trio.run_process(command, capture_stdout=True, env=environment())
        assert b"\nworkers: 2\n" in shown.stdout
        metrics = None
        with suppress(ImportError):
            import prometheus_client  # noqa: F401

            metrics = relay.ask("GET", "/metrics")[1]
        if metrics is not None:
            assert "p2p_copy_relay_pairings 2.0" in metrics
            assert "p2p_copy_relay_workers 2.0" in metrics
            assert "p2p_copy_relay_workers_died_total 0.0" in metrics
            assert "p2p_copy_relay_connections 5.0" in metrics
            assert 'p2p_copy_relay_bytes_total{direction="from_sender"} 8.0' in metrics
        for links, pairing in zip((one, two), status["pairings"], strict=True):
            assert relay.ask("POST", "/end", {"id": pairing["id"]})[0] == 200
            for link in links:
                with pytest.raises(LinkBroken) as caught:
                    await link.receive()
                assert caught.value.close_code == CloseCode.DISMISSED
        assert relay.ask("POST", "/end", {"id": status["pairings"][0]["id"]})[0] == 404
    assert relay.ask("POST", "/set", {"name": "max-wait", "value": 77})[0] == 200
    for place in (0, 1):
        said = await refused(relay.clients, Role.SENDER, of_place(place))
        assert isinstance(said, Welcome)
        assert said.wait == 77
    assert relay.ask("POST", "/reload")[0] == 200


async def shown_certificate(clients: HintingClients, place: int) -> bytes:
    """Return the certificate that the worker at a place shows."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1", f"p2p-copy-0{place}"])
    stream = TLSStream(await clients.tcp(), context)
    await stream.handshake()
    await trio.aclose_forcefully(stream)
    return stream.certificate


@pytest.mark.parametrize("by", ["signal", "order"])
async def test_a_new_certificate_reaches_all_workers(
    start: Callable[..., WorkersRelay], certificates: Certificates, tmp_path: Path, by: str
) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    own = Certificates(folder)
    relay = start("--reload-certs", "signal", tls=True, own=own)
    before = [await shown_certificate(relay.clients, place) for place in (0, 1)]
    assert before[0] == before[1]
    Certificates(folder)  # writes another one into the same files
    if by == "order":
        assert relay.ask("POST", "/reload") == (200, "Reloaded.\n")
    else:
        relay.signal(signal.SIGHUP)
        relay.wait_for(r"certificate reloaded", times=3)
    after = [await shown_certificate(relay.clients, place) for place in (0, 1)]
    assert after[0] == after[1] != before[0]
    assert set(re.findall(r"certificate reloaded.* \(worker (\d)\)", relay.log)) == {"1", "2"}
    (folder / "key.pem").write_text("no key")
    assert relay.ask("POST", "/reload")[0] == 409
    assert [await shown_certificate(relay.clients, place) for place in (0, 1)] == after


# Stopping


async def test_a_drain_lets_pairings_of_all_workers_finish(
    start: Callable[..., WorkersRelay], of_place: Callable[[int], str]
) -> None:
    relay = start("--drain", "60")
    async with AsyncExitStack() as stack:
        pairs = [await stack.enter_async_context(relay.clients.pair(of_place(place))) for place in (0, 1)]
        waiter = await stack.enter_async_context(waiting(relay.clients, Role.SENDER, of_place(0)))
        relay.signal(signal.SIGTERM)
        said = await answer(waiter)
        assert isinstance(said, Refused)
        assert said.code == Refusal.STOPPING
        for pair in pairs:
            await exchange(*pair)
        assert relay.process.poll() is None
        for sender, receiver in pairs:
            await sender.aclose()
            with suppress(*LINK_ERRORS):
                await receiver.receive()
            await receiver.aclose()
    assert relay.process.wait(QUICK) == 0
    assert "stopped: pairs served: 2" in relay.log


async def test_a_second_signal_ends_the_pairings_of_all_workers(
    start: Callable[..., WorkersRelay], of_place: Callable[[int], str]
) -> None:
    relay = start("--drain", "60")
    async with AsyncExitStack() as stack:
        pairs = [await stack.enter_async_context(relay.clients.pair(of_place(place))) for place in (0, 1)]
        relay.signal(signal.SIGTERM)
        relay.wait_for("stopping in 60 s")
        relay.signal(signal.SIGTERM)
        for link in (link for pair in pairs for link in pair):
            with trio.fail_after(QUICK), pytest.raises(LinkBroken) as caught:
                await link.receive()
            assert caught.value.close_code == CloseCode.STOPPING
    assert relay.process.wait(QUICK) == 0


# The service manager


@pytest.mark.skipif(sys.platform != "linux", reason="systemd is Linux only")
async def test_a_socket_of_systemd_and_its_watchdog(tmp_path: Path) -> None:
    """The first process is the one that systemd knows: it is ready once, and feeds the watchdog."""
    path = str(tmp_path / "notify")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        socket.create_server(("127.0.0.1", 0)) as listening,
    ):
        manager.bind(path)
        manager.settimeout(QUICK)
        port = listening.getsockname()[1]
        program = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid()); "
            "sys.argv[1:2] = []; from p2p_copy.cli.main import main; main()"
        )
        variables = {"LISTEN_FDS": "1", "NOTIFY_SOCKET": path, "WATCHDOG_USEC": "400000"}
        process = subprocess.Popen(  # noqa: ASYNC220 - it is started once, and at once
            [
                sys.executable,
                "-c",
                program,
                str(listening.fileno()),
                "run-relay-server",
                "--no-tls",
                "--workers",
                "2",
            ],
            pass_fds=[listening.fileno(), 3] if listening.fileno() != 3 else [3],
            stdout=subprocess.DEVNULL,
            env=environment(**variables),
        )
        try:
            said: list[str] = []
            while said.count("WATCHDOG=1") < 3:
                said += manager.recv(4096).decode().split("\n")
            assert said.count("READY=1") == 1
            clients = Relay(port, None)
            for number in range(6):
                await clients.works(f"room {number}")
        finally:
            process.terminate()
            assert process.wait(QUICK) == 0


@pytest.mark.parametrize(
    ("workers", "words"), [("0", "1"), ("257", "256"), ("two", "a number of processes, or auto")]
)
def test_a_wrong_number_of_workers_is_a_mistake(workers: str, words: str) -> None:
    command = [
        sys.executable,
        "-m",
        "p2p_copy",
        "run-relay-server",
        "127.0.0.1:0",
        "--no-tls",
        "--workers",
        workers,
    ]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=QUICK, env=environment(), check=False
    )
    assert ended.returncode == 2
    assert words in ended.stderr


def test_a_worker_that_cannot_start_is_said(tmp_path: Path) -> None:
    """Here the program of the workers is gone; the first process says so, and ends as a relay that cannot listen."""
    program = (
        "import p2p_copy.cli.commands.relay_server as server, sys; "
        "server.worker_command = lambda: [sys.executable, '-c', 'raise SystemExit(3)']; "
        "from p2p_copy.cli.main import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", program, "run-relay-server", "127.0.0.1:0", "--no-tls", "--workers", "2"]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=QUICK, env=environment(), check=False
    )
    assert ended.returncode == CannotListen.exit_code
    assert "could not be started: exit status 3" in ended.stderr
    assert "Traceback" not in ended.stderr


# What is left


@pytest.mark.slow  # some of them end only with their budget of time
async def test_connections_of_all_kinds_leave_no_descriptor_in_any_process(
    start: Callable[..., WorkersRelay], of_place: Callable[[int], str]
) -> None:
    relay = start("--accept-budget", "1", tls=True)

    def descriptors() -> dict[int, int]:
        return {pid: len(os.listdir(f"/proc/{pid}/fd")) for pid in (relay.process.pid, *relay.pids.values())}

    if sys.platform != "linux":
        pytest.skip("only Linux shows the descriptors of a process")
    for place in (0, 1):  # what a process opens once
        await relay.clients.works(of_place(place))
        await relay.plain_clients.works(of_place(place))
    await until(lambda: relay.status["connections"] == 0)
    before = await trio.to_thread.run_sync(descriptors)
    for number in range(30):
        name = of_place(number % 2)
        clients = (relay.clients, relay.plain_clients)[number // 2 % 2]
        await clients.works(name)
        async with await relay.clients.tcp() as stranger:
            await stranger.send_all((b"", b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1\r\n\r\n")[number % 3])
        async with clients.client(room_path(room(name))) as link:
            link.abort()
    await until(lambda: relay.status["connections"] == 0)
    # The first process may have one more for a moment, for a question at its admin address.
    await until(lambda: all(now <= before[pid] + 1 for pid, now in descriptors().items()))


@pytest.mark.slow  # such a client has five seconds for the rest
async def test_a_client_that_takes_nothing_is_cut_soon_after_the_worker_behind_has_ended(
    start: Callable[..., WorkersRelay], of_place: Callable[[int], str]
) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux shows the descriptors of a process")
    relay = start(tls=True)
    await relay.plain_clients.works(of_place(1))
    await until(lambda: relay.status["connections"] == 0)

    def descriptors() -> int:
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in relay.pids.values())

    before = descriptors()

    async def flood() -> None:
        with suppress(*LINK_ERRORS):
            while True:
                await sender.send(bytes(100_000))

    name, clients = of_place(1), relay.plain_clients
    async with (
        waiting(clients, Role.SENDER, name) as sender,
        waiting(clients, Role.RECEIVER, name) as receiver,
    ):
        assert await answer(sender) == await answer(receiver) == Paired()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood)
            await trio.sleep(0.5)  # until nothing fits in between any more
            (pairing,) = relay.status["pairings"]
            assert relay.ask("POST", "/end", {"id": pairing["id"]})[0] == 200
            await until(lambda: relay.status["connections"] == 0)
            await until(lambda: descriptors() <= before)
            nursery.cancel_scope.cancel()
        receiver.abort()
        sender.abort()


async def test_a_client_that_trickles_its_first_bytes_has_the_time_of_any_other(
    start: Callable[..., WorkersRelay],
) -> None:
    relay = start("--accept-budget", "1", tls=True)
    async with await relay.clients.tcp() as stranger:

        async def trickle() -> None:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await stranger.send_all(b"\x16\x03\x01\x10\x00")
                while True:
                    await stranger.send_all(b"x")
                    await trio.sleep(0.01)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trickle)
            with trio.fail_after(QUICK), suppress(trio.BrokenResourceError):
                assert await stranger.receive_some() == b""
            nursery.cancel_scope.cancel()
    relay.wait_for("too slow")
    assert "(worker" not in relay.wait_for("too slow.*")[0], "no worker has seen it"
    await relay.clients.works("after it")
