"""A TLS client that changes keys as often as it can: Python's own knows no way to ask for it, so it is OpenSSL's."""

from __future__ import annotations

import ctypes
import ctypes.util
import time

import pytest


class Updater:
    """A TLS client that asks for new keys as often as it can. Python's own knows no way to ask."""

    def __init__(self, port: int) -> None:
        name = ctypes.util.find_library("ssl")
        if name is None:
            pytest.skip("OpenSSL's library is not found here")
        self._lib = lib = ctypes.CDLL(name)
        for function in ("TLS_client_method", "SSL_CTX_new", "SSL_new", "BIO_new_connect"):
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

    def close(self) -> None:
        self._lib.SSL_free(self._ssl)
