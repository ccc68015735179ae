"""Notifications to systemd (sd_notify(3)): the relay is ready, is reloading, stops, is alive.

Without the variables that systemd sets nothing is sent. A message that cannot be sent is dropped: the relay serves all
the same, and systemd notices the silence.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import trio

from p2p_copy.relay import limits
from p2p_copy.relay.unix_socket import unix_socket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping


class Notifier:
    """Sends notifications to the service manager, if there is one.

    Attributes:
        watchdog: seconds within which the service manager wants a sign of life; None if it wants none.

    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Take NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID from `environ`."""
        address = environ.get("NOTIFY_SOCKET", "")
        # An @ stands for the zero byte of the abstract namespace, which no variable can hold.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.watchdog = _watchdog(environ) if address else None
        self._status = ""

    def ready(self) -> None:
        """Say that the relay serves clients, or that a reload is over."""
        self._send("READY=1")

    @asynccontextmanager
    async def reloading(self) -> AsyncIterator[None]:
        """Say that a reload begins, and that it is over when the context ends."""
        # The time tells the manager which of its own reload requests this belongs to.
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        yield
        self.ready()

    def stopping(self) -> None:
        """Say that the relay is stopping."""
        self._send("STOPPING=1")

    def status(self, sentence: str) -> None:
        """Show a status line, unless it is shown already."""
        if sentence != self._status:
            self._status = sentence
            self._send(f"STATUS={sentence}")

    async def attend(self, describe: Callable[[], str]) -> None:
        """Update the status and feed the watchdog from the event loop, until cancelled.

        Args:
            describe: returns the current status.

        """
        if not self._address:
            return
        interval = self.watchdog / 2 if self.watchdog else limits.STATUS_INTERVAL
        while True:
            if self.watchdog:
                self._send("WATCHDOG=1")
            self.status(describe())
            await trio.sleep(min(interval, limits.STATUS_INTERVAL))

    def _send(self, *assignments: str) -> None:
        if not self._address:
            return
        with suppress(OSError), unix_socket(socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)  # a manager that does not read must not stop the event loop
            sock.sendto("\n".join(assignments).encode(), self._address)


def _watchdog(environ: Mapping[str, str]) -> float | None:
    microseconds = environ.get("WATCHDOG_USEC", "")
    meant = environ.get("WATCHDOG_PID", str(os.getpid()))
    if not microseconds.isdecimal() or not int(microseconds) or meant != str(os.getpid()):
        return None
    return int(microseconds) / 1e6
