"""Counts what has become of the entries at the receiver."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_copy.protocol.escape import escape
from p2p_copy.protocol.messages import Reason, Reject

if TYPE_CHECKING:
    from p2p_copy.protocol.manifest import Item
    from p2p_copy.transfer.tree.replies import Replies


class Outcomes:
    """The counts of one conversation. Rejections are also sent to the sender.

    Attributes:
        files: files that are complete under their names.
        delivered: their bytes.
        size: bytes received so far, with those of `spared`.
        spared: bytes that were here already.
        failures: how many things do not arrive.
        rejected: how many of these the receiver could not take.
        skipped: how many were left as they were, as asked.
        excluded: how many are not wanted.

    """

    def __init__(self, replies: Replies) -> None:
        self.files = 0
        self.delivered = 0
        self.size = 0
        self.spared = 0
        self.failures = 0
        self.rejected = 0
        self.skipped = 0
        self.excluded = 0
        self._replies = replies
        self._problems: list[tuple[str, Reason]] = []

    def take_problems(self) -> list[tuple[str, Reason]]:
        """Return what was rejected or found unsendable since the last call: escaped paths, each with its reason."""
        problems, self._problems = self._problems, []
        return problems

    def deliver(self, item: Item) -> None:
        """Count a file that is complete under its name."""
        self.files += 1
        self.delivered += item.entry.size

    def fail(self, path: str, reason: Reason) -> None:
        """Count something that the sender cannot send."""
        self.failures += 1
        self._problems.append((escape(path), reason))

    def exclude(self, item: Item) -> None:
        """Count an entry that is not wanted, and tell the sender."""
        self.excluded += 1
        self._replies.add(Reject(item.index, Reason.EXCLUDED, ""))

    def reject(self, item: Item, reason: Reason) -> None:
        """Refuse an entry, and what lies in it, and tell the sender."""
        item.refused = True
        self.rejected += reason.is_failure
        self.failures += reason.is_failure
        self.skipped += not reason.is_failure
        self._problems.append((escape(item.path), reason))
        self._replies.add(Reject(item.index, reason, item.path))
