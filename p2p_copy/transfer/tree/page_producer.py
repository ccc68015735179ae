"""Makes manifest pages of what a walk finds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from p2p_copy.files.source.attributes import add_attributes
from p2p_copy.files.source.walk import UNFINISHED
from p2p_copy.protocol import limits as protocol_limits, wire
from p2p_copy.protocol.escape import escape
from p2p_copy.protocol.messages import Omitted, Preserved, Reason
from p2p_copy.transfer import limits

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from p2p_copy.files.source.entry import SourceEntry
    from p2p_copy.files.source.hardlinks import FirstNames
    from p2p_copy.transfer.tree.omissions import Omissions
    from p2p_copy.transfer.tree.rejections import Rejections

MOST_PAGE: Final = wire.FRAME.size + limits.SENDER_PAGE_BYTES + wire.MOST_ENTRY
"""Bytes of a page as a message, at most: its last entry may reach beyond SENDER_PAGE_BYTES."""


class PageProducer:
    """Numbers what the walk finds and puts it into pages, without what lies in directories that were rejected.

    Attributes:
        named: how many entries the pages so far have; the number of the next one.
        excluded: how many entries patterns of this side leave out.
        untold: how many entries have extended attributes that cannot be sent.
        unfinished: how many unfinished files of p2p-copy itself were left out.

    """

    def __init__(
        self,
        walk: Generator[SourceEntry | Omitted, None, None],
        preserve: Preserved,
        first_names: FirstNames | None,
        rejections: Rejections,
        omissions: Omissions,
    ) -> None:
        self.named = 0
        self.excluded = 0
        self.untold = 0
        self.unfinished = 0
        self._walk = walk
        self._preserve = preserve
        self._first_names = first_names
        self._rejections = rejections
        self._omissions = omissions

    def close(self) -> None:
        """Close the directories that the walk has open; there are no more pages."""
        self._walk.close()

    def pages(self) -> Iterator[list[SourceEntry] | Omitted]:
        """Yield pages, and between them what is omitted."""
        page: list[SourceEntry] = []
        size = xattrs = 0
        for found in self._walk:
            if isinstance(found, Omitted):
                if found.reason is Reason.EXCLUDED:
                    self.excluded += 1
                    continue
                if found is UNFINISHED:
                    self.unfinished += 1
                    continue
                self._omissions.add(found.path, found.reason)
                yield found
                if self._omissions.count == protocol_limits.MAX_ENTRIES:
                    break  # further ones cannot get numbers; both sides know already that something is missing
                continue
            if (above := self._rejections.above(found)) is not None:
                above.pruned = True
                continue
            if self.named == protocol_limits.MAX_ENTRIES:
                self._omissions.add(escape(found.path), Reason.TOO_MUCH)
                yield Omitted(escape(found.entry.name), Reason.TOO_MUCH)
                break  # no further entry could get a number
            found.index = self.named
            self.named += 1
            if self._preserve and not add_attributes(found, self._preserve):
                self.untold += 1
            if self._first_names is not None:
                self._first_names.add(found)
            page.append(found)
            size += wire.most_bytes(found.entry)
            xattrs += len(found.entry.extra.xattrs) if found.entry.extra is not None else 0
            if len(page) + xattrs >= limits.SENDER_PAGE_ENTRIES or size >= limits.SENDER_PAGE_BYTES:
                yield page
                page, size, xattrs = [], 0, 0
        if page:
            yield page
