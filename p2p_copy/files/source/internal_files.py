"""The files that p2p-copy itself keeps in a tree, so that a sender can leave them out.

- States of unfinished transfers hold tickets and claims. They are recognised by the device and inode of the directory
  in which they lie, by whatever path the walk reaches it. They are left out without a word.
- A receiver's unfinished files are recognised by their names (`protocol.names.is_unfinished`).
- The output directory of this very transfer, if both sides use one file system, is recognised by a marker: a file with
  a random name, which the receiver has put there and has told the sender.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from p2p_copy.files import system
from p2p_copy.files.state.store import is_state_file
from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from p2p_copy.files.source.entry import SourceEntry


class InternalFiles(NamedTuple):
    """How to recognise them: the directories with states, and the name of the marker, empty if there is none."""

    state_directories: tuple[str, ...] = ()
    marker: str = ""

    @contextmanager
    def opened(self) -> Iterator[OpenedInternalFiles]:
        """Hold the directories open during one walk, so that no other directory gets their inode numbers."""
        opened = OpenedInternalFiles(self.marker)
        try:
            for path in self.state_directories:
                with suppress(OSError, ValueError):  # it need not exist
                    opened.add(path)
            yield opened
        finally:
            opened.close()


NO_INTERNAL_FILES: Final = InternalFiles()


class OpenedInternalFiles:
    """What is known of them during one walk; made by `InternalFiles.opened`."""

    def __init__(self, marker: str) -> None:
        self._marker = marker
        self._open: list[int] = []
        self._states: set[tuple[int, int]] = set()

    def add(self, path: str) -> None:
        """Remember a directory with states."""
        if system.HANDLES:
            self._open.append(os.open(path, system.OPEN_DIRECTORY))
            status = os.fstat(self._open[-1])
        else:
            status = os.stat(path)
        self._states.add((status.st_dev, status.st_ino))

    def has_states(self, directory: SourceEntry) -> bool:
        """Return whether states lie in a directory."""
        return directory.identity[:2] in self._states

    def is_state(self, path: str) -> bool:
        """Return whether a path that the user has named is a file of a state."""
        if not self._states or not is_state_file(os.path.basename(path)):
            return False
        there = os.stat(os.path.dirname(path) or os.curdir)
        return (there.st_dev, there.st_ino) in self._states

    def is_output(self, path: str) -> bool:
        """Return whether the receiver writes into this directory."""
        return bool(self._marker) and os.path.lexists(os.path.join(path, self._marker))

    def is_copy_of_itself(self, path: str, name: str) -> bool:
        """Return whether a directory, received under this name, would be written into itself."""
        if not self._marker:
            return False
        parent, own = os.path.split(os.path.realpath(path))
        return own == name and self.is_output(parent)

    def close(self) -> None:
        """Close the directories."""
        while self._open:
            os.close(self._open.pop())
