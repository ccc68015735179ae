"""Walks through the trees that the user named: finds what can be sent, and what is left out and why.

Rules
1. The walk is lazy. At each level it holds one open directory, the names in it so far, to find those that a receiver
   would not distinguish, and a bounded number of names to come (rule 8).
2. Nothing foreseeable raises. What cannot be sent is `Omitted`, with a reason; only `Symlinks.SKIP` leaves out without
   a word. A process that can open no more files raises `SystemFailed`: that is not about one file.
3. A path that the user named is followed if it is a symlink. Inside a tree, symlinks are followed only for
   `Symlinks.COPY`.
4. Only files, directories and symlinks are opened, so nothing here waits for a pipe.
5. A directory is entered only if it is the one that the walk found, with no symlink on the way (`same_file`). For files
   `reader` checks that.
6. The files that p2p-copy itself keeps in a tree are left out (`internal_files`): states without a word, unfinished
   files as `Reason.OWN` without a path, the output directory of this transfer as `Reason.ITSELF`.
7. What the user's patterns leave out is neither opened nor entered, and yielded as `Reason.EXCLUDED` without a path.
8. The names in a directory come by code points, as with `LC_ALL=C sort`, so that the receipts of two transfers of one
   tree can be compared line by line. Those of a directory with more than `limits.SORTED_NAMES` / 2 names come in sorted
   batches, in the order of the file system: a million names at once would take 80 MB.
"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Final

from p2p_copy.files import limits
from p2p_copy.files.source.entry import SourceEntry
from p2p_copy.files.source.internal_files import NO_INTERNAL_FILES, InternalFiles, OpenedInternalFiles
from p2p_copy.files.source.reader import SourceFailed, reason_of
from p2p_copy.files.source.same_file import is_same
from p2p_copy.files.state.store import is_state_file
from p2p_copy.files.system import KINDS, OPEN_DIRECTORY, identity_of, is_symlink
from p2p_copy.options import Symlinks
from p2p_copy.protocol import limits as protocol_limits, names
from p2p_copy.protocol.escape import escape
from p2p_copy.protocol.messages import Entry, Kind, Omitted, Reason
from p2p_copy.protocol.names import SeenNames

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from p2p_copy.files.source.entry import SourceTrees

BY_HANDLE = os.scandir in os.supports_fd
"""Whether entries are looked up relative to the open directory that lists them; Windows has paths only."""

_MODE: Final = 0o755 if sys.platform == "win32" else 0o777
"""Permission bits worth sending. Those of Windows are made up by Python, which lets all users write."""

_MOST_TIME: Final = 2**63 - 1

_EXCLUDED: Final = Omitted("", Reason.EXCLUDED)
UNFINISHED: Final = Omitted("", Reason.OWN)


def walk(
    trees: SourceTrees, internal: InternalFiles = NO_INTERNAL_FILES
) -> Generator[SourceEntry | Omitted, None, None]:
    """Yield all that is named, in that order, and all that is in it: each directory before its contents, names sorted.

    A named path is sent under its last component, a symlink under its own name, "." and ".." under the directory's
    real name. `Omitted.path` starts with that name, too: users of both sides see it, and it shows no path of this
    machine.
    """
    with internal.opened() as opened:
        walking = _Walk(trees, opened)
        for path in trees.paths:
            found = walking.named(path)
            if isinstance(found, SourceEntry) and found.entry.kind is Kind.DIRECTORY:
                yield from walking.directory(found, found.entry.name)
            else:
                yield found


class _Listing:
    """A directory that is being listed; both paths end in a separator.

    Attributes:
        handle: its descriptor; None where directories are listed by path.
        relative: its path for messages.
        longest: bytes that a name in it may have, so that the path fits into a manifest.
        seen: the names in it so far.

    """

    __slots__ = ("directory", "handle", "longest", "path", "relative", "seen")

    def __init__(self, directory: SourceEntry, handle: int | None, relative: str, seen: SeenNames) -> None:
        self.directory = directory
        self.handle = handle
        self.seen = seen
        self.path = os.path.join(directory.path, "")
        self.relative = f"{relative}/"
        self.longest = protocol_limits.MAX_PATH - len(self.relative.encode())


class _Walk:
    """One walk: its rules, and how many names are in memory."""

    def __init__(self, trees: SourceTrees, internal: OpenedInternalFiles) -> None:
        self._symlinks = trees.symlinks
        self._selection = trees.selection
        self._everything = trees.selection.everything
        self._portable = trees.portable_names
        self._internal = internal
        self._key = os.urandom(16)
        self._top_names = SeenNames(self._key)
        self._open_names = 0  # names in memory: at the top and in the directories being listed
        self._sortable = limits.SORTED_NAMES  # how many more names to come there may be in memory

    def named(self, path: str) -> SourceEntry | Omitted:
        """Return the entry of a path that the user named, or why it is left out."""
        name = ""
        try:
            name = own_name(path)
            if not name:
                return Omitted(escape(path), Reason.NAME)  # the root of a file system
            status = os.stat(path)
            if self._internal.is_state(path):
                return Omitted(escape(name), Reason.OWN)
        except (OSError, ValueError) as error:
            return Omitted(escape(name or path), reason_of(error))
        if self._is_excluded(name, status):
            return _EXCLUDED
        if stat.S_ISDIR(status.st_mode) and (
            self._internal.is_output(path) or self._internal.is_copy_of_itself(path, name)
        ):
            return _omitted(name, Reason.ITSELF, status)
        entry = self._entry(name, None, status)
        if isinstance(entry, Reason):
            return _omitted(name, entry, status)
        if not self._top_names.add(self._collision_key(name)):
            return _omitted(name, Reason.EXISTS, status)
        if self._open_names == protocol_limits.MAX_OPEN_NAMES:
            return _omitted(name, Reason.TOO_MUCH, status)
        self._open_names += 1
        return SourceEntry(entry, path, None, status, followed=True)

    def directory(self, directory: SourceEntry, relative: str) -> Iterator[SourceEntry | Omitted]:
        """Yield a directory and all that is in it; but if only entries in it are selected, only if there are any.

        `relative` is its path for messages.
        """
        deferred = not self._selection.everything and not self._selection.takes(relative, directory=True)
        if not deferred:
            yield directory
        for found in self._inside(directory, relative):
            if deferred and isinstance(found, SourceEntry):
                deferred = False
                yield directory
                if _is_pruned(directory):
                    return
            yield found

    def _inside(self, directory: SourceEntry, relative: str) -> Iterator[SourceEntry | Omitted]:
        if _is_pruned(directory):
            return
        above, sortable = self._open_names, self._sortable
        try:
            with _listed(directory) as (handle, entries):
                listing = _Listing(directory, handle, relative, SeenNames(self._key))
                states = self._internal.has_states(directory)
                for name in self._in_order(entries):
                    if states and is_state_file(name):
                        continue
                    found = self._look(name, listing)
                    if isinstance(found, SourceEntry) and found.entry.kind is Kind.DIRECTORY:
                        yield from self.directory(found, listing.relative + found.entry.name)
                    elif found is not None:
                        yield found
                    if _is_pruned(directory):
                        return
        except SourceFailed as failure:
            yield Omitted(escape(relative), failure.reason, directory=True)
        except OSError as error:
            yield Omitted(escape(relative), reason_of(error), directory=True)
        finally:
            self._open_names, self._sortable = above, sortable

    def _in_order(self, entries: Iterator[os.DirEntry[str]]) -> Iterator[str]:
        """Yield the names of a directory's entries, sorted as far as there is room for them.

        By name and not by inode, in whose order a cold rotating disk would read faster: that order is another one in
        each copy of a tree. Files that were made one after another often have both orders; the order in which ext4
        lists names is that of a hash, the slowest. With 50,000 files in one directory sorting takes 2 percent of a
        walk's time, and in 500 directories nothing that could be measured.
        """
        # Half of the room, so that some is left for the directories in this one.
        while batch := [entry.name for entry in islice(entries, max(self._sortable // 2, 1))]:
            # Names and not entries, which take twice the memory, and no more time to look them up.
            batch.sort(reverse=True)
            self._sortable -= len(batch)
            while batch:
                self._sortable += 1
                yield batch.pop()

    def _look(self, name: str, listing: _Listing) -> SourceEntry | Omitted | None:
        """Return what a name in a directory is, or why it is left out; None leaves it out without a word."""
        if names.is_unfinished(name):
            return UNFINISHED
        path = listing.path + name
        target = ""
        followed = False
        try:
            handle = listing.handle
            status = os.lstat(path) if handle is None else os.lstat(name, dir_fd=handle)
            if is_symlink(status):
                if self._symlinks is Symlinks.SKIP:
                    return None
                if self._symlinks is Symlinks.COPY:
                    status = os.stat(path)
                    followed = True
                else:
                    target = os.readlink(path).replace(os.sep, "/")
        except OSError as error:
            if self._is_excluded(listing.relative + name, None):
                return _EXCLUDED
            return Omitted(escape(listing.relative + name), reason_of(error))
        if not self._everything and self._is_excluded(listing.relative + name, status):
            return _EXCLUDED
        if stat.S_ISDIR(status.st_mode) and self._internal.is_output(path):
            return _omitted(listing.relative + name, Reason.ITSELF, status)
        entry = self._entry(name, listing.directory, status, target)
        if isinstance(entry, Reason):
            return _omitted(listing.relative + name, entry, status)
        if listing.longest < protocol_limits.MAX_NAME and len(name.encode()) > listing.longest:
            return _omitted(listing.relative + name, Reason.TOO_DEEP, status)
        # Names in a directory always differ on this system, but two may be one name on others.
        if self._portable and not listing.seen.add(self._collision_key(name)):
            return _omitted(listing.relative + name, Reason.NAME, status)
        if self._open_names == protocol_limits.MAX_OPEN_NAMES:
            return _omitted(listing.relative + name, Reason.TOO_MUCH, status)
        self._open_names += 1
        return SourceEntry(entry, path, listing.directory, status, followed=followed)

    def _is_excluded(self, path: str, status: os.stat_result | None) -> bool:
        """Return whether the user's patterns leave something out; without a status its kind is not known."""
        selection = self._selection
        if self._everything:
            return False
        if status is not None and stat.S_ISDIR(status.st_mode):
            return not selection.leads(path)
        return not selection.takes(path)

    def _collision_key(self, name: str) -> str:
        return names.collision_key(name, portable=self._portable)

    def _entry(
        self, name: str, directory: SourceEntry | None, status: os.stat_result, target: str = ""
    ) -> Entry | Reason:
        """Return the entry for the manifest, or why there is none."""
        kind = Kind.SYMLINK if target else KINDS.get(stat.S_IFMT(status.st_mode))
        depth = directory.entry.depth + 1 if directory is not None else 0
        if kind is None:
            return Reason.SPECIAL
        if names.refusal(name, portable=self._portable):
            return Reason.NAME
        if depth >= protocol_limits.MAX_DEPTH:
            return Reason.TOO_DEEP
        if kind is Kind.SYMLINK and names.symlink_target_refusal(target, depth, portable=self._portable):
            return Reason.SYMLINK_OUTSIDE
        if kind is Kind.DIRECTORY and _lies_in_itself(status, directory):
            return Reason.TOO_DEEP
        mtime_ns = status.st_mtime_ns
        if not -_MOST_TIME <= mtime_ns <= _MOST_TIME:
            mtime_ns = _MOST_TIME if mtime_ns > 0 else -_MOST_TIME
        size = status.st_size if kind is Kind.FILE else 0
        return Entry(kind, depth, name, status.st_mode & _MODE, mtime_ns, size, target)


def _omitted(path: str, reason: Reason, status: os.stat_result) -> Omitted:
    return Omitted(escape(path), reason, stat.S_ISDIR(status.st_mode))


def own_name(path: str) -> str:
    """Return the name under which a named path is sent; empty for the root of a file system."""
    name = os.path.basename(path.rstrip(os.sep + (os.altsep or "")))
    if path and name in {"", os.curdir, os.pardir}:
        name = os.path.basename(os.path.realpath(path))
    return name


@contextmanager
def _listed(directory: SourceEntry) -> Iterator[tuple[int | None, Iterator[os.DirEntry[str]]]]:
    """Open a directory; give its descriptor, None without one, and an iterator over its entries.

    Raises:
        SourceFailed: it is not the one that the walk found.

    """
    if not BY_HANDLE:
        with os.scandir(directory.path) as entries:
            yield None, entries
        return
    fd = os.open(directory.path, OPEN_DIRECTORY)
    try:
        # Not checked for what the user named: an automounter may have mounted another directory there meanwhile.
        status = os.fstat(fd)
        if directory.parent is not None and not is_same(directory, status):
            raise SourceFailed(Reason.CHANGED)
        directory.identity = identity_of(status)  # no other directory gets its number while it is open
        with os.scandir(fd) as entries:
            yield fd, entries
    finally:
        os.close(fd)


def _is_pruned(directory: SourceEntry | None) -> bool:
    while directory is not None:
        if directory.pruned:
            return True
        directory = directory.parent
    return False


def _lies_in_itself(status: os.stat_result, above: SourceEntry | None) -> bool:
    """Return whether a directory is one of its own parents, by a symlink or a mount."""
    here = (status.st_dev, status.st_ino)
    while above is not None:
        if above.identity[:2] == here:
            return True
        above = above.parent
    return False
