"""The receipt that the caller of `send` or `receive` has asked for.

A transfer may take several conversations, and each of them names everything from the beginning. So each gets a new
writer, and what a conversation that was cut has written is deleted.

If a receipt cannot be written, the transfer goes on, and the error is raised at its end (`check`).
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

from p2p_copy.errors import P2PCopyError, UsageError
from p2p_copy.files.receipts.writer import ReceiptWriter
from p2p_copy.files.target.cleanup import remove_beside

if TYPE_CHECKING:
    from p2p_copy.observer import Report
    from p2p_copy.protocol.messages import Entry


_TOO_LATE: Final = (
    "All was transferred by an earlier run of this command. It is too late for a receipt of that."
)


def receipt_file(
    path: str, *, role: str, program: str, over: bool, tag: str = "", allowed: int | None = None
) -> ReceiptFile | None:
    """Return the receipt that is to be written; None if it was.

    Args:
        path: its path.
        role: "sender" or "receiver".
        program: its name and version.
        over: an earlier process has completed the transfer, and only the other side may not know that yet. Then a file
            that exists is the receipt that this process wrote.
        allowed: the permission bits that a receiver gives; None for a sender.
        tag: marks the temporary names of the transfer; see `temporary_name`.

    """
    if over and os.path.lexists(path):
        return None
    return ReceiptFile(path, role, program, tag, allowed)


class ReceiptFile:
    """One receipt: `probe` once, `begin`, `add`, `publish` and `discard` for each conversation, `check` at the end."""

    def __init__(self, path: str, role: str, program: str, tag: str = "", allowed: int | None = None) -> None:
        self._path = path
        self._role = role
        self._program = program
        self._tag = tag
        self._allowed = allowed
        self._started: float | None = None
        self._writer: ReceiptWriter | None = None
        self._error: P2PCopyError | None = None  # of the present conversation
        # Why there is no receipt of what was transferred:
        self._missing: P2PCopyError | None = UsageError(_TOO_LATE)
        self._published = ""  # the root digest in the file that we have published

    def probe(self) -> None:
        """Check that it can be written, before the relay is called; delete what an earlier process has half written.

        Raises:
            UsageError: it cannot be written, or its name is taken.

        """
        remove_beside(self._path, self._tag)
        ReceiptWriter(self._path, tag=self._tag).discard()

    def begin(self) -> None:
        """Begin a conversation."""
        if self._started is None:
            self._started = time.time()
        self._error = None
        try:
            # An earlier conversation may have published it, and its last message been lost. If files have changed
            # since, this conversation publishes another receipt in its place.
            self._writer = ReceiptWriter(
                self._path, replace=bool(self._published), tag=self._tag, allowed=self._allowed
            )
        except P2PCopyError as error:
            self._fail(error)

    def add(self, path: str, entry: Entry, digest: bytes | None, *, delivered: bool) -> None:
        """Write one entry; see `ReceiptWriter.add`."""
        if self._writer is not None:
            try:
                self._writer.add(path, entry, digest, delivered=delivered)
            except P2PCopyError as error:
                self._fail(error)

    def undeliver(self, index: int) -> None:
        """Mark an entry as not delivered; see `ReceiptWriter.undeliver`."""
        if self._writer is not None:
            self._writer.undeliver(index)

    def publish(self, report: Report) -> None:
        """Complete it and give it its name, once both sides agree on what was transferred."""
        if self._writer is not None and report.root != self._published:
            assert self._started is not None, "set when it was begun"
            try:
                self._writer.publish(
                    report,
                    role=self._role,
                    program=self._program,
                    started=self._started,
                    ended=time.time(),
                )
                self._published = report.root
            except P2PCopyError as error:
                self._fail(error)
        self._missing = self._error if report.root != self._published else None

    def discard(self) -> None:
        """Delete what is not published. Never fails; may be called again."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.discard()

    def check(self) -> None:
        """Raise the error that prevented it from being written, if there is one.

        Raises:
            NoSpace, OutputNotWritable, UsageError: there is no receipt, though the transfer is complete.

        """
        if self._missing is not None:
            raise self._missing

    def _fail(self, error: P2PCopyError) -> None:
        self._error = error
        self.discard()
