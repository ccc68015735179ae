"""A TLS client that changes keys as often as it can: Python's own knows no way to ask for it, so it is OpenSSL's."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import socket
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable


class Updater:
    """A TLS client that asks for new keys as often as it can. Python's own knows no way to ask."""

    def __init__(self, port: int) -> None:
        name = ctypes.util.find_library("ssl")
        if name is None:
            pytest.skip("OpenSSL's library is not found here")
        self._lib = lib = ctypes.CDLL(name)
        for function in (
            "TLS_client_method",
            "SSL_CTX_new",
            "SSL_new",
            "BIO_new_connect",
            "BIO_new",
            "BIO_s_mem",
        ):
            getattr(lib, function).restype = ctypes.c_void_p
        connect = lib.BIO_new_connect(f"127.0.0.1:{port}".encode())
        context = lib.SSL_CTX_new(ctypes.c_void_p(lib.TLS_client_method()))
        assert lib.BIO_ctrl(ctypes.c_void_p(connect), 101, ctypes.c_long(0), None) == 1, "BIO_do_connect"
        self._ssl = ctypes.c_void_p(lib.SSL_new(ctypes.c_void_p(context)))
        lib.SSL_set_bio(self._ssl, ctypes.c_void_p(connect), ctypes.c_void_p(connect))
        assert lib.SSL_connect(self._ssl) == 1

    def say(self, data: bytes) -> None:
        assert self._lib.SSL_write(self._ssl, data, len(data)) == len(data)

    def hear(self) -> bytes:
        buffer = ctypes.create_string_buffer(10_000)
        count = self._lib.SSL_read(self._ssl, buffer, len(buffer))
        return buffer.raw[: max(0, count)]

    def flood(self, seconds: float) -> int:
        """Ask for new keys until refused; return how often."""
        end, count = time.monotonic() + seconds, 0
        while time.monotonic() < end and self._lib.SSL_key_update(self._ssl, 1) == 1:
            if self._lib.SSL_do_handshake(self._ssl) != 1:
                break
            count += 1
        return count

    def made(self, contents: Iterable[bytes], updates: int = 0) -> bytes:
        """Return records, one for each content, and `updates` changes of keys before each.

        They are made beforehand, in memory, so that sending is faster. Afterwards this client can say nothing else.
        """
        lib, buffer = self._lib, ctypes.create_string_buffer(1 << 16)
        memory = ctypes.c_void_p(lib.BIO_new(ctypes.c_void_p(lib.BIO_s_mem())))
        lib.SSL_set0_wbio(self._ssl, memory)
        records = bytearray()
        for content in contents:
            for _ in range(updates):
                assert lib.SSL_key_update(self._ssl, 0) == 1
                assert lib.SSL_do_handshake(self._ssl) == 1
            self.say(content)
            while (count := lib.BIO_read(memory, buffer, len(buffer))) > 0:
                records += memoryview(buffer)[:count]
        return bytes(records)

    def socket(self) -> socket.socket:
        """Return the socket, which the caller closes."""
        return socket.socket(fileno=os.dup(self._lib.SSL_get_fd(self._ssl)))

    def close(self) -> None:
        self._lib.SSL_free(self._ssl)
