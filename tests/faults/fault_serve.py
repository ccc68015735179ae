"""Fault 93: strangers at the relay inside a sender (`send --serve`), while it carries its own transfer."""

from __future__ import annotations

import os
import re
import signal
import time
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

import pytest
import trio

from p2p_copy.protocol.rendezvous import LEGACY_PATH, Refusal, Refused, Role, room_path
from p2p_copy.transport.link import LinkBroken
from tests.faults.arena import CANARY, CODE, MIB
from tests.faults.attackers import crowd
from tests.relay.clients import Relay, answer, hello, room
from tests.support.processes import PATIENCE, Running
from tests.support.trees import unfinished_size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZE = 96 * MIB
"""Bytes of its own transfer: more than the kernels take while its receiver is stopped."""

GROWTH = 30 * MIB
"""Bytes that the sender's memory may grow by: its own transfer goes on meanwhile."""


class Serving:
    """A sender that is the relay, and its receiver, which is stopped while strangers come."""

    def __init__(self, folder: Path) -> None:
        self._source, self.out = folder / "file", folder / "out"
        self._source.write_bytes(os.urandom(SIZE))
        options = ("--patience", "0")
        self.sender = Running(
            "send", str(self._source), "--serve", "127.0.0.1:0", *options, P2P_COPY_CODE=CODE
        )
        assert self.sender.process.stdout is not None
        match = re.search(r"127\.0\.0\.1:(\d+)", self.sender.process.stdout.readline())
        assert match
        self.clients = Relay(int(match[1]), None)
        url = str(self.clients.address)
        self.receiver = Running(
            *("receive", "--server", url, "--out", str(self.out), "--quiet", *options), P2P_COPY_CODE=CODE
        )

    def begin(self) -> None:
        """Wait until the two have met."""
        deadline = time.monotonic() + PATIENCE
        while not unfinished_size(self.out):
            assert self.receiver.process.poll() is None, self.receiver.wait()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        self.receiver.process.send_signal(signal.SIGSTOP)

    @property
    def memory(self) -> int:
        with open(f"/proc/{self.sender.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def finish(self) -> None:
        """Let the transfer come to its end, and check that it is whole."""
        assert self.sender.process.poll() is None
        self.receiver.process.send_signal(signal.SIGCONT)
        for end in (self.receiver, self.sender):
            code, _, errors = end.wait()
            assert code == 0, errors
        assert (self.out / "file").read_bytes() == self._source.read_bytes()

    def close(self) -> None:
        for end in (self.receiver, self.sender):
            if end.process.poll() is None:
                end.kill()


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    ready = Serving(tmp_path)
    yield ready
    ready.close()


@pytest.mark.fault(93, "other rooms", "legacy rooms")
async def test_fault_93_strangers_with_a_transfer_of_their_own(serving: Serving) -> None:
    """Each is told at once that this relay is not for it. None of them is paired, or waits."""
    relay, refused = serving.clients, 0

    async def one(number: int) -> None:
        nonlocal refused
        role = Role.SENDER if number % 2 else Role.RECEIVER
        async with relay.client(room_path(room(f"{CANARY} {number // 2}"))) as link:
            await link.send(hello(role))
            said = await answer(link)
            assert isinstance(said, Refused)
            assert said.code == Refusal.UNKNOWN_ROOM
            refused += 1

    async def legacy(number: int) -> None:
        nonlocal refused
        async with relay.client(LEGACY_PATH) as link:
            await link.send(f'{{"type":"hello","code_hash_hex":"{room(str(number))}","role":"sender"}}')
            with pytest.raises(LinkBroken) as caught:
                await link.receive()
            assert caught.value.close_code == 1013
            refused += 1

    await trio.to_thread.run_sync(serving.begin)
    before = serving.memory
    with trio.fail_after(PATIENCE):
        await crowd(200, one, at_once=4)
        await crowd(50, legacy, at_once=4)
    assert refused == 250
    assert serving.memory - before < GROWTH
    await trio.to_thread.run_sync(serving.finish)


@pytest.mark.fault(93, "silent strangers")
async def test_fault_93_more_silent_connections_than_it_takes(serving: Serving) -> None:
    relay = serving.clients
    await trio.to_thread.run_sync(serving.begin)
    before = serving.memory
    async with AsyncExitStack() as stack:
        for _ in range(300):
            with suppress(OSError):
                await stack.enter_async_context(await relay.tcp())
        await trio.sleep(1)
        assert serving.memory - before < GROWTH
        await trio.to_thread.run_sync(serving.finish)
