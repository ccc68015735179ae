"""Standard output and standard error, written by threads, so that nothing else waits for a terminal, a pipe or a disk.

Rules:
1. Nobody who has something to say waits: it is queued, and a thread writes it. The event loop goes on while a
   terminal is stopped (Ctrl-S), a pipe is full or a disk hangs.
2. The queue is bounded. When it is full, lines are dropped and counted; their number is written in their place as
   soon as half of the queue is free again. Results are never dropped: there are few of them, or their writer calls
   `wait_for_room`.
3. No failure is for good. A full disk costs the lines that did not fit; the next line is tried again, behind the
   number of those that were lost. EAGAIN is a full pipe, and is waited for.
4. A failure to write a result is kept, and raised by `check`.
5. A live line is a state: a newer one replaces an older one that was not written yet. It is wiped before a line is
   written.
6. Two streams that end in the same file, terminal or pipe have one writer, so their lines keep their order.
"""

from __future__ import annotations

import errno
import os
import time
from collections import deque
from dataclasses import dataclass
from threading import Condition, Thread
from typing import TYPE_CHECKING, Final

from p2p_copy.cli import limits
from p2p_copy.errors import ResultNotWritten

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import RawIOBase
    from typing import TextIO

_NO_STREAM: Final = OSError(errno.EBADF, "the stream was closed before this process began")
"""What writing to a stream is that was closed before the process began."""


@dataclass(slots=True)
class _Piece:
    """Something to write: whole lines, or a question; and how many lines are missing without it."""

    text: str
    lines: int
    is_result: bool = False


class Writer:
    """Writes to one stream from a thread that runs while there is something to write.

    A stream that is no file of the system, such as one in memory, is written to at once and without a thread.

    Attributes:
        stream: what it writes to.
        describe: returns the line that tells how many lines were dropped.

    """

    def __init__(self, stream: TextIO | None) -> None:
        """Write to `stream`; to None nothing can be written."""
        self.stream = stream
        self.describe: Callable[[int], str] = described
        self._raw = _raw(stream)
        self._changed = Condition()
        self._queue: deque[_Piece] = deque()
        self._size = 0
        self._results = 0
        self._failure: OSError | None = None
        self._dropped = 0
        self._live: str | None = None
        self._is_running = False
        self._writing: _Piece | None = None
        # What follows belongs to whoever writes: the thread, or the caller where there is none.
        self._lost = 0
        self._is_torn = False
        self._shown = ""

    @property
    def is_at_a_terminal(self) -> bool:
        """Whether a person sees what is written."""
        return self.stream is not None and self.stream.isatty()

    # --- For those who have something to say; none of these waits ---

    def put(self, text: str, *, is_result: bool = False) -> None:
        """Write a text that ends with a line, or a question; drop it if the queue is full, unless it is a result."""
        with self._changed:
            lines = max(text.count("\n"), 1)
            is_full = self._size > 0 and self._size + len(text) > limits.OUTPUT_QUEUE
            if not is_result and (self._dropped or is_full):
                self._dropped += lines
                return
            self._queue.append(_Piece(text, lines, is_result))
            self._size += len(text)
            self._results += is_result
            self._live = None  # it would come behind this text now
            self._start()

    def live(self, line: str) -> None:
        """Make this the live line; an empty one takes it away."""
        with self._changed:
            self._live = line
            self._start()

    def waive(self) -> None:
        """Take no result as lost that was put here so far: nobody needs it any more."""
        with self._changed:
            for piece in filter(None, (*self._queue, self._writing)):
                piece.is_result = False
            self._results = 0
            self._failure = None

    def check(self) -> None:
        """Find out whether a result is lost.

        Raises:
            BrokenPipeError: whoever read it has gone.
            ResultNotWritten: it could not be written.

        """
        with self._changed:
            failure, self._failure = self._failure, None
        if isinstance(failure, BrokenPipeError):
            raise failure
        if failure is not None:
            raise ResultNotWritten(
                f"The result could not be written: {failure.strerror or failure}."
            ) from failure

    # --- For those who wait, outside of an event loop ---

    def wait_for_room(self) -> None:
        """Wait until a reader has left room for one more result, however long that takes."""
        self._wait(lambda: self._size < limits.OUTPUT_QUEUE, None)

    def wait_for_results(self) -> None:
        """Wait until each result is written or lost, however long that takes."""
        self._wait(lambda: not self._results, None)

    def flush(self, seconds: float) -> None:
        """Wait until all is written or lost, but for `seconds` at most."""
        self._wait(lambda: not (self._has_work() or self._writing), seconds)

    def _wait(self, reached: Callable[[], bool], seconds: float | None) -> None:
        with self._changed:
            if reached():
                return
            self._start()
            if self._is_running:
                self._changed.wait_for(reached, seconds)
                return
        self._work()  # there are no threads left in this system, and nobody else to do it

    # --- Writing ---

    def _start(self) -> None:
        """See to it that somebody writes; if that cannot be now, the next call or the end does."""
        if self._raw is None:
            self._work()
        elif self._is_running:
            self._changed.notify_all()
        else:
            thread = Thread(target=self._attend, name="output", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return
            self._is_running = True

    def _attend(self) -> None:
        """Write what there is, and what comes in a while."""
        while True:
            self._work()
            with self._changed:
                if self._has_work() or self._changed.wait_for(self._has_work, limits.OUTPUT_IDLE):
                    continue
                self._is_running = False
                return

    def _has_work(self) -> bool:
        return bool(self._queue or self._live is not None)

    def _work(self) -> None:
        """Write until there is nothing left."""
        while True:
            with self._changed:
                if self._dropped and self._size <= limits.OUTPUT_QUEUE // 2:
                    note = self.describe(self._dropped)
                    self._queue.append(_Piece(note, self._dropped))
                    self._size += len(note)
                    self._dropped = 0
                is_live = not self._queue
                if not is_live:
                    piece = self._queue.popleft()
                elif self._live is not None:
                    piece, self._live = _Piece(self._live, 0), None
                else:
                    return
                self._writing = piece
            failure = self._draw(piece.text) if is_live else self._write(piece)
            with self._changed:
                self._writing = None
                self._size -= 0 if is_live else len(piece.text)
                if piece.is_result:
                    self._results -= 1
                    self._failure = self._failure or failure
                self._changed.notify_all()

    def _draw(self, line: str) -> OSError | None:
        # Spaces wipe what a longer line left behind: every terminal knows them, not all know escapes.
        shown, self._shown = self._shown, line
        if line:
            return self._send("\r" + line.ljust(len(shown)))
        return self._send("\r" + " " * len(shown) + "\r") if shown else None

    def _write(self, piece: _Piece) -> OSError | None:
        """Write a piece, behind the number of those that were lost; return why it cannot be written."""
        failure = self._draw("") or (self._send(self.describe(self._lost)) if self._lost else None)
        if failure is None:
            self._lost = 0
            failure = self._send(piece.text)
        if failure is not None:
            self._lost += piece.lines
        return failure

    def _send(self, text: str) -> OSError | None:
        if self.stream is None:
            return _NO_STREAM
        try:
            if self._raw is None:
                self.stream.write(text)
                self.stream.flush()
            else:
                self._send_bytes(
                    self._raw, ("\n" + text if self._is_torn else text).replace("\n", os.linesep)
                )
        except OSError as error:
            return error
        except ValueError as error:  # closed meanwhile
            return OSError(errno.EBADF, str(error))
        return None

    def _send_bytes(self, raw: RawIOBase, text: str) -> None:
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        rest = memoryview(text.encode(encoding, "backslashreplace"))
        begun = False
        try:
            while rest:
                count = raw.write(rest)
                if count is None:  # it does not block, and is full
                    time.sleep(limits.OUTPUT_RETRY)
                    continue
                begun = True
                rest = rest[count:]
        finally:
            # Half a line on a full disk: the next line must not be taken for its end.
            self._is_torn = bool(rest) if begun else self._is_torn


def described(count: int) -> str:
    """Return the line that tells people how many lines are missing in its place."""
    return f"... {count} lines were dropped\n" if count > 1 else "... 1 line was dropped\n"


def writers(out: TextIO | None, err: TextIO | None) -> tuple[Writer, Writer]:
    """Return what writes to these two streams: the same two for the same streams, one if both end in the same place."""
    global _latest
    if _latest is None or _latest[0] is not out or _latest[1] is not err:
        first = Writer(out)
        place = _place(out)
        same = out is err or (place is not None and place == _place(err))
        _latest = out, err, first, first if same else Writer(err)
    return _latest[2], _latest[3]


_latest: tuple[TextIO | None, TextIO | None, Writer, Writer] | None = None


def _place(stream: TextIO | None) -> tuple[int, int] | None:
    """Return device and inode of what a stream ends in, if it has them."""
    if stream is None or _raw(stream) is None:
        return None
    status = os.fstat(stream.fileno())
    return (status.st_dev, status.st_ino) if status.st_ino else None


def _raw(stream: TextIO | None) -> RawIOBase | None:
    """Return what writes to the system for a stream; None if it is no file of the system."""
    buffer = getattr(stream, "buffer", None)
    try:
        if stream is None or buffer is None:
            return None
        os.fstat(stream.fileno())
    except (OSError, ValueError):
        return None
    raw: RawIOBase = getattr(buffer, "raw", buffer)
    return raw
