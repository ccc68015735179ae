"""What p2p-copy itself keeps in a tree, so that a sender can leave it out.

- States of unfinished transfers hold tickets and claims. They are known by the directory in which they lie (device and
  inode), under whatever path the walk comes to it, and are left out silently.
- Unfinished files of a receiver are known by their names.
- The output directory of this very transfer, if both sides see one file system, is known by a marker: a file with a
  random name that the receiver has put there, and has told the sender of.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from p2p_copy.files.state.store import is_state_file
from p2p_copy.protocol.names import is_unfinished

if TYPE_CHECKING:
    from collections.abc import Iterator

    from p2p_copy.files.source.found import SourceEntry

__all__ = ["NOTHING_OWN", "OwnFiles", "is_unfinished"]


class OwnFiles(NamedTuple):
    """Where to look for it: directories with states, and the name of the marker, empty if there is none."""

    state_directories: tuple[str, ...] = ()
    marker: str = ""

    @contextmanager
    def looked_up(self) -> Iterator[OwnHere]:
        """Find the directories and hold them open, so that their numbers are nobody else's meanwhile."""
        here = OwnHere(self.marker)
        try:
            for path in self.state_directories:
                with suppress(OSError, ValueError):  # there need not be one
                    here.add(path)
            yield here
        finally:
            here.close()


NOTHING_OWN = OwnFiles()


class OwnHere:
    """What is known of it during one walk; made by `OwnFiles.looked_up`."""

    def __init__(self, marker: str) -> None:
        self._marker = marker
        self._open: list[int] = []
        self._states: set[tuple[int, int]] = set()

    def add(self, path: str) -> None:
        """Remember a directory with states."""
        if hasattr(os, "O_DIRECTORY"):
            self._open.append(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            status = os.fstat(self._open[-1])
        else:
            status = os.stat(path)
        self._states.add((status.st_dev, status.st_ino))

    def has_states(self, directory: SourceEntry) -> bool:
        """Return whether states lie in a directory."""
        return directory.identity[:2] in self._states

    def is_state(self, path: str) -> bool:
        """Return whether something that the user has named is part of a state."""
        if not self._states or not is_state_file(os.path.basename(path)):
            return False
        there = os.stat(os.path.dirname(path) or os.curdir)
        return (there.st_dev, there.st_ino) in self._states

    def is_output(self, path: str) -> bool:
        """Return whether a directory is the one into which the receiver writes."""
        return bool(self._marker) and os.path.lexists(os.path.join(path, self._marker))

    def is_copy_of_itself(self, path: str, name: str) -> bool:
        """Return whether what the receiver makes of a directory under this name is that directory."""
        if not self._marker:
            return False
        parent, own = os.path.split(os.path.realpath(path))
        return own == name and self.is_output(parent)

    def close(self) -> None:
        """Let go of the directories."""
        while self._open:
            os.close(self._open.pop())
