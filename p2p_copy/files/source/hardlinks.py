"""Hard links: of a file with several names the first is sent with contents, and the others refer to it.

Only files with more than one link are remembered, at most `limits.MAX_NAMED_AGAIN`. Further ones are sent as separate
files, and so is a name if the file has changed since an earlier one. If the first name could not be sent, or the
receiver rejects it, the next one is sent with contents and replaces it.

Inode numbers may change and be reused, so they only suggest which names are hard links: a name is sent without contents
only if a look at both names at the same moment shows one file.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from p2p_copy.files.source.entry import FirstName
from p2p_copy.files.system import OPEN, OPEN_NO_SYMLINK, identity_of
from p2p_copy.protocol import limits
from p2p_copy.protocol.messages import Extra, Kind

if TYPE_CHECKING:
    from p2p_copy.files.source.entry import SourceEntry
    from p2p_copy.protocol.messages import Entry


class FirstNames:
    """The first names of the files of one walk."""

    def __init__(self) -> None:
        self._by_inode: dict[tuple[int, int], FirstName] = {}
        self._by_sent: dict[int, FirstName] = {}

    def add(self, found: SourceEntry) -> None:
        """Mark the entry of a file, whose index is set, as a first name or as a further one."""
        if found.names < 2 or found.entry.kind is not Kind.FILE:
            return
        inode = found.identity[:2]
        first = self._by_inode.get(inode)
        if first is not None and first.identity == found.identity:
            found.first = first
            found.entry = _with(found.entry, original=first.index)
        elif len(self._by_sent) < limits.MAX_NAMED_AGAIN:
            first = self._by_inode[inode] = self._by_sent[found.index] = FirstName(found)
            found.first = first
            found.entry = _with(found.entry, named_again=True)

    def digest_sent(self, found: SourceEntry) -> bytes | None:
        """Return the digest of a file whose contents were sent under another name; None if they were not."""
        first = found.first
        if first is None or first.sent == found.index or first.gone or first.digest is None:
            return None
        return first.digest if _is_one(first, found) else None

    def record_sent(self, found: SourceEntry, digest: bytes | None) -> None:
        """Remember the digest of a file that was sent with contents; None if it was not sent whole."""
        first = found.first
        if first is None or (digest is None and first.sent != found.index):
            return
        if digest is not None and first.sent != found.index:
            del self._by_sent[first.sent]
            self._by_sent[found.index] = first
            first.sent, first.path, first.followed, first.gone = (
                found.index,
                found.path,
                found.followed,
                False,
            )
        first.digest = digest
        first.gone = first.gone or digest is None

    def reject(self, index: int) -> None:
        """Remember that the receiver rejects an entry."""
        if first := self._by_sent.get(index):
            first.gone = True


def _is_one(first: FirstName, found: SourceEntry) -> bool:
    """Return whether two names are hard links to one file, unchanged since it was sent."""
    try:
        # An open file keeps its inode number.
        fd = os.open(first.path, OPEN if first.followed else OPEN_NO_SYMLINK)
        try:
            one, other = os.fstat(fd), os.stat(found.path, follow_symlinks=found.followed)
        finally:
            os.close(fd)
    except OSError:
        return False
    return os.path.samestat(one, other) and identity_of(other)[2:] == first.identity[2:]


def _with(entry: Entry, *, named_again: bool = False, original: int | None = None) -> Entry:
    extra = entry.extra or Extra()
    return entry._replace(extra=extra._replace(named_again=named_again, original=original))
