"""A small server for the tests: the built page, and behind the same address a relay that knows nothing of pages."""

from __future__ import annotations

import contextlib
import mimetypes
import socket
import threading
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

POLICY: Final = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The policy that the page has to live with."""

_HEAD: Final = 16 * 1024


class Site:
    """Serves `folder` at the root, and passes requests for rooms on to the relay at `relay`, without their Origin.

    Attributes:
        url: the page.
        asked: the paths that were asked for.

    """

    def __init__(self, folder: Path, relay: tuple[str, int]) -> None:
        self._folder = folder
        self._relay = relay
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pipes: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self.asked: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        self.cut()

    def cut(self) -> int:
        """Break all connections to the relay; return how many there were."""
        pipes, self._pipes = self._pipes, []
        for pipe in pipes:
            with contextlib.suppress(OSError):
                pipe.shutdown(socket.SHUT_RDWR)
            pipe.close()
        return len(pipes)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            request = b""
            while b"\r\n\r\n" not in request and len(request) < _HEAD:
                if not (data := client.recv(_HEAD)):
                    return
                request += data
            path = request.split(b" ", 2)[1].decode()
            self.asked.append(path)
            if path.startswith("/v1/"):
                self._pass_on(client, request)
            else:
                client.sendall(self._answer(path))

    def _answer(self, path: str) -> bytes:
        name = path.partition("?")[0].lstrip("/") or "index.html"
        file = self._folder / name
        found = "/" not in name and file.is_file()
        body = file.read_bytes() if found else b"There is nothing here."
        kind = mimetypes.guess_type(name)[0] or "text/plain"
        status = "200 OK" if found else "404 Not Found"
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
            f"Content-Security-Policy: {POLICY}\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"
            "Cross-Origin-Opener-Policy: same-origin\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + body

    def _pass_on(self, client: socket.socket, request: bytes) -> None:
        lines = [line for line in request.split(b"\r\n") if not line.lower().startswith(b"origin:")]
        with socket.create_connection(self._relay) as relay:
            self._pipes += [client, relay]
            relay.sendall(b"\r\n".join(lines))
            back = threading.Thread(target=_copy, args=(relay, client), daemon=True)
            back.start()
            _copy(client, relay)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(256 * 1024):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
