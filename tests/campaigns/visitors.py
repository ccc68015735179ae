"""The visits that a relay gets in a year: each kind of visit is one method, and its choices come from a seed.

A visit ends by itself within half a minute, or is cancelled. It raises if the relay did anything but what is promised
to a well-behaved client. Those who mean harm are in `hostile`.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
from collections import Counter
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import trio
from wsproto.events import CloseConnection

from p2p_copy.protocol import rendezvous
from p2p_copy.protocol.code import Code
from p2p_copy.protocol.rendezvous import Refusal, Refused, Role, Welcome
from p2p_copy.transport.link import POLITE
from tests.bench.guests import HOST, Guests, Place, leave, pass_on, tcp_below
from tests.campaigns.hostile import Hostile
from tests.relay.clients import reset
from tests.support.other_protocols import SSH, TLS_HELLO
from tests.support.processes import environment
from tests.support.transfers import copy
from tests.support.trees import leftovers, snapshot
from tests.support.websocket import PING, TEXT, RawClient, frame

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from pathlib import Path
    from subprocess import CompletedProcess

    from tests.campaigns.daemon import Daemon

CANARY = "canary"
"""Is in every code and file name; the log may have neither."""

WAIT = 8.0
"""Seconds that a visitor waits at most."""

MESSAGES = 30
"""Messages of a cheap pairing at most."""

MESSAGE = 256 * 1024
"""Bytes of such a message at most: a record of ours."""

SMALL = 64 * 1024
"""Bytes of a small file at most."""

MEDIUM = 8 * 1024 * 1024
"""Bytes of a medium file at most: two seconds at the relay's rate."""

PEER_WAIT = "6"
"""Seconds that a client process waits for one that may never come."""

PATIENCE = 60
"""Seconds in which both programs must have begun and ended, one of them killed: twenty times what they take alone, as
other work on a machine can slow them down tenfold."""

RELOADED_WITHIN = 10.0
"""Seconds until a renewed certificate is shown."""

PORT_SCAN = (
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    TLS_HELLO + bytes(40),
    SSH,
    b"\x00" * 200,
    b"",
)
"""What strangers say to a port with TLS."""

WEB_SCAN = (
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /wp-login.php HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nuser",
    b"GET /" + b"a" * 9000,
    b"\xff" * 300,
)
"""What they say after a TLS handshake."""

NO_HELLO = tuple(
    frame(TEXT, text) for text in (b"no hello", b"\xff\xfe", b'{"type":"hello"}', b"[" * 1000, bytes(3000))
)
"""What they say in a WebSocket."""


class Visitors:
    """All kinds of visits to a relay, and to a `plain` one without TLS. `counts` has what happened, by name."""

    def __init__(self, daemon: Daemon, plain: Daemon, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self._daemon = daemon
        self._folder = folder
        self._ca_file = str(daemon.files.ca_file)
        self._guests = Guests(Place(daemon.port, self._ca_file, legacy=False))
        self._old_guests = Guests(Place(daemon.port, self._ca_file, legacy=True))
        self._number = 0
        self._renewal = trio.Lock()
        hostile = Hostile(daemon, plain, self._guests, self._old_guests, self.chance, self.counts, self._name)
        self.kinds: dict[Callable[[], Awaitable[None]], float] = {
            self.wait_in_vain: 22,
            self.pair: 30,
            self.scan: 30,
            self.disturb: 6,
            self.read_nothing: 3,
            self.transfer: 6,
            self.transfer_by_processes: 3,
            self.kill: 3,
            self.renew: 2,
            **hostile.kinds,
        }

    def any_kind(self) -> Callable[[], Awaitable[None]]:
        """Return one of the visits; the more frequent ones more often."""
        return self.chance.choices(list(self.kinds), list(self.kinds.values()))[0]

    async def wait_in_vain(self) -> None:
        """Come, wait, and go: with a word, without one, or with a reset."""
        client = await self._guests.come(self.chance.choice(list(Role)), self._name())
        try:
            with trio.move_on_after(self.chance.uniform(0, WAIT)):
                raise AssertionError(f"a waiting client was told {await client.message()!r}")
            await self._go(client)
        finally:
            leave(client)
        self.counts["waited in vain"] += 1

    async def pair(self) -> None:
        """Be paired, move messages, and go; the other side is told how."""
        old = self.chance.random() < 0.2
        sender, receiver = await (self._old_guests if old else self._guests).pair(self._name())
        try:
            most = self.chance.choice((0.0, 0.2, 1.0))
            for _ in range(self.chance.randint(1, MESSAGES)):
                message = self.chance.randbytes(self.chance.randint(1, self.chance.choice((100, MESSAGE))))
                await pass_on(sender, receiver, message)
                await trio.sleep(self.chance.uniform(0, most))
            await pass_on(receiver, sender, b"done")
            if self.chance.random() < 0.5:
                gone, left = sender, receiver
            else:
                gone, left = receiver, sender
            politely = await self._go(gone)
            code = await left.ending()
            assert (code in POLITE) == politely, code
        finally:
            leave(sender)
            leave(receiver)
        self.counts["paired, as 0.1.x" if old else "paired"] += 1

    async def scan(self) -> None:
        """Say what strangers say; go at once, or after a while."""
        depth = self.chance.choice(("tcp", "tls", "websocket"))
        below = await trio.open_tcp_stream(HOST, self._daemon.port)
        try:
            with suppress(trio.BrokenResourceError):  # which is what they are to expect
                stream: trio.abc.Stream = below
                words: Sequence[bytes] = PORT_SCAN
                if depth != "tcp":
                    stream, words = await self._guests.secure(below), WEB_SCAN
                if depth == "websocket":
                    client = RawClient(stream)
                    await client.upgrade()
                    words = NO_HELLO
                await stream.send_all(self.chance.choice(words))
                with trio.move_on_after(self.chance.choice((0.0, 0.5, 3.0))):
                    while await stream.receive_some(4096):
                        pass
            if self.chance.random() < 0.5:
                reset(below)
        finally:
            below.socket.close()
        self.counts[f"scanned: {depth}"] += 1

    async def disturb(self) -> None:
        """Come third to a room: be refused, and change nothing for the two inside."""
        name = self._name()
        clients = list(await self._guests.pair(name))
        try:
            third = await self._guests.connect(name)
            clients.append(third)
            await self._guests.say_hello(third, self.chance.choice(list(Role)), name)
            told = rendezvous.decode_answer(await third.message())
            if isinstance(told, Welcome):
                told = rendezvous.decode_answer(await third.message())
            assert isinstance(told, Refused), told
            assert told.code == Refusal.ROOM_TAKEN, told
            await pass_on(clients[0], clients[1], b"undisturbed")
        finally:
            for client in clients:
                leave(client)
        self.counts["refused as a third one"] += 1

    async def read_nothing(self) -> None:
        """Come, and ping as fast as the relay takes it, without reading the answers; go, or be cut."""
        client = await self._guests.come(self.chance.choice(list(Role)), self._name())
        pings = frame(PING, bytes(125)) * 100
        try:
            with trio.move_on_after(self.chance.uniform(0, 3 * WAIT)), suppress(trio.BrokenResourceError):
                while True:
                    await client.raw(pings)
        finally:
            reset(tcp_below(client))
        self.counts["pinged, and read nothing"] += 1

    async def transfer(self) -> None:
        """Transfer a small tree with the API, in this process."""
        trust = {"ca_file": self._ca_file}
        code = Code(self._name(), f"{CANARY} of a passphrase")
        with self._tree(self.chance.randint(1, 30), SMALL) as (source, out):
            both = await copy(
                [source], out, relay=self._daemon.url, code=code, sending=trust, receiving=trust
            )
            assert both.reports
            _check_identical(source, out)
        self.counts["small transfer, identical"] += 1

    async def transfer_by_processes(self) -> None:
        """Transfer a few larger files with the programs."""
        with self._tree(self.chance.randint(1, 3), MEDIUM) as (source, out):
            sent, received = await self._processes(source, out, None)
            assert (sent.returncode, received.returncode) == (0, 0), sent.stderr + received.stderr
            _check_identical(source, out)
        self.counts["medium transfer by processes, identical"] += 1

    async def kill(self) -> None:
        """Kill one of two programs at any moment: the other one ends, says so, and keeps nothing half."""
        victim = self.chance.choice(list(Role))
        with self._tree(2, 2 * MEDIUM, least=2 * MEDIUM) as (source, out):
            sent, received = await self._processes(source, out, victim)
            named = {path: seen for path, seen in snapshot(out).items() if CANARY in os.path.basename(path)}
            whole = snapshot(source.parent)
            assert all(seen == whole[path] for path, seen in named.items() if seen[0] == "file"), (
                "half a file"
            )
        survivor = received if victim is Role.SENDER else sent
        assert survivor.returncode > 0, survivor.stderr
        assert b"Traceback" not in survivor.stderr, survivor.stderr
        self.counts[f"{victim.value} killed, the other one ended"] += 1

    async def renew(self) -> None:
        """Renew the certificate, or try it with a key of another; new connections see what is right."""
        async with self._renewal:
            files = self._daemon.files
            before = files.leaf
            if self.chance.random() < 0.25:
                files.write_certificate(files.issue())
                self._daemon.reload()
                await trio.sleep(1)
                assert await self._shown() == before, "a certificate without its key is in use"
                self.counts["certificate without its key refused"] += 1
            if self.chance.random() < 0.25:
                files.key.unlink()
                os.mkfifo(files.key)
                self._daemon.reload()
                await trio.sleep(1)
                assert await self._shown() == before, "a certificate without a key is in use"
                files.key.unlink()
                self.counts["key that is a FIFO refused"] += 1
            files.renew()
            self._daemon.reload()
            with trio.fail_after(RELOADED_WITHIN):
                while await self._shown() != files.leaf:  # noqa: ASYNC110 - another process changes it
                    await trio.sleep(0.2)
        self.counts["certificate renewed"] += 1

    async def _shown(self) -> bytes:
        return await trio.to_thread.run_sync(self._daemon.files.shown, self._daemon.port)

    def _name(self) -> str:
        self._number += 1
        return f"{CANARY}{self._number}"

    async def _go(self, client: RawClient) -> bool:
        """Let a client go in one of three ways; tell whether it was the polite one."""
        way = self.chance.choice(("politely", "silently", "reset"))
        if way == "politely":
            await client.send(CloseConnection(code=1000))
            await client.ending()
        if way == "reset":
            reset(tcp_below(client))
        else:
            leave(client)
        return way == "politely"

    @contextmanager
    def _tree(self, count: int, most: int, least: int = 0) -> Iterator[tuple[Path, Path]]:
        """Yield a directory with `count` files of `least` to `most` bytes, and an empty directory; remove both."""
        folder = self._folder / self._name()
        source, out = folder / f"{CANARY} tree", folder / "out"
        source.mkdir(parents=True)
        out.mkdir()
        for number in range(count):
            size = self.chance.randint(least, most)
            (source / f"{CANARY} {number}").write_bytes(self.chance.randbytes(size))
        try:
            yield source, out
        finally:
            shutil.rmtree(folder)

    async def _processes(
        self, source: Path, out: Path, victim: Role | None
    ) -> tuple[CompletedProcess[bytes], CompletedProcess[bytes]]:
        """Run a sender and a receiver; kill the victim at some moment. Both end, and are cleaned up."""
        variables = environment(
            P2P_COPY_CODE=f"{self._name()}-{CANARY} of a passphrase", P2P_COPY_SERVER=self._daemon.url
        )
        ended: dict[Role, CompletedProcess[bytes]] = {}
        words = {Role.SENDER: ("send", str(source)), Role.RECEIVER: ("receive", "--out", str(out))}
        started: dict[Role, trio.Process] = {}

        async def run(role: Role, *, task_status: trio.TaskStatus[trio.Process]) -> None:
            command = [sys.executable, "-m", "p2p_copy", *words[role], "--quiet"]
            ended[role] = await trio.run_process(
                [*command, "--ca-file", self._ca_file, "--wait", PEER_WAIT, "--patience", "0"],
                env=variables,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                task_status=task_status,
            )

        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                for role in self.chance.sample(list(Role), 2):
                    started[role] = await nursery.start(partial(run, role))
                if victim is not None:
                    await trio.sleep(self.chance.uniform(0.2, 4))
                    started[victim].kill()
        return ended[Role.SENDER], ended[Role.RECEIVER]


def _check_identical(source: Path, out: Path) -> None:
    assert snapshot(out / source.name) == snapshot(source), "a transfer was not identical"
    assert not leftovers(out)
