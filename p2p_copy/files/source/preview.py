"""Makes a preview of what would be sent: the names at the top of the trees and a few below them.

It may be wrong by the time that the files are sent, so nothing depends on it. It is bounded, and does not search.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from p2p_copy.files import limits
from p2p_copy.files.selection import Selection
from p2p_copy.files.source.entry import SourceEntry
from p2p_copy.files.source.walk import walk
from p2p_copy.protocol import limits as protocol_limits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p2p_copy.options import Symlinks
    from p2p_copy.protocol.messages import Entry


class SourcePreview(NamedTuple):
    """How many names there are at the top, and the first of the entries, in the order of a manifest."""

    names: int
    entries: tuple[Entry, ...]


class _Shallow(Selection):
    """Selects every directory in which an entry may be wanted: searching it for one would take too long."""

    def takes(self, path: str, *, directory: bool = False) -> bool:
        return self.leads(path) if directory else super().takes(path)


def preview(
    paths: Sequence[str], symlinks: Symlinks, portable_names: bool, selection: Selection
) -> SourcePreview:
    """Return the names at the top and a few of those in each directory there, as many as a preview may have."""
    most = min(max(protocol_limits.MAX_PREVIEW_ENTRIES // len(paths) - 1, 0), limits.PREVIEW_INSIDE)
    names = inside = looked = 0  # the last two count in the current directory
    top: SourceEntry | None = None
    entries: list[Entry] = []
    shallow = _Shallow(*selection.patterns)
    for found in walk(paths, symlinks=symlinks, portable_names=portable_names, selection=shallow):
        looked += 1
        if isinstance(found, SourceEntry):
            found.pruned = found.parent is not None
            if found.parent is None:
                top, inside, looked = found, 0, 0
                names += 1
            else:
                inside += 1
            if len(entries) < protocol_limits.MAX_PREVIEW_ENTRIES and inside <= most:
                entries.append(found.entry)
        if top is not None and (inside >= most or looked >= limits.PREVIEW_LOOK):
            top.pruned = True
    return SourcePreview(names, tuple(entries))
