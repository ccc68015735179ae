"""Standard input and standard output as the two ends of a stream.

What is read and written here waits for other programs, perhaps for ever. So it runs in threads that may be abandoned,
and then the process ends with them. Another program that has the same pipe may make it non-blocking at any time: then
the thread waits until there is something to do, and leaves the setting alone, which is not ours.
"""

from __future__ import annotations

import errno
import os
import select
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from p2p_copy.errors import NoSpace, PipeFailed, UsageError
from p2p_copy.files import limits
from p2p_copy.protocol.messages import Entry, Kind
from p2p_copy.units import MIB

if TYPE_CHECKING:
    from typing import TextIO

STANDARD: Final = "-"
"""What is said in place of a path."""

_MODE: Final = 0o600
"""Of a file that comes out of a pipe: nobody has said who else may read it."""

_FULL: Final = frozenset((errno.ENOSPC, errno.EDQUOT))
_CLOSED: Final = frozenset((errno.EPIPE, errno.EINVAL) if sys.platform == "win32" else (errno.EPIPE,))


def _descriptor(stream: TextIO | None, what: str) -> int:
    """Return the descriptor behind a standard stream, for bytes as they are.

    Raises:
        UsageError: the process was started without it.

    """
    if stream is None:
        raise UsageError(f"Standard {what} is closed here, so '-' means nothing.")
    fd = stream.fileno()
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(fd, os.O_BINARY)
    return fd


class StandardInput:
    """What another program gives us, or a person types.

    Attributes:
        entry: how it is named: a file of which the size is not known.
        waits: reading may wait for ever.
        dry: what is said when nothing comes.

    Raises:
        UsageError: there is none.

    """

    waits = True
    dry = "Nothing moves: nothing comes from standard input"

    def __init__(self, name: str) -> None:
        self._fd = _descriptor(sys.stdin, "input")
        self.entry = Entry(Kind.FILE, 0, name, _MODE, time.time_ns())
        _widen(self._fd)

    def read(self) -> bytes:
        """Return what is there, up to `limits.STREAM_READ` bytes, waiting if that is nothing; no bytes are the end.

        Raises:
            PipeFailed: the system cannot read it.

        """
        try:
            data = _read(self._fd, limits.STREAM_READ)
            while data and len(data) < limits.STREAM_READ and _has_more(self._fd):
                try:
                    more = os.read(self._fd, limits.STREAM_READ - len(data))
                except BlockingIOError:
                    break  # somebody else has taken it
                if not more:
                    break  # the end is seen again
                data += more
        except OSError as error:
            raise PipeFailed(
                f"Standard input here cannot be read: {error.strerror}.", "its standard input cannot be read."
            ) from None
        return data

    def close(self) -> None:
        """Leave it open: it is not ours."""


class StandardOutput:
    """Where another program reads what has come.

    Attributes:
        waits: writing may wait for ever.
        slow: what is said when nothing is taken.

    Raises:
        UsageError: there is none.

    """

    waits = True
    slow = "Nothing moves: whoever reads standard output here takes nothing"

    def __init__(self) -> None:
        # One of our own, so that it can be closed: network file systems report then what they could not store.
        self._fd = os.dup(_descriptor(sys.stdout, "output"))
        self._busy = False
        _widen(self._fd)

    def begin(self, entry: Entry) -> None:
        """Take a stream, whatever its name is."""

    def write(self, data: bytes | memoryview) -> None:
        """Write all of `data`.

        Raises:
            PipeFailed: nobody reads any more, or the system cannot write.
            NoSpace: it leads to a disk that is full.

        """
        view = memoryview(data)
        self._busy = True
        try:
            while view:
                try:
                    view = view[os.write(self._fd, view) :]
                except BlockingIOError:
                    _wait_until_ready(self._fd, writing=True)
        except OSError as error:
            raise _not_written(error) from None
        finally:
            self._busy = False

    def finish(self, entry: Entry, digest: bytes) -> None:
        """Close it behind the last byte; `entry` tells the size by now.

        Raises:
            PipeFailed, NoSpace: as `write`.

        """
        fd, self._fd = self._fd, -1
        try:
            os.close(fd)
        except OSError as error:
            raise _not_written(error) from None

    def close(self) -> None:
        """Close it, unless a thread that was abandoned is still writing to it: then it ends with the process."""
        fd, self._fd = self._fd, -1
        if fd >= 0 and not self._busy:
            with suppress(OSError):
                os.close(fd)


def _not_written(error: OSError) -> NoSpace | PipeFailed:
    if error.errno in _FULL:
        return NoSpace("The disk behind standard output here has not enough room.")
    if error.errno in _CLOSED:
        return PipeFailed(
            "Whoever reads standard output here has ended before all of it was written.",
            "whoever reads its standard output has ended before all of it was written.",
        )
    return PipeFailed(
        f"Standard output here cannot be written: {error.strerror}.",
        "its standard output cannot be written.",
    )


def _widen(fd: int) -> None:
    """Let a pipe hold as much as is read at once: with the usual 64 KiB a thread is woken for each of them."""
    if sys.platform == "linux":
        import fcntl

        with suppress(OSError):  # it is no pipe, or the user has too many wide ones
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, MIB)


def first_line(most: int) -> bytes:
    """Return the next line of standard input, or its first `most` bytes; what follows is left for whoever reads next.

    Raises:
        UsageError: there is no standard input.
        OSError: the system cannot read it.

    """
    fd = _descriptor(sys.stdin, "input")
    line = b""
    while len(line) < most and (byte := _read(fd, 1)):
        line += byte
        if byte == b"\n":
            break
    return line


def _read(fd: int, size: int) -> bytes:
    """Return what is there, and wait for it if that is nothing; no bytes are the end."""
    while True:
        try:
            return os.read(fd, size)
        except BlockingIOError:
            _wait_until_ready(fd, writing=False)


def _wait_until_ready(fd: int, *, writing: bool) -> None:
    """Wait until a non-blocking descriptor takes or gives something, or has an error to tell."""
    if hasattr(select, "poll"):  # no limit on the number of the descriptor
        poll = select.poll()
        poll.register(fd, select.POLLOUT if writing else select.POLLIN)
        poll.poll()
    else:
        select.select([] if writing else [fd], [fd] if writing else [], [])


def _has_more(fd: int) -> bool:
    """Return whether reading will not wait."""
    if sys.platform == "win32":  # which can ask that of sockets only
        return False
    return bool(select.select([fd], [], [], 0)[0])
