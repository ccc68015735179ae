"""Shows people what would be sent, before it is sent: the first names, and how many files and bytes there are.

Files may change before they are sent, so nothing depends on these names and numbers. Both follow the rules of `walk`.
Counting opens no file, does not notice names that collide, and ignores what it cannot read. So it takes a tenth of the
time of a walk, and runs beside one. The preview is bounded, and does not search for entries that patterns select.
"""

from __future__ import annotations

import os
from threading import Event
from typing import TYPE_CHECKING

from p2p_copy.files import limits
from p2p_copy.files.selection import Selection
from p2p_copy.files.source.entry import SourceEntry
from p2p_copy.files.source.walk import own_name, walk
from p2p_copy.options import Symlinks
from p2p_copy.protocol import limits as protocol_limits, names
from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    from p2p_copy.files.source.entry import SourceTrees
    from p2p_copy.protocol.messages import Entry


class Counted(NamedTuple):
    """Files, and their bytes."""

    files: int = 0
    size: int = 0


class FileCount:
    """Counts in a thread.

    Args:
        trees: what is counted.
        most: names after which it gives up; None for no limit.

    Attributes:
        counted: what was counted so far, a value that the thread replaces: any thread may read it at any time.

    """

    def __init__(self, trees: SourceTrees, *, most: int | None = None) -> None:
        self._paths = trees.paths
        self._follow = trees.symlinks is Symlinks.COPY
        self._portable = trees.portable_names
        self._selection = None if trees.selection.everything else trees.selection
        self._left = most
        self._stopped = Event()
        self.counted = Counted()

    def run(self) -> bool:
        """Count; return whether everything was counted."""
        for path in self._paths:
            self._count_named(path)
        return not self._stopped.is_set()

    def stop(self) -> None:
        """Let `run` return soon; may be called in any thread."""
        self._stopped.set()

    def _add(self, size: int) -> None:
        counted = self.counted
        self.counted = Counted(counted.files + 1, counted.size + size)

    def _count_named(self, path: str) -> None:
        """Count what the user named; a symlink is followed."""
        try:
            name = own_name(path)
            if os.path.isdir(path):
                if self._selection is None or self._selection.leads(name):
                    self._count_directory(path, name, ())
            elif os.path.isfile(path) and (self._selection is None or self._selection.takes(name)):
                self._add(os.path.getsize(path))
        except (OSError, ValueError):
            return

    def _count_directory(self, path: str, relative: str, above: tuple[tuple[int, int], ...]) -> None:
        status = os.stat(path)
        here = (status.st_dev, status.st_ino)
        if here in above or len(above) == protocol_limits.MAX_DEPTH - 1:  # a circle, or too deep
            return
        below = (*above, here)
        with os.scandir(path) as entries:
            for entry in entries:
                if self._left is not None:
                    if not self._left:
                        self._stopped.set()
                    self._left -= 1
                if self._stopped.is_set():
                    return
                self._count_entry(entry, relative, below)

    def _count_entry(
        self, entry: os.DirEntry[str], relative: str, above: tuple[tuple[int, int], ...]
    ) -> None:
        if names.refusal(entry.name, portable=self._portable):
            return
        selection = self._selection
        path = f"{relative}/{entry.name}" if selection is not None else ""
        try:
            if entry.is_dir(follow_symlinks=self._follow):
                if selection is None or selection.leads(path):
                    self._count_directory(entry.path, path, above)
            elif selection is not None and not selection.takes(path):
                return
            elif entry.is_file(follow_symlinks=self._follow):
                self._add(entry.stat(follow_symlinks=self._follow).st_size)
        except OSError:
            return


class SourcePreview(NamedTuple):
    """How many names there are at the top, and the first of the entries, in the order of a manifest."""

    names: int
    entries: tuple[Entry, ...]


class _Shallow(Selection):
    """Selects every directory that may have a selected entry in it: a search for that entry would take too long."""

    def takes(self, path: str, *, directory: bool = False) -> bool:
        return self.leads(path) if directory else super().takes(path)


def preview(trees: SourceTrees) -> SourcePreview:
    """Return the names at the top and a few of those in each directory there, as many as a preview may have."""
    most = min(max(protocol_limits.MAX_PREVIEW_ENTRIES // len(trees.paths) - 1, 0), limits.PREVIEW_INSIDE)
    tops = inside = examined = 0  # the last two count in the current directory
    top: SourceEntry | None = None
    entries: list[Entry] = []
    for found in walk(trees._replace(selection=_Shallow(*trees.selection.patterns))):
        examined += 1
        if isinstance(found, SourceEntry):
            found.pruned = found.parent is not None
            if found.parent is None:
                top, inside, examined = found, 0, 0
                tops += 1
            else:
                inside += 1
            if len(entries) < protocol_limits.MAX_PREVIEW_ENTRIES and inside <= most:
                entries.append(found.entry)
        if top is not None and (inside >= most or examined >= limits.PREVIEW_EXAMINED):
            top.pruned = True
    return SourcePreview(tops, tuple(entries))
