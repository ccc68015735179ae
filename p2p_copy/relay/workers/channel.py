"""Messages and descriptors between the supervisor and one worker, both ways, over a pair of unix sockets.

A message is one JSON object in a line. `do` says what it is about; a question has an `id` besides, and its answer the
same. A descriptor travels with its message (SCM_RIGHTS, unix(7)). Rules:
1. Sending never waits: messages are queued in order, and one task writes them. An end that does not read loses the
   channel when `limits.MAX_CONTROL_MESSAGE` bytes wait for it.
2. The other end is a part of this program, maybe of another version; a worker says which `FORM` of messages it knows.
   What is no message ends the channel.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import socket
import sys
from collections import deque
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import trio

from p2p_copy.relay import limits
from p2p_copy.relay.log import events
from p2p_copy.relay.log.redact import where_raised

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

Tell: TypeAlias = "Callable[..., None]"
"""Obeys a message: called with its fields, and with `descriptor` if it comes with one, which is None if it was lost."""

Answer: TypeAlias = "Callable[..., Awaitable[Any]]"
"""Answers a question: called with its fields; what it returns is JSON."""

FORM: Final = 1
"""The form of all messages. It changes with any of them, and only equal ones understand each other."""

_DESCRIPTORS: Final = socket.CMSG_SPACE(array.array("i").itemsize) if hasattr(socket, "CMSG_SPACE") else 0


class ChannelLost(trio.BrokenResourceError):
    """The process at the other end has ended, or does not read."""


class Channel:
    """One end of it. Nothing moves unless a task is in `run`."""

    def __init__(self, sock: socket.socket) -> None:
        """Take over `sock`, a connected stream socket."""
        sock.setblocking(False)
        self._socket = sock
        self._tells: dict[str, Tell] = {}
        self._answers: dict[str, Answer] = {}
        self._unsent: deque[tuple[bytes, int | None]] = deque()
        self._size = 0
        self._queued, self._sent = trio.Event(), trio.Event()
        self._sending = False
        self._asked: dict[int, trio.MemorySendChannel[Any]] = {}
        self._number = 0
        self._lost = False

    def hear(self, tells: Mapping[str, Tell], answers: Mapping[str, Answer]) -> None:
        """Obey and answer these as well; both are by what messages are about."""
        self._tells.update(tells)
        self._answers.update(answers)

    def tell(self, do: str, *, descriptor: int | None = None, **fields: Any) -> None:
        """Send a message. `descriptor` is taken over, and closed when it was sent or cannot be."""
        self._put({"do": do, **fields, **({"fd": True} if descriptor is not None else {})}, descriptor)

    async def ask(self, do: str, **fields: Any) -> Any:
        """Send a question, and return the answer.

        Raises:
            ChannelLost: there will be none.

        """
        self._number += 1
        number = self._number
        answered, answer = trio.open_memory_channel[Any](1)
        self._asked[number] = answered
        try:
            self._put({"do": do, "id": number, **fields}, None)
            if self._lost:
                raise ChannelLost
            return await answer.receive()
        except trio.EndOfChannel:
            raise ChannelLost from None
        finally:
            self._asked.pop(number, None)

    async def run(self) -> None:
        """Send and receive until the other end is gone, or does not understand or read what it is sent."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                with contextlib.suppress(OSError, ValueError):
                    await self._read(nursery)
                nursery.cancel_scope.cancel()
        finally:
            self.close()

    def close(self) -> None:
        """Close this end."""
        self._lose()
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()

    @property
    def unsent(self) -> int:
        """Bytes of messages that wait to be sent."""
        return self._size

    async def flush(self) -> None:
        """Wait until all that was queued is sent, or the channel is lost."""
        while not self._lost and (self._unsent or self._sending):
            self._sent = trio.Event()
            await self._sent.wait()

    def _put(self, message: dict[str, Any], descriptor: int | None) -> None:
        data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        if self._size + len(data) > limits.MAX_CONTROL_MESSAGE:
            self._lose()
        if self._lost:
            if descriptor is not None:
                os.close(descriptor)
            return
        self._size += len(data)
        self._unsent.append((data, descriptor))
        self._queued.set()

    def _lose(self) -> None:
        """Give up: nothing is sent any more, and no answer will come."""
        self._lost = True
        self._queued.set()
        self._sent.set()
        while self._unsent:
            _, descriptor = self._unsent.popleft()
            if descriptor is not None:
                os.close(descriptor)
        for answered in self._asked.values():
            answered.close()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    async def _write(self) -> None:
        while not self._lost:
            if not self._unsent:
                self._queued = trio.Event()
                await self._queued.wait()
                continue
            self._sending = True
            data, descriptor = self._unsent.popleft()
            while descriptor is None and self._unsent and self._unsent[0][1] is None:
                data += self._unsent.popleft()[0]  # what waits goes out together
            try:
                await self._send(data, descriptor)
            except OSError:
                return  # the end of the other process is seen by reading
            finally:
                if descriptor is not None:
                    os.close(descriptor)
            self._size -= len(data)
            self._sending = False
            self._sent.set()

    async def _send(self, data: bytes, descriptor: int | None) -> None:
        if sys.platform == "win32":
            raise AssertionError("there are no workers there")
        rights = []
        if descriptor is not None:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
        while data:
            try:
                data = data[self._socket.sendmsg([data], rights) :]
                rights = []
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._socket)

    async def _read(self, nursery: trio.Nursery) -> None:
        if sys.platform == "win32":
            raise AssertionError("there are no workers there")
        rest = b""
        descriptors: deque[int | None] = deque()
        try:
            while not self._lost:
                await trio.lowlevel.wait_readable(self._socket)
                try:
                    data, rights, flags, _ = self._socket.recvmsg(limits.CONTROL_READ, _DESCRIPTORS)
                except BlockingIOError:
                    continue
                for _, _, numbers in rights:
                    descriptors.extend(array.array("i", numbers))
                if flags & socket.MSG_CTRUNC:  # this process may open no more
                    descriptors.append(None)
                if not data:
                    return
                *lines, rest = (rest + data).split(b"\n")
                if len(rest) > limits.MAX_CONTROL_MESSAGE:
                    return
                for line in lines:
                    self._obey(json.loads(line), descriptors, nursery)
        finally:
            for descriptor in descriptors:
                if descriptor is not None:
                    os.close(descriptor)

    def _obey(self, message: dict[str, Any], descriptors: deque[int | None], nursery: trio.Nursery) -> None:
        do, number = message.pop("do"), message.pop("id", None)
        if message.pop("fd", False):
            message["descriptor"] = descriptors.popleft()
        if do == "answer":
            if (answered := self._asked.get(number)) is not None:
                answered.send_nowait(message["answer"])
        elif number is not None:
            nursery.start_soon(self._reply, number, self._answers[do], message)
        else:
            try:
                self._tells[do](**message)
            except Exception as error:
                events.BUG.log((), where=where_raised(error))

    async def _reply(self, number: int, answer: Answer, fields: dict[str, Any]) -> None:
        result = None
        try:
            result = await answer(**fields)
        except Exception as error:
            events.BUG.log((), where=where_raised(error))
        self._put({"do": "answer", "id": number, "answer": result}, None)
