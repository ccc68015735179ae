"""Files of a walk that have several names: the first is sent, the others say that they are the same.

Only files with more than one link are remembered, `limits.MAX_NAMED_AGAIN` of them; what are more are sent as files of
their own, and so are names of a file that was changed between two of them, or whose first name could not be sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_copy import limits
from p2p_copy.protocol.messages import Extra, Kind

if TYPE_CHECKING:
    from p2p_copy.files.reading import Identity
    from p2p_copy.files.source import Found
    from p2p_copy.protocol.messages import Entry


class FirstName:
    """The name under which a file's contents are sent.

    Attributes:
        index: its number in the manifest.
        digest: that of the file, once it was sent whole.
        gone: it cannot be sent, or the receiver does not take it.

    """

    __slots__ = ("digest", "gone", "identity", "index")

    def __init__(self, index: int, identity: Identity) -> None:
        self.index = index
        self.identity = identity
        self.digest: bytes | None = None
        self.gone = False


class FirstNames:
    """Knows the first names of one walk."""

    def __init__(self) -> None:
        self._by_inode: dict[tuple[int, int], FirstName] = {}
        self._by_index: dict[int, FirstName] = {}

    def name(self, found: Found) -> None:
        """Let the entry of a file that has its number say whether it is a first name or another one."""
        if found.names < 2 or found.entry.kind is not Kind.FILE:
            return
        inode = found.identity[:2]
        first = self._by_inode.get(inode)
        if first is not None and not first.gone and first.identity == found.identity:
            found.first = first
            found.entry = _with(found.entry, original=first.index)
        elif len(self._by_index) < limits.MAX_NAMED_AGAIN:
            first = self._by_inode[inode] = self._by_index[found.index] = FirstName(
                found.index, found.identity
            )
            found.first = first
            found.entry = _with(found.entry, named_again=True)

    def sent(self, found: Found, digest: bytes | None) -> None:
        """Remember the digest of what was sent; None if it was not sent whole."""
        first = found.first
        if first is not None and first.index == found.index:
            first.digest = digest
            first.gone = first.gone or digest is None

    def reject(self, index: int) -> None:
        """Remember that the receiver does not take an entry."""
        if first := self._by_index.get(index):
            first.gone = True


def _with(entry: Entry, *, named_again: bool = False, original: int | None = None) -> Entry:
    extra = entry.extra or Extra()
    return entry._replace(extra=extra._replace(named_again=named_again, original=original))


def sent_before(found: Found) -> bytes | None:
    """Return the digest of a file whose contents the receiver has under another name; None if they are to be sent."""
    first = found.first
    return first.digest if first is not None and first.index != found.index and not first.gone else None
