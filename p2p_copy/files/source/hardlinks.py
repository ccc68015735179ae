"""Files of a walk that have several names: the first is sent, the others say that they are the same.

Only files with more than one link are remembered, `limits.MAX_NAMED_AGAIN` of them; what are more are sent as files of
their own, and so are names of a file that was changed between two of them. Where the first name could not be sent, or
the receiver does not take it, the next one is sent with contents and stands in for it.

Numbers of inodes may change and be given to other files, so they only say where to look: a name goes without contents
if it leads to the very file that another one leads to, both looked at in the same moment.
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
    """Knows the first names of one walk."""

    def __init__(self) -> None:
        self._by_inode: dict[tuple[int, int], FirstName] = {}
        self._by_sent: dict[int, FirstName] = {}

    def name(self, found: SourceEntry) -> None:
        """Let the entry of a file that has its number say whether it is a first name or another one."""
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

    def sent_before(self, found: SourceEntry) -> bytes | None:
        """Return the digest of a file whose contents the receiver has under another name; None if it has not."""
        first = found.first
        if first is None or first.sent == found.index or first.gone or first.digest is None:
            return None
        return first.digest if _is_one(first, found) else None

    def sent(self, found: SourceEntry, digest: bytes | None) -> None:
        """Remember the digest of what was sent with its contents; None if it was not sent whole."""
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
        """Remember that the receiver does not take an entry."""
        if first := self._by_sent.get(index):
            first.gone = True


def _is_one(first: FirstName, found: SourceEntry) -> bool:
    """Return whether two names lead to one file, which is as it was when it was sent."""
    try:
        fd = os.open(first.path, OPEN if first.followed else OPEN_NO_SYMLINK)  # so it keeps its number
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
