"""A web server under asyncio that receives uploads by code: python asyncio_server.py DIRECTORY [HOST [PORT]].

POST /uploads makes a code, and the answer says what to type on the machine that has the files. GET /uploads/NUMBER
tells how far that upload is. The files pass a relay in this program. A web framework's handlers would do the same.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import p2p_copy as p2p

MOST = 10**9
"""Bytes of one upload."""


class Uploads:
    """All uploads since the server began."""

    def __init__(self, relay: str, directory: Path, tasks: asyncio.TaskGroup) -> None:
        self.client = p2p.AsyncClient(relay)
        self.relay = relay
        self.directory = directory
        self.tasks = tasks
        self.states: list[dict[str, Any]] = []

    def begin(self) -> dict[str, Any]:
        """Begin to wait for an upload; return what its sender must know."""
        code = p2p.Code.generate()
        state = {"number": len(self.states), "state": "waiting", "size": 0}
        self.states.append(state)
        self.tasks.create_task(self.receive(code, state))
        return {
            "number": state["number"],
            "command": f"p2p-copy send PATH --code {code} --server {self.relay}",
        }

    async def receive(self, code: p2p.Code, state: dict[str, Any]) -> None:
        """Receive one upload. A failure is told, and does not end the others."""

        def follow(event: p2p.Event) -> None:
            if isinstance(event, p2p.Progress):
                state.update(state="receiving", size=event.size)

        out = self.directory / str(state["number"])
        try:
            report = await self.client.receive(out, code=code, on_event=follow, max_size=MOST)
        except p2p.P2PCopyError as error:
            state.update(state="failed", reason=str(error))
        else:
            state.update(state="complete", size=report.size, files=report.files)

    def visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer a visitor in a task of this server, which ends with it."""
        self.tasks.create_task(self.answer(reader, writer))

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request. A visitor that breaks off ends no other's answer."""
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await self.answer_request(reader, writer)
        writer.close()

    async def answer_request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one request, and write its answer."""
        head = await reader.readuntil(b"\r\n\r\n")
        match head.decode().split()[:2]:
            case ["POST", "/uploads"]:
                status, body = "201 Created", self.begin()
            case ["GET", path] if path.removeprefix("/uploads/") in map(str, range(len(self.states))):
                status, body = "200 OK", self.states[int(path.removeprefix("/uploads/"))]
            case _:
                status, body = "404 Not Found", {}
        writer.write(
            f"HTTP/1.0 {status}\r\nContent-Type: application/json\r\n\r\n{json.dumps(body)}\n".encode()
        )
        await writer.drain()


async def main(directory: str, host: str = "127.0.0.1", port: str = "0") -> None:
    """Serve until this is cancelled."""
    async with p2p.Relay(host) as relay, asyncio.TaskGroup() as tasks:
        uploads = Uploads(relay.urls[-1], Path(directory), tasks)
        server = await asyncio.start_server(uploads.visit, host, int(port))
        print(f"http://{host}:{server.sockets[0].getsockname()[1]}/uploads", flush=True)
        try:
            await asyncio.Event().wait()  # for ever
        finally:
            server.close()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):  # Ctrl-C ends uploads and relay cleanly
        asyncio.run(main(*sys.argv[1:]))
