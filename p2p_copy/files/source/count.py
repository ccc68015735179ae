"""How much there is to send: a quick look for the progress line, on which nothing depends.

It goes by the rules of the walk (`source`) for links, kinds and names, but it opens no file, notices no names that
collide, and passes over whatever cannot be looked at. So it costs a tenth of a walk, beside which it runs.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from p2p_copy.files.selection import EVERYTHING, Selection
from p2p_copy.files.source.walk import own_name
from p2p_copy.options import Symlinks
from p2p_copy.protocol import limits, names

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def count(
    paths: Sequence[str],
    *,
    links: Symlinks,
    portable_names: bool,
    stop: Callable[[], bool],
    selection: Selection = EVERYTHING,
) -> tuple[int, int] | None:
    """Return how many files there are, of how many bytes in all; None once `stop()` is true."""
    counting = _Walk(links, portable_names, selection, stop)
    for path in paths:
        counting.named(path)
    return None if stop() else (counting.files, counting.size)


class Counting:
    """Counts in a thread, and can be looked at meanwhile."""

    def __init__(
        self, paths: Sequence[str], links: Symlinks, portable_names: bool, selection: Selection
    ) -> None:
        self._paths = paths
        self._stopped = False
        self._walk = _Walk(links, portable_names, selection, lambda: self._stopped)

    @property
    def files(self) -> int:
        """Files so far."""
        return self._walk.files

    @property
    def size(self) -> int:
        """Their bytes."""
        return self._walk.size

    def run(self) -> None:
        """Count to the end, or until somebody says `stop`."""
        for path in self._paths:
            self._walk.named(path)

    def stop(self) -> None:
        """Let it end."""
        self._stopped = True


class _Walk:
    def __init__(
        self, links: Symlinks, portable_names: bool, selection: Selection, stop: Callable[[], bool]
    ) -> None:
        self._follow = links is Symlinks.COPY
        self._portable = portable_names
        self._selection = None if selection.everything else selection
        self._stop = stop
        self.files = 0
        self.size = 0

    def named(self, path: str) -> None:
        """Count what the user named; if that is a link, what it leads to."""
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
                if self._stop():
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
