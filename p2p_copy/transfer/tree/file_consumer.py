"""Writes the contents of received files, checks the sender's digests, and gives the files their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_copy.errors import PeerMisbehaved
from p2p_copy.files.target.errors import Refused
from p2p_copy.files.target.hashed_part import HashedPart
from p2p_copy.protocol.digest import file_digest
from p2p_copy.protocol.escape import escape
from p2p_copy.protocol.messages import Held, Holds, Hole, Reason, Reject

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from p2p_copy.files.target.resume import PartialFile
    from p2p_copy.files.target.target import Target
    from p2p_copy.protocol.manifest import Item, Manifest
    from p2p_copy.protocol.messages import Data, FileEnd, FileFail, WholeFile
    from p2p_copy.transfer.tree.outcomes import Outcomes
    from p2p_copy.transfer.tree.replies import Replies


class FileConsumer:
    """Acts on the messages about contents. A directory is finished when the last file in it is.

    Small files are collected, and written together by `write_collected`.
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
        self._held: dict[
            int, PartialFile
        ] = {}  # by entry number, until the sender has decided whether to use it
        self._written = 0

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
        self._manifest.hold(item, held.size)
        return True

    def holds(self, items: Sequence[Item]) -> Holds:
        """Return the answer to a page: what is here of its entries."""
        held = [(item, self._held[item.index]) for item in items if item.index in self._held]
        files = tuple(Held(item.index, part.size, part.digest) for item, part in held)
        return Holds(items[-1].index + 1, files)

    # Small files

    def whole(self, message: WholeFile) -> None:
        """Check a small file, and collect it."""
        self._held.pop(message.index, None)
        item = self._manifest.whole(message)
        if item.entry.extra is not None:  # it may have been announced as another name, which needs no space
            self._check_space()
        self._collect(item, message.data, message.digest)

    def _collect(self, item: Item, data: bytes | memoryview, digest: bytes) -> None:
        if not item.refused:
            self._check_digest(item, file_digest(data), digest)
        self._collected.append((item, data))

    def write_collected(self) -> None:
        """Write the small files that are all here and verified.

        All files of a record are written together: that takes less time than writing each as soon as it is checked,
        since a processor is faster when it does the same thing many times in a row.
        """
        files, self._collected = self._collected, []
        wanted = [(item, data) for item, data in files if not item.refused]
        for item, refused in self._target.small_files.put(wanted) if wanted else ():
            if refused is not None:
                self._reject(item, refused.reason)
            else:
                self._outcomes.size += item.entry.size
                self._written += item.entry.size
                self._outcomes.deliver(item)
        for item, _ in files:
            self._settle(item)

    # Large files

    def data(self, message: Data | Hole) -> None:
        """Write the next bytes of a file."""
        item = self._manifest.data(message)
        if item.refused:
            return
        piece = message.size if isinstance(message, Hole) else message.data
        size = piece if isinstance(piece, int) else len(piece)
        try:
            file = self._begun.get(item) or self._begin(item, message.offset)
            file.add(piece)
        except Refused as refused:
            self._reject(item, refused.reason)
            return
        self._outcomes.size += size
        self._written += size

    def _begin(self, item: Item, offset: int) -> HashedPart:
        """Begin a file, or continue one behind what is held of it, as the sender has decided."""
        if item.entry.extra is not None:
            self._check_space()
        held = self._held.pop(item.index, None)
        file = self._begun[item] = HashedPart(self._target, item, held if offset else None)
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
            if held.name:
                self._target.files.accept_held(item, held)
                self._outcomes.size += held.size
                self._outcomes.spared += held.size
                self._outcomes.deliver(item)
            else:
                try:
                    self._begin(item, held.size)
                    self._publish(item, digest)
                except Refused as refused:
                    self._reject(item, refused.reason)
        self._held.pop(item.index, None)
        self._settle(item)

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
            file.publish()
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
        if (file := self._begun.pop(item, None)) is not None:
            file.discard()

    def _settle(self, item: Item) -> None:
        self._manifest.done(item)
        self.finish_directories()

    def finish_directories(self) -> None:
        """Give their modes and times to the directories to which nothing more is added."""
        for directory in self._manifest.complete_directories():
            if directory.deferred:  # nothing in it was wanted, so it was never made
                self._unmade(directory.index)
                self._replies.add(Reject(directory.index, Reason.UNMADE, ""))
            elif not directory.refused:
                self._target.directories.finish(directory)
            directory.shorten()
