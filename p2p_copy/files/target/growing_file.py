"""A file in the output directory into which a stream of unknown length is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_copy.errors import NoSpace, PipeFailed
from p2p_copy.files.target.errors import Refused
from p2p_copy.protocol.escape import escape
from p2p_copy.protocol.manifest import Item
from p2p_copy.protocol.messages import Reason

if TYPE_CHECKING:
    from p2p_copy.files.target.part import Part
    from p2p_copy.files.target.target import Target
    from p2p_copy.protocol.messages import Entry


class GrowingFile:
    """A file in the output directory into which a stream is written; it gets its name when all of it is there.

    For the attributes see `StandardOutput`.
    """

    may_wait_forever = False
    stalled = "Nothing moves: the disk here has taken nothing"

    def __init__(self, target: Target) -> None:
        self._target = target
        self._item: Item | None = None
        self._part: Part | None = None

    def begin(self, entry: Entry) -> None:
        """Begin the file.

        Raises:
            PipeFailed: it cannot be created, or its name is taken.
            NoSpace, OutputNotWritable: nothing more can be written.

        """
        self._item = Item(0, None, entry)
        try:
            self._part = self._target.files.begin(self._item)
        except Refused as refused:
            raise self._refused(refused) from None

    def write(self, data: bytes | memoryview) -> None:
        """Append all of `data`.

        Raises:
            PipeFailed: it is larger than the system allows.
            NoSpace, OutputNotWritable: nothing more can be written.

        """
        assert self._part is not None, "it was begun"
        if len(data) > self._target.free_bytes():
            raise NoSpace
        try:
            self._part.write(data)
        except Refused as refused:
            raise self._refused(refused) from None

    def finish(self, entry: Entry, digest: bytes) -> None:
        """Give the file its name; `entry` has the size, which is known now.

        Raises:
            PipeFailed: its name was taken meanwhile.
            NoSpace, OutputNotWritable: the disk did not take all of it after all.

        """
        assert self._item is not None, "it was begun"
        self._item.entry, self._item.digest = entry, digest
        try:
            self._target.files.publish(self._item)
        except Refused as refused:
            raise self._refused(refused) from None

    def close(self) -> None:
        """Delete the file if it is not complete."""
        self._target.close()

    def _refused(self, refused: Refused) -> PipeFailed:
        assert self._item is not None, "it was begun"
        what = "cannot be written in the output directory"
        if refused.reason in {Reason.EXISTS, Reason.SKIPPED}:
            what = "already exists in the output directory; see 'receive `on_conflict`' and 'send `name`'"
        elif refused.reason is Reason.TOO_MUCH:
            what = "is larger than a file may be there"
        name = escape(self._item.entry.name)
        return PipeFailed(f"'{name}' {what}.", f"'{name}' {what}.")
