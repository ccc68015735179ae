"""Sender, relay or receiver that does only what every such program must do. `bare.Bare` runs it as a script.

    bare_process.py relay PORT [CERTIFICATE KEY]
    bare_process.py send PORT SOURCE [AUTHORITY]
    bare_process.py receive PORT TARGET SIZE [AUTHORITY]

The bytes are read, hashed, sealed, sent, passed on, opened, hashed and written with the libraries and the record size
of p2p-copy, in loops that block and in buffers that are used again. There is no event loop, no WebSocket, no key
exchange, no message, no journal and no limit, and the first error ends it: it only shows how much is left to gain.
"""

from __future__ import annotations

import os
import socket
import ssl
import struct
import sys
from contextlib import suppress
from typing import Final

from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HOST: Final = "127.0.0.1"
KIB: Final = 1024
CONTENT: Final = 960 * KIB
HEADER: Final = struct.Struct(">QQ")
NONCE: Final = struct.Struct(">IQ")
TAG: Final = 16
KEY: Final = bytes(32)
PIPE: Final = 1024 * KIB
PIECE: Final = 256 * KIB

SENDER: Final = b"s"
RECEIVER: Final = b"r"


def relay(port: int, *files: str) -> None:
    """Pass on the bytes of each sender to its receiver, until this process is killed."""
    server = socket.create_server((HOST, port))
    context = None
    if files:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
    sides: dict[bytes, socket.socket] = {}
    while True:
        side, _ = server.accept()
        with suppress(OSError):  # it was only a test whether the relay listens
            if context is not None:
                side = context.wrap_socket(side, server_side=True)
            sides[side.recv(1)] = side
        if SENDER in sides and RECEIVER in sides:
            sender, receiver = sides.pop(SENDER), sides.pop(RECEIVER)
            with sender, receiver:
                (_splice if context is None else _copy)(sender, receiver)


def _splice(source: socket.socket, target: socket.socket) -> None:
    import fcntl

    out, into = os.pipe()
    fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, PIPE)
    while size := os.splice(source.fileno(), into, PIPE):
        while size:
            size -= os.splice(out, target.fileno(), size)


def _copy(source: socket.socket, target: socket.socket) -> None:
    buffer = memoryview(bytearray(PIECE))
    while size := _fill(source, buffer):
        target.sendall(buffer[:size])


def _fill(source: socket.socket, buffer: memoryview) -> int:
    """Receive until the buffer is full or the stream ends; return the number of bytes."""
    size = 0
    while size < len(buffer) and (count := source.recv_into(buffer[size:])):
        size += count
    return size


def send(port: int, path: str, authority: str = "") -> None:
    """Send a file, and wait until the relay has all of it."""
    record = memoryview(bytearray(HEADER.size + CONTENT + TAG))
    content = memoryview(bytearray(CONTENT))
    cipher, digest, number = AESGCM(KEY), blake3(), 0
    with _connected(port, authority, SENDER) as relay, open(path, "rb", buffering=0) as source:
        while size := source.readinto(content):
            digest.update(content[:size])
            record[: HEADER.size] = header = HEADER.pack(size, number)
            end = HEADER.size + size + TAG
            cipher.encrypt_into(NONCE.pack(0, number), content[:size], header, record[HEADER.size : end])
            relay.sendall(record[:end])
            number += 1
        relay.shutdown(socket.SHUT_WR)
        while relay.recv(KIB):
            pass


def receive(port: int, path: str, rest: int, authority: str = "") -> None:
    """Receive a file of `rest` bytes."""
    record = memoryview(bytearray(HEADER.size + CONTENT + TAG))
    content = memoryview(bytearray(CONTENT))
    cipher, digest, number = AESGCM(KEY), blake3(), 0
    with _connected(port, authority, RECEIVER) as relay, open(path, "wb", buffering=0) as target:
        while rest:
            size = min(rest, CONTENT)
            end = HEADER.size + size + TAG
            if _fill(relay, record[:end]) < end:
                sys.exit("the end came too early")
            header, sealed = bytes(record[: HEADER.size]), record[HEADER.size : end]
            cipher.decrypt_into(NONCE.pack(0, number), sealed, header, content[:size])
            digest.update(content[:size])
            target.write(content[:size])
            number += 1
            rest -= size


def _connected(port: int, authority: str, role: bytes) -> socket.socket:
    connection = socket.create_connection((HOST, port))
    if authority:
        context = ssl.create_default_context(cafile=authority)
        connection = context.wrap_socket(connection, server_hostname=HOST)
    connection.sendall(role)
    return connection


if __name__ == "__main__":
    role, port, *words = sys.argv[1:]
    if role == "relay":
        relay(int(port), *words)
    elif role == "send":
        send(int(port), *words)
    else:
        receive(int(port), words[0], int(words[1]), *words[2:])
