"""What a sender can tell before anything is sent: the top of its trees.

A glance, on which nothing depends: it does not search.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from p2p_copy.files import limits
from p2p_copy.files.selection import Selection
from p2p_copy.files.source.walk import SourceEntry, walk
from p2p_copy.protocol import limits as protocol_limits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p2p_copy.options import Symlinks
    from p2p_copy.protocol.messages import Entry


class Glance(NamedTuple):
    """How many names there are at the top, and the first of what is there, in the order of a manifest."""

    names: int
    entries: tuple[Entry, ...]


class _Shallow(Selection):
    """Takes every directory that may lead to something, so that nothing need be searched."""

    def takes(self, path: str, *, directory: bool = False) -> bool:
        return self.leads(path) if directory else super().takes(path)


def glance(paths: Sequence[str], links: Symlinks, portable_names: bool, selection: Selection) -> Glance:
    """Return the names at the top and a few of those in each directory there, no more than fit into a preview."""
    each = min(max(protocol_limits.MAX_PREVIEW_ENTRIES // len(paths) - 1, 0), limits.PREVIEW_INSIDE)
    names = shown = looked = 0
    top: SourceEntry | None = None
    entries: list[Entry] = []
    shallow = _Shallow(*selection.patterns)
    for found in walk(paths, links=links, portable_names=portable_names, selection=shallow):
        looked += 1
        if isinstance(found, SourceEntry):
            found.pruned = found.parent is not None
            if found.parent is None:
                top, shown, looked = found, 0, 0
                names += 1
            else:
                shown += 1
            if len(entries) < protocol_limits.MAX_PREVIEW_ENTRIES and shown <= each:
                entries.append(found.entry)
        if top is not None and (shown >= each or looked >= limits.PREVIEW_LOOK):
            top.pruned = True
    return Glance(names, tuple(entries))
