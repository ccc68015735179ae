"""What programs that speak another protocol say first, as bytes."""

from __future__ import annotations

from typing import Final

SSH: Final = b"SSH-2.0-OpenSSH_9.2\r\n"
"""The banner of an SSH server, and of a client."""

RDP: Final = b"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x0b\x00\x00\x00\n\n"
"""A scanner for remote desktops."""

HTTP_2: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""A client of HTTP/2 that does not ask first."""

TLS_HELLO: Final = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
"""The beginning of a TLS client's hello."""

TLS_ALERT: Final = b"\x15\x03\x01\x00\x02\x02\x46"
"""A TLS server that does not accept what was said: the fatal alert "protocol version"."""
