"""Ducts: bytes that go from one socket to another inside the kernel, and never through this program.

A relay that has nothing to unmask, to encrypt or to decrypt need not see what it passes on. Linux moves the pages of a
socket's queue into a pipe and from there into another socket's queue (splice(2)), for a fraction of what it costs to
copy them in and out. What lies in the pipe is a `SplicedBytes`; it takes the place of its bytes.
"""

from __future__ import annotations

import errno
import math
import os
from typing import TYPE_CHECKING, ClassVar, Final

import trio

from p2p_copy.transport import limits

if TYPE_CHECKING:
    import socket

try:
    from fcntl import F_SETPIPE_SZ, fcntl
    from os import SPLICE_F_NONBLOCK, pipe2, splice
except ImportError:  # not Linux
    DUCTS = False
    """Whether the system has them."""
else:
    DUCTS = True

_USELESS: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EPERM})
"""What a system says that can, or lets us, splice no sockets."""


class SplicedBytes:
    """Bytes that lie in a duct: those that come out of it next.

    Attributes:
        size: how many are still in there.

    """

    __slots__ = ("_duct", "size")

    def __init__(self, duct: SplicePipe, size: int) -> None:
        self._duct = duct
        self.size = size

    def __len__(self) -> int:
        return self.size

    def move_to(self, target: socket.socket) -> None:
        """Move to `target` as much as it has room for.

        Raises:
            BlockingIOError: it has no room.
            OSError: its connection is broken.

        """
        self.size -= self._duct.give(target, self.size)


class SplicePipe:
    """One direction of a pairing, for one parcel at a time.

    It takes two descriptors and memory of the kernel from the first parcel on, until it is told to `rest`. If there are
    none left, or `limits.MAX_DUCTS` are open, it waits to be told so once more: bytes must go another way meanwhile.

    Attributes:
        stopped: it takes no more, for now or for ever; what it holds can still be given.
        held: bytes in it.
        listening_since: Trio's time when it last took something, or began to want it; infinite while it waits until
            it is empty.

    """

    _all_open: ClassVar[int] = 0

    def __init__(self) -> None:
        self.stopped = not DUCTS
        self._refused = False  # stopped for want of a pipe
        self.held = 0
        self.listening_since = 0.0
        self._ends: tuple[int, int] | None = None  # from the first parcel on
        self._empty = trio.lowlevel.ParkingLot()

    async def empty(self) -> None:
        """Wait until all that was taken is given, or no more will be taken."""
        if self.held and not self.stopped:
            self.listening_since = math.inf
            try:
                while self.held and not self.stopped:
                    await self._empty.park()
            finally:
                self.listening_since = trio.current_time()

    def take(self, source: socket.socket, most: int) -> int:
        """Take bytes from `source`; return how many: none at its end, and none if the duct is stopped, or stops now.

        Raises:
            BlockingIOError: nothing is there, or the duct is full.
            OSError: the connection is broken.

        """
        if self._ends is None and not self.stopped:
            self._open()
        if self._ends is None or self.stopped:
            return 0
        try:
            taken = splice(source.fileno(), self._ends[1], most, flags=SPLICE_F_NONBLOCK)
        except OSError as error:
            if error.errno not in _USELESS:
                raise
            self.stop()
            return 0
        self.held += taken
        self.listening_since = trio.current_time()
        return taken

    def give(self, target: socket.socket, most: int) -> int:
        """Give bytes to `target`; return how many it has taken.

        Raises:
            BlockingIOError: it has no room.
            OSError: its connection is broken, or the duct is closed.

        """
        if self._ends is None:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        given = splice(self._ends[0], target.fileno(), most, flags=SPLICE_F_NONBLOCK)
        self.held -= given
        if not self.held:
            self._empty.unpark_all()
        return given

    def rest(self, *, idle: bool) -> None:
        """Try again to have a pipe, if there was none; and give it back while this is idle and nothing is in it."""
        if self._refused:
            self.stopped = self._refused = False
        if idle and not self.held:
            self._give_back()

    def stop(self) -> None:
        """Take no more; may be called again."""
        self._refused = False
        self.stopped = True
        self._empty.unpark_all()

    def close(self) -> None:
        """Stop, and throw away what is in it; may be called again."""
        self.stop()
        self.held = 0
        self._give_back()

    def _give_back(self) -> None:
        ends, self._ends = self._ends, None
        if ends is not None:
            SplicePipe._all_open -= 1
            for end in ends:
                os.close(end)

    def _open(self) -> None:
        if SplicePipe._all_open >= limits.MAX_DUCTS:
            self.stopped = self._refused = True
            return
        try:
            self._ends = pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            SplicePipe._all_open += 1
            fcntl(self._ends[1], F_SETPIPE_SZ, limits.DUCT)
        except OSError:  # no more descriptors, or memory for pipes, for this process or its user
            self._give_back()
            self.stopped = self._refused = True
