"""Decides which entries of a page the receiver takes. It touches no file."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from p2p_copy.errors import PeerMisbehaved, TooMuch
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.messages import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from p2p_copy.files.selection import Selection
    from p2p_copy.protocol.manifest import Item, Manifest
    from p2p_copy.protocol.messages import Omitted


class Decision(Enum):
    """What to do with an entry."""

    TAKE = "check it, and make it if it is a directory or a symlink"
    EXCLUDE = "the patterns leave it out"


class PagePlanner:
    """Applies the receiver's patterns, and `max_files`: how many entries and omissions it wants at most.

    If the patterns do not select a directory, but may select something in it, the directory is deferred: it is taken
    with the first entry in it that is taken.

    Attributes:
        omitted: how many omissions the sender has reported so far, which is also the number of the next one.
        uncertain: what the sender omits and is not wanted here may have a name that patterns match differently: its
            path is escaped, or was cut.

    """

    def __init__(self, manifest: Manifest, selection: Selection, max_files: int | None) -> None:
        self._manifest = manifest
        self._selection = selection
        self._max_files = max_files
        self._wanted = 0
        self.omitted = 0
        self.uncertain = False

    def plan(self, items: Sequence[Item]) -> Iterator[tuple[Item, Decision]]:
        """Yield a decision for each entry of a page that is not in a refused directory, nor deferred.

        The caller carries out each decision before it asks for the next one: what lies in a directory depends on
        whether that could be made.

        Raises:
            TooMuch: more is wanted than `max_files`.

        """
        everything = self._selection.everything
        for item in items:
            above = item.parent
            if above is not None and above.refused:
                self._manifest.skip(item)
                continue
            if everything:
                self._count()
                yield item, Decision.TAKE
                continue
            is_directory = item.entry.kind is Kind.DIRECTORY
            if self._selection.takes(item.path, directory=is_directory):
                yield from self._take(item)
            elif is_directory and self._selection.leads(item.path):
                item.deferred = True
            else:
                self._manifest.skip(item)
                yield item, Decision.EXCLUDE

    def _take(self, item: Item) -> Iterator[tuple[Item, Decision]]:
        """Take an entry, and before it the directories above it that were deferred."""
        above = item.parent
        if above is not None and above.deferred:
            above.deferred = False
            yield from self._take(above)
        if above is not None and above.refused:
            self._manifest.skip(item)
            return
        self._count()
        yield item, Decision.TAKE

    def wants_omitted(self, message: Omitted) -> bool:
        """Return whether something that the sender omits would have been taken.

        Raises:
            PeerMisbehaved: the sender omits more than it may.
            TooMuch: more is wanted than `max_files`.

        """
        if self.omitted == protocol_limits.MAX_ENTRIES:
            raise PeerMisbehaved("The other side omits more than it may name.")
        self.omitted += 1
        matches = self._selection.leads if message.directory else self._selection.takes
        path = _for_patterns(message.path)
        wanted = self._selection.everything or matches(path)
        if wanted:
            self._count()
        elif "\\" in path or path != message.path:
            self.uncertain = True
        return wanted

    def _count(self) -> None:
        if self._wanted == self._max_files:
            raise TooMuch(files=self._max_files)
        self._wanted += 1


def _for_patterns(path: str) -> str:
    """Cut a path to the longest that an entry may have: matching takes time, and a longer path matches nothing more."""
    parts = path.split("/", protocol_limits.MAX_DEPTH)[: protocol_limits.MAX_DEPTH]
    return "/".join(part[: protocol_limits.MAX_NAME] for part in parts)
