"""Moves bytes from one socket to another inside the kernel, without copying them into this program.

A relay that has nothing to unmask, encrypt or decrypt need not see what it passes on. Linux moves the pages of a
socket's queue into a pipe and from there into another socket's queue (splice(2)), for a fraction of what it costs to
copy them in and out.

A `SplicePipe` is that pipe. A TCP stream fills and empties it, and `splicer` says with what.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from typing import ClassVar, Final

from p2p_copy.transport import limits

if sys.platform == "linux":
    import fcntl

    MORE_FOLLOWS: Final = socket.MSG_MORE
    """Flag of a send before spliced bytes: a packet need not go out for these bytes alone."""
else:
    MORE_FOLLOWS: Final = 0

CAN_SPLICE: Final = sys.platform == "linux"
"""Whether the system can splice. Each method that does says so again, for the type checker."""

_USELESS: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EPERM})
"""Errors of a system that cannot splice sockets, or forbids it."""


class SplicePipe:
    """The way of spliced bytes from one socket to another.

    It uses two descriptors and memory of the kernel from the first bytes on, until `release`. If the system has none,
    or `limits.MAX_PIPES` are open, it stops until the next `release`: bytes must be copied meanwhile.

    Attributes:
        stopped: it accepts no more bytes, for now or for ever; those in it can still be sent.
        size: bytes in it.

    """

    _all_open: ClassVar[int] = 0

    def __init__(self) -> None:
        self.stopped = not CAN_SPLICE
        self._refused = False  # stopped because there was no pipe to be had
        self.size = 0
        self._ends: tuple[int, int] | None = None  # to read from and to write to, while there is a pipe

    def __len__(self) -> int:
        return self.size

    def fill_from(self, source: socket.socket, most: int) -> int:
        """Take bytes from `source`; return how many: none at its end, and none if this pipe is stopped, then or now.

        Raises:
            BlockingIOError: nothing is there, or the pipe is full.
            OSError: the connection is broken.

        """
        if self._ends is None and not self.stopped:
            self._open()
        if sys.platform != "linux" or self._ends is None or self.stopped:
            return 0
        try:
            taken = os.splice(source.fileno(), self._ends[1], most, flags=os.SPLICE_F_NONBLOCK)
        except OSError as error:
            if error.errno not in _USELESS:
                raise
            self.stop()
            return 0
        self.size += taken
        return taken

    def drain_to(self, target: socket.socket) -> None:
        """Move as many bytes to `target` as it accepts now.

        Raises:
            BlockingIOError: it accepts none now.
            OSError: its connection is broken, or the pipe is closed.

        """
        if sys.platform != "linux" or self._ends is None:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        self.size -= os.splice(self._ends[0], target.fileno(), self.size, flags=os.SPLICE_F_NONBLOCK)

    def release(self, *, idle: bool) -> None:
        """Give the pipe back if it is idle and empty; and allow another try if there was none to be had."""
        if self._refused:
            self.stopped = self._refused = False
        if idle and not self.size:
            self._give_back()

    def stop(self) -> None:
        """Take no more. May be called again."""
        self._refused = False
        self.stopped = True

    def close(self) -> None:
        """Stop, and throw away what is in it. May be called again."""
        self.stop()
        self.size = 0
        self._give_back()

    def _give_back(self) -> None:
        ends, self._ends = self._ends, None
        if ends is not None:
            SplicePipe._all_open -= 1
            for end in ends:
                os.close(end)

    def _open(self) -> None:
        if SplicePipe._all_open >= limits.MAX_PIPES:
            self.stopped = self._refused = True
            return
        if sys.platform == "linux":
            try:
                self._ends = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
                SplicePipe._all_open += 1
                fcntl.fcntl(self._ends[1], fcntl.F_SETPIPE_SZ, limits.PIPE_SIZE)
            except OSError:  # this process or its user has no descriptors or memory for pipes left
                self._give_back()
                self.stopped = self._refused = True
