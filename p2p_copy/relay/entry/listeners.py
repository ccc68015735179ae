"""Opens what a relay listens at: TCP addresses, unix sockets for a proxy, and sockets from systemd.

Either the relay listens at all places, or at none. Rules for a unix socket:
1. It has its mode before the first client can connect.
2. A left-over socket is removed only if no program answers there; nothing else is ever removed to make room.
3. It is removed when the relay stops listening, unless another relay has put its own there by then.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from typing import TYPE_CHECKING, Final

import trio

from p2p_copy.errors import CannotListen
from p2p_copy.relay import limits
from p2p_copy.relay.config import UNIX_PREFIX, Inherited, Tcp, Unix
from p2p_copy.relay.log import events
from p2p_copy.relay.unix_socket import unix_socket
from p2p_copy.transport.address import RelayAddress
from p2p_copy.transport.tcp import TCPStream

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence

    from p2p_copy.relay.config import Place

_FIRST_DESCRIPTOR: Final = 3
"""SD_LISTEN_FDS_START of sd_listen_fds(3)."""

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Errors of accept when the system, or this process, has nothing left for one more connection."""


class Listener(trio.abc.Listener[TCPStream]):
    """One listening socket.

    Attributes:
        place: as it was asked for.
        sockname: host and port where it listens; None for a unix socket.

    """

    def __init__(self, place: Place, listener: trio.SocketListener, leftover: str = "") -> None:
        """Take over `listener`, and with it the duty to remove `leftover`, a path, when it is closed."""
        self.place = place
        self._inner = listener
        self._leftover = leftover
        self._identity = _identity(leftover) if leftover else None
        name = listener.socket.getsockname()
        self.sockname: tuple[str, int] | None = name[:2] if isinstance(name, tuple) else None
        self._path = "" if self.sockname else os.fsdecode(name)

    def url(self, *, tls: bool) -> str:
        """Return the URL of the relay here, with the host as it was asked for; `unix:PATH` for a unix socket."""
        if self.sockname is None:
            return UNIX_PREFIX + self._path
        host, port = self.sockname
        return str(RelayAddress(tls, self.place.host if isinstance(self.place, Tcp) else host, port))

    async def accept(self) -> TCPStream:
        """Return the next connection; while the system has nothing left for it, try again now and then.

        Trio would also try again, but write a traceback each time.
        """
        while True:
            try:
                return TCPStream(await self._inner.accept())
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                events.EXHAUSTED.log()
            await trio.sleep(limits.ACCEPT_RETRY_PAUSE)

    async def aclose(self) -> None:
        """Stop listening. Connections that were not accepted yet are refused."""
        if self._leftover and _identity(self._leftover) == self._identity:
            with contextlib.suppress(OSError):
                os.unlink(self._leftover)
        self._leftover = ""
        await self._inner.aclose()


async def listen(places: Sequence[Place]) -> list[Listener]:
    """Listen at all places.

    Raises:
        CannotListen: one of the places cannot be used; then the relay listens at none.

    """
    listeners: list[Listener] = []
    try:
        for place in places:
            match place:
                case Tcp():
                    listeners += await _listen_tcp(place)
                case Unix():
                    listeners.append(_listen_unix(place))
                case Inherited():
                    listeners.append(_adopt(place))
    except BaseException:
        for listener in listeners:
            await trio.aclose_forcefully(listener)
        raise
    return listeners


def activated(environ: MutableMapping[str, str]) -> list[Inherited]:
    """Return the sockets that were handed to this process (sd_listen_fds(3)), and forget them in `environ`.

    Raises:
        CannotListen: the variables are garbled.

    """
    owner, count, names = (environ.pop(f"LISTEN_{word}", "") for word in ("PID", "FDS", "FDNAMES"))
    if owner != str(os.getpid()):
        return []  # meant for another process, or for none
    if not count.isdecimal():
        raise CannotListen(
            "LISTEN_FDS is not a number. It is set by systemd, for a service with a socket unit."
        )
    called = names.split(":") if names else []
    called += ["unknown"] * (int(count) - len(called))
    return [Inherited(_FIRST_DESCRIPTOR + number, called[number]) for number in range(int(count))]


async def _listen_tcp(place: Tcp) -> list[Listener]:
    """Listen at every address of the host that this machine can use: often it cannot use all."""
    listeners: list[trio.SocketListener] = []
    failure: OSError | None = None
    try:
        found = await trio.socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        raise CannotListen(
            f"The name {place.host} has no address here. Use a local address, or 0.0.0.0."
        ) from error
    for address in dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found):
        try:
            listeners += await trio.open_tcp_listeners(place.port, host=address)
        except OSError as error:
            failure = error
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                break
    if failure is not None and (not listeners or failure.errno == errno.EADDRINUSE):
        for listener in listeners:
            await listener.aclose()
        raise CannotListen(_why_no_tcp(place, failure)) from None
    return [Listener(place, listener) for listener in listeners]


def _why_no_tcp(place: Tcp, error: OSError) -> str:
    host, port = place.host, place.port
    match error.errno:
        case errno.EADDRINUSE:
            return f"Port {port} of {host} is in use by another program. Stop it, or choose another port."
        case errno.EACCES:
            return (
                "Ports below 1024 need root or CAP_NET_BIND_SERVICE. Choose a port from 1024 on, or give the relay "
                "that right."
            )
        case errno.EADDRNOTAVAIL | errno.EAFNOSUPPORT:
            return f"This machine has no address {host}. Use one that it has, or 0.0.0.0 for all."
    return f"Cannot listen at {host}, port {port}: {error.strerror}."


def _listen_unix(place: Unix) -> Listener:
    try:
        sock = unix_socket()
    except OSError as error:
        why = "This system has no unix sockets. Listen at a HOST and PORT."
        raise CannotListen(why if error.errno == errno.EAFNOSUPPORT else f"{error.strerror}.") from None
    try:
        try:
            sock.bind(place.path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            _remove_stale(place.path)
            sock.bind(place.path)
        # Before listen(), connecting fails, so no client gets in while the mode is still the umask's.
        os.chmod(place.path, place.mode)
        sock.listen(limits.UNIX_BACKLOG)
        return Listener(place, trio.SocketListener(trio.socket.from_stdlib_socket(sock)), place.path)
    except OSError as error:
        sock.close()
        raise CannotListen(
            f"Cannot listen at the unix socket: {error.strerror or error}. Its directory must exist and be "
            "writable for the relay, and its path have at most 107 bytes."
        ) from None
    except BaseException:
        sock.close()
        raise


def _remove_stale(path: str) -> None:
    """Make room for a unix socket.

    Raises:
        CannotListen: there is something else than a socket, or a program answers there.

    """
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise CannotListen(
            "At the path of the unix socket there is something else. Move it, or choose another path."
        )
    with unix_socket() as probe:
        probe.setblocking(False)  # the queue of a busy program may be full, which is an answer, too
        if probe.connect_ex(path) == errno.ECONNREFUSED:
            os.unlink(path)
            return
    raise CannotListen("The unix socket is in use by another program. Stop it, or choose another path.")


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _adopt(place: Inherited) -> Listener:
    wrong = (
        f"The socket {place.name!a} that was handed to the relay does not listen for streams. In its unit, use "
        "ListenStream= and Accept=no."
    )
    try:
        sock = socket.socket(fileno=place.descriptor)
    except OSError as error:
        raise CannotListen(wrong) from error
    try:
        os.set_inheritable(place.descriptor, False)
        return Listener(place, trio.SocketListener(trio.socket.from_stdlib_socket(sock)))
    except (OSError, ValueError) as error:  # trio's listener checks what it is given
        sock.close()
        raise CannotListen(wrong) from error
