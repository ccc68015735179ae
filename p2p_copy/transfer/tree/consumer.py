"""Acts on each record at the receiver, and makes the answers.

All of this runs in a worker thread, which takes a few records at a time: it decrypts, decompresses, checks, hashes and
writes. The messages of a record are checked and acted upon one by one, in order; a page is checked whole before
anything in it is created.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from p2p_copy.errors import PeerMisbehaved
from p2p_copy.files.selection import EVERYTHING
from p2p_copy.files.target.errors import Refused
from p2p_copy.files.target.part import HashedPart
from p2p_copy.files.target.probe import check_space
from p2p_copy.observer import Report
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
    Kept,
    Kind,
    Message,
    Omitted,
    Page,
    Preserved,
    Progress,
    Reason,
    Receipt,
    Reject,
    SameSegments,
    SegmentDigests,
    Total,
    Unwanted,
    WholeFile,
)
from p2p_copy.transfer import limits
from p2p_copy.transfer.reasons import given_up
from p2p_copy.transfer.tree.page_planner import Decision, PagePlanner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from p2p_copy.files.selection import Selection
    from p2p_copy.files.target.old_file import OldFile
    from p2p_copy.files.target.resume import PartialFile
    from p2p_copy.files.target.target import Target
    from p2p_copy.protocol.manifest import Item, Manifest
    from p2p_copy.protocol.session import Session


class TreeConsumer:
    """One conversation, whose files go into `target`.

    `max_size` bounds the bytes of all files. `max_files` bounds everything that the sender names and that is wanted:
    files, directories and symlinks, and what it cannot send. `may_replace` is asked, with an escaped path, before
    something is replaced, with `Conflict.ASK`; it may block. `unmade` is called with the number of each directory
    that is never made, since nothing in it was wanted.

    Attributes:
        holds: every page is answered, so that nothing is sent that is here already or is not wanted.
        outcomes: what has become of the entries.
        total: files and bytes in all as the sender counts them, once it has said so.
        root: the root digest, once all is complete.
        goodbye: whether the sender has said goodbye, which shows that it has the receipt.

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
        may_replace: Callable[[str], bool] | None = None,
        unmade: Callable[[int], None] = lambda index: None,
    ) -> None:
        self._may_replace = may_replace
        # A further name of a file may need contents, if the receiver has refused the first one.
        linking = Preserved.HARD_LINKS in manifest.preserve
        self.holds = (
            linking or target.replaces or target.asks or not target.resume.fresh or not selection.everything
        )
        self.total: tuple[int, int] | None = None
        self.root: bytes | None = None
        self.goodbye = False
        self._target = target
        self._session = session
        self._manifest = manifest
        self._replies = Replies(session)
        self.outcomes = Outcomes(self._replies)
        self._check_space = partial(check_space, manifest, target.free_bytes, max_size)
        self._everything = selection.everything
        self._planner = PagePlanner(manifest, selection, max_files)
        self._files = FileConsumer(
            target, manifest, self.outcomes, self._replies, check_space=self._check_space, unmade=unmade
        )
        self._content = memoryview(bytearray(protocol_limits.MAX_RECORD_CONTENT))  # of each record in turn
        self._next_report = 0.0
        self._finish: Finish | None = None
        self._verified = b""  # the root digest
        self._unwanted = 0  # omissions of the sender that do not matter here

    @property
    def path(self) -> str:
        """The file whose contents came last, escaped; empty if there is none, and once all is here."""
        current = self._files.current
        return "" if current is None or self._finish or self.root else escape(current.path)

    @property
    def ending(self) -> bool:
        """Whether `finish` is due."""
        return self._finish is not None

    def consume(self, records: Sequence[bytes | str], now: float) -> list[bytes]:
        """Act on records, in order; return the records to answer with. `now` is the time in seconds.

        Raises:
            PeerMisbehaved: the sender broke the protocol.
            PeerFailed: the sender gave up.
            NoSpace, TooMuch, OutputNotWritable: this side cannot go on.

        """
        for record in records:
            try:
                self._files.compared = 0
                for message in self._session.hear(record, self._content):
                    self._act(message)
            finally:
                self._files.write_collected()
        self._target.resume.journal.commit_if_due(self._files.take_written())
        if self.root is None and (self.ending or now >= self._next_report):
            self._next_report = now + limits.PROGRESS_INTERVAL
            self._report_progress()
        return self._replies.take_records()

    def heartbeat(self) -> None:
        """Make a record that tells the sender that this side is still there, unless all is here."""
        if self.root is None:
            self._report_progress()
            self._session.record()

    def verify(self) -> None:
        """Compare what is here with the sender's sums.

        Raises:
            PeerMisbehaved: it does not add up.

        """
        assert self._finish is not None, "only when ending"
        self._verified = self._manifest.finish(self._finish)
        self._files.finish_directories()
        self._target.remove_orphans()

    @property
    def is_complete(self) -> bool:
        """Whether all that the sender has was delivered; only once it is verified."""
        assert self._finish is not None, "only when ending"
        return not self.outcomes.failures and self._finish.failures == self._unwanted

    @property
    def is_uncertain(self) -> bool:
        """Whether the sender may have something that it cannot send, and that patterns here do not leave out."""
        return self._planner.uncertain

    def finish(self) -> list[bytes]:
        """Return the records to answer with, the receipt among them; verify first, if `verify` was not called.

        Raises:
            PeerMisbehaved: see `verify`.

        """
        if not self._verified:
            self.verify()
        root, self._finish = self._verified, None
        done = self.outcomes
        skipped = done.skipped + done.excluded
        self._replies.add(Receipt(done.files, done.delivered, done.rejected, skipped, root))
        self.root = root
        return self._replies.take_records()

    def report(self, seconds: float) -> Report:
        """Return the result of a transfer that took `seconds`; only after its Finish."""
        assert self.root is not None, "only after a Finish"
        done = self.outcomes
        return Report(
            files=done.files,
            size=done.delivered,
            failures=done.failures,
            skipped=done.skipped,
            root=self.root.hex(),
            seconds=seconds,
            excluded=done.excluded,
            up_to_date=done.up_to_date,
            deleted=done.deleted,
        )

    def _report_progress(self) -> None:
        self._replies.add(Progress(self.outcomes.files, self.outcomes.size, self._session.heard))

    def _act(self, message: Message) -> None:
        match message:
            case WholeFile():
                self._files.whole(message)
            case Page():
                self._page(message)
            case SegmentDigests():
                self._files.compare(message)
            case Data() | Hole() | Kept():
                self._files.data(message)
            case FileEnd():
                self._files.end(message)
            case FileFail():
                self._files.fail(message)
            case Omitted():
                self._omitted(message)
            case Total():
                if self._everything:  # else it counts files that are not wanted
                    self.total = (message.files, message.size)
            case Finish():
                self._finish = message
            case Goodbye():
                self.goodbye = True
            case Abort():
                raise given_up(message, "sender")
            case _:
                raise AssertionError(f"the table lets no sender say {type(message).__name__} here")

    def _omitted(self, message: Omitted) -> None:
        """Count an entry that the sender cannot send as failed, or answer that this side does not want it anyway."""
        number = self._planner.omitted
        if self._planner.wants_omitted(message):
            self.outcomes.fail(message.path, message.reason)
        else:
            self._unwanted += 1
            self._replies.add(Unwanted(number))
            if self._target.extraneous is not None:
                self._target.extraneous.omit(message.path)

    def _page(self, page: Page) -> None:
        self._files.write_collected()
        items = self._manifest.page(page)
        if self._target.extraneous is not None:
            for item in items:
                self._target.extraneous.name(item)
        if not self.holds:
            self._check_space()
        for item, decision in self._planner.plan(items):
            if decision is Decision.TAKE:
                self._take(item)
            else:
                self.outcomes.exclude(item)
        if self.holds:
            self._check_space()  # only now is it known what is not sent
            self._replies.add(self._files.holds(items))
        self._files.finish_directories()

    def _take(self, item: Item) -> None:
        """Make a directory or a symlink. Reject a file that cannot be made before the sender sends its contents."""
        entry = item.entry
        if not self.holds and entry.kind is Kind.FILE and entry.size <= limits.CHUNK and entry.extra is None:
            return  # its contents come anyway
        try:
            self._make(item)
        except Refused as refused:
            self.outcomes.reject(item, refused.reason)

    def _make(self, item: Item) -> None:
        """Do so, or raise `Refused`; ask before something is replaced, if the user wants to be asked."""
        entry = item.entry
        if self._target.asks and entry.kind is not Kind.DIRECTORY and self._target.is_taken(item):
            if self._may_replace is None or not self._may_replace(escape(item.path)):
                raise Refused(Reason.SKIPPED)
            self._target.replace(item)
        if entry.kind is Kind.DIRECTORY:
            self._target.directories.make(item)
        elif entry.kind is Kind.SYMLINK:
            self._target.make_symlink(item)
        elif self.holds and (self._files.find_held(item) or self._files.is_up_to_date(item)):
            pass
        elif item.original is not None:
            self._target.hard_links.check(item)
        elif entry.size > limits.CHUNK or entry.extra is not None:
            self._target.files.check(item)
        if self._target.replaces and entry.kind is Kind.FILE:
            self._files.find_old(item)


class FileConsumer:
    """Acts on the messages about contents. A directory is finished when the last file in it is.

    Small files are collected, and written together by `write_collected`.

    Attributes:
        current: the file whose contents came last.
        compared: bytes of the segments whose digests the record at hand names.

    """

    def __init__(
        self,
        target: Target,
        manifest: Manifest,
        outcomes: Outcomes,
        replies: Replies,
        *,
        check_space: Callable[[], None],
        unmade: Callable[[int], None],
    ) -> None:
        self._target = target
        self._manifest = manifest
        self._outcomes = outcomes
        self._replies = replies
        self._check_space = check_space
        self._unmade = unmade
        self._begun: dict[Item, HashedPart] = {}  # files that were begun and are not complete: at most one
        self._collected: list[tuple[Item, bytes | memoryview]] = []  # verified, and not yet written
        # By entry number, until the sender has decided whether to use it:
        self._held: dict[int, PartialFile] = {}
        self._same: list[Item] = []  # those of the page at hand that are up to date
        self._old: dict[int, OldFile] = {}  # by entry number, until the new file is complete
        self._written = 0
        self.current: Item | None = None
        self.compared = 0

    def take_written(self) -> int:
        """Return how many bytes were written since the last call."""
        written, self._written = self._written, 0
        return written

    # What is here already

    def find_held(self, item: Item) -> bool:
        """Return whether some or all of a file is here already, and keep what was found."""
        held = self._target.files.find_held(item)
        if held is None:
            return False
        self._held[item.index] = held
        self._manifest.count_held(item, held.size)
        return True

    def is_up_to_date(self, item: Item) -> bool:
        """Return whether a file is here already, the same by size and time; count it if it is."""
        if not self._target.files.is_up_to_date(item):
            return False
        self._manifest.up_to_date(item)
        self._outcomes.up_to_date += 1
        self._count_spared(item)
        self._same.append(item)
        return True

    def find_old(self, item: Item) -> None:
        """Keep the old file in the place of one that comes, if segments of it may be used.

        Raises:
            Refused: its directory is gone.

        """
        held = self._held.get(item.index)
        if item.digest is None and (held is None or not held.name):
            old = self._target.files.old_file(item)
            if old is not None:
                self._old[item.index] = old

    def holds(self, items: Sequence[Item]) -> Holds:
        """Return the answer to a page: what is here of its entries, all of which were handled."""
        held = [(item, self._held[item.index]) for item in items if item.index in self._held]
        files = tuple(Held(item.index, part.size, part.digest) for item, part in held)
        same, self._same = self._same, []
        for item in same:
            self._manifest.done(item)
        compare = tuple(item.index for item in items if item.index in self._old)
        return Holds(items[-1].index + 1, files, _runs(item.index for item in same), compare)

    def compare(self, message: SegmentDigests) -> None:
        """Compare segments of a file with those of the old one; answer which are the same."""
        old = self._old.get(message.index)
        if old is None:
            raise PeerMisbehaved("The other side names segments of a file for which this side has not asked.")
        self.compared += old.covered(message.digests)
        if self.compared > protocol_limits.MAX_RECORD_HOLES:
            raise PeerMisbehaved("The other side names the digests of more segments than a record may have.")
        same = old.compare(message.first, message.digests)
        if whole := old.is_whole and message.index not in self._held:
            self._held[message.index] = old.held()
            self._manifest.count_held(self._manifest.file(message.index), old.held().size)
        self._replies.add(SameSegments(message.index, message.first, tuple(same), whole))

    # Small files

    def whole(self, message: WholeFile) -> None:
        """Check a small file, and collect it."""
        if self._held:
            self._held.pop(message.index, None)
        item = self._manifest.whole(message)
        if item.entry.extra is not None:  # it may have been announced as another name, which needs no space
            self._check_space()
        self._collect(item, message.data, message.digest)

    def _collect(self, item: Item, data: bytes | memoryview, digest: bytes) -> None:
        if not item.refused:
            self._check_digest(item, file_digest(data), digest)
        self.current = item
        self._collected.append((item, data))

    def write_collected(self) -> None:
        """Write the small files that are all here and verified.

        All files of a record are written together: that takes less time than writing each as soon as it is checked,
        since a processor is faster when it does the same thing many times in a row.
        """
        files, self._collected = self._collected, []
        if not files:
            return
        outcomes = self._outcomes
        for item, refused in self._target.small_files.put([file for file in files if not file[0].refused]):
            if refused is not None:
                self._reject(item, refused.reason)
            else:
                size = item.entry.size
                outcomes.size += size
                self._written += size // limits.SMALL_PER_LARGE
                outcomes.deliver(item)
        self._settle(*(item for item, _ in files))

    # Large files

    def data(self, message: Data | Hole | Kept) -> None:
        """Write the next bytes of a file: those that came, or those of the old file."""
        item = self._manifest.data(message)
        if item.refused:
            return
        size = len(message.data) if isinstance(message, Data) else message.size
        try:
            file = self._begun.get(item) or self._begin(item, message.offset)
            if isinstance(message, Kept):
                self._add_old(file, message)
            else:
                file.add(message.data if isinstance(message, Data) else size)
        except Refused as refused:
            self._reject(item, refused.reason)
            return
        self._outcomes.size += size
        self._written += size

    def _add_old(self, file: HashedPart, message: Kept) -> None:
        """Append a segment of the old file."""
        old = self._old.get(message.index)
        if old is None:
            raise PeerMisbehaved("The other side leaves out what this side does not have.")
        file.add_segment(*old.segment(message.offset, message.size))
        self._outcomes.spared += message.size

    def _begin(self, item: Item, offset: int) -> HashedPart:
        """Begin a file, or continue one behind what is held of it, as the sender has decided."""
        if item.entry.extra is not None:
            self._check_space()
        held = self._held.pop(item.index, None)
        held = held if offset else None
        self.current = item
        part = self._target.files.begin(item, held)
        file = self._begun[item] = HashedPart(part, item, held, self._target.resume.journal)
        self._outcomes.size += offset
        self._outcomes.spared += offset
        return file

    # The end of a file

    def end(self, message: FileEnd) -> None:
        """Complete a file whose contents are all here, or make it a hard link to an earlier file."""
        item = self._manifest.end(message)
        if item.original is not None:
            self._link(item, item.original, message.digest)
        elif item.index in self._held:
            self._end_held(item, message.digest)
        elif not item.entry.size:
            self._collect(item, b"", message.digest)
        else:
            if not item.refused:
                self._publish(item, message.digest)
            self._settle(item)

    def _end_held(self, item: Item, digest: bytes) -> None:
        """Complete a file that was here before this conversation, under its own name or as an unpublished part."""
        held = self._held[item.index]
        if not item.refused:
            self._check_digest(item, held.digest, digest)
            if held.old is not None:
                self._accept_old(item, held)
            elif held.name:
                self._target.files.accept_held(item, held)
                self._count_spared(item)
            else:
                try:
                    self._begin(item, held.size)
                    self._publish(item, digest)
                except Refused as refused:
                    self._reject(item, refused.reason)
        self._held.pop(item.index, None)
        self._settle(item)

    def _accept_old(self, item: Item, held: PartialFile) -> None:
        try:
            self._target.files.accept_old(item, held)
        except Refused as refused:
            self._reject(item, refused.reason)
        else:
            self._outcomes.up_to_date += 1
            self._count_spared(item)

    def _count_spared(self, item: Item) -> None:
        """Count a file that was complete here already."""
        self._outcomes.size += item.entry.size
        self._outcomes.spared += item.entry.size
        self._outcomes.deliver(item)

    def _link(self, item: Item, original: Item, digest: bytes) -> None:
        """Make a hard link to a file that is here."""
        self._held.pop(item.index, None)  # the file under that name may be another one
        self.write_collected()  # the original may be among them
        if original.refused and not item.entry.size:
            self._collect(item, b"", digest)
            return
        if not item.refused:
            try:
                self._target.hard_links.make(item)
            except Refused as refused:
                self._reject(item, refused.reason)
            else:
                self._outcomes.size += item.entry.size
                self._outcomes.deliver(item)
        self._settle(item)

    def _publish(self, item: Item, digest: bytes) -> None:
        file = self._begun.pop(item)
        self._check_digest(item, file.digest(), digest)
        try:
            self._target.files.publish(item)
        except Refused as refused:
            self._reject(item, refused.reason)
        else:
            self._outcomes.deliver(item)

    def _check_digest(self, item: Item, ours: bytes, theirs: bytes) -> None:
        """Compare the digests of a file. Only then does it get its name."""
        if ours != theirs:
            raise PeerMisbehaved(
                f"'{escape(item.path)}' arrived with another digest than the sender computed."
            )

    def fail(self, message: FileFail) -> None:
        """Discard a file that the sender cannot send, or that was rejected."""
        item = self._manifest.fail(message)
        self._held.pop(item.index, None)
        self._discard(item)
        if not item.refused:
            self._outcomes.fail(item.path, message.reason)
        self._settle(item)

    def _reject(self, item: Item, reason: Reason) -> None:
        """Discard a file that cannot be written, and tell the sender. No other file is touched."""
        self._discard(item)
        self._outcomes.reject(item, reason)

    def _discard(self, item: Item) -> None:
        if self._begun.pop(item, None) is not None:
            self._target.files.discard(item)

    def _settle(self, *items: Item) -> None:
        if self._old:
            for item in items:
                self._old.pop(item.index, None)
        self._manifest.done(*items)
        self.finish_directories()

    def finish_directories(self) -> None:
        """Set modes and times of the directories that have become complete."""
        for directory in self._manifest.complete_directories():
            if directory.deferred:  # nothing in it was wanted, so it was never made
                self._unmade(directory.index)
                self._replies.add(Reject(directory.index, Reason.UNMADE, ""))
            elif not directory.refused:
                self._target.directories.finish(directory)
            directory.shorten()
            if self._target.extraneous is not None:
                self._target.extraneous.forget(directory)


class Outcomes:
    """The counts of one conversation. Rejections are also sent to the sender.

    Attributes:
        files: files that are complete under their names.
        delivered: their bytes.
        size: bytes received so far, with those of `spared`.
        spared: bytes that were here already.
        failures: how many things do not arrive.
        rejected: how many of these the receiver could not take.
        skipped: how many were left as they were, as asked.
        excluded: how many are not wanted.
        up_to_date: how many of `files` were here already, the same by size and time, or by their contents.
        deleted: how many things were deleted because the sender does not have them.

    """

    def __init__(self, replies: Replies) -> None:
        self.files = 0
        self.delivered = 0
        self.size = 0
        self.spared = 0
        self.failures = 0
        self.rejected = 0
        self.skipped = 0
        self.excluded = 0
        self.up_to_date = 0
        self.deleted = 0
        self._replies = replies
        self._problems: list[tuple[str, Reason]] = []

    def take_problems(self) -> list[tuple[str, Reason]]:
        """Return what was rejected or found unsendable since the last call: escaped paths, each with its reason."""
        problems, self._problems = self._problems, []
        return problems

    def deliver(self, item: Item) -> None:
        """Count a file that is complete under its name."""
        self.files += 1
        self.delivered += item.entry.size

    def fail(self, path: str, reason: Reason) -> None:
        """Count something that the sender cannot send."""
        self.failures += 1
        self._problems.append((escape(path), reason))

    def exclude(self, item: Item) -> None:
        """Count an entry that is not wanted, and tell the sender."""
        self.excluded += 1
        self._replies.add(Reject(item.index, Reason.EXCLUDED, ""))

    def reject(self, item: Item, reason: Reason) -> None:
        """Refuse an entry, and what lies in it, and tell the sender."""
        item.refused = True
        self.rejected += reason.is_failure
        self.failures += reason.is_failure
        self.skipped += not reason.is_failure
        self._problems.append((escape(item.path), reason))
        self._replies.add(Reject(item.index, reason, item.path))


def _runs(indices: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Return ascending numbers as runs: the first number of each, and how many follow on each other."""
    runs: list[tuple[int, int]] = []
    for index in indices:
        if runs and index == sum(runs[-1]):
            runs[-1] = runs[-1][0], runs[-1][1] + 1
        else:
            runs.append((index, 1))
    return tuple(runs)


class Replies:
    """Collects messages into records of `session`, each as full as it may be."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._records: list[bytes] = []

    def add(self, message: Message) -> None:
        """Add a message, in a new record if the last one is full: one record can end many files."""
        if self._session.pending >= limits.RECORD_TARGET or not self._session.fits(message):
            self._close_record()
        self._session.say(message)

    def take_records(self) -> list[bytes]:
        """Return the records with everything added since the last call."""
        self._close_record()
        records, self._records = self._records, []
        return records

    def _close_record(self) -> None:
        if self._session.pending:
            self._records.append(self._session.record())
