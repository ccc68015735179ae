"""What a receiver does with each record, and what it answers.

Everything here blocks on the disk and runs in a worker thread, a few records for each trip: opening,
decompressing, checking, hashing and writing. A record is decoded and its messages are checked one by one in
order; a manifest page is checked whole before anything in it is created.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_copy.errors import PeerMisbehaved, TooMuch
from p2p_copy.files.selection import EVERYTHING
from p2p_copy.files.target.hashed_part import HashedPart
from p2p_copy.files.target.space import check_space
from p2p_copy.files.target.target import Refused
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.digest import file_digest
from p2p_copy.protocol.escape import escape
from p2p_copy.protocol.messages import (
    Abort,
    Data,
    FileEnd,
    FileFail,
    Finish,
    Goodbye,
    Held,
    Holds,
    Hole,
    Kind,
    Message,
    Omitted,
    Page,
    Preserved,
    Progress,
    Reason,
    Receipt,
    Reject,
    Total,
    Waive,
    WholeFile,
)
from p2p_copy.transfer import limits
from p2p_copy.transfer.reasons import given_up

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from p2p_copy.files.selection import Selection
    from p2p_copy.files.target.target import PartialFile, Target
    from p2p_copy.protocol.manifest import Item, Manifest
    from p2p_copy.protocol.session import Session


class TreeConsumer:
    """One transfer as it lands in `target`.

    `max_size` bounds the bytes of all files. `max_files` bounds everything that the sender names and that is wanted:
    files, directories and links, and what it cannot send.

    Attributes:
        unmade: is told the number of each directory that is never made, since nothing in it was wanted.
        holds: every page is answered, so that nothing comes that is here already or is not wanted.
        files: files complete under their names.
        size: bytes written so far.
        total: files and bytes in all as the sender counts them, once it has said so.
        problems: (shown path, reason) of what does not arrive; the reader takes them out.
        failures: how many things do not arrive.
        skipped: how many were left as they were, as asked; excluded: how many were not wanted.
        root: the root digest, once all is through.
        goodbye: whether the sender has the receipt.

    """

    def __init__(
        self,
        target: Target,
        session: Session,
        manifest: Manifest,
        *,
        max_size: int | None,
        max_files: int | None = None,
        selection: Selection = EVERYTHING,
        unmade: Callable[[int], None] = lambda index: None,
    ) -> None:
        self.unmade = unmade
        self._target = target
        self._session = session
        self._manifest = manifest
        self._max_size = max_size
        self._max_files = max_files
        self._wanted = 0
        self._arriving: dict[
            Item, HashedPart
        ] = {}  # begun and not complete: one at most, and no other entry's
        self._selection = selection
        linking = Preserved.HARD_LINKS in manifest.preserve  # a name may bring what the first one does not
        self.holds = linking or not target.kept.fresh or not selection.everything
        self._held: dict[int, PartialFile] = {}  # by number, until the sender has decided
        self._content = memoryview(
            bytearray(protocol_limits.MAX_RECORD_CONTENT)
        )  # of the record that is acted upon
        self._written = 0  # bytes since the journal was last asked to make itself durable
        self._whole_files: list[tuple[Item, bytes | memoryview]] = []  # verified, and not yet written
        self._next_report = 0.0
        self._answers: list[bytes] = []
        self._omitted = 0
        self._rejected = 0
        self.files = 0
        self.size = self.spared = 0
        self.delivered = 0
        self.total: tuple[int, int] | None = None
        self.problems: list[tuple[str, Reason]] = []
        self.failures = 0
        self.skipped = 0
        self.excluded = 0
        self.root: bytes | None = None
        self.goodbye = False
        self._finishing: Finish | None = None

    @property
    def ending(self) -> bool:
        """Whether `finish` is due."""
        return self._finishing is not None

    def take(self, records: Sequence[bytes | str], now: float) -> list[bytes]:
        """Act on records, in order, at time `now` (seconds) and return the records to answer with.

        Raises:
            PeerMisbehaved: the sender broke the protocol.
            PeerFailed: the sender gave up.
            NoSpace, TooMuch, OutputNotWritable: this side cannot go on.

        """
        for record in records:
            try:
                for message in self._session.hear(record, self._content):
                    self._act(message)
            finally:
                self._write_whole_files()
        written, self._written = self._written, 0
        self._target.kept.commit(written)
        if self.root is None and (self.ending or now >= self._next_report):
            self._next_report = now + limits.PROGRESS_INTERVAL
            self._say_progress()
        return self._take_answers()

    def beat(self) -> bytes | None:
        """Return a record that says no more than that this side is there; None once all is here."""
        if self.root is not None:
            return None
        self._say_progress()
        return self._session.record()

    def finish(self) -> list[bytes]:
        """Hold what is here against the sender's sums; return the records to answer with, the receipt among them.

        Raises:
            PeerMisbehaved: it does not add up.

        """
        assert self._finishing is not None, "only when ending"
        message, self._finishing = self._finishing, None
        root = self._manifest.finish(message)
        self._close_directories()
        self._target.remove_orphans()
        self._answer(Receipt(self.files, self.delivered, self._rejected, self.skipped + self.excluded, root))
        self.root = root
        return self._take_answers()

    def _say_progress(self) -> None:
        self._answer(Progress(self.files, self.size, self._session.heard))

    def _take_answers(self) -> list[bytes]:
        self._close_answer()
        answers, self._answers = self._answers, []
        return answers

    def _close_answer(self) -> None:
        if self._session.pending:
            self._answers.append(self._session.record())

    def _act(self, message: Message) -> None:
        match message:
            case WholeFile():
                self._whole(message)
            case Page():
                self._page(message)
            case Data() | Hole():
                self._data(message)
            case FileEnd():
                self._file_end(message)
            case FileFail():
                self._file_fail(message)
            case Omitted():
                self._omitted_one(message)
            case Total() if self._selection.everything:  # else it says nothing of what comes
                self.total = (message.files, message.size)
            case Total():
                pass
            case Finish():
                self._finishing = message
            case Goodbye():
                self.goodbye = True
            case Abort():
                raise given_up(message, "sender")
            case _:
                raise AssertionError(f"the table lets no sender say {type(message).__name__} here")

    def _omitted_one(self, message: Omitted) -> None:
        """Count something that does not come, unless it is not wanted either."""
        number = self._omitted
        if number == protocol_limits.MAX_ENTRIES:
            raise PeerMisbehaved("The other side omits more than it may name.")
        self._omitted += 1
        wanted = self._selection.leads if message.directory else self._selection.takes
        if self._selection.everything or wanted(_for_patterns(message.path)):
            self._count_wanted()
            self.failures += 1
            self.problems.append((escape(message.path), message.reason))
        else:
            self._answer(Waive(number))

    def _page(self, page: Page) -> None:
        self._write_whole_files()
        items = self._manifest.page(page)
        if not self.holds:
            check_space(self._manifest, self._target, self._max_size)
        for item in items:
            if self._selection.everything or self._is_wanted(item):
                self._place(item)
        if self.holds:
            check_space(
                self._manifest, self._target, self._max_size
            )  # only now is it known what need not come
            self._tell_held(items)
        self._close_directories()

    def _is_wanted(self, item: Item) -> bool:
        """Return whether to place an entry now; if not, it is settled what becomes of it."""
        above = item.parent
        if above is not None and above.refused:
            self._manifest.waive(item)
            return False
        is_directory = item.entry.kind is Kind.DIRECTORY
        path = item.path
        if self._selection.takes(path, directory=is_directory):
            self._make_way(above)
            return True
        if is_directory and self._selection.leads(path):
            item.waits = True
            return False
        self._manifest.waive(item)
        self.excluded += 1
        self._answer(Reject(item.index, Reason.EXCLUDED, ""))
        return False

    def _make_way(self, directory: Item | None) -> None:
        """Make a directory that has waited for something in it, and those on the way to it."""
        if directory is not None and directory.waits:
            directory.waits = False
            self._make_way(directory.parent)
            self._place(directory)

    def _place(self, item: Item) -> None:
        if item.parent is not None and item.parent.refused:
            self._manifest.waive(item)
            return
        self._count_wanted()
        try:
            if item.entry.kind is Kind.DIRECTORY:
                self._target.make_directory(item)
            elif item.entry.kind is Kind.LINK:
                self._target.make_link(item)
            elif self._hold(item):
                pass
            elif item.original is not None:
                self._target.check_other_name(item)  # so that contents for it are not sent in vain
            elif item.entry.size > limits.CHUNK or item.entry.extra is not None:
                self._target.check_file(item)  # so that what is large is not sent in vain
        except Refused as refused:
            self._reject(item, refused.reason)

    def _count_wanted(self) -> None:
        if self._wanted == self._max_files:
            raise TooMuch(files=self._max_files)
        self._wanted += 1

    def _hold(self, item: Item) -> bool:
        """Return whether something of a file is here already."""
        holding = self._target.holding(item) if self.holds else None
        if holding is None:
            return False
        self._held[item.index] = holding
        self._manifest.hold(item, holding.size)
        return True

    def _tell_held(self, items: Sequence[Item]) -> None:
        held = [(item, self._held[item.index]) for item in items if item.index in self._held]
        files = tuple(Held(item.index, holding.size, holding.digest) for item, holding in held)
        self._answer(Holds(items[-1].index + 1, files))

    def _whole(self, message: WholeFile) -> None:
        self._held.pop(message.index, None)
        item = self._manifest.whole(message)
        if item.entry.extra is not None:
            check_space(self._manifest, self._target, self._max_size)
        self._complete(item, message.data, message.digest)

    def _complete(self, item: Item, data: bytes | memoryview, digest: bytes) -> None:
        if not item.refused:
            self._check_digest(item, file_digest(data), digest)
        self._whole_files.append((item, data))

    def _answer(self, message: Reject | Waive | Holds | Progress | Receipt) -> None:
        """Say something, in a record of its own if the last one is full: one can hold the ends of many files."""
        if self._session.pending >= limits.RECORD_TARGET or not self._session.has_room(message):
            self._close_answer()
        self._session.say(message)

    def _write_whole_files(self) -> None:
        """Write the files that are all here and verified.

        The files of a record one after the other, because that takes less time than if each were written when it
        is checked: processors are better at doing one thing often.
        """
        files, self._whole_files = self._whole_files, []
        wanted = [(item, data) for item, data in files if not item.refused]
        for item, refused in self._target.put_files(wanted) if wanted else ():
            if refused is not None:
                self._reject(item, refused.reason)
            else:
                self.size += item.entry.size
                self._written += item.entry.size
                self._delivered(item)
        for item, _ in files:
            self._settle(item)

    def _data(self, message: Data | Hole) -> None:
        item = self._manifest.data(message)
        if item.refused:
            return
        try:
            file = self._arriving.get(item) or self._begin(item, message.offset)
            file.add(message.size if isinstance(message, Hole) else message.data)
        except Refused as refused:
            self._reject(item, refused.reason)
            return
        self.size += message.size
        self._written += message.size

    def _begin(self, item: Item, offset: int) -> HashedPart:
        """Begin a file, or go on behind what is held of it, as the sender has decided."""
        if item.entry.extra is not None:  # it may have been counted as another name of a file only
            check_space(self._manifest, self._target, self._max_size)
        holding = self._held.pop(item.index, None)
        file = self._arriving[item] = HashedPart(self._target, item, holding if offset else None)
        self.size += offset
        self.spared += offset
        return file

    def _file_end(self, message: FileEnd) -> None:
        item = self._manifest.end(message)
        if item.original is not None:
            self._link(item, item.original, message.digest)
            return
        if item.index in self._held:
            self._held_end(item, message.digest)
            return
        if not item.entry.size:
            self._complete(item, b"", message.digest)
            return
        if not item.refused:
            self._publish(item, message.digest)
        self._settle(item)

    def _held_end(self, item: Item, digest: bytes) -> None:
        """End a file of which all was here before: under its name, or only as a part that has none yet."""
        holding = self._held[item.index]
        if not item.refused:
            self._check_digest(item, holding.digest, digest)
            if holding.name:
                self._target.take_held(item, holding)
                self.size += holding.size
                self.spared += holding.size
                self._delivered(item)
            else:
                try:
                    self._begin(item, holding.size)
                    self._publish(item, digest)
                except Refused as refused:
                    self._reject(item, refused.reason)
        self._held.pop(item.index, None)
        self._settle(item)

    def _link(self, item: Item, original: Item, digest: bytes) -> None:
        """Give a file another name, instead of contents of its own."""
        self._held.pop(item.index, None)  # what is there under that name may be another file
        self._write_whole_files()  # it may be among them
        if original.refused and not item.entry.size:
            self._complete(item, b"", digest)
            return
        if not item.refused:
            try:
                self._target.link_file(item)
            except Refused as refused:
                self._reject(item, refused.reason)
            else:
                self.size += item.entry.size
                self._delivered(item)
        self._settle(item)

    def _check_digest(self, item: Item, ours: bytes, theirs: bytes) -> None:
        """Nothing gets its name before this."""
        if ours != theirs:
            raise PeerMisbehaved(
                f"'{escape(item.path)}' arrived with another digest than the sender computed."
            )

    def _publish(self, item: Item, digest: bytes) -> None:
        file = self._arriving.pop(item)
        self._check_digest(item, file.digest(), digest)
        try:
            file.publish()
        except Refused as refused:
            self._reject(item, refused.reason)
        else:
            self._delivered(item)

    def _delivered(self, item: Item) -> None:
        self.files += 1
        self.delivered += item.entry.size

    def _file_fail(self, message: FileFail) -> None:
        item = self._manifest.fail(message)
        self._held.pop(item.index, None)
        self._discard(item)
        if not item.refused:
            self.failures += 1
            self.problems.append((escape(item.path), message.reason))
        self._settle(item)

    def _reject(self, item: Item, reason: Reason) -> None:
        """Do without an entry, and tell the sender. Others may be under way: nothing of them is touched."""
        self._discard(item)
        item.refused = True
        self._rejected += reason.is_failure
        self.failures += reason.is_failure
        self.skipped += not reason.is_failure
        self.problems.append((escape(item.path), reason))
        self._answer(Reject(item.index, reason, item.path))

    def _discard(self, item: Item) -> None:
        """Throw away what is here of an entry, if something is."""
        if (file := self._arriving.pop(item, None)) is not None:
            file.discard()

    def _settle(self, item: Item) -> None:
        self._manifest.done(item)
        self._close_directories()

    def _close_directories(self) -> None:
        for directory in self._manifest.complete_directories():
            if directory.waits:
                self._unmade(directory)
            elif not directory.refused:
                self._target.finish_directory(directory)
            directory.shorten()

    def _unmade(self, directory: Item) -> None:
        """Tell both sides' receipts that a directory was never made, since nothing in it was wanted."""
        self.unmade(directory.index)
        self._answer(Reject(directory.index, Reason.UNMADE, ""))


def _for_patterns(path: str) -> str:
    """Return as much of a path as an entry's may have: patterns take their time, and more cannot be matched in vain."""
    parts = path.split("/", protocol_limits.MAX_DEPTH)[: protocol_limits.MAX_DEPTH]
    return "/".join(part[: protocol_limits.MAX_NAME] for part in parts)
