"""A slow road to a relay: one TCP connection goes through at so many bytes per second, until the limit is lifted.

It makes a transfer last for as long as a test wants, without any help of the relay or of the sender.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

_GRAIN = 16 * 1024
"""Bytes that go on at once."""


class SlowRoad:
    """Takes one connection at a loopback port and joins it with one to `host`, `port`. Threads, no event loop."""

    def __init__(self, host: str, port: int, rate: float) -> None:
        self._to = (host, port)
        self._rate = rate
        self._lifted = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def lift(self) -> None:
        """Let bytes pass as fast as they come, from now on."""
        self._lifted.set()

    def close(self) -> None:
        """Take no more connection."""
        self.lift()
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError), self._listener.accept()[0] as near, socket.create_connection(self._to) as far:
            back = threading.Thread(target=self._carry, args=(far, near, False), daemon=True)
            back.start()
            self._carry(near, far, True)
            back.join()

    def _carry(self, source: socket.socket, target: socket.socket, slowly: bool) -> None:
        with suppress(OSError):
            while data := source.recv(_GRAIN):
                target.sendall(data)
                if slowly:
                    self._lifted.wait(len(data) / self._rate)
            target.shutdown(socket.SHUT_WR)
