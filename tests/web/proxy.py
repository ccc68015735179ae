"""A proxy between browsers and a relay: it breaks connections, slows them down, and notes what was asked for."""

from __future__ import annotations

import contextlib
import math
import socket
import threading
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from types import TracebackType

_CHUNK: Final = 64 * 1024

_TRICKLE: Final = 0.05
"""Seconds for each chunk after `slow_after`: far slower than any browser, and fast enough to be alive."""

_NOTED: Final = 16 * 1024
"""Bytes of each connection that are noted: the requests, and the beginning of what goes over a WebSocket."""


class Proxy:
    """Passes connections on to a relay, byte by byte, so that a browser has the relay's own answers.

    Attributes:
        relay: where connections go that come from now on.
        port: where it listens, at 127.0.0.1.
        asked: what clients have sent, the first bytes of each connection.
        slow_after: the bytes in one direction of a connection after which it only trickles: a transfer that has come
            there is in its middle for as long as a test needs. A cut makes an end of it.

    """

    def __init__(self, relay: tuple[str, int]) -> None:
        self.relay = relay
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._fast = threading.Event()
        self.port: int = self._listener.getsockname()[1]
        self.asked: list[bytes] = []
        self.slow_after = math.inf

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

    def hurry(self) -> None:
        """Pass everything on as fast as it comes."""
        self.slow_after = math.inf
        self._fast.set()

    def cut(self) -> int:
        """Break all connections; return how many sockets there were. What comes after that is fast."""
        self.hurry()
        sockets, self._sockets = self._sockets, []
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        return len(sockets)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, socket.create_connection(self.relay) as relay:
            self._sockets += [client, relay]
            back = threading.Thread(target=self._copy, args=(relay, client), daemon=True)
            back.start()
            self._copy(client, relay, noted=True)
            back.join()

    def _copy(self, source: socket.socket, target: socket.socket, *, noted: bool = False) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                if noted and passed < _NOTED:
                    self.asked.append(data[: _NOTED - passed])
                passed += len(data)
                if passed > self.slow_after:
                    self._fast.wait(_TRICKLE)
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
