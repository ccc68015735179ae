"""What a sender says, from the first page to the last sum, as sealed records.

Everything here blocks on the disk and runs in a worker thread, a few records for each trip: walking, reading,
hashing, compressing and sealing overlap with the socket, and one thread hop pays for some MiB or for
hundreds of small files.
"""

from __future__ import annotations

import math
from itertools import islice
from typing import TYPE_CHECKING

from p2p_copy import limits
from p2p_copy.errors import PeerMisbehaved
from p2p_copy.files.source import Found, SourceFailed, open_source, read_whole, walk
from p2p_copy.protocol import wire
from p2p_copy.protocol.digest import FileDigest, RootDigest, file_digest
from p2p_copy.protocol.messages import (
    Data,
    FileEnd,
    FileFail,
    Finish,
    Kind,
    Message,
    Omitted,
    Page,
    Reason,
    Total,
    WholeFile,
)
from p2p_copy.protocol.names import shown

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from p2p_copy.options import Links
    from p2p_copy.protocol.session import Session


class Outgoing:
    """One transfer's records, made on demand.

    Attributes:
        rejections: how many entries the receiver does not take; skips: how many it leaves as they are.
        total: files and bytes in all, once somebody has counted them.
        problems: (shown path, reason) of everything that cannot be sent; the reader takes them out.
        failures: how many things were named or found, and are not sent.
        files: files sent whole.
        size: their bytes.

    """

    def __init__(self, paths: Sequence[str], session: Session, *, links: Links, portable_names: bool) -> None:
        self._walk = walk(paths, links=links, portable_names=portable_names)
        self._session = session
        self.portable_names = portable_names
        self._records = self._pack()
        self._root = RootDigest()
        self._entries = 0
        self._chunk = limits.CHUNK
        self._told_total = False
        self._rejected: set[int] = set()  # those that still matter
        self._open: frozenset[int] = frozenset()
        self._passed = 0
        self.rejections = 0
        self.skips = 0
        self.failures = 0
        self.total: tuple[int, int] | None = None
        self.problems: list[tuple[str, Reason]] = []
        self.files = 0
        self.size = 0

    def reject(self, index: int, reason: Reason) -> None:
        """Say that the receiver does not take this entry; what of it was not sent yet will not be.

        Raises:
            PeerMisbehaved: there is no such entry.

        """
        if index >= self._entries:
            raise PeerMisbehaved("The receiver speaks of an entry that was never named.")
        if self._matters(index):
            self._rejected.add(index)
        self.rejections += reason.is_failure
        self.skips += not reason.is_failure

    @property
    def root(self) -> bytes:
        """The root digest over all that was said so far."""
        return self._root.digest()

    def keep_pace(self, size: int, seconds: float) -> None:
        """Make chunks and records as long as suits a link that has just taken `size` bytes in `seconds`."""
        suits = size * limits.CHUNK_SECONDS / seconds if seconds > 0 else math.inf
        whole = min(suits, limits.MOST_CHUNK) // limits.LEAST_CHUNK
        self._chunk = max(int(whole), 1) * limits.LEAST_CHUNK

    def next_records(self, most: int = 1) -> list[bytes]:
        """Return the next records: `most` of them, fewer at the end, none after it. Blocks on the disk."""
        return list(islice(self._records, most))

    def _pack(self) -> Iterator[bytes]:
        session = self._session
        for message in self._messages():
            size = len(message.data) + wire.WHOLE_OVERHEAD if isinstance(message, (Data, WholeFile)) else 0
            if self.total is not None and not self._told_total:
                self._told_total = True
                session.say(Total(*self.total))
            if session.pending and session.pending + size > self._chunk + limits.RECORD_SPARE:
                yield session.record()
            session.say(message)
        yield session.record()

    def _messages(self) -> Iterator[Message]:
        page: list[Found] = []
        size = 0
        for found in self._walk:
            if isinstance(found, Omitted):
                self.failures += 1
                self.problems.append((found.path, found.reason))
                yield found
                continue
            if self._rejected and (above := self._rejected_above(found)) is not None:
                above.pruned = True
                continue
            if self._entries == limits.MAX_ENTRIES:
                self.failures += 1
                self.problems.append((shown(found.path), Reason.TOO_MUCH))
                yield Omitted(shown(found.entry.name), Reason.TOO_MUCH)
                break  # and with it all that the walk would still find
            found.index = self._entries
            self._entries += 1
            page.append(found)
            size += wire.most_bytes(found.entry)
            if len(page) == limits.SENDER_PAGE_ENTRIES or size >= limits.SENDER_PAGE_BYTES:
                yield from self._page(page)
                page, size = [], 0
        if page:
            yield from self._page(page)
        yield Finish(self._entries, self.files, self.size, self.failures, self.root)

    def _page(self, page: list[Found]) -> Iterator[Message]:
        """Name the entries of one page, then send what they hold."""
        yield Page(tuple(found.entry for found in page))
        for found in page:
            digest = None
            if found.entry.kind is Kind.FILE:
                try:
                    if self._is_rejected(found):
                        raise SourceFailed(Reason.NOT_WANTED)
                    if found.entry.size <= limits.CHUNK:
                        data = read_whole(found)
                        digest = file_digest(data)
                        yield WholeFile(found.index, data, digest) if data else FileEnd(found.index, digest)
                    else:
                        digest = yield from self._chunks(found)
                        yield FileEnd(found.index, digest)
                    self.files += 1
                    self.size += found.entry.size
                except SourceFailed as failure:
                    yield self._failed(found, failure.reason)
            self._root.add(found.entry, digest)
        self._forget(page[-1])

    def _failed(self, found: Found, reason: Reason) -> FileFail:
        if reason is not Reason.NOT_WANTED:
            self.failures += 1
            self.problems.append((shown(found.path), reason))
        return FileFail(found.index, reason)

    def _forget(self, last: Found) -> None:
        """Drop the rejections that can change nothing any more: all but those of directories still open."""
        open_directories = set()
        above: Found | None = last
        while above is not None:
            open_directories.add(above.index)
            above = above.parent
        self._open, self._passed = frozenset(open_directories), last.index + 1
        self._rejected.intersection_update({at for at in list(self._rejected) if self._matters(at)})

    def _matters(self, index: int) -> bool:
        return index >= self._passed or index in self._open

    def _chunks(self, found: Found) -> Generator[Message, None, bytes]:
        """Send the bytes of one file; return its digest."""
        digest = FileDigest(found.entry.size)
        offset = 0
        with open_source(found) as source:
            for chunk in source.read_chunks(lambda: self._chunk):
                digest.update(chunk)
                yield Data(found.index, offset, chunk)
                offset += len(chunk)
                if found.index in self._rejected:
                    raise SourceFailed(Reason.NOT_WANTED)
        return digest.digest()

    def _is_rejected(self, found: Found) -> bool:
        rejected = self._rejected
        return bool(rejected) and (found.index in rejected or self._rejected_above(found) is not None)

    def _rejected_above(self, found: Found) -> Found | None:
        """Return the directory on the way to `found` that the receiver does not take, if there is one."""
        above = found.parent
        while above is not None and above.index not in self._rejected:
            above = above.parent
        return above
