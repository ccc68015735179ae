"""Visitors that mean harm: each attack is one method. The relay may end or slow them down as it likes.

None of them checks what becomes of itself. Whether they did harm shows in the visits of others, and in what the relay
holds, uses and says when they are gone.
"""

from __future__ import annotations

import socket
import time
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

import trio

from p2p_copy.protocol import rendezvous
from p2p_copy.protocol.rendezvous import Hello, Paired, Refusal, Refused, Role, Welcome, room_path
from tests.bench.guests import HOST, Guests, leave, pass_on
from tests.relay.access.test_proxies import proxy_header
from tests.relay.clients import hello, room
from tests.support.key_updates import Updater
from tests.support.websocket import BINARY, PING, TEXT, UPGRADE, RawClient, frame

if TYPE_CHECKING:
    import random
    from collections import Counter
    from collections.abc import Awaitable, Callable

    from tests.campaigns.daemon import Daemon

ATTACK = "attack"
"""How the name of an attack begins among those of other visits."""

LASTS = 5.0
"""Seconds that an attack lasts at most."""

TEXT_BYTES = 2 * 1024 * 1024
"""Bytes of a text message; one character outside the BMP makes Python's own text of it four times as long."""

TEXT_MESSAGE = frame(TEXT, b"x" * TEXT_BYTES + "\U0001f4e6".encode())

RECORD = frame(BINARY, bytes(256 * 1024))

UPDATES = 1000
"""Key updates before each byte of content."""

UPDATE_KINDS = (0, 1)
"""OpenSSL's SSL_KEY_UPDATE_NOT_REQUESTED and SSL_KEY_UPDATE_REQUESTED: the relay has to answer the latter."""

CONTENT = {"before the hello": UPGRADE, "waiting": frame(PING), "paired": frame(BINARY, bytes(100))}
"""What comes byte by byte between key updates, by what the client is by then."""

UNHEARD = 2.0
"""Seconds that a client waits for a relay that reads nothing, or says nothing."""

NETWORKS = 40
"""Networks of one home line, an IPv6 /56, that say nothing: a connection each."""

STRANGERS = 3
"""Strangers who want another client's place in a room."""

ODD_REQUESTS = {
    "origin": b"Origin: https://elsewhere.example\r\n",
    "long head": b"X-Long: " + b"a" * 9216 + b"\r\n",
    "host": b"Host: [::1]elsewhere.example\r\n",
    "two hosts": b"Host: a\r\nHost: b\r\n",
}


class Waster(Updater):
    """A TLS client that makes work; what it waits for, it waits for a bounded time only."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        with socket.socket(fileno=self._lib.SSL_get_fd(self._ssl)) as ours:
            for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
                ours.setsockopt(socket.SOL_SOCKET, option, _timeval(UNHEARD))
            ours.detach()

    def change_keys(self, kind: int, times: int, end: float) -> bool:
        """Change our keys so often, until `end` at most; return whether that was possible."""
        return all(
            time.monotonic() < end
            and self._lib.SSL_key_update(self._ssl, kind) == 1
            and self._lib.SSL_do_handshake(self._ssl) == 1
            for _ in range(times)
        )


def _timeval(seconds: float) -> bytes:
    return int(seconds).to_bytes(8, "little") + bytes(8)


class Hostile:
    """Attacks at two relays, one with TLS and one without. `counts` has what happened, by name."""

    def __init__(
        self, daemon: Daemon, plain: Daemon, guests: Guests, old_guests: Guests, chance: random.Random,
        counts: Counter[str], name: Callable[[], str],
    ) -> None:  # fmt: skip
        self._daemon, self._plain = daemon, plain
        self._guests, self._old_guests = guests, old_guests
        self._chance, self._counts, self._name = chance, counts, name
        self.kinds: dict[Callable[[], Awaitable[None]], float] = {
            self.hoard_text: 2,
            self.hoard: 2,
            self.waste_keys: 3,
            self.urge: 3,
            self.wait_deaf: 3,
            self.come_from_everywhere: 2,
            self.ask_oddly: 4,
            self.want_a_place: 4,
        }

    async def hoard_text(self) -> None:
        """Say much text in the form of 0.1.x, on both sides, and read nothing."""
        pair = await self._old_guests.pair(self._name())
        await self._push(pair, TEXT_MESSAGE)
        self._counts[f"{ATTACK}: pair as of 0.1.x that says text and reads nothing"] += 1

    async def hoard(self) -> None:
        """Say much, on both sides, and read nothing."""
        pair = await self._guests.pair(self._name())
        await self._push(pair, RECORD)
        self._counts[f"{ATTACK}: pair that reads nothing"] += 1

    async def _push(self, pair: tuple[RawClient, RawClient], data: bytes) -> None:
        async def push(client: RawClient) -> None:
            with suppress(trio.BrokenResourceError):
                while True:
                    await client.raw(data)

        try:
            with trio.move_on_after(LASTS):
                async with trio.open_nursery() as nursery:
                    for client in pair:
                        nursery.start_soon(push, client)
        finally:
            for client in pair:
                leave(client)

    async def waste_keys(self) -> None:
        """Change keys a thousand times for each byte: before a hello, as one who waits, or in a pair."""
        depth = self._chance.choice(list(CONTENT))
        name = self._name()
        kind = self._chance.choice(UPDATE_KINDS)
        await trio.to_thread.run_sync(self._waste, depth, kind, name)
        self._counts[f"{ATTACK}: key updates, {depth}"] += 1

    def _waste(self, depth: str, kind: int, name: str) -> None:
        wasters = [Waster(self._daemon.port) for _ in range(1 + (depth == "paired"))]
        try:
            if depth != "before the hello":
                for waster, role in zip(wasters, (Role.SENDER, Role.RECEIVER), strict=False):
                    waster.say(UPGRADE.replace(b"GET / ", f"GET {room_path(room(name))} ".encode()))
                    waster.hear()
                    waster.say(frame(TEXT, hello(role).encode()))
                    waster.hear()
            content = CONTENT[depth]
            end = time.monotonic() + LASTS
            while wasters[0].change_keys(kind, UPDATES, end):
                with suppress(AssertionError):  # it is not taken any more
                    wasters[0].say(content[:1])
                content = content[1:] or CONTENT["waiting"]
        finally:
            for waster in wasters:
                waster.close()

    async def urge(self) -> None:
        """Say a byte out of band in the middle of a long message, in a pair without TLS."""
        name = self._name()
        async with AsyncExitStack() as stack:
            clients = []
            for role in Role:
                below = await stack.enter_async_context(await trio.open_tcp_stream(HOST, self._plain.port))
                client = RawClient(below)
                await client.upgrade(room_path(room(name)))
                await client.send(hello(role))
                await client.message()
                clients.append((client, below))
            for client, _ in clients:
                assert rendezvous.decode_answer(await client.message()) == Paired()
            client, below = clients[0]
            with suppress(trio.BrokenResourceError), trio.move_on_after(LASTS):
                await client.raw(frame(BINARY, bytes(1 << 20))[: 1 << 17])
                await trio.sleep(0.2)
                with suppress(OSError):
                    await below.socket.send(b"!", socket.MSG_OOB)
                await client.raw(bytes(1 << 17))
                await trio.sleep(LASTS)
        self._counts[f"{ATTACK}: urgent byte in a pair without TLS"] += 1

    async def wait_deaf(self) -> None:
        """Wait for another side, ask for signs of life again and again, and read no answer."""
        raw = trio.socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        await raw.connect((HOST, self._daemon.port))
        below = trio.SocketStream(raw)
        try:
            client = RawClient(await self._guests.secure(below))
            name = self._name()
            await client.upgrade(room_path(room(name)))
            await client.send(rendezvous.encode(Hello(self._chance.choice(list(Role)), program="deaf")))
            await client.message()
            with suppress(trio.BrokenResourceError), trio.move_on_after(LASTS):
                while True:
                    await client.raw(frame(PING, bytes(125)) * 100)
        finally:
            below.socket.close()
        self._counts[f"{ATTACK}: waiting client that reads nothing"] += 1

    async def come_from_everywhere(self) -> None:
        """Come from many networks of one line, and say nothing."""
        line = self._chance.randrange(1 << 16), self._chance.randrange(1 << 8)
        async with AsyncExitStack() as stack:
            for number in range(NETWORKS):
                below = await stack.enter_async_context(await trio.open_tcp_stream(HOST, self._daemon.port))
                with suppress(trio.BrokenResourceError):
                    await below.send_all(proxy_header(f"2001:db8:{line[0]:x}:{line[1]:02x}{number:02x}::1"))
            await trio.sleep(self._chance.uniform(0, LASTS))
        self._counts[f"{ATTACK}: silent connections from one home line"] += 1

    async def ask_oddly(self) -> None:
        """Ask for a WebSocket as a web page does, or in a malformed way."""
        kind = self._chance.choice(list(ODD_REQUESTS))
        below = await trio.open_tcp_stream(HOST, self._daemon.port)
        try:
            stream = await self._guests.secure(below)
            request = UPGRADE.replace(b"Host: x\r\n", ODD_REQUESTS[kind])
            if b"Host" not in request:
                request = UPGRADE.replace(b"Host: x\r\n", b"Host: x\r\n" + ODD_REQUESTS[kind])
            with suppress(trio.BrokenResourceError), trio.move_on_after(UNHEARD):
                await stream.send_all(request)
                while await stream.receive_some(4096):
                    pass
        finally:
            below.socket.close()
        self._counts[f"{ATTACK}: odd request, {kind}"] += 1

    async def want_a_place(self) -> None:
        """Ask for the place of a waiting client, which keeps it and is paired with its own other side."""
        name = self._name()
        waiter = await self._guests.come(Role.SENDER, name)
        clients = [waiter]
        try:
            async with trio.open_nursery() as nursery:
                # It answers pings until then.
                nursery.start_soon(self._guests.hear_paired, waiter, Role.SENDER)
                for _ in range(STRANGERS):
                    stranger = await self._guests.connect(name)
                    clients.append(stranger)
                    await stranger.send(hello(Role.SENDER, self._chance.randbytes(16).hex()))
                    told = rendezvous.decode_answer(await stranger.message())
                    if isinstance(told, Welcome):
                        told = rendezvous.decode_answer(await stranger.message())
                    assert isinstance(told, Refused), told
                    assert told.code == Refusal.ROOM_TAKEN, told
                other = await self._guests.come(Role.RECEIVER, name)
                clients.append(other)
                await self._guests.hear_paired(other, Role.RECEIVER)
            await pass_on(waiter, other, b"undisturbed")
        finally:
            for client in clients:
                leave(client)
        self._counts[f"{ATTACK}: strangers who want a place"] += 1
