"""What can be told before anything is sent: the top of the trees at the sender, the room and the names at the receiver.

A glance, on which nothing depends: neither side searches, and nothing is written.
"""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING, NamedTuple

from p2p_copy.errors import OutputNotWritable
from p2p_copy.files import limits
from p2p_copy.files.selection import Selection
from p2p_copy.files.source.walk import SourceEntry, walk
from p2p_copy.protocol import limits as protocol_limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from p2p_copy.options import Links
    from p2p_copy.protocol.messages import Entry


class Glance(NamedTuple):
    """How many names there are at the top, and the first of what is there, in the order of a manifest."""

    names: int
    entries: tuple[Entry, ...]


class _Shallow(Selection):
    """Takes every directory that may lead to something, so that nothing need be searched."""

    def takes(self, path: str, *, directory: bool = False) -> bool:
        return self.leads(path) if directory else super().takes(path)


def glance(paths: Sequence[str], links: Links, portable_names: bool, selection: Selection) -> Glance:
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


class Room(NamedTuple):
    """What there is where the output directory is, or will be: bytes, files (None without a limit), names taken."""

    size: int
    files: int | None
    taken: frozenset[str]


def room(out: str, names: Iterable[str]) -> Room:
    """Look at the output directory, which need not exist. `names` are single components, and safe to look at.

    Raises:
        OutputNotWritable: it could not be made, or not be written to.

    """
    place = os.path.abspath(out)
    while not os.path.lexists(place) and place != os.path.dirname(place):
        place = os.path.dirname(place)
    if not os.path.isdir(place) or not os.access(place, os.W_OK | os.X_OK):
        raise OutputNotWritable("You may not write into the output directory here, or it is none.")
    try:
        taken = frozenset(name for name in names if os.path.lexists(os.path.join(out, name)))
        if sys.platform == "win32":
            return Room(shutil.disk_usage(place).free, None, taken)
        status = os.statvfs(place)
    except (OSError, ValueError):
        raise OutputNotWritable("The output directory here cannot be looked at.") from None
    size = status.f_bavail * status.f_frsize if status.f_blocks else protocol_limits.MAX_FILE_SIZE
    return Room(size, status.f_favail if status.f_files else None, taken)
