"""What a sender says, from the first page to the last sum, as sealed records.

Everything here blocks on the disk and runs in a worker thread, a few records for each trip: walking, reading,
hashing, compressing and sealing overlap with the socket, and one thread hop pays for some MiB or for
hundreds of small files.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING

from p2p_copy.errors import PeerMisbehaved
from p2p_copy.files.selection import EVERYTHING
from p2p_copy.files.source.attributes import add_attributes
from p2p_copy.files.source.hardlinks import FirstNames
from p2p_copy.files.source.own_files import OwnFiles
from p2p_copy.files.source.walk import UNFINISHED, SourceEntry, SourceFailed, open_source, read_whole, walk
from p2p_copy.protocol import limits as protocol_limits, wire
from p2p_copy.protocol.digest import FileDigest, RootDigest, file_digest, prefix_digest
from p2p_copy.protocol.escape import escape
from p2p_copy.protocol.messages import (
    Data,
    FileEnd,
    FileFail,
    Finish,
    Hole,
    Kind,
    Message,
    Omitted,
    Page,
    Preserved,
    Reason,
    Total,
    WholeFile,
)
from p2p_copy.protocol.names import is_unfinished
from p2p_copy.transfer import limits
from p2p_copy.transfer.chunk_size import ChunkSize

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from p2p_copy.files.receipts.receipt_file import ReceiptFile
    from p2p_copy.files.selection import Selection
    from p2p_copy.files.source.digest_cache import DigestCache
    from p2p_copy.options import Symlinks
    from p2p_copy.protocol.messages import Accept, Held, Holds
    from p2p_copy.protocol.session import Session


class Pause(Enum):
    """Why there is nothing to say for now."""

    ANSWER = "the receiver has not answered yet"
    WORK = "this side reads what it need not send"


class TreeProducer:
    """One transfer's records, made on demand.

    Where the receiver holds something of an earlier link, it answers each page, and no contents go out before that.

    Attributes:
        stuck: nothing more can be said before the receiver's next answer.
        rejections: how many entries the receiver does not take; skips: how many it leaves as they are.
        total: files and bytes in all, once somebody has counted them.
        problems: (shown path, reason) of everything that cannot be sent; the reader takes them out.
        ended: all was said.
        failures: how many things were named or found, and are not sent; waived: how many of these nobody wants.
        excluded: how many patterns of this side left out; unwanted: how many those of the receiver.
        files: files sent whole.
        size: their bytes.
        spared: bytes of files that need not be sent, because the receiver has them from an earlier meeting.
        unfinished: how many unfinished files of p2p-copy itself were left out.
        untold: how many entries have extended attributes that cannot be told.

    """

    def __init__(
        self,
        paths: Sequence[str],
        session: Session,
        accept: Accept,
        sent: DigestCache,
        *,
        links: Symlinks,
        selection: Selection = EVERYTHING,
        receipt: ReceiptFile | None = None,
        state_directories: tuple[str, ...] = (),
    ) -> None:
        """Begin.

        Raises:
            PeerMisbehaved: the receiver marks its output directory with what may be a file of the user's.

        """
        if accept.marker and not is_unfinished(accept.marker):
            raise PeerMisbehaved("The receiver marks its output directory with a name that it may not use.")
        self._walk = walk(
            paths,
            links=links,
            portable_names=accept.portable_names,
            selection=selection,
            own=OwnFiles(state_directories, accept.marker),
        )
        self._session = session
        self._sent = sent
        self._receipt = receipt
        self._preserve = accept.preserve
        self._first_names = FirstNames() if Preserved.HARD_LINKS in accept.preserve else None
        self._asked = accept.holds
        self._answered = 0  # entries, from the first on, of which the receiver has said what it holds
        self._held: dict[int, Held] = {}
        self._omitted = self._waived = 0  # numbers: of the next one, and of the first one that may be waived
        self._marks: deque[tuple[int, int]] = deque()  # the end of a page, and of what was omitted before it
        self._undecided: dict[int, tuple[str, Reason]] = {}
        self.stuck = False
        self.portable_names = accept.portable_names
        self._records = self._pack()
        self._root = RootDigest()
        self._entries = 0
        self._pace = ChunkSize()
        self._rejected: set[int] = set()  # those that still matter
        self._open: frozenset[int] = frozenset()
        self._passed = 0
        self._rejects = 0
        self.rejections = 0
        self.skips = 0
        self.failures = 0
        self.waived = 0
        self.excluded = 0
        self.unwanted = 0
        self.untold = 0
        self.unfinished = 0
        self.ended = False
        self.total: tuple[int, int] | None = None
        self.problems: list[tuple[str, Reason]] = []
        self.files = 0
        self.size = 0
        self.spared = 0

    def close(self) -> None:
        """Let go of what is open, wherever this is; after that there is nothing more."""
        self._records.close()
        self._walk.close()

    def reject(self, index: int, reason: Reason) -> None:
        """Say that the receiver does not take this entry; what of it was not sent yet will not be.

        Raises:
            PeerMisbehaved: there is no such entry, or it was rejected before.

        """
        self._rejects += 1
        if index >= self._entries:
            raise PeerMisbehaved("The receiver speaks of an entry that was never named.")
        if self._rejects > self._entries:
            raise PeerMisbehaved("The receiver refuses more entries than were named.")
        if self._receipt is not None:
            self._receipt.undeliver(index)
        if reason is Reason.UNMADE:
            return  # it is empty, and neither side counts it
        if self._matters(index):
            self._rejected.add(index)
        if self._first_names is not None:
            self._first_names.reject(index)
        self.rejections += reason.is_failure
        self.skips += not reason.is_failure
        self.unwanted += reason is Reason.EXCLUDED

    def hold(self, message: Holds) -> None:
        """Hear what the receiver holds of the entries named so far.

        Raises:
            PeerMisbehaved: it was not asked, or speaks of what was never named, or was settled.

        """
        indices = [held.index for held in message.files]
        if not self._asked or not self._answered < message.end <= self._entries:
            raise PeerMisbehaved("The receiver says what it holds of entries that were not named.")
        if indices and not self._answered <= min(indices) <= max(indices) < message.end:
            raise PeerMisbehaved("The receiver says what it holds of entries that it has told of already.")
        while self._marks and self._marks[0][0] <= message.end:
            self._decide(self._marks.popleft()[1])
        self._held.update(zip(indices, message.files, strict=True))
        self._answered = message.end

    @property
    def root(self) -> bytes:
        """The root digest over all that was said so far."""
        return self._root.digest()

    def keep_pace(self, size: int, seconds: float) -> None:
        """Make chunks and records as long as suits a link that has just taken `size` bytes in `seconds`."""
        self._pace.keep(size, seconds)

    def next_records(self, most: int = 1) -> list[bytes]:
        """Return the next records: `most` of them, fewer at the end or when `stuck`, none at the end.

        Blocks on the disk. None at all with `stuck` False and `ended` False means: call again.
        """
        records: list[bytes] = []
        self.stuck = False
        while len(records) < most:
            record = next(self._records, None)
            if record is None:
                self.ended = True
            if not isinstance(record, bytes):
                self.stuck = record is Pause.ANSWER
                break
            records.append(record)
        self._sent.commit(sum(map(len, records)))
        return records

    def _pack(self) -> Generator[bytes | Pause, None, None]:
        session = self._session
        holes = 0  # bytes that the record under way skips
        for message in self._with_total():
            if isinstance(message, Pause):
                if session.pending:
                    yield session.record()  # whoever takes it comes back later: ask again then whether to pause
                    holes = 0
                else:
                    yield message
                continue
            size = len(message.data) + wire.WHOLE_OVERHEAD if isinstance(message, (Data, WholeFile)) else 0
            hole = message.size if isinstance(message, Hole) else 0
            if session.pending and (
                session.pending + size > self._pace.chunk + limits.RECORD_SPARE
                or not session.has_room(message)
                or holes + hole > protocol_limits.MAX_RECORD_HOLES
                or (
                    isinstance(message, Page)
                    and session.pending > protocol_limits.MAX_RECORD_CONTENT - wire.MOST_PAGE
                )
            ):
                yield session.record()
                holes = 0
            holes += hole
            session.say(message)
        yield session.record()

    def _with_total(self) -> Iterator[Message | Pause]:
        """Say the total, once, as soon as it is known."""
        told = False
        for message in self._messages():
            if self.total is not None and not told and not isinstance(message, Pause):
                told = True
                yield Total(*self.total)
            yield message

    def _messages(self) -> Iterator[Message | Pause]:
        announced: deque[list[SourceEntry]] = deque()
        for page in self._pages():
            if isinstance(page, Omitted):
                yield page
                continue
            if self._asked:
                self._marks.append((page[-1].index + 1, self._omitted))
            yield Page(tuple(found.entry for found in page))
            announced.append(page)
            while announced and self._is_due(announced):
                yield from self._contents(announced.popleft())
        while announced:
            yield from self._contents(announced.popleft())
        yield Finish(self._entries, self.files, self.size, self.failures, self.root)

    def _is_due(self, announced: deque[list[SourceEntry]]) -> bool:
        """Return whether the contents of the first page announced are to be sent before another page is."""
        most = protocol_limits.MAX_OPEN_ENTRIES // limits.SENDER_PAGE_ENTRIES
        return len(announced) == most or self._is_answered(announced[0])

    def _is_answered(self, page: list[SourceEntry]) -> bool:
        return not self._asked or self._answered > page[-1].index

    def _pages(self) -> Iterator[list[SourceEntry] | Omitted]:
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
                yield self._omit(found, found.path)
                if self._omitted == protocol_limits.MAX_ENTRIES:
                    break  # both sides know that something is missing
                continue
            if self._rejected and (above := self._rejected_above(found)) is not None:
                above.pruned = True
                continue
            if self._entries == protocol_limits.MAX_ENTRIES:
                yield self._omit(Omitted(escape(found.entry.name), Reason.TOO_MUCH), escape(found.path))
                break  # and with it all that the walk would still find
            found.index = self._entries
            self._entries += 1
            if self._preserve and not add_attributes(found, self._preserve):
                self.untold += 1
            if self._first_names is not None:
                self._first_names.name(found)
            page.append(found)
            size += wire.most_bytes(found.entry)
            xattrs += len(found.entry.extra.xattrs) if found.entry.extra is not None else 0
            if len(page) + xattrs >= limits.SENDER_PAGE_ENTRIES or size >= protocol_limits.SENDER_PAGE_BYTES:
                yield page
                page, size, xattrs = [], 0, 0
        if page:
            yield page

    def _omit(self, omitted: Omitted, path: str) -> Omitted:
        """Count something that cannot be sent. A receiver that answers may say that it does not want it."""
        self.failures += 1
        problem = path, omitted.reason
        if not self._asked:
            self.problems.append(problem)
        else:
            self._undecided[self._omitted] = problem
            if len(self._undecided) > limits.UNDECIDED:
                self._decide(self._omitted + 1 - limits.UNDECIDED)
        self._omitted += 1
        return omitted

    def _decide(self, end: int) -> None:
        """Tell of what was omitted before this number, and not waived."""
        for number in sorted(self._undecided):
            if number < end and (problem := self._undecided.pop(number, None)):
                self.problems.append(problem)

    def waive(self, number: int) -> None:
        """Say that the receiver does not want what was omitted with this number.

        Raises:
            PeerMisbehaved: it was not asked, or speaks of what was never omitted, or was settled.

        """
        if not self._asked or not self._waived <= number < self._omitted:
            raise PeerMisbehaved("The receiver waives something that was not omitted.")
        self._waived = number + 1
        self.waived += 1
        self._undecided.pop(number, None)

    def decide_all(self) -> None:
        """Tell of all that was omitted and not waived: the receiver says no more."""
        self._decide(self._omitted)

    def _contents(self, page: list[SourceEntry]) -> Iterator[Message | Pause]:
        """Send what the entries of one page hold, once it is known what of it is wanted."""
        while not self._is_answered(page):
            yield Pause.ANSWER
        for found in page:
            digest = before = None
            if found.entry.kind is Kind.FILE:
                held = self._held.pop(found.index, None)
                try:
                    if self._is_rejected(found):
                        raise SourceFailed(Reason.NOT_WANTED)
                    if self._first_names is not None:
                        before = self._first_names.sent_before(found)
                    if before is not None:
                        digest = before
                        yield FileEnd(found.index, before)
                    else:
                        digest = yield from self._file(found, held)
                    self.files += 1
                    self.size += found.entry.size
                except SourceFailed as failure:
                    yield self._failed(found, failure.reason)
            if self._first_names is not None and before is None:
                self._first_names.sent(found, digest)
            self._root.add(found.entry, digest)
            if self._receipt is not None:
                delivered = not self._is_rejected(found)  # as far as is known by now
                self._receipt.add(found.inner_path, found.entry, digest, delivered=delivered)
        self._forget(page[-1])

    def _file(self, found: SourceEntry, held: Held | None) -> Generator[Message | Pause, None, bytes]:
        """Send one file, or what the receiver does not hold of it; return its digest."""
        size = found.entry.size
        if size <= limits.CHUNK:
            digest = self._sent.digest(found) if held else None
            if held and digest == held.digest:
                self.spared += size
                yield FileEnd(found.index, held.digest)
                return held.digest
            data = read_whole(found)
            digest = file_digest(data)
            self._sent.whole(found, digest)
            if not data or (held and held.digest == digest):
                self.spared += size
                yield FileEnd(found.index, digest)
            else:
                yield WholeFile(found.index, data, digest)
            return digest
        leaves = b""
        if held is not None and held.size == size:
            digest = self._sent.digest(found) or (yield from self._digest(found))
            if digest == held.digest:
                self.spared += size
                yield FileEnd(found.index, digest)
                return digest
        elif held is not None:
            leaves = yield from self._leaves(found, held)
        digest = yield from self._chunks(found, leaves)
        yield FileEnd(found.index, digest)
        self._sent.whole(found, digest)
        return digest

    def _digest(self, found: SourceEntry) -> Generator[Pause, None, bytes]:
        """Read a file only to compare it."""
        digest = FileDigest(found.entry.size)
        with open_source(found) as source:
            for piece in source.read_pieces(lambda: limits.MOST_CHUNK):
                digest.add(piece)
                yield Pause.WORK
        self._sent.whole(found, digest.digest())
        return digest.digest()

    def _leaves(self, found: SourceEntry, held: Held) -> Generator[Pause, None, bytes]:
        """Return the digests of the segments that the receiver holds, if they are those of the file here."""
        wanted = min(held.size, found.entry.size) // protocol_limits.SEGMENT
        leaves = bytearray(self._sent.leaves(found)[: wanted * protocol_limits.DIGEST])
        with open_source(found) as source:
            known = len(leaves) // protocol_limits.DIGEST
            for number in sorted({0, known - 1} if known else ()):
                if (
                    source.leaf(number)
                    != leaves[number * protocol_limits.DIGEST : (number + 1) * protocol_limits.DIGEST]
                ):
                    leaves.clear()  # the file was changed without a trace; all that was known of it is void
                    break
            for number in range(len(leaves) // protocol_limits.DIGEST, wanted):
                leaves += source.leaf(number)
                yield Pause.WORK
        agreed = wanted * protocol_limits.SEGMENT == held.size and prefix_digest(leaves) == held.digest
        self._sent.begin(found, bytes(leaves))
        return bytes(leaves) if agreed else b""

    def _failed(self, found: SourceEntry, reason: Reason) -> FileFail:
        if reason is not Reason.NOT_WANTED:
            self.failures += 1
            self.problems.append((escape(found.path), reason))
        return FileFail(found.index, reason)

    def _forget(self, last: SourceEntry) -> None:
        """Drop the rejections that can change nothing any more: all but those of directories still open."""
        open_directories = set()
        above: SourceEntry | None = last
        while above is not None:
            open_directories.add(above.index)
            above = above.parent
        self._open, self._passed = frozenset(open_directories), last.index + 1
        # By what is to go, not by what is to stay: more may be rejected meanwhile, in another thread.
        self._rejected.difference_update({at for at in list(self._rejected) if not self._matters(at)})

    def _matters(self, index: int) -> bool:
        return index >= self._passed or index in self._open

    def _chunks(self, found: SourceEntry, leaves: bytes) -> Generator[Message, None, bytes]:
        """Send the bytes of one file behind the segments with these `leaves`; return its digest."""
        digest = FileDigest(found.entry.size, leaves)
        offset = len(leaves) // protocol_limits.DIGEST * protocol_limits.SEGMENT
        self.spared += offset
        if not leaves:
            self._sent.begin(found, b"")
        with open_source(found) as source:
            for piece in source.read_pieces(lambda: self._pace.chunk, offset):
                known = len(digest.leaves)
                digest.add(piece)
                if len(digest.leaves) > known:
                    self._sent.add_leaves(found, bytes(digest.leaves[known:]))
                if isinstance(piece, int):
                    yield Hole(found.index, offset, piece)
                    offset += piece
                else:
                    yield Data(found.index, offset, piece)
                    offset += len(piece)
                if found.index in self._rejected:
                    raise SourceFailed(Reason.NOT_WANTED)
        return digest.digest()

    def _is_rejected(self, found: SourceEntry) -> bool:
        rejected = self._rejected
        return bool(rejected) and (found.index in rejected or self._rejected_above(found) is not None)

    def _rejected_above(self, found: SourceEntry) -> SourceEntry | None:
        """Return the directory on the way to `found` that the receiver does not take, if there is one."""
        above = found.parent
        while above is not None and above.index not in self._rejected:
            above = above.parent
        return above
