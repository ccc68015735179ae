"""Measures the memory that a relay holds for clients that send and never read, and the speed of an honest transfer.

`python -m tests.bench.hoard PAIRS [--form v1|legacy|text] [--tls] [--max-memory SIZE] [--read SIZE]` starts a relay,
sends a file through it, connects PAIRS of which each side sends all that the relay accepts, sends the file again, and
prints the relay's memory and both rates. `text` is the form of p2p-copy 0.1.x with text that has one character beyond
the BMP. With `--read` each side first reads so many bytes, so that the relay believes it to be fast.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import trio

from p2p_copy.protocol import rendezvous
from p2p_copy.protocol.rendezvous import LEGACY_PATH, Hello, Refused, Role, room_path
from p2p_copy.relay.system_limits import raise_descriptor_limit
from p2p_copy.transport import codec
from p2p_copy.transport.codec import Opcode
from p2p_copy.units import amount, parse_size
from tests.bench import proc
from tests.bench.markdown import say
from tests.faults.server import Server
from tests.relay.clients import room
from tests.relay.entry.test_certificates import Files
from tests.support.processes import CODE, Running
from tests.support.websocket import RawClient

AT_ONCE = 32
"""Pairs that connect at the same time: fewer than the relay's backlog."""

MESSAGE = 2 * 1024 * 1024 - 1024
"""Bytes of a message: as long as those of p2p-copy 0.1.x."""

BUFFER = "8K"
"""Bytes of a client's socket buffers: what the relay holds is measured, not what the kernel holds."""

MASK = bytes((1, 2, 3, 4))
"""Mask of what is sent, so that the relay cannot splice it inside the kernel."""

FILE = 1024 * 1024 * 1024
"""Bytes of the honest transfer."""

THERE = "there"
"""What the crowd prints when all are connected."""

FLOOD = 20.0
"""Seconds for which all send before the honest transfer begins."""


class Crowd:
    """Pairs at one relay, of which each side sends."""

    def __init__(self, port: int, form: str, ca_file: str | None, read: int, buffer: int) -> None:
        self._port, self._form, self._read, self._buffer = port, form, read, buffer
        if ca_file is None:
            self._context = None
        else:
            import ssl

            self._context = ssl.create_default_context(cafile=ca_file)
        payload = "😀".encode() + b"x" * (MESSAGE - 4) if form == "text" else bytes(MESSAGE)
        self._message = codec.encode(Opcode.TEXT if form == "text" else Opcode.BINARY, payload, MASK)
        self._here = 0
        self._entrance = trio.CapacityLimiter(AT_ONCE)

    async def _come(self, role: Role, name: str) -> RawClient:
        connection = trio.socket.socket()
        for buffer in (trio.socket.SO_RCVBUF, trio.socket.SO_SNDBUF):
            connection.setsockopt(trio.socket.SOL_SOCKET, buffer, self._buffer)
        await connection.connect(("127.0.0.1", self._port))
        stream: trio.abc.Stream = trio.SocketStream(connection)
        if self._context is not None:
            secure = trio.SSLStream(stream, self._context, server_hostname="127.0.0.1", https_compatible=True)
            await secure.do_handshake()
            stream = secure
        client = RawClient(stream)
        if self._form == "v1":
            await client.upgrade(room_path(room(name)))
            await client.send(rendezvous.encode(Hello(role, program="hoard")))
            if isinstance(rendezvous.decode_answer(await client.message()), Refused):
                raise trio.BrokenResourceError
        else:
            await client.upgrade(LEGACY_PATH)
            hello = f'{{"type": "hello", "code_hash_hex": "{room(name)}", "role": "{role.value}"}}'
            await client.send(hello)
        return client

    async def _push(self, client: RawClient) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while True:
                await client.raw(self._message)

    async def _take(self, client: RawClient) -> None:
        left = self._read
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while left > 0:
                left -= len(await client.stream.receive_some(65536)) or left

    async def pair(self, number: int, nursery: trio.Nursery, *, task_status: trio.TaskStatus[None]) -> None:
        name = f"hoard {number}"
        with suppress(trio.BrokenResourceError, AssertionError, OSError):  # a relay may refuse us
            async with self._entrance:
                with trio.fail_after(300):
                    sender = await self._come(Role.SENDER, name)
                    receiver = await self._come(Role.RECEIVER, name)
                    await sender.message()  # paired
                    self._here += 1
            for client in (sender, receiver):
                nursery.start_soon(self._push, client)
                nursery.start_soon(self._take, client)
        task_status.started()

    async def gather(self, pairs: int) -> None:
        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as arrivals:
                for number in range(pairs):
                    arrivals.start_soon(_start, nursery, self.pair, number)
            say(f"{THERE} {self._here}")
            await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
            nursery.cancel_scope.cancel()


async def _start(nursery: trio.Nursery, pair: object, number: int) -> None:
    await nursery.start(pair, number, nursery)  # type: ignore[arg-type]


def transfer(server: Server, source: Path, out: Path) -> float:
    """Send the file through the relay; return bytes per second."""
    options: tuple[str, ...] = ("--quiet", "--server", server.url)
    if server.clients.ca_file is not None:
        options += ("--ca-file", server.clients.ca_file)
    began = time.monotonic()
    ends = (
        Running("send", str(source), *options, P2P_COPY_CODE=CODE),
        Running("receive", *options, "--out", str(out), P2P_COPY_CODE=CODE),
    )
    for end in ends:
        code, _, errors = end.wait(600)
        assert code == 0, errors
    seconds = time.monotonic() - began
    shutil.rmtree(out)
    return source.stat().st_size / seconds


def run(words: argparse.Namespace, folder: Path) -> None:
    """Measure one relay, and print the figures."""
    files = None
    if words.tls:
        import trustme

        files = Files(folder, trustme.CA())
    options = ["--max-memory", words.max_memory] if words.max_memory else []
    options += ["--max-connections", str(2 * words.pairs + 64), "--max-waiting", str(words.pairs + 64)]
    source = folder / "file"
    with source.open("wb") as file:
        for _ in range(words.file // (1 << 20)):
            file.write(os.urandom(1 << 20))
    server = Server(folder, *options, files=files, budget=60)
    pid = server.process.pid

    def memory(when: str) -> None:
        held = server.status.get("memory_held")
        say(
            f"{when}: resident {amount(proc.memory(pid).resident * 1024)}, most ever {amount(proc.peak(pid) * 1024)}"
            + (f", held {amount(held)}" if held is not None else "")
            + f", pairs {len(server.status['pairings'])}, processor {proc.processor_seconds(pid):.1f} s"
        )

    try:
        memory("at the start")
        alone = [transfer(server, source, folder / "out") for _ in range(words.times)]
        memory("after transfers alone")
        crowd = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.bench.hoard", str(words.pairs), "--form", words.form),
                *(
                    "--crowd",
                    str(server.clients.address.port),
                    "--read",
                    str(words.read),
                    "--buffer",
                    str(words.buffer),
                ),
                *(("--ca-file", str(files.ca_file)) if files else ()),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert crowd.stdout is not None
            began = time.monotonic()
            there, _, count = crowd.stdout.readline().decode().partition(" ")
            assert there == THERE
            memory(f"{int(count)} pairs connected within {time.monotonic() - began:.0f} s")
            for _ in range(int(words.flood // 5)):
                time.sleep(5)
                memory("they send")
            beside = [transfer(server, source, folder / "out") for _ in range(words.times)]
            memory("after transfers beside")
        finally:
            crowd.kill()
            crowd.wait()
        for what, rates in (("alone", alone), ("beside", beside)):
            say(f"{what}: {', '.join(amount(rate) for rate in rates)} a second")
        say(f"best beside / best alone: {max(beside) / max(alone):.2f}")
        time.sleep(3)
        memory("after all have left")
    finally:
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=int)
    parser.add_argument("--form", choices=["v1", "legacy", "text"], default="v1")
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--max-memory", default="")
    parser.add_argument("--read", type=parse_size, default=0)
    parser.add_argument("--buffer", type=parse_size, default=BUFFER)
    parser.add_argument("--file", type=parse_size, default=FILE)
    parser.add_argument("--times", type=int, default=2)
    parser.add_argument("--flood", type=float, default=FLOOD)
    parser.add_argument("--crowd", type=int)
    parser.add_argument("--ca-file")
    words = parser.parse_args()
    raise_descriptor_limit()
    if words.crowd:
        trio.run(Crowd(words.crowd, words.form, words.ca_file, words.read, words.buffer).gather, words.pairs)
        return
    with tempfile.TemporaryDirectory() as folder:
        run(words, Path(folder))


if __name__ == "__main__":
    main()
