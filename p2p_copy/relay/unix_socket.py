"""Makes unix sockets, which Python has on POSIX systems only."""

from __future__ import annotations

import errno
import os
import socket
import sys


def unix_socket(kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """Return a new unix socket.

    Raises:
        OSError: there can be none; with EAFNOSUPPORT this system has none at all.

    """
    if sys.platform == "win32":
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
    return socket.socket(socket.AF_UNIX, kind)
