"""Records what a relay sees of a real transfer: `python -m docs.figures measure` writes `seen.json` anew.

A listener stands between the sender and the relay, as the network does, and reads the headers of the WebSocket frames.
They are in the clear between these two, which speak without TLS here; for the relay they are so always.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import trio

import p2p_copy as p2p
from p2p_copy.protocol import keys

FILE: Final = Path(__file__).with_name("seen.json")

CODE: Final = "flypaper.zodiac-confess.helpful.bullwhip"
FILES: Final = {"measured.h5": 12_000_000, "noise.svg": 41_000, "notes.txt": 812}
RATE: Final = 2 * 2**20
"""The relay's rate limit in bytes per second, so that messages do not all come in the same instant."""

_BINARY: Final = 2
"""The opcode of frames that clients send to each other."""


@dataclass
class Seen:
    """The messages of one transfer.

    Attributes:
        room: the number of the room, which is all that the relay learns of the code.
        sent: seconds since the first message, and bytes, of each message from the sender.
        answered: the same of each message from the receiver.

    """

    room: str
    sent: list[tuple[float, int]] = field(default_factory=list)
    answered: list[tuple[float, int]] = field(default_factory=list)


def measure() -> None:
    """Run the transfer, and save what was seen."""
    FILE.write_text(json.dumps(asdict(trio.run(_seen))) + "\n", "utf-8")


def load() -> Seen:
    """Return what was seen last."""
    return Seen(**json.loads(FILE.read_text("utf-8")))


async def _seen() -> Seen:
    code = p2p.Code.parse(CODE)
    seen = Seen(keys.room_id(code.room))
    with tempfile.TemporaryDirectory() as home:
        source = trio.Path(home, "results")
        await source.mkdir()
        for name, size in FILES.items():
            await (source / name).write_bytes(os.urandom(size))
        async with p2p.Relay(rate=RATE) as relay, trio.open_nursery() as nursery:
            url = relay.urls[0]
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            port = int(url.rpartition(":")[2])
            nursery.start_soon(trio.serve_listeners, partial(_pass_on, seen, port), [listener])
            tapped = p2p.AsyncClient(f"ws://127.0.0.1:{listener.socket.getsockname()[1]}")
            async with tapped.open_send(str(source), code=code) as sending:
                await p2p.AsyncClient(url).receive(f"{home}/out", code=code)
                await sending.wait()
            nursery.cancel_scope.cancel()
    begin = min(second for second, _ in seen.sent + seen.answered)
    for messages in (seen.sent, seen.answered):
        messages[:] = [(round(second - begin, 3), size) for second, size in messages]
    return seen


async def _pass_on(seen: Seen, port: int, sender: trio.SocketStream) -> None:
    async with sender, await trio.open_tcp_stream("127.0.0.1", port) as relay, trio.open_nursery() as nursery:
        nursery.start_soon(_copy, sender, relay, seen.sent)
        await _copy(relay, sender, seen.answered)
        nursery.cancel_scope.cancel()


async def _copy(
    source: trio.SocketStream, target: trio.SocketStream, messages: list[tuple[float, int]]
) -> None:
    """Copy bytes, and note the size of each binary frame when its header has come."""
    waiting = b""
    skip = -1  # bytes of the frame that are still to come; -1 before the end of the HTTP head
    try:
        async for data in source:
            await target.send_all(data)
            waiting += data
            while True:
                if skip < 0:
                    _, found, after = waiting.partition(b"\r\n\r\n")
                    if not found:
                        break
                    waiting, skip = after, 0
                passed = min(skip, len(waiting))
                waiting, skip = waiting[passed:], skip - passed
                header = _header(waiting)
                if skip or header is None:
                    break
                opcode, length, size = header
                if opcode == _BINARY:
                    messages.append((trio.current_time(), size))
                waiting, skip = waiting[length:], size
    except trio.BrokenResourceError:
        pass


def _header(data: bytes) -> tuple[int, int, int] | None:
    """Return a frame's opcode, the length of its header and the size of its payload; None if more bytes must come."""
    if len(data) < 2:
        return None
    masked, size = data[1] >> 7, data[1] & 127
    extended = {126: 2, 127: 8}.get(size, 0)
    length = 2 + extended + 4 * masked
    if len(data) < length:
        return None
    return data[0] & 15, length, int.from_bytes(data[2 : 2 + extended], "big") if extended else size
