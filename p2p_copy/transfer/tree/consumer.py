"""Acts on each record at the receiver, and makes the answers.

Everything here blocks on the disk and runs in a worker thread, a few records for each trip: opening, decompressing,
checking, hashing and writing. The messages of a record are checked and acted upon one by one, in order; a page is
checked whole before anything in it is created.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from p2p_copy.files.selection import EVERYTHING
from p2p_copy.files.target.errors import Refused
from p2p_copy.files.target.space import check_space
from p2p_copy.observer import Report
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.messages import (
    Abort,
    Data,
    FileEnd,
    FileFail,
    Finish,
    Goodbye,
    Hole,
    Kind,
    Message,
    Omitted,
    Page,
    Preserved,
    Progress,
    Receipt,
    Total,
    Unwanted,
    WholeFile,
)
from p2p_copy.transfer import limits
from p2p_copy.transfer.reasons import given_up
from p2p_copy.transfer.tree.file_consumer import FileConsumer
from p2p_copy.transfer.tree.outcomes import Outcomes
from p2p_copy.transfer.tree.page_planner import Decision, PagePlanner
from p2p_copy.transfer.tree.replies import Replies

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from p2p_copy.files.selection import Selection
    from p2p_copy.files.target.target import Target
    from p2p_copy.protocol.manifest import Item, Manifest
    from p2p_copy.protocol.session import Session


class TreeConsumer:
    """One conversation, whose files go into `target`.

    `max_size` bounds the bytes of all files. `max_files` bounds everything that the sender names and that is wanted:
    files, directories and symlinks, and what it cannot send. `unmade` is called with the number of each directory
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
        unmade: Callable[[int], None] = lambda index: None,
    ) -> None:
        # A further name of a file may need contents, if the receiver has refused the first one.
        linking = Preserved.HARD_LINKS in manifest.preserve
        self.holds = linking or not target.resume.fresh or not selection.everything
        self.total: tuple[int, int] | None = None
        self.root: bytes | None = None
        self.goodbye = False
        self._target = target
        self._session = session
        self._manifest = manifest
        self._replies = Replies(session)
        self.outcomes = Outcomes(self._replies)
        self._check_space = partial(check_space, manifest, target, max_size)
        self._everything = selection.everything
        self._planner = PagePlanner(manifest, selection, max_files)
        self._files = FileConsumer(
            target, manifest, self.outcomes, self._replies, check_space=self._check_space, unmade=unmade
        )
        self._content = memoryview(bytearray(protocol_limits.MAX_RECORD_CONTENT))  # of each record in turn
        self._next_report = 0.0
        self._finish: Finish | None = None

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
                for message in self._session.hear(record, self._content):
                    self._act(message)
            finally:
                self._files.write_collected()
        self._target.resume.commit_if_due(self._files.take_written())
        if self.root is None and (self.ending or now >= self._next_report):
            self._next_report = now + limits.PROGRESS_INTERVAL
            self._report_progress()
        return self._replies.take_records()

    def heartbeat(self) -> bytes | None:
        """Return a record that tells the sender that this side is still there; None once all is here."""
        if self.root is not None:
            return None
        self._report_progress()
        return self._session.record()

    def finish(self) -> list[bytes]:
        """Compare what is here with the sender's sums; return the records to answer with, the receipt among them.

        Raises:
            PeerMisbehaved: it does not add up.

        """
        assert self._finish is not None, "only when ending"
        message, self._finish = self._finish, None
        root = self._manifest.finish(message)
        self._files.finish_directories()
        self._target.remove_orphans()
        done = self.outcomes
        skipped = done.skipped + done.excluded
        self._replies.add(Receipt(done.files, done.delivered, done.rejected, skipped, root))
        self.root = root
        return self._replies.take_records()

    def report(self, seconds: float) -> Report:
        """Return what became of a transfer that took so many seconds, once there is a root digest."""
        assert self.root is not None, "only after `finish`"
        done = self.outcomes
        return Report(
            done.files, done.delivered, done.failures, done.skipped, self.root.hex(), seconds, done.excluded
        )

    def _report_progress(self) -> None:
        self._replies.add(Progress(self.outcomes.files, self.outcomes.size, self._session.heard))

    def _act(self, message: Message) -> None:
        match message:
            case WholeFile():
                self._files.whole(message)
            case Page():
                self._page(message)
            case Data() | Hole():
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
            self._replies.add(Unwanted(number))

    def _page(self, page: Page) -> None:
        self._files.write_collected()
        items = self._manifest.page(page)
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
        try:
            if entry.kind is Kind.DIRECTORY:
                self._target.directories.make(item)
            elif entry.kind is Kind.SYMLINK:
                self._target.make_symlink(item)
            elif self.holds and self._files.find_held(item):
                pass
            elif item.original is not None:
                self._target.hard_links.check(item)
            elif entry.size > limits.CHUNK or entry.extra is not None:
                self._target.files.check(item)
        except Refused as refused:
            self.outcomes.reject(item, refused.reason)
