"""What the two ends of a stream are, and standard input and standard output as such.

Reading and writing here waits for other programs, perhaps for ever. So both run in threads that may be abandoned; the
process then ends while they wait. Another program with the same pipe may make it non-blocking at any time. Then the
thread waits until the pipe is ready, and does not change the setting, which belongs to both programs.
"""

from __future__ import annotations

import errno
import os
import select
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from p2p_copy.errors import NoSpace, PipeFailed, UsageError
from p2p_copy.files import limits
from p2p_copy.protocol.messages import Entry, Kind
from p2p_copy.units import MIB

if TYPE_CHECKING:
    from typing import TextIO

STANDARD: Final = "-"
"""What a user writes in place of a path."""

_MODE: Final = 0o600
"""Of a file that comes out of a pipe: only its owner may read it, since no mode is known."""

_FULL: Final = frozenset((errno.ENOSPC, errno.EDQUOT))
_CLOSED: Final = frozenset((errno.EPIPE, errno.EINVAL) if sys.platform == "win32" else (errno.EPIPE,))


def _descriptor(stream: TextIO | None, what: str) -> int:
    """Return the descriptor of standard input or output, in binary mode.

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


class Source(Protocol):
    """Where a stream comes from: see `StandardInput` and `source.one_file.OneFile`."""

    entry: Entry
    may_wait_forever: bool
    stalled: str

    def read(self) -> bytes:
        """Return the next bytes, none at the end."""

    def close(self) -> None:
        """Close it."""


class Sink(Protocol):
    """Where a stream goes: see `StandardOutput` and `target.growing_file.GrowingFile`."""

    may_wait_forever: bool
    stalled: str

    def begin(self, entry: Entry) -> None:
        """Prepare for the bytes of the stream."""

    def write(self, data: bytes | memoryview) -> None:
        """Write the next bytes."""

    def finish(self, entry: Entry, digest: bytes) -> None:
        """End the output: all bytes are written and verified."""

    def close(self) -> None:
        """Throw away what is not complete."""


class StandardInput:
    """What another program writes to us, or a person types.

    Attributes:
        entry: the entry for the manifest, a file of unknown size.
        may_wait_forever: whether a read may; then its thread can be abandoned.
        stalled: the sentence shown while nothing comes.

    Raises:
        UsageError: standard input is closed.

    """

    may_wait_forever = True
    stalled = "Nothing moves: nothing comes from standard input"

    def __init__(self, name: str) -> None:
        self._fd = _descriptor(sys.stdin, "input")
        self.entry = Entry(Kind.FILE, 0, name, _MODE, time.time_ns())
        _widen(self._fd)

    def read(self) -> bytes:
        """Wait until there is something; return it, at most `limits.STREAM_READ` bytes, none at the end.

        Raises:
            PipeFailed: the system cannot read it.

        """
        try:
            data = _read(self._fd, limits.STREAM_READ)
            while data and len(data) < limits.STREAM_READ and _has_more(self._fd):
                try:
                    more = os.read(self._fd, limits.STREAM_READ - len(data))
                except BlockingIOError:
                    break  # another program has read it
                if not more:
                    break  # the next read returns the end again
                data += more
        except OSError as error:
            raise PipeFailed(
                f"Standard input here cannot be read: {error.strerror}.", "its standard input cannot be read."
            ) from None
        return data

    def close(self) -> None:
        """Do nothing: standard input stays open."""


class StandardOutput:
    """What another program reads from us.

    Attributes:
        may_wait_forever: whether a write may; then its thread can be abandoned.
        stalled: the sentence shown while the other program reads nothing.

    Raises:
        UsageError: standard output is closed.

    """

    may_wait_forever = True
    stalled = "Nothing moves: the program that reads standard output here takes nothing"

    def __init__(self) -> None:
        # A copy, so that it can be closed: network file systems report failed writes only then.
        self._fd = os.dup(_descriptor(sys.stdout, "output"))
        self._busy = False
        _widen(self._fd)

    def begin(self, entry: Entry) -> None:
        """Do nothing: a stream has no name here."""

    def write(self, data: bytes | memoryview) -> None:
        """Write all of `data`.

        Raises:
            PipeFailed: the reading program has ended, or the system cannot write.
            NoSpace: it is a file on a disk that is full.

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
        """Close it after the last byte; `entry` has the size now.

        Raises:
            PipeFailed, NoSpace: as `write`.

        """
        fd, self._fd = self._fd, -1
        try:
            os.close(fd)
        except OSError as error:
            raise _not_written(error) from None

    def close(self) -> None:
        """Close it, unless an abandoned thread still writes to it; then it is closed when the process ends."""
        fd, self._fd = self._fd, -1
        if fd >= 0 and not self._busy:
            with suppress(OSError):
                os.close(fd)


def _not_written(error: OSError) -> NoSpace | PipeFailed:
    if error.errno in _FULL:
        return NoSpace("The disk behind standard output here has not enough space.")
    if error.errno in _CLOSED:
        return PipeFailed(
            "The program that reads standard output here has ended before all of it was written.",
            "the program that reads its standard output has ended before all of it was written.",
        )
    return PipeFailed(
        f"Standard output here cannot be written: {error.strerror}.",
        "its standard output cannot be written.",
    )


def _widen(fd: int) -> None:
    """Make a pipe hold as much as is read at once: with the usual 64 KiB a thread must wake for each 64 KiB."""
    if sys.platform == "linux":
        import fcntl

        with suppress(OSError):  # it is no pipe, or this user's pipes hold too much already
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, MIB)


def first_line(most: int) -> bytes:
    """Return the next line of standard input, or its first `most` bytes, and read no further.

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
    """Wait until there is something; return at most `size` bytes of it, none at the end."""
    while True:
        try:
            return os.read(fd, size)
        except BlockingIOError:
            _wait_until_ready(fd, writing=False)


def _wait_until_ready(fd: int, *, writing: bool) -> None:
    """Wait until a non-blocking descriptor can be written or read, or has an error."""
    if sys.platform != "win32":  # no limit on the number of the descriptor
        poll = select.poll()
        poll.register(fd, select.POLLOUT if writing else select.POLLIN)
        poll.poll()
    else:
        select.select([] if writing else [fd], [fd] if writing else [], [])


def _has_more(fd: int) -> bool:
    """Return whether reading would not wait."""
    if sys.platform == "win32":  # `select` is for sockets only there
        return False
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))
