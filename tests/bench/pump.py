"""One side of pairings at full speed, as cheaply as Python can: blocking sockets, one thread for each.

`python -m tests.bench.pump PORT CA-FILE sender|receiver COUNT` connects, prints `there`, and then, each time that a
line comes on standard input, how many bytes all of them have moved so far. It ends with its standard input.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import socket
import ssl
import sys
import threading

from p2p_copy.protocol import rendezvous
from p2p_copy.protocol.rendezvous import Hello, Paired, Role
from tests.bench.markdown import say
from tests.support.websocket import BINARY, PONG, TEXT, frame

HOST = "127.0.0.1"

RECORD = 960 * 1024
"""Bytes of a message: those of our own records for large files."""


class Pump:
    """One client."""

    def __init__(self, port: int, ca_file: str, role: Role, number: int) -> None:
        self.moved = 0
        room = hashlib.sha256(f"pump {number}".encode()).hexdigest()
        context = ssl.create_default_context(cafile=ca_file)
        context.set_alpn_protocols(["http/1.1", rendezvous.room_hint(room)])
        self._role = role
        self._tls = context.wrap_socket(socket.create_connection((HOST, port)), server_hostname=HOST)
        key = base64.b64encode(os.urandom(16)).decode()
        self._tls.sendall(
            f"GET {rendezvous.room_path(room)} HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        self._hear_head()
        self._tls.sendall(frame(TEXT, rendezvous.encode(Hello(role, program="pump")).encode()))

    def _hear_head(self) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self._exactly(1)
        assert b" 101 " in head, head

    def run(self) -> None:
        """Wait for the other side, then move bytes until the process ends."""
        while True:
            kind, payload = self._frame()
            if kind == TEXT and rendezvous.decode_answer(payload.decode()) == Paired():
                break
            if kind not in (TEXT, BINARY):  # the relay asks whether it is alive
                self._tls.sendall(frame(PONG, payload))
        if self._role is Role.SENDER:
            record = frame(BINARY, os.urandom(RECORD))
            while True:
                self._tls.sendall(record)
                self.moved += RECORD
        else:
            space = memoryview(bytearray(256 * 1024))
            while count := self._tls.recv_into(space):
                self.moved += count

    def _frame(self) -> tuple[int, bytes]:
        first, size = self._exactly(2)
        if size == 126:
            size = int.from_bytes(self._exactly(2), "big")
        return first & 15, self._exactly(size)

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self._tls.recv(count - len(data))
            assert more, "the relay has ended"
            data += more
        return data


def main() -> None:
    parser = argparse.ArgumentParser(description="One side of pairings at full speed.")
    parser.add_argument("port", type=int)
    parser.add_argument("ca_file")
    parser.add_argument("role", choices=["sender", "receiver"])
    parser.add_argument("count", type=int)
    words = parser.parse_args()
    pumps = [Pump(words.port, words.ca_file, Role(words.role), number) for number in range(words.count)]
    for pump in pumps:
        threading.Thread(target=pump.run, daemon=True).start()
    say("there")
    for _ in sys.stdin:
        say(str(sum(pump.moved for pump in pumps)))
    os._exit(0)  # threads that wait in the library would keep it


if __name__ == "__main__":
    main()
