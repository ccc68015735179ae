"""Makes all records of a sender of files and directories: pages of names, the contents of the files, the final sums.

Everything here blocks on the disk and runs in a worker thread, a few records for each trip: walking, reading,
hashing, compressing and encrypting overlap with the network, and one trip to the thread pays for some MiB or for
hundreds of small files. Rules:

1. One lock guards all state. The thread holds it while it makes records.
2. The event loop hands over what it hears with `hear`, which never waits. If the thread is busy, the answer waits in
   a queue, which the thread empties before each record.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from enum import Enum
from threading import Lock
from typing import TYPE_CHECKING, Final

from p2p_copy.errors import PeerMisbehaved
from p2p_copy.files.source.hardlinks import FirstNames
from p2p_copy.files.source.internal_files import InternalFiles
from p2p_copy.files.source.reader import SourceFailed, add_attributes, open_source, read_whole
from p2p_copy.files.source.walk import UNFINISHED, walk
from p2p_copy.files.state.journal import key_of
from p2p_copy.observer import Report
from p2p_copy.protocol import limits as protocol_limits, wire
from p2p_copy.protocol.digest import UNREAD, FileDigest, RootDigest, file_digest, prefix_digest
from p2p_copy.protocol.escape import escape
from p2p_copy.protocol.messages import (
    Data,
    FileEnd,
    FileFail,
    Finish,
    Holds,
    Hole,
    Kept,
    Kind,
    Message,
    Omitted,
    Page,
    Preserved,
    Reason,
    Reject,
    SameSegments,
    SegmentDigests,
    Total,
    Unwanted,
    WholeFile,
)
from p2p_copy.protocol.names import is_unfinished
from p2p_copy.transfer import limits
from p2p_copy.transfer.chunk_size import ChunkSize
from p2p_copy.transfer.tree.answers import AnswerQueue, Omissions, PageAnswers, Rejections
from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from p2p_copy.files.receipts.receipt_file import ReceiptFile
    from p2p_copy.files.source.digest_cache import DigestCache
    from p2p_copy.files.source.entry import SourceEntry, SourceTrees
    from p2p_copy.files.source.reader import SourceFile
    from p2p_copy.protocol.messages import Accept, Held, Receipt
    from p2p_copy.protocol.session import Session
    from p2p_copy.transfer.tree.answers import Answer

MOST_PAGE: Final = wire.FRAME.size + limits.SENDER_PAGE_BYTES + wire.MOST_ENTRY
"""Bytes of a page as a message, at most: its last entry may reach beyond SENDER_PAGE_BYTES."""


class Pause(Enum):
    """Why there is no message at the moment."""

    ANSWER = "the receiver has not answered yet"
    WORK = "this side reads a file only to compare it"


class TreeProducer:
    """The records of one conversation, made on demand.

    Where the receiver has something of an earlier conversation, or patterns, it answers every page, and the contents
    of a page are sent only after the answer.

    Attributes:
        stuck: no more records can be made before the receiver answers.
        ended: all records were made.

    """

    def __init__(
        self,
        trees: SourceTrees,
        session: Session,
        accept: Accept,
        cache: DigestCache,
        *,
        receipt: ReceiptFile | None = None,
        state_directories: tuple[str, ...] = (),
    ) -> None:
        """Begin.

        Raises:
            PeerMisbehaved: the receiver marks its output directory with a name that may be a file of the user's.

        """
        if accept.marker and not is_unfinished(accept.marker):
            raise PeerMisbehaved("The receiver marks its output directory with a name that it may not use.")
        found = walk(
            trees._replace(portable_names=accept.portable_names),
            InternalFiles(state_directories, accept.marker),
        )
        self.stuck = False
        self.ended = False
        self._lock = Lock()
        self._answers = AnswerQueue()
        self._session = session
        self._cache = cache
        self._receipt = receipt
        self._chunk_size = ChunkSize(accept.rate)
        self._problems: list[tuple[str, Reason]] = []
        self._first_names = FirstNames() if Preserved.HARD_LINKS in accept.preserve else None
        self._rejections = Rejections()
        self._omissions = Omissions(self._problems, answered=accept.holds)
        self._pages = PageProducer(
            found, accept.preserve, self._first_names, self._rejections, self._omissions
        )
        self._files = FileProducer(cache, self._chunk_size, self._rejections)
        self._page_answers = PageAnswers(expected=accept.holds)
        self._total: Total | None = None
        self._root = RootDigest()
        self._sent_files = self._sent_size = self._failed_files = self._same_files = 0
        self._current: SourceEntry | None = None
        self._records = self._pack()

    def close(self) -> None:
        """Close the files and directories that are open. No more records can be made."""
        self._records.close()
        self._pages.close()

    # What the event loop calls, also while the thread makes records

    def hear(self, answer: Answer) -> bool:
        """Accept an answer of the receiver, or the total once it is counted.

        Return whether another one may follow at once. If not, call `catch_up` in a thread first.

        Raises:
            PeerMisbehaved: this or an earlier answer was not asked for, came out of order, or concerns an entry that
                was never named.

        """
        self._answers.put(answer)
        if self._lock.acquire(blocking=False):
            try:
                self._act_on_answers()
            finally:
                self._lock.release()
        return not self._answers.is_full

    def catch_up(self) -> None:
        """Wait until the thread that makes records pauses, then act on all answers. Raises what `hear` does."""
        with self._lock:
            self._act_on_answers()

    @property
    def path(self) -> str:
        """The file whose contents are sent, escaped and as the receiver sees it; empty if there is none."""
        current = self._current
        return "" if current is None else escape(current.inner_path)

    # What the event loop calls only while no records are made

    @property
    def spared(self) -> int:
        """Bytes of files that need not be sent, because the receiver has them from an earlier meeting."""
        return self._files.spared

    @property
    def attributes_unsent(self) -> int:
        """How many entries have extended attributes that cannot be sent."""
        return self._pages.attributes_unsent

    @property
    def unfinished(self) -> int:
        """How many unfinished files of p2p-copy itself were left out."""
        return self._pages.unfinished

    def take_problems(self) -> list[tuple[str, Reason]]:
        """Return what was found unsendable since the last call: escaped paths, each with its reason."""
        problems = self._problems[:]
        del self._problems[: len(problems)]  # not all: a thread in `catch_up` may have added one
        return problems

    def keep_pace(self, size: int, seconds: float) -> None:
        """Make chunks and records as long as suits a link that has just taken `size` bytes in `seconds`."""
        self._chunk_size.keep(size, seconds)

    def check(self, receipt: Receipt) -> None:
        """Compare the receipt with what was sent: a receiver that lost something must not look like success.

        Raises:
            PeerMisbehaved: it has confirmed something else.

        """
        self.catch_up()
        self._omissions.decide_all()
        refused = (self._rejections.failures, self._rejections.skips)
        sent = (self._sent_files, self._sent_size)
        if any(refused):
            adds_up = receipt.files <= self._sent_files and receipt.size <= self._sent_size
        else:
            adds_up = (receipt.files, receipt.size) == sent
        same_root = receipt.root == self._root.digest()
        if not same_root or (receipt.rejected, receipt.skipped) != refused or not adds_up:
            raise PeerMisbehaved("The receiver confirmed something else than what was sent.")

    def report(self, receipt: Receipt, seconds: float) -> Report:
        """Return the result of a transfer that took `seconds`, by a receipt that was checked."""
        unwanted = self._rejections.unwanted
        return Report(
            files=receipt.files,
            size=receipt.size,
            failures=self._failures - self._omissions.unwanted + receipt.rejected,
            skipped=receipt.skipped - unwanted,
            excluded=self._pages.excluded + unwanted,
            root=receipt.root.hex(),
            seconds=seconds,
            up_to_date=self._same_files + self._files.up_to_date,
        )

    # The thread

    def next_records(self, most: int = 1) -> list[bytes]:
        """Return the next records: `most` of them, fewer at the end or when `stuck`, none at the end.

        Blocks on the disk. If it returns none and neither `stuck` nor `ended` is True, call it again.

        Raises:
            PeerMisbehaved: see `hear`.

        """
        records: list[bytes] = []
        with self._lock:
            self.stuck = False
            while len(records) < most:
                self._act_on_answers()
                record = next(self._records, None)
                if record is None:
                    self.ended = True
                if not isinstance(record, bytes):
                    self.stuck = record is Pause.ANSWER
                    break
                records.append(record)
            self._cache.journal.commit_if_due(sum(map(len, records)) // limits.READ_PER_SENT)
        return records

    def _act_on_answers(self) -> None:
        for answer in self._answers.take_all():
            match answer:
                case Reject():
                    self._reject(answer.index, answer.reason)
                case Holds():
                    self._page_answers.add(answer, self._pages.named)
                    self._omissions.page_answered(answer.end)
                case SameSegments():
                    self._page_answers.add_same_segments(answer)
                case Unwanted():
                    self._omissions.set_unwanted(answer.number)
                case Total():
                    self._total = answer

    def _reject(self, index: int, reason: Reason) -> None:
        """Stop sending an entry that the receiver does not take."""
        self._rejections.add(index, reason, self._pages.named)
        if self._receipt is not None:
            self._receipt.undeliver(index)
        if self._first_names is not None and reason is not Reason.UNMADE:
            self._first_names.reject(index)

    def _pack(self) -> Generator[bytes | Pause, None, None]:
        """Put messages into records."""
        session = self._session
        holes = 0  # bytes of the holes in the record under way
        for message in self._with_total():
            if isinstance(message, Pause):
                if session.pending:
                    yield session.record()  # before the pause; the caller sends it and calls again
                    holes = 0
                else:
                    yield message
                continue
            size = len(message.data) + wire.WHOLE_OVERHEAD if isinstance(message, (WholeFile, Data)) else 0
            hole = message.size if isinstance(message, (Hole, Kept)) else 0
            if session.pending and (
                session.pending + size > self._chunk_size.chunk + limits.RECORD_SPARE
                or not session.fits(message)
                or holes + hole > protocol_limits.MAX_RECORD_HOLES
                or (
                    isinstance(message, Page)
                    and session.pending > protocol_limits.MAX_RECORD_CONTENT - MOST_PAGE
                )
            ):
                yield session.record()
                holes = 0
            holes += hole
            session.say(message)
        yield session.record()

    def _with_total(self) -> Iterator[Message | Pause]:
        """Add the total, once, as soon as it is known."""
        sent = False
        for message in self._messages():
            if self._total is not None and not sent and not isinstance(message, Pause):
                sent = True
                yield self._total
            yield message

    def _messages(self) -> Iterator[Message | Pause]:
        announced: deque[list[SourceEntry]] = deque()
        for page in self._pages.pages():
            if isinstance(page, Omitted):
                yield page
                continue
            self._omissions.end_page(page[-1].index + 1)
            yield Page(tuple(found.entry for found in page))
            announced.append(page)
            while announced and self._is_due(announced):
                yield from self._contents(announced)
        while announced:
            yield from self._contents(announced)
        self._current = None
        sent = self._sent_files, self._sent_size
        yield Finish(self._pages.named, *sent, self._failures, self._root.digest())

    def _is_due(self, announced: deque[list[SourceEntry]]) -> bool:
        """Return whether the contents of the first page announced are to be sent before another page is."""
        most = protocol_limits.MAX_OPEN_ENTRIES // limits.SENDER_PAGE_ENTRIES
        return len(announced) == most or self._page_answers.has(announced[0][-1].index)

    def _contents(self, announced: deque[list[SourceEntry]]) -> Iterator[Message | Pause]:
        """Send the contents of the first page's entries, once it is known what the receiver wants of them."""
        page = announced[0]
        while not self._page_answers.has(page[-1].index):
            yield Pause.ANSWER
        fresh = not self._page_answers.expected  # the receiver has nothing
        if not fresh:
            for each in announced:  # also those behind it, so that the answers are here when it is their turn
                if self._page_answers.has(each[-1].index):
                    yield from self._compare(each)
            while not self._page_answers.has_compared(page[-1].index):
                yield Pause.ANSWER
        announced.popleft()
        for found in page:
            digest = before = None
            up_to_date = not fresh and self._page_answers.take_same(found.index)
            if found.entry.kind is Kind.FILE and up_to_date and not self._rejections.has(found):
                digest = UNREAD
                self._same_files += 1
                self._sent_files += 1
                self._sent_size += found.entry.size
                self._files.spared += found.entry.size
            elif found.entry.kind is Kind.FILE:
                self._current = found
                held = None if fresh else self._page_answers.take_held(found.index)
                try:
                    if self._rejections.has(found):
                        raise SourceFailed(Reason.NOT_WANTED)
                    if self._first_names is not None:
                        before = self._first_names.digest_sent(found)
                    if before is not None:
                        digest = before
                        yield FileEnd(found.index, before)
                    elif fresh and found.entry.size <= limits.CHUNK:
                        message = self._files.whole(found)
                        digest = message.digest
                        yield message
                    else:
                        same = self._page_answers.take_same_segments(found.index)
                        digest = yield from self._files.messages(found, held, *same)
                    self._sent_files += 1
                    self._sent_size += found.entry.size
                except SourceFailed as failure:
                    yield self._failed(found, failure.reason)
            if self._first_names is not None and before is None:
                self._first_names.record_sent(found, digest or None)
            self._root.add(found.entry, digest)
            if self._receipt is not None:
                delivered = not self._rejections.has(found)  # no later rejection is known yet
                self._receipt.add(found.inner_path, found.entry, digest, delivered=delivered)
        self._rejections.forget(page[-1])

    def _compare(self, page: list[SourceEntry]) -> Iterator[Message | Pause]:
        """Tell the receiver the digests of the segments of those files of a page of which it has an old one."""
        for found in page:
            if self._page_answers.take_compare(found.index) and found.entry.kind is Kind.FILE:
                with suppress(SourceFailed):  # it fails again, or not, when the file is sent
                    for message in self._files.segment_digests(found):
                        if isinstance(message, SegmentDigests):
                            count = len(message.digests) // protocol_limits.DIGEST
                            self._page_answers.ask(found.index, count)
                        yield message

    def _failed(self, found: SourceEntry, reason: Reason) -> FileFail:
        if reason is not Reason.NOT_WANTED:
            self._failed_files += 1
            self._problems.append((escape(found.path), reason))
        return FileFail(found.index, reason)

    @property
    def _failures(self) -> int:
        """How many things were named or found, and are not sent."""
        return self._omissions.count + self._failed_files


class PageProducer:
    """Numbers what the walk finds and puts it into pages, without what lies in directories that were rejected.

    Attributes:
        named: how many entries the pages so far have; the number of the next one.
        excluded: how many entries patterns of this side leave out.
        attributes_unsent: how many entries have extended attributes that cannot be sent.
        unfinished: how many unfinished files of p2p-copy itself were left out.

    """

    def __init__(
        self,
        walk: Generator[SourceEntry | Omitted, None, None],
        preserve: Preserved,
        first_names: FirstNames | None,
        rejections: Rejections,
        omissions: Omissions,
    ) -> None:
        self.named = 0
        self.excluded = 0
        self.attributes_unsent = 0
        self.unfinished = 0
        self._walk = walk
        self._preserve = preserve
        self._first_names = first_names
        self._rejections = rejections
        self._omissions = omissions

    def close(self) -> None:
        """Close the directories that the walk has open; there are no more pages."""
        self._walk.close()

    def pages(self) -> Iterator[list[SourceEntry] | Omitted]:
        """Yield pages, and between them what is omitted."""
        page: list[SourceEntry] = []
        size = xattrs = 0
        for found in self._walk:
            if isinstance(found, Omitted):
                if found.reason is Reason.EXCLUDED:
                    self.excluded += 1
                    continue
                if found is UNFINISHED:
                    self.unfinished += 1
                    continue
                self._omissions.add(found.path, found.reason)
                yield found
                if self._omissions.count == protocol_limits.MAX_ENTRIES:
                    break  # further ones cannot get numbers; both sides know already that something is missing
                continue
            if (above := self._rejections.above(found)) is not None:
                above.pruned = True
                continue
            if self.named == protocol_limits.MAX_ENTRIES:
                self._omissions.add(escape(found.path), Reason.TOO_MUCH)
                yield Omitted(escape(found.entry.name), Reason.TOO_MUCH)
                break  # no further entry could get a number
            found.index = self.named
            self.named += 1
            if self._preserve and not add_attributes(found, self._preserve):
                self.attributes_unsent += 1
            if self._first_names is not None:
                self._first_names.add(found)
            page.append(found)
            size += wire.most_bytes(found.entry)
            xattrs += len(found.entry.extra.xattrs) if found.entry.extra is not None else 0
            if len(page) + xattrs >= limits.SENDER_PAGE_ENTRIES or size >= limits.SENDER_PAGE_BYTES:
                yield page
                page, size, xattrs = [], 0, 0
        if page:
            yield page


class FileProducer:
    """Makes the messages for one file after the other.

    Attributes:
        spared: bytes that need not be sent, because the receiver has them.
        up_to_date: files whose contents are the same as those of the receiver's old files.

    """

    def __init__(self, cache: DigestCache, chunk_size: ChunkSize, rejections: Rejections) -> None:
        self.spared = 0
        self.up_to_date = 0
        self._compared: dict[int, tuple[bytes, bytes]] = {}  # of files that are compared, by entry number
        self._compared_bytes = 0
        self._cache = cache
        self._chunk_size = chunk_size
        self._rejections = rejections

    def segment_digests(self, found: SourceEntry) -> Iterator[SegmentDigests | Pause]:
        """Read a file, and yield the digests of its segments.

        Raises:
            SourceFailed: it cannot be read.

        """
        digest, told = FileDigest(found.entry.size), 0
        with open_source(found) as source:
            for piece in _divided(source.read_pieces(lambda: limits.MOST_CHUNK)):
                digest.add(piece)
                self._compared_bytes += piece if isinstance(piece, int) else len(piece)
                if self._compared_bytes >= limits.COMPARE_AT_ONCE:
                    self._compared_bytes = 0
                    if leaves := bytes(digest.leaves[told:]):
                        yield SegmentDigests(found.index, told // protocol_limits.DIGEST, leaves)
                        told += len(leaves)
                    yield Pause.WORK
        whole = digest.digest()
        self._compared[found.index] = bytes(digest.leaves), whole
        if told < len(digest.leaves):
            yield SegmentDigests(found.index, told // protocol_limits.DIGEST, bytes(digest.leaves[told:]))

    def whole(self, found: SourceEntry, held: Held | None = None) -> WholeFile | FileEnd:
        """Read a small file; return the message that sends all of it, or its end if there is nothing to send.

        Raises:
            SourceFailed: it cannot be sent whole.

        """
        data = read_whole(found)
        digest = file_digest(data)
        self._cache.set_digest(found, digest)
        if not data or (held is not None and held.digest == digest):
            self.spared += len(data)
            return FileEnd(found.index, digest)
        return WholeFile(found.index, data, digest)

    def messages(
        self, found: SourceEntry, held: Held | None, same: Sequence[int] = (), whole: bool = False
    ) -> Generator[Message | Pause, None, bytes]:
        """Send a file, or what the receiver does not hold of it; return its digest.

        `same` says which segments are in the old file of the receiver, and `whole` that it is the same as this one.

        Raises:
            SourceFailed: it cannot be sent whole, or the receiver has rejected it meanwhile.

        """
        size = found.entry.size
        compared, whole_digest = self._compared.pop(found.index, (b"", b""))
        if whole and whole_digest:
            self.spared += size
            self.up_to_date += 1
            yield FileEnd(found.index, whole_digest)
            self._cache.set_digest(found, whole_digest)
            return whole_digest
        if size <= limits.CHUNK:
            digest = self._cache.digest(found) if held else None
            if held and digest == held.digest:
                self.spared += size
                yield FileEnd(found.index, held.digest)
                return held.digest
            message = self.whole(found, held)
            yield message
            return message.digest
        leaves = b""
        if held is not None and held.size == size:
            digest = self._cache.digest(found) or (yield from self._digest(found))
            if digest == held.digest:
                self.spared += size
                yield FileEnd(found.index, digest)
                return digest
        elif held is not None:
            leaves = yield from self._leaves(found, held)
        digest = yield from self._chunks(found, leaves, same, compared)
        yield FileEnd(found.index, digest)
        self._cache.set_digest(found, digest)
        return digest

    def _digest(self, found: SourceEntry) -> Generator[Pause, None, bytes]:
        """Read a file only to compare it."""
        digest = FileDigest(found.entry.size)
        with open_source(found) as source:
            for piece in source.read_pieces(lambda: limits.MOST_CHUNK):
                digest.add(piece)
                yield Pause.WORK
        self._cache.set_digest(found, digest.digest())
        return digest.digest()

    def _leaves(self, found: SourceEntry, held: Held) -> Generator[Pause, None, bytes]:
        """Return the digests of the segments that the receiver holds, if the file here begins with the same ones."""
        wanted = min(held.size, found.entry.size) // protocol_limits.SEGMENT
        leaves = bytearray(self._cache.leaves(found)[: wanted * protocol_limits.DIGEST])
        with open_source(found) as source:
            known = len(leaves) // protocol_limits.DIGEST
            for number in sorted({0, known - 1} if known else ()):
                place = slice(number * protocol_limits.DIGEST, (number + 1) * protocol_limits.DIGEST)
                if source.leaf(number) != leaves[place]:
                    leaves.clear()  # the file has changed though size and time have not: no cached digest is good
                    break
            for number in range(len(leaves) // protocol_limits.DIGEST, wanted):
                leaves += source.leaf(number)
                yield Pause.WORK
        agreed = wanted * protocol_limits.SEGMENT == held.size and prefix_digest(leaves) == held.digest
        self._cache.begin(found, bytes(leaves))
        return bytes(leaves) if agreed else b""

    def _chunks(
        self, found: SourceEntry, leaves: bytes, same: Sequence[int], compared: bytes
    ) -> Generator[Message, None, bytes]:
        """Send the bytes of a file behind the segments with these `leaves`; return its digest.

        Of segments that are the `same` in the receiver's old file only the place is sent. All have these digests
        (`compared`).
        """
        digest = FileDigest(found.entry.size, leaves)
        offset = len(leaves) // protocol_limits.DIGEST * protocol_limits.SEGMENT
        self.spared += offset
        if not leaves:
            self._cache.begin(found, b"")
        journal, key = self._cache.journal, key_of(found.inner_path)
        with open_source(found) as source:
            for piece in self._pieces(source, offset, found.entry.size, same, compared):
                known = len(digest.leaves)
                if isinstance(piece, _OldSegment):
                    digest.add_segment(piece.leaf)
                    self.spared += piece.size
                else:
                    digest.add(piece)
                whole = len(digest.leaves) // protocol_limits.DIGEST * protocol_limits.SEGMENT
                if len(digest.leaves) > known and whole <= found.entry.size:
                    journal.add_leaves(key, bytes(digest.leaves[known:]))
                if isinstance(piece, _OldSegment):
                    yield Kept(found.index, offset, piece.size)
                    offset += piece.size
                elif isinstance(piece, int):
                    yield Hole(found.index, offset, piece)
                    offset += piece
                else:
                    yield Data(found.index, offset, piece)
                    offset += len(piece)
                if self._rejections.has(found):
                    raise SourceFailed(Reason.NOT_WANTED)
        return digest.digest()

    def _pieces(
        self, source: SourceFile, offset: int, size: int, same: Sequence[int], compared: bytes
    ) -> Iterator[bytes | int | _OldSegment]:
        """Yield the pieces of a file from `offset` on, where a segment begins: read, or in the receiver's old file."""
        segments = -(-size // protocol_limits.SEGMENT)
        if len(same) != segments or len(compared) != segments * protocol_limits.DIGEST or not any(same):
            yield from source.read_pieces(lambda: self._chunk_size.chunk, offset)
            return
        while offset < size:
            number = offset // protocol_limits.SEGMENT
            end = min(offset + protocol_limits.SEGMENT, size)
            if same[number]:
                if end == size:
                    source.check()
                leaf = compared[number * protocol_limits.DIGEST : (number + 1) * protocol_limits.DIGEST]
                yield _OldSegment(end - offset, leaf)
            else:
                yield from source.read_pieces(lambda: self._chunk_size.chunk, offset, end)
            offset = end


def _divided(pieces: Iterator[bytes | int]) -> Iterator[bytes | int]:
    """Divide long holes, since a record may name the digests of only so many segments."""
    for piece in pieces:
        rest = piece
        while isinstance(rest, int) and rest > limits.COMPARE_AT_ONCE:
            yield limits.COMPARE_AT_ONCE
            rest -= limits.COMPARE_AT_ONCE
        yield rest


class _OldSegment(NamedTuple):
    """A segment that the receiver's old file has."""

    size: int
    leaf: bytes
