"""Counts the files to send, for progress and previews only.

It follows the rules of `walk` for symlinks, kinds and names, but opens no file, does not notice names that collide, and
ignores what it cannot read. So it takes a tenth of the time of a walk, beside which it runs.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from p2p_copy.files.selection import EVERYTHING, Selection
from p2p_copy.files.source.walk import own_name
from p2p_copy.options import Symlinks
from p2p_copy.protocol import limits, names

if TYPE_CHECKING:
    from collections.abc import Sequence


class FileCount:
    """Counts in a thread; other threads may read the numbers meanwhile.

    Args:
        paths, symlinks, portable_names, selection: as for `walk`.
        most: after so many names it gives up; None for no limit.

    Attributes:
        files: files so far.
        size: their bytes.

    """

    def __init__(
        self,
        paths: Sequence[str],
        symlinks: Symlinks,
        portable_names: bool,
        selection: Selection = EVERYTHING,
        *,
        most: int | None = None,
    ) -> None:
        self._paths = paths
        self._follow = symlinks is Symlinks.COPY
        self._portable = portable_names
        self._selection = None if selection.everything else selection
        self._left = most
        self._stopped = False
        self.files = 0
        self.size = 0

    def run(self) -> bool:
        """Count; return whether everything was counted."""
        for path in self._paths:
            self._named(path)
        return not self._stopped

    def stop(self) -> None:
        """Let `run` return soon; may be called in any thread."""
        self._stopped = True

    def _named(self, path: str) -> None:
        """Count what the user named; a symlink is followed."""
        try:
            name = own_name(path)
            if os.path.isdir(path):
                if self._selection is None or self._selection.leads(name):
                    self._inside(path, name, ())
            elif os.path.isfile(path) and (self._selection is None or self._selection.takes(name)):
                self.size += os.path.getsize(path)
                self.files += 1
        except (OSError, ValueError):
            return

    def _inside(self, path: str, relative: str, above: tuple[tuple[int, int], ...]) -> None:
        status = os.stat(path)
        here = (status.st_dev, status.st_ino)
        if here in above or len(above) == limits.MAX_DEPTH - 1:  # a circle, or too deep
            return
        below = (*above, here)
        with os.scandir(path) as entries:
            for entry in entries:
                if self._left is not None:
                    if not self._left:
                        self._stopped = True
                    self._left -= 1
                if self._stopped:
                    return
                self._look(entry, relative, below)

    def _look(self, entry: os.DirEntry[str], relative: str, above: tuple[tuple[int, int], ...]) -> None:
        if names.refusal(entry.name, portable=self._portable):
            return
        selection = self._selection
        path = f"{relative}/{entry.name}" if selection is not None else ""
        try:
            if entry.is_dir(follow_symlinks=self._follow):
                if selection is None or selection.leads(path):
                    self._inside(entry.path, path, above)
            elif selection is not None and not selection.takes(path):
                return
            elif entry.is_file(follow_symlinks=self._follow):
                self.size += entry.stat(follow_symlinks=self._follow).st_size
                self.files += 1
        except OSError:
            return
