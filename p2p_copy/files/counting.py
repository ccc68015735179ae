"""How much there is to send: a quick look for the progress line, on which nothing depends.

It goes by the rules of the walk (`source`) for links, kinds and names, but it opens no file, notices no names that
collide, and passes over whatever cannot be looked at. So it costs a tenth of a walk, beside which it runs.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from p2p_copy import limits
from p2p_copy.options import Links
from p2p_copy.protocol import names

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def count(
    paths: Sequence[str], *, links: Links, portable_names: bool, stop: Callable[[], bool]
) -> tuple[int, int] | None:
    """Return how many files there are, of how many bytes in all; None once `stop()` is true."""
    counting = _Counting(links, portable_names, stop)
    for path in paths:
        counting.named(path)
    return None if stop() else (counting.files, counting.size)


class _Counting:
    def __init__(self, links: Links, portable_names: bool, stop: Callable[[], bool]) -> None:
        self._follow = links is Links.COPY
        self._portable = portable_names
        self._stop = stop
        self.files = 0
        self.size = 0

    def named(self, path: str) -> None:
        """Count what the user named; if that is a link, what it leads to."""
        try:
            if os.path.isdir(path):
                self._inside(path, ())
            elif os.path.isfile(path):
                self.size += os.path.getsize(path)
                self.files += 1
        except (OSError, ValueError):
            return

    def _inside(self, path: str, above: tuple[tuple[int, int], ...]) -> None:
        status = os.stat(path)
        here = (status.st_dev, status.st_ino)
        if here in above or len(above) == limits.MAX_DEPTH - 1:  # a circle, or too deep
            return
        below = (*above, here)
        with os.scandir(path) as entries:
            for entry in entries:
                if self._stop():
                    return
                self._look(entry, below)

    def _look(self, entry: os.DirEntry[str], above: tuple[tuple[int, int], ...]) -> None:
        if names.refusal(entry.name, portable=self._portable):
            return
        try:
            if entry.is_dir(follow_symlinks=self._follow):
                self._inside(entry.path, above)
            elif entry.is_file(follow_symlinks=self._follow):
                self.size += entry.stat(follow_symlinks=self._follow).st_size
                self.files += 1
        except OSError:
            return
