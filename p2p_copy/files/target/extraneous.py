"""Deletes what the sender does not have in the directories that it has sent, if the user asks for that.

Rules
1. Only in directories that the sender has named and that were taken: never in the output directory itself.
2. A directory is listed when it is complete, so when all names in it are known. Only what was listed is deleted, only
   after the whole transfer was verified, and only if it is still what was listed. Of what lies in a directory that was
   listed, everything stays that was changed since then, at any depth, as far as its times say so. Both times of the
   file system are compared, so a file whose time lies in the future counts as changed, too.
3. No symlink is followed, and no other file system is entered, nor another mount of the same one.
4. What patterns leave out stays, and so do unfinished files of any transfer, saved states, and each directory with
   something of that.
5. A name that differs from one of the sender's only in case or normal form stays, since on some systems it is the same
   file. So does one that differs so from what the sender cannot send.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING

from p2p_copy.files import limits
from p2p_copy.files.directory import reached
from p2p_copy.files.system import identity_of, is_symlink
from p2p_copy.files.temporary import temporary_name
from p2p_copy.protocol.escape import escape
from p2p_copy.protocol.names import PARTIAL_PREFIX, SeenNames, collision_key
from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from p2p_copy.files.directory import Directory
    from p2p_copy.files.selection import Selection
    from p2p_copy.protocol.manifest import Item


class Protected(NamedTuple):
    """What is never deleted: what `selection` leaves out, and directories with saved states."""

    selection: Selection
    state_directories: tuple[str, ...] = ()


class Extraneous:
    """What lies in the directories of one conversation, and not at the sender.

    Attributes:
        count: how many files, symlinks and directories; a directory counts once, with all that is in it.
        first: the first of their paths, escaped; a directory's ends with a `/`.
        alike: how many stay by rule 5.
        first_alike: the first of their paths, escaped.

    """

    def __init__(self, top: Directory, protected: Protected, tag: str = "") -> None:
        """Take the output directory, what is never deleted in it, and the `tag` of `temporary_name`."""
        self._top = top
        self._tag = tag
        self._selection = protected.selection
        self._states = set(_identities(protected.state_directories))
        self._key = os.urandom(16)
        self._named: dict[int, SeenNames] = {}  # the sender's names, by the entry number of their directory
        self._listed = tempfile.SpooledTemporaryFile(limits.EXTRAS_IN_MEMORY, "w+", encoding="ascii")  # noqa: SIM115
        self._links: set[tuple[int, int]] = set()  # files of which a name was deleted, and others are left
        self._lost = False  # the list could not be written
        self._check: Callable[[], None] = lambda: None
        self._omitted = SeenNames(self._key)
        self._omissions = 0
        self.count = self.alike = 0
        self.first: list[str] = []
        self.first_alike: list[str] = []

    # While the sender names its entries

    def name(self, item: Item) -> None:
        """Record that the sender has an entry."""
        if item.parent is not None:
            names = self._named.get(item.parent.index)
            if names is None:
                names = self._named[item.parent.index] = SeenNames(self._key)
            names.add(collision_key(item.entry.name, portable=True))
            names.add(_exact(item.entry.name))

    def omit(self, path: str) -> None:
        """Record that the sender has something at that path, which it cannot send."""
        self._omissions += 1
        if self._omissions <= limits.EXTRAS_OMITTED:
            self._omitted.add(_alike(path))

    def forget(self, item: Item) -> None:
        """Forget the names in a directory that is complete, if it was not listed."""
        self._named.pop(item.index, None)

    def list(self, item: Item, directory: Directory) -> None:
        """List what the sender does not have in a directory that is complete.

        Raises:
            OSError: it cannot be listed.

        """
        named = self._named.pop(item.index, None) or SeenNames(self._key)
        status = directory.status()
        if self._lost or (status.st_dev, status.st_ino) in self._states:
            return
        path = item.published_path
        since: int | None = None
        for name in directory.names():
            if name.startswith(PARTIAL_PREFIX) or _exact(name) in named:
                continue
            there = directory.lstat(name)
            if there is None or not self._may_go(f"{path}/{name}", there):
                continue
            if collision_key(name, portable=True) in named or self._is_omitted(f"{path}/{name}"):
                self._stays(f"{path}/{name}")
                continue
            is_directory = stat.S_ISDIR(there.st_mode) and not is_symlink(there)
            if is_directory and since is None:
                since = self._now(directory, stat.S_IMODE(status.st_mode))
            line = [path, name, identity_of(there), since if is_directory else _NEVER]
            try:
                self._listed.write(json.dumps(line) + "\n")
            except OSError:
                self._lost = True
                raise
            self.count += 1
            if len(self.first) < limits.EXTRAS_SHOWN:
                end = "/" if is_directory else ""
                self.first.append(escape(f"{path}/{name}") + end)

    def _is_omitted(self, path: str) -> bool:
        if not self._omissions:
            return False
        return self._omissions > limits.EXTRAS_OMITTED or _alike(path) in self._omitted

    def _stays(self, path: str) -> None:
        self.alike += 1
        if len(self.first_alike) < limits.EXTRAS_SHOWN:
            self.first_alike.append(escape(path))

    def _now(self, directory: Directory, mode: int) -> int:
        """Return the time in ns by the clock of a directory's file system, which may be a server's."""
        directory.unlock()
        try:
            return directory.try_out(temporary_name(self._tag)).st_mtime_ns
        finally:
            directory.lock(mode)

    def _may_go(self, path: str, there: os.stat_result) -> bool:
        """Return whether something may be deleted, or in a directory perhaps something."""
        if stat.S_ISDIR(there.st_mode) and not is_symlink(there):
            return (there.st_dev, there.st_ino) not in self._states and (
                self._selection.takes(path, directory=True) or self._selection.leads(path)
            )
        return self._selection.takes(path)

    # After everything was verified

    def is_whole(self) -> bool:
        """Return whether the whole list could be written; else nothing must be deleted."""
        try:
            self._listed.flush()
        except OSError:
            self._lost = True
        return not self._lost

    def delete(self, check: Callable[[], None] = lambda: None) -> Iterator[tuple[str, str]]:
        """Delete what was listed; yield each escaped path, and why it is still there: empty if it was deleted.

        A directory that was deleted is yielded without what was in it. What stays by rule 4 or 5 is not yielded.
        `check` is called before each deletion, and may raise to end this.
        """
        self._check = check
        self._listed.seek(0)
        lines = (json.loads(line) for line in self._listed)
        for path, listed in groupby(lines, lambda line: str(line[0])):
            try:
                with reached(self._top, path.split("/")) as directory:
                    before = directory.status()
                    directory.unlock()
                    try:
                        for _, name, identity, since in listed:
                            yield from self._delete(directory, name, f"{path}/{name}", tuple(identity), since)
                    finally:
                        directory.set_attributes(stat.S_IMODE(before.st_mode), before.st_mtime_ns)
            except (OSError, ValueError):
                for _, name, *_ in listed:  # noqa: B031 - those that are left
                    yield escape(f"{path}/{name}"), _FAILED

    def _delete(
        self, directory: Directory, name: str, path: str, identity: tuple[int, ...], since: int
    ) -> Iterator[tuple[str, str]]:
        try:
            there = directory.lstat(name)
            if there is None:
                return
            if identity_of(there) != identity:
                yield escape(path), _CHANGED
            elif (yield from self._remove(directory, name, path, there, since, limits.EXTRAS_DEPTH)):
                yield escape(path), ""
        except (OSError, ValueError):
            yield escape(path), _FAILED

    def _remove(
        self, directory: Directory, name: str, path: str, there: os.stat_result, since: int, depth: int
    ) -> Generator[tuple[str, str], None, bool]:
        """Delete a file or symlink, or a directory with all that is in it; return False if it stays.

        Of a directory that stays, what was deleted in it is yielded, and what was changed at or after the time `since`.

        Raises:
            OSError: something cannot be deleted.

        """
        self._check()
        if not self._may_go(path, there) or name.startswith(PARTIAL_PREFIX):
            return False
        if self._is_omitted(path):  # that may have become known after this was listed
            self._stays(path)
            return False
        if not stat.S_ISDIR(there.st_mode) or is_symlink(there):
            if self._is_changed(there, since):
                yield escape(path), _CHANGED
                return False
            directory.unlink(name)
            if there.st_nlink > 1 and len(self._links) < limits.EXTRAS_LINKS:
                self._links.add((there.st_dev, there.st_ino))
            return True
        if not depth:
            raise OSError
        inner = directory.open(name)
        try:
            before = inner.status()
            if inner.mount() != directory.mount():
                return False
            if self._is_changed(before, since):
                yield escape(path), _CHANGED
                return False
            inner.unlock()
            goes, removed = self._selection.takes(path, directory=True), False
            gone: list[str] = []
            try:
                for child in list(inner.names()):
                    status = inner.lstat(child)
                    if status is None:
                        continue
                    if (yield from self._remove(inner, child, f"{path}/{child}", status, since, depth - 1)):
                        gone.append(child)
                    else:
                        goes = False
                if goes:
                    directory.rmdir(name)
                    removed = True
            except OSError:
                goes = False
                yield from _deleted(path, gone)
                raise
            finally:
                if not removed:
                    inner.set_attributes(stat.S_IMODE(before.st_mode), before.st_mtime_ns)
        finally:
            inner.close()
        if not goes:
            yield from _deleted(path, gone)
        return goes

    def _is_changed(self, there: os.stat_result, since: int) -> bool:
        """Return whether something was changed, or put there, since that time.

        Contents can be changed without the time of modification, but not without the other one. That one changes also
        when another name of a file is deleted.
        """
        if (there.st_dev, there.st_ino) in self._links:
            return there.st_mtime_ns >= since
        return max(there.st_mtime_ns, there.st_ctime_ns) >= since

    def close(self) -> None:
        """Forget everything."""
        with suppress(OSError):  # what could not be written is not needed
            self._listed.close()


def _exact(name: str) -> str:
    """Return a key of a name itself, which is no collision key."""
    return "/" + name


def _alike(path: str) -> str:
    """Return the collision keys of the names of a path."""
    return "/".join(collision_key(name, portable=True) for name in path.split("/"))


_NEVER = 1 << 63
"""A time in ns after which nothing is changed: of a file that was listed, its identity says enough."""

_CHANGED = "is not at the sender, and was changed here meanwhile; it was not deleted"
_FAILED = "is not at the sender, and cannot be deleted here"


def _deleted(path: str, names: list[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        yield escape(f"{path}/{name}"), ""


def _identities(paths: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    for path in paths:
        with suppress(OSError, ValueError):
            there = os.stat(path)
            yield there.st_dev, there.st_ino
