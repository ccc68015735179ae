"""Checks what the sender says of a tree: the entries of its pages, their contents, and the sums at the end.

A page is checked whole before any entry of it is returned, so nothing is created for a page with one bad entry.
Memory is bounded: a manifest keeps the directories from the top to the last entry, the names in them (to notice
collisions), and the entries from the first one on that is not done.

A file with several hard links is announced once for each name: first the original, then the further names, each with
the number of the original. A further name usually has no contents of its own: its end names the original's digest. If
the sender could not read the original, it sends the contents for a further name, which then stands in for it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from p2p_copy.errors import PeerMisbehaved
from p2p_copy.protocol import limits, names
from p2p_copy.protocol.attributes import extra_refusal
from p2p_copy.protocol.digest import UNREAD, RootDigest, brief
from p2p_copy.protocol.escape import escape
from p2p_copy.protocol.messages import Hole, Kept, Kind, Preserved
from p2p_copy.protocol.names import SeenNames

if TYPE_CHECKING:
    from collections.abc import Callable

    from p2p_copy.protocol.messages import Data, Entry, Extra, FileEnd, FileFail, Finish, Page, WholeFile


class Item:
    """One announced entry.

    Attributes:
        index: its number in the manifest.
        parent: the directory that it lies in, None at the top.
        entry: what the sender has announced.
        name: its name on this side; the receiver sets it if it differs from the sender's.
        digest: the sender's digest of the contents, once the file has ended; `UNREAD` if it was up to date here.
        refused: the receiver does not take this entry; its children inherit that.
        deferred: the receiver takes this directory only if it takes something in it.
        original: the file of which this is a further name; None once this name has contents of its own.
        stands_in: the last of its further names that had contents of its own.
        held: bytes that this side has already, from the file's beginning; the sender may continue after them.
        received: bytes of the contents up to here, with those that were held if the sender continued after them.
        done: the receiver has finished with this file; other entries are done from the start.
        incomplete: of a directory: its children that are not complete, and 1 while more may be announced.

    """

    __slots__ = (
        "deferred", "digest", "done", "entry", "held", "incomplete", "index", "name", "original", "parent",
        "received", "refused", "stands_in",
    )  # fmt: skip

    def __init__(self, index: int, parent: Item | None, entry: Entry) -> None:
        self.index = index
        self.parent = parent
        self.entry = entry
        self.name = entry.name
        self.refused: bool = parent is not None and parent.refused
        self.deferred = False
        self.done = entry.kind is not Kind.FILE
        self.digest: bytes | None = None
        self.original: Item | None = None
        self.stands_in: Item | None = None
        self.received = 0
        self.held = 0
        self.incomplete = 1

    def shorten(self) -> None:
        """Replace extended attributes by their digest: once they were set, only the root digest needs them."""
        if self.entry.extra is not None:
            self.entry = self.entry._replace(extra=brief(self.entry.extra))

    @property
    def contents(self) -> list[Item]:
        """This file and the name that stands in for it: those whose contents came, the last one first."""
        return [item for item in (self.stands_in, self) if item is not None and item.digest]

    @property
    def path(self) -> str:
        """The names at the sender from the top down, joined by "/". Not escaped, and for messages only."""
        if self.parent is None:
            return self.entry.name
        return f"{self.parent.path}/{self.entry.name}"

    @property
    def published_path(self) -> str:
        """The names on this side from the top down, joined by "/"."""
        return self.name if self.parent is None else f"{self.parent.published_path}/{self.name}"


@dataclass(slots=True)
class _Level:
    """One of the directories from the top to the last entry, and what was announced in it."""

    item: Item
    path_bytes: int
    seen: SeenNames
    names: int = 0


class Manifest:
    """Checks pages and contents in the order in which they come.

    Attributes:
        preserve: the attributes that this side has asked for.
        declared: bytes of all files that were announced and not skipped; further names do not count.
        owed: bytes announced and not yet received.

    """

    def __init__(
        self,
        *,
        portable: bool,
        key: bytes,
        settled: Callable[[Item], None] | None = None,
        preserve: Preserved = Preserved.NOTHING,
    ) -> None:
        """Begin with no entry.

        Args:
            portable: accept only names that mean the same on all systems.
            key: 16 random bytes, so that a sender cannot choose names that collide in the name table.
            settled: called with every entry in order, once it is done.
            preserve: the attributes that this side has asked for.

        """
        self._settled = settled
        self.preserve = preserve
        self._originals: dict[int, Item] = {}  # by their numbers
        self._portable = portable
        self._key = key
        self._top_names = SeenNames(key)
        self._levels: list[_Level] = []
        self._open_names = 0  # at the top and in all levels
        self._under_way: deque[Item] = deque()  # entries from the first one on that is not done
        self._first = 0  # the number of the first one of these
        self._count = 0  # entries so far
        self._complete: list[Item] = []  # directories, until the caller fetches them
        self._current: Item | None = None  # the file whose contents are under way
        self._root = RootDigest()
        self._sent_files = 0
        self._sent_size = 0
        self._failed_files = 0
        self._announced_size = 0  # of all names, so that no sum overflows
        self.declared = 0
        self.owed = 0

    # Pages

    def page(self, page: Page) -> list[Item]:
        """Check a page and return its items. The caller handles them all before it calls another method.

        Raises:
            PeerMisbehaved: an entry is not allowed, or too many are under way.

        """
        self._advance()  # the receiver has made or refused the directories and symlinks of the last page by now
        if len(self._under_way) + len(page.entries) > limits.MAX_OPEN_ENTRIES:
            raise PeerMisbehaved("The other side announces more files than it sends.")
        if self._count + len(page.entries) > limits.MAX_ENTRIES:
            raise PeerMisbehaved(f"The other side announces more than {limits.MAX_ENTRIES} entries.")
        items = [self._enter(entry) for entry in page.entries]
        self._under_way.extend(items)
        return items

    def _enter(self, entry: Entry) -> Item:
        depth = entry.depth
        levels = self._levels
        if depth > len(levels) or depth >= limits.MAX_DEPTH:
            raise PeerMisbehaved("The other side names something in a directory that it never named.")
        while len(levels) > depth:
            level = levels.pop()
            self._open_names -= level.names
            self._release(level.item)
        above = levels[-1] if levels else None
        path_bytes = self._check(entry, above)
        parent = above.item if above else None
        item = Item(self._count, parent, entry)
        self._count += 1
        if entry.kind is Kind.SYMLINK:
            return item
        if parent is not None:
            parent.incomplete += 1
        if entry.kind is Kind.DIRECTORY:
            levels.append(_Level(item, path_bytes, SeenNames(self._key)))
            return item
        self._announced_size += entry.size
        if self._announced_size > limits.MAX_FILE_SIZE:
            raise PeerMisbehaved("The other side announces more bytes than any file system takes.")
        if entry.extra is not None:
            self._resolve_names(item, entry.extra)
        if item.original is None:
            self.declared += entry.size
            self.owed += entry.size
        return item

    def _resolve_names(self, item: Item, extra: Extra) -> None:
        """Find the original of a further name; remember a file that may have further names."""
        if extra.original is not None:
            item.original = self._originals.get(extra.original)
            if item.original is None or item.original.entry.size != item.entry.size:
                raise PeerMisbehaved(
                    "The other side gives another name to a file that it never named, or that has another size."
                )
        if extra.named_again:
            self._originals[item.index] = item
            if len(self._originals) > limits.MAX_NAMED_AGAIN:
                raise PeerMisbehaved("The other side names more files with several names than it may.")

    def _check(self, entry: Entry, above: _Level | None) -> int:
        """Return the length of an entry's path in bytes; raise if the entry is not allowed in the directory `above`."""
        kind, _, name, _, _, size, target, extra = entry
        refusal = names.refusal(name, portable=self._portable)
        if refusal is None and kind is Kind.SYMLINK:
            refusal = names.symlink_target_refusal(target, entry.depth, portable=self._portable)
        if refusal is not None:
            raise PeerMisbehaved(f"The other side names '{_shown(name)}', which is refused: {refusal}.")
        if target and kind is not Kind.SYMLINK:
            raise PeerMisbehaved(f"The other side gives '{_shown(name)}' a target, but it is not a symlink.")
        if size and (kind is not Kind.FILE or size > limits.MAX_FILE_SIZE):
            raise PeerMisbehaved(f"The other side gives '{_shown(name)}' a size that it cannot have.")
        if extra is not None and (problem := extra_refusal(kind, extra, self.preserve)):
            raise PeerMisbehaved(f"The other side says of '{_shown(name)}' {problem}.")
        key = names.collision_key(name, portable=self._portable)
        if not (above.seen if above else self._top_names).add(key):
            raise PeerMisbehaved(
                f"The other side names '{_shown(name)}' twice, or two names that some systems take for one."
            )
        self._open_names += 1
        if above:
            above.names += 1
        if self._open_names > limits.MAX_OPEN_NAMES:
            raise PeerMisbehaved(
                f"The other side names more than {limits.MAX_OPEN_NAMES} things in a directory and those above it."
            )
        name_bytes = len(name) if name.isascii() else len(name.encode())
        path_bytes = name_bytes + (above.path_bytes + 1 if above else 0)
        if path_bytes > limits.MAX_PATH:
            raise PeerMisbehaved("The other side names a path that is too long.")
        return path_bytes

    # Contents: one file at a time

    def count_held(self, item: Item, size: int) -> None:
        """Record that this side has the first `size` bytes of a file already."""
        item.held = size
        if item.original is None:  # no bytes are owed for a further name, unless its contents begin
            self.owed -= size

    def skip(self, item: Item) -> None:
        """Refuse an entry that is not wanted; its bytes need no space."""
        item.refused = True
        if item.original is None:
            self.declared -= item.entry.size
            self.count_held(item, item.entry.size)

    def up_to_date(self, item: Item) -> None:
        """Record that this side has a file already, so that nothing of it is sent. `done` must follow."""
        if item.original is None:
            self.owed -= item.entry.size
        self._ended(item, UNREAD)

    def _begin(self, item: Item, *, at: int) -> None:
        """Begin the contents of a file: after the held bytes if the contents start `at` that offset, else from zero.

        A further name counts as a file of its own from now on. Nothing changes if the contents are under way.
        """
        if item.original is not None:
            item.original = None
            self.declared += item.entry.size
            self.owed += item.entry.size - item.held
        if item.held and not item.received:
            if at == item.held:
                item.received = at
            else:
                self.owed += item.held
            item.held = 0

    def data(self, message: Data | Hole | Kept) -> Item:
        """Check bytes, a hole, or a segment that is here already, of a file and return its item.

        Raises:
            PeerMisbehaved: these are not the next bytes of the file under way.

        """
        item = self.file(message.index)
        self._begin(item, at=message.offset)
        size = message.size if isinstance(message, Hole | Kept) else len(message.data)
        if message.offset != item.received or size > item.entry.size - item.received:
            raise PeerMisbehaved("The other side sent bytes that do not fit into their file.")
        self._current = item
        item.received += size
        self.owed -= size
        return item

    def end(self, message: FileEnd) -> Item:
        """Check the end of a file, set its digest, and return its item.

        Raises:
            PeerMisbehaved: bytes are missing, or a further name has another digest than its original.

        """
        item = self.file(message.index)
        if item.original is not None and (files := item.original.contents):
            same = [file for file in files if file.digest == message.digest]
            if not same:
                raise PeerMisbehaved("The other side gives two names of one file different digests.")
            item.original = next((file for file in same if not file.refused), same[0])
            return self._ended(item, message.digest)
        self._begin(item, at=item.entry.size)
        if item.received != item.entry.size:
            raise PeerMisbehaved("The other side ended a file before all of it was sent.")
        self._stand_in(item)
        return self._ended(item, message.digest)

    def whole(self, message: WholeFile) -> Item:
        """Check a file that is sent in one message, set its digest, and return its item.

        Raises:
            PeerMisbehaved: the message has not as many bytes as were announced.

        """
        item = self.file(message.index)
        entry = item.entry
        if item.held or item.original is not None:
            self._begin(item, at=0)
        if item.received or len(message.data) != entry.size:
            raise PeerMisbehaved("The other side sent another number of bytes than it had announced.")
        self.owed -= entry.size
        if entry.extra is not None:
            self._stand_in(item)
        return self._ended(item, message.digest)

    def _stand_in(self, item: Item) -> None:
        """If this is a further name, let it stand in for its original: its contents came."""
        extra = item.entry.extra
        if extra is not None and extra.original is not None:
            self._originals[extra.original].stands_in = item

    def _ended(self, item: Item, digest: bytes) -> Item:
        item.digest = digest
        self._sent_files += 1
        self._sent_size += item.entry.size
        return item

    def fail(self, message: FileFail) -> Item:
        """Return the item of a file that the sender could not send.

        Raises:
            PeerMisbehaved: the file is not under way.

        """
        item = self.file(message.index)
        if item.original is None:
            self._begin(item, at=0)
            self.owed -= item.entry.size - item.received
        self._failed_files += not item.refused
        return item

    def file(self, index: int) -> Item:
        """Return the file of which a message may speak now.

        Raises:
            PeerMisbehaved: there is none, or another one is under way.

        """
        at = index - self._first
        item = self._under_way[at] if 0 <= at < len(self._under_way) else None
        if item is None or item.done or item.digest is not None:
            raise PeerMisbehaved("The other side sent something about a file that is not under way.")
        if self._current is not None and self._current is not item:
            raise PeerMisbehaved("The other side mixes the contents of two files.")
        return item

    def done(self, *items: Item) -> None:
        """Record that the receiver has published, refused or given up files."""
        for item in items:
            item.done = True
            if self._current is item:
                self._current = None
            if item.parent is not None:
                self._release(item.parent)
        self._advance()

    def complete_directories(self) -> list[Item]:
        """Return the directories that became complete since the last call, children before parents."""
        complete, self._complete = self._complete, []
        return complete

    def _release(self, directory: Item) -> None:
        """Count one thing less that keeps a directory incomplete."""
        directory.incomplete -= 1
        if not directory.incomplete:
            self._complete.append(directory)
            if directory.parent is not None:
                self._release(directory.parent)

    def _advance(self) -> None:
        """Settle the entries up to the first one that is not done."""
        under_way, root = self._under_way, self._root
        while under_way and under_way[0].done:
            item = under_way.popleft()
            self._first += 1
            if item.entry.extra is not None and item.entry.kind is not Kind.DIRECTORY:
                item.shorten()  # a directory gets its attributes when it is complete
            root.add(item.entry, item.digest)
            if self._settled is not None:
                self._settled(item)

    # The end

    def finish(self, message: Finish) -> bytes:
        """Check that everything announced is complete and the sums agree; return the root digest.

        Raises:
            PeerMisbehaved: something is missing or the sums differ.

        """
        self._advance()
        while self._levels:
            self._release(self._levels.pop().item)
        root = self._root.digest()
        ours = (self._count, self._sent_files, self._sent_size, root)
        if self._under_way or ours != (message.entries, message.files, message.size, message.root):
            raise PeerMisbehaved("The other side says that everything was sent, but the sums differ.")
        if message.failures < self._failed_files:
            raise PeerMisbehaved("The other side counts fewer failures than it has reported.")
        return root


def _shown(name: str) -> str:
    return escape(name)[: limits.MAX_NAME]
