"""Reads the relay's files: only regular ones, in a thread that is abandoned if the disk does not answer.

Opening a file can take for ever: a FIFO, a terminal, a network mount whose server is gone. Rules:
1. A file that is not regular is refused by its kind, without waiting for it.
2. The event loop waits for no file. It gives each job a thread and `limits.FILE_TIMEOUT` seconds; a job that is not
   done by then is an error, and its result is thrown away.
3. A thread that hangs is left behind, and only one at a time. It ends with the process and never keeps it.
"""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING, Final, TypeVar, TypeVarTuple

import trio

from p2p_copy.errors import CannotListen
from p2p_copy.relay.log.abuse import Abuse
from p2p_copy.transport import limits
from p2p_copy.transport.timeouts import within

if TYPE_CHECKING:
    from collections.abc import Callable

    from p2p_copy.relay.log.abuse import AbuseCounter

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

if sys.platform == "win32":
    _WITHOUT_WAITING: Final = os.O_BINARY
else:
    _WITHOUT_WAITING: Final = os.O_NONBLOCK


def read_regular(what: str, path: str, most: int) -> bytes:
    """Return the contents of a regular file, or the first `most` bytes of them.

    Raises:
        CannotListen: it does not exist, or cannot be read. `what` names the file in the sentence.

    """
    try:
        with open(path, "rb", opener=_open) as stream:
            kind = os.fstat(stream.fileno()).st_mode
            if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):  # reading a directory says what it is
                raise CannotListen(
                    f"The {what} file '{path}' is a pipe, a device or a socket, on which a relay could wait without "
                    "end. It has to be a regular file, or a symbolic link to one."
                )
            return stream.read(most)
    except OSError as error:
        raise CannotListen(f"The {what} file '{path}' cannot be read: {error.strerror}.") from None


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | _WITHOUT_WAITING)


class DoesNotAnswer(CannotListen):
    """A file could not be read in time: its disk does not answer."""


def count_hang(error: CannotListen, abuse: AbuseCounter) -> None:
    """Count an error of a relay that runs, if it says that a disk does not answer."""
    if isinstance(error, DoesNotAnswer):
        abuse.count(Abuse.SLOW_FILES)


class FileThread:
    """Does what touches files, one job at a time."""

    def __init__(self) -> None:
        """Begin with nothing to do."""
        self._turn = trio.CapacityLimiter(1)

    async def run(self, what: str, job: Callable[[*Ts], T], *arguments: *Ts) -> T:
        """Do a job and return its result. The job must change nothing: it may end after this has given it up.

        Raises:
            DoesNotAnswer: the job takes too long. `what` names the files in the sentence.

        """
        with within(limits.FILE_TIMEOUT):
            return await trio.to_thread.run_sync(job, *arguments, abandon_on_cancel=True, limiter=self._turn)
        raise DoesNotAnswer(
            f"{what} could not be read in {limits.FILE_TIMEOUT:.0f} s: the disk or network mount does not answer."
        )
