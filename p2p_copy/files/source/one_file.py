"""Reads one file as a stream, for a receiver that accepts only streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from p2p_copy.errors import PipeFailed
from p2p_copy.files import limits
from p2p_copy.files.source.entry import SourceEntry
from p2p_copy.files.source.reader import SourceFailed, open_source
from p2p_copy.files.source.walk import walk
from p2p_copy.protocol.escape import escape
from p2p_copy.protocol.messages import Kind, Reason

if TYPE_CHECKING:
    from p2p_copy.files.source.entry import SourceTrees

_ONE_FILE: Final = (
    "takes one file or a pipe, and not a directory or several files. Send one file, "
    "or what 'tar c PATH...' writes to a pipe; or let the receiver write to a directory (`out`)."
)


class OneFile:
    """A regular file that is sent as a stream. For the attributes see `StandardInput`.

    Raises:
        PipeFailed: the paths are not one file, or it cannot be read.

    """

    may_wait_forever = False
    stalled = "Nothing moves: the disk here has delivered no data"

    def __init__(self, trees: SourceTrees) -> None:
        found = next(walk(trees), None)
        if len(trees.paths) != 1 or not isinstance(found, SourceEntry) or found.entry.kind is not Kind.FILE:
            raise PipeFailed(
                f"The receiver writes to its standard output. That {_ONE_FILE}",
                f"standard output {_ONE_FILE}",
            )
        self.entry = found.entry._replace(size=0)
        try:
            self._source = open_source(found)
        except SourceFailed as failure:
            raise self._failed(failure) from None
        self._pieces = self._source.read_pieces(lambda: limits.STREAM_READ)
        self._zeros = 0  # zeros still to return for a hole of the file: a stream has no holes

    def read(self) -> bytes:
        """Return the next bytes, none at the end.

        Raises:
            PipeFailed: the file has changed, or cannot be read.

        """
        try:
            piece: bytes | int = self._zeros or next(self._pieces, b"")
        except SourceFailed as failure:
            raise self._failed(failure) from None

        if isinstance(piece, bytes):
            return piece
        count = min(piece, limits.STREAM_READ)
        self._zeros = piece - count
        return bytes(count)

    def close(self) -> None:
        """Close the file."""
        self._source.close()

    def _failed(self, failure: SourceFailed) -> PipeFailed:
        what = "changed while it was sent" if failure.reason is Reason.CHANGED else "cannot be read"
        return PipeFailed(f"'{escape(self.entry.name)}' {what}.", f"its file {what}.")
