"""Writes standard output and standard error from threads, so that no caller waits for a terminal, a pipe or a disk.

Rules:
1. Writing never blocks the caller: text is queued, and a thread writes it. The event loop keeps running while a
   terminal is stopped (Ctrl-S), a pipe is full or a disk hangs.
2. The queue is bounded. When it is full, lines are dropped and counted; their number is written in their place as
   soon as half of the queue is free again. Results are never dropped: there are few of them, or their caller uses
   `wait_for_room`.
3. No failure is permanent. A full disk costs the lines that did not fit; the next line is tried again, after the
   number of lines lost. EAGAIN means a full pipe, and is waited for.
4. A failure to write a result is kept, and raised by `check`.
5. A newer live line replaces an older one that was not written yet. It is removed before a line is written.
6. Two streams that lead to the same file, terminal or pipe have one writer, so their lines keep their order.
"""

from __future__ import annotations

import errno
import os
import time
from collections import deque
from threading import Condition, Thread
from typing import TYPE_CHECKING, Final

from p2p_copy.cli import limits
from p2p_copy.errors import ResultNotWritten

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import RawIOBase
    from typing import TextIO

_NO_STREAM: Final = OSError(errno.EBADF, "the stream was closed before this process began")
"""The failure of writing to a stream that was closed before the process started."""


_COLUMNS: Final = 80
"""Columns of a terminal that does not tell its size."""


class _Piece:
    """Text to write, whole lines or a question, and how many lines count as lost if it cannot be written."""

    __slots__ = ("is_result", "lines", "text")

    def __init__(self, text: str, lines: int, is_result: bool = False) -> None:
        self.text = text
        self.lines = lines
        self.is_result = is_result


class Writer:
    """Writes to one stream from a thread that runs while there is something to write.

    A stream without a file descriptor, such as one in memory, is written to at once and without a thread.

    Attributes:
        stream: what it writes to.
        describe: returns the line that says how many lines were dropped.

    """

    def __init__(self, stream: TextIO | None) -> None:
        """Write to `stream`; with None every line is lost."""
        self.stream = stream
        self.describe: Callable[[int], str] = described
        self._raw = _raw(stream)
        self._changed = Condition()
        self._queue: deque[_Piece] = deque()
        self._size = 0
        self._results = 0
        self._failure: OSError | None = None
        self._dropped = 0
        self._live: tuple[str, int] | None = None
        self._is_running = False
        self._writing: _Piece | None = None
        # These are used without the lock by the one that writes: the thread, or the caller if there is no thread.
        self._lost = 0
        self._is_torn = False
        self._shown = 0

    @property
    def is_terminal(self) -> bool:
        """Whether it writes to a terminal."""
        return self.stream is not None and self.stream.isatty()

    @property
    def has_room(self) -> bool:
        """Whether the queue is not full; results are queued even if it is."""
        with self._changed:
            return self._size < limits.OUTPUT_QUEUE

    @property
    def columns(self) -> int:
        """The columns of the terminal at this moment."""
        try:
            return os.get_terminal_size(self.stream.fileno() if self.stream else -1).columns or _COLUMNS
        except (OSError, ValueError):
            return _COLUMNS

    @property
    def encoding(self) -> str:
        """The encoding of what is written. A terminal in the C locale may show ASCII only, whatever Python assumes."""
        if self.is_terminal and _character_type() in {"C", "POSIX"}:
            return "ascii"
        return getattr(self.stream, "encoding", None) or "utf-8"

    # --- None of these blocks ---

    def put(self, text: str, *, is_result: bool = False) -> None:
        """Queue whole lines, or a question; drop them if the queue is full, unless they are a result."""
        with self._changed:
            lines = max(text.count("\n"), 1)
            is_full = self._size > 0 and self._size + len(text) > limits.OUTPUT_QUEUE
            if not is_result and (self._dropped or is_full):
                self._dropped += lines
                return
            self._queue.append(_Piece(text, lines, is_result))
            self._size += len(text)
            self._results += is_result
            self._live = None  # an older live line must not be written after this text
            self._start()

    def live(self, line: str, columns: int) -> None:
        """Replace the live line, which takes so many columns on a terminal; an empty one removes it."""
        with self._changed:
            self._live = line, columns
            self._start()

    def forgive_lost_results(self) -> None:
        """Treat the results so far as ordinary lines: losing them is no failure any more."""
        with self._changed:
            for piece in filter(None, (*self._queue, self._writing)):
                piece.is_result = False
            self._results = 0
            self._failure = None

    def check(self) -> None:
        """Check that no result was lost.

        Raises:
            BrokenPipeError: its reader has closed the pipe.
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

    # --- These block, and are for use outside of an event loop ---

    def wait_for_room(self) -> None:
        """Wait until the reader has made room for one more result, however long that takes."""
        self._wait(lambda: self._size < limits.OUTPUT_QUEUE, None)

    def wait_for_results(self) -> None:
        """Wait until each result is written or lost, however long that takes."""
        self._wait(lambda: not self._results, None)

    def flush(self, seconds: float) -> None:
        """Wait until everything is written or lost, but for `seconds` at most."""
        self._wait(lambda: not (self._has_work() or self._writing), seconds)

    def _wait(self, reached: Callable[[], bool], seconds: float | None) -> None:
        with self._changed:
            if reached():
                return
            self._start()
            if self._is_running:
                self._changed.wait_for(reached, seconds)
                return
        self._work()  # no thread could be started: write from this one

    # --- Writing ---

    def _start(self) -> None:
        """Start the thread, or wake it. If the system has no more threads, a later call or `flush` tries again."""
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
        """Write what is queued, until nothing was queued for `limits.OUTPUT_IDLE` seconds."""
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
        """Write until the queue is empty."""
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
                    (line, columns), self._live = self._live, None
                    piece = _Piece(line, 0)
                else:
                    return
                self._writing = piece
            failure = self._draw(line, columns) if is_live else self._write(piece)
            with self._changed:
                self._writing = None
                self._size -= 0 if is_live else len(piece.text)
                if piece.is_result:
                    self._results -= 1
                    self._failure = self._failure or failure
                self._changed.notify_all()

    def _draw(self, line: str = "", columns: int = 0) -> OSError | None:
        # Spaces overwrite what is left of a longer line: every terminal has them, not all have escape sequences. The
        # terminal may have become narrower, and they must not wrap. Ctrl-C was echoed as ^C behind the line.
        shown = min(self._shown + len("^C"), self.columns - 1) if self._shown else 0
        self._shown = columns
        if line:
            return self._send("\r" + line + " " * (shown - columns))
        return self._send("\r" + " " * shown + "\r") if shown else None

    def _write(self, piece: _Piece) -> OSError | None:
        """Write a piece, after the number of lines lost before it; return why it cannot be written, or None."""
        failure = self._draw() or (self._send(self.describe(self._lost)) if self._lost else None)
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
        except ValueError as error:  # it was closed in the meantime
            return OSError(errno.EBADF, str(error))
        return None

    def _send_bytes(self, raw: RawIOBase, text: str) -> None:
        rest = memoryview(text.encode(self.encoding, "backslashreplace"))
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
            # A full disk may hold half a line: the next line must not look like its second half.
            self._is_torn = bool(rest) if begun else self._is_torn


def described(count: int) -> str:
    """Return the line that says how many lines are missing in its place."""
    return f"... {count} lines were dropped\n" if count > 1 else "... 1 line was dropped\n"


def writers(out: TextIO | None, err: TextIO | None) -> tuple[Writer, Writer]:
    """Return the writers of these two streams: the same for the same streams, and one if both lead to one place."""
    global _latest
    if _latest is None or _latest[0] is not out or _latest[1] is not err:
        first = Writer(out)
        place = _place(out)
        same = out is err or (place is not None and place == _place(err))
        _latest = out, err, first, first if same else Writer(err)
    return _latest[2], _latest[3]


_latest: tuple[TextIO | None, TextIO | None, Writer, Writer] | None = None


def _place(stream: TextIO | None) -> tuple[int, int] | None:
    """Return device and inode of a stream's file, if it has them."""
    if stream is None or _raw(stream) is None:
        return None
    status = os.fstat(stream.fileno())
    return (status.st_dev, status.st_ino) if status.st_ino else None


def _raw(stream: TextIO | None) -> RawIOBase | None:
    """Return the raw file under a stream; None if it has no file descriptor."""
    buffer = getattr(stream, "buffer", None)
    try:
        if stream is None or buffer is None:
            return None
        os.fstat(stream.fileno())
    except (OSError, ValueError):
        return None
    raw: RawIOBase = getattr(buffer, "raw", buffer)
    return raw


def _character_type() -> str:
    """Return the locale of characters."""
    import locale  # slow, and only for terminals

    return locale.setlocale(locale.LC_CTYPE)
