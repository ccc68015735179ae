"""Files as the two ends of a stream: one that is read for a receiver which takes no more, and one that grows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_copy.errors import NoSpace, PipeFailed
from p2p_copy.files import limits
from p2p_copy.files.source.walk import SourceEntry, SourceFailed, open_source, walk
from p2p_copy.files.target.errors import Refused
from p2p_copy.protocol.escape import escape
from p2p_copy.protocol.manifest import Item
from p2p_copy.protocol.messages import Kind, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p2p_copy.files.selection import Selection
    from p2p_copy.files.target.part import Part
    from p2p_copy.files.target.target import Target
    from p2p_copy.options import Links
    from p2p_copy.protocol.messages import Entry

_ONE_FILE = (
    "takes one file or a pipe, and not a directory or several files. Send one file, "
    "or 'tar c PATH... | p2p-copy send -'; or let the receiver name a directory with --out DIR."
)


class OneFile:
    """A regular file that is sent as a stream; attributes as of `StandardInput`.

    Raises:
        PipeFailed: it is not one file that is named, or it cannot be read.

    """

    waits = False
    dry = "Nothing moves: the disk here has given nothing"

    def __init__(
        self, paths: Sequence[str], *, links: Links, selection: Selection, portable_names: bool
    ) -> None:
        found = next(walk(paths, links=links, portable_names=portable_names, selection=selection), None)
        if len(paths) != 1 or not isinstance(found, SourceEntry) or found.entry.kind is not Kind.FILE:
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
        self._zeros = 0  # of a hole, which is nothing else in a stream

    def read(self) -> bytes:
        """Return the next bytes, none at the end.

        Raises:
            PipeFailed: the file is not what it was, or cannot be read.

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


class GrowingFile:
    """A file in the output directory that a stream goes to; it gets its name when all is there.

    Attributes:
        waits: writing may wait for ever.
        slow: what is said when nothing is taken.

    """

    waits = False
    slow = "Nothing moves: the disk here has taken nothing"

    def __init__(self, target: Target) -> None:
        self._target = target
        self._item: Item | None = None
        self._part: Part | None = None

    def begin(self, entry: Entry) -> None:
        """Begin the file.

        Raises:
            PipeFailed: it cannot be created, or its name is taken.
            NoSpace, OutputNotWritable: no more can be written at all.

        """
        self._item = Item(0, None, entry)
        try:
            self._part = self._target.begin_file(self._item)
        except Refused as refused:
            raise self._refused(refused) from None

    def write(self, data: bytes | memoryview) -> None:
        """Append all of `data`.

        Raises:
            PipeFailed: it is larger than the system allows.
            NoSpace, OutputNotWritable: no more can be written at all.

        """
        assert self._part is not None, "it was begun"
        if len(data) > self._target.free_bytes():
            raise NoSpace
        try:
            self._part.write(data)
        except Refused as refused:
            raise self._refused(refused) from None

    def finish(self, entry: Entry, digest: bytes) -> None:
        """Give the file its name; `entry` tells the size by now.

        Raises:
            PipeFailed: its name was taken meanwhile.
            NoSpace, OutputNotWritable: the disk did not take all of it after all.

        """
        assert self._item is not None, "it was begun"
        self._item.entry, self._item.digest = entry, digest
        try:
            self._target.publish(self._item)
        except Refused as refused:
            raise self._refused(refused) from None

    def close(self) -> None:
        """Throw away what is not complete."""
        self._target.close()

    def _refused(self, refused: Refused) -> PipeFailed:
        assert self._item is not None, "it was begun"
        what = "cannot be written in the output directory"
        if refused.reason in {Reason.EXISTS, Reason.SKIPPED}:
            what = "exists already in the output directory; see 'receive --on-conflict' and 'send --name'"
        elif refused.reason is Reason.TOO_MUCH:
            what = "is larger than a file may be there"
        name = escape(self._item.entry.name)
        return PipeFailed(f"'{name}' {what}.", f"'{name}' {what}.")
