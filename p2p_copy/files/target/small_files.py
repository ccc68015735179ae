"""Writes small files, whose contents are complete in memory: each at once, and all of one record together.

For a small file each Python call costs time that shows, so no `Part` is made. Systems without directory handles, files
that replace others, and files that are flushed to the disk are written as a `Part` all the same.
"""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from p2p_copy.files import limits, system
from p2p_copy.files.state.journal import key_of
from p2p_copy.files.target import conflicts
from p2p_copy.files.target.errors import Refused, fail
from p2p_copy.files.target.unnamed import UnnamedFiles, fill
from p2p_copy.files.temporary import temporary_name
from p2p_copy.options import Conflict
from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from p2p_copy.files.directory import Directory
    from p2p_copy.files.target.conflicts import Conflicts
    from p2p_copy.files.target.directories import Directories
    from p2p_copy.files.target.files import Files
    from p2p_copy.files.target.hardlinks import HardLinks
    from p2p_copy.files.target.resume import ResumeIndex
    from p2p_copy.protocol.manifest import Item
    from p2p_copy.protocol.messages import Entry


class _Unnamed(NamedTuple):
    """A small file that is complete under a temporary name."""

    item: Item
    directory: Directory
    policy: Conflict
    temporary: str
    made: os.stat_result


class SmallFiles:
    """Writes small files into the directories of one transfer."""

    def __init__(
        self,
        files: Files,
        directories: Directories,
        conflicts: Conflicts,
        resume: ResumeIndex,
        hard_links: HardLinks,
    ) -> None:
        self._files = files
        self._directories = directories
        self._conflicts = conflicts
        self._resume = resume
        self._hard_links = hard_links
        self._unnamed = UnnamedFiles()

    def put(self, files: Sequence[tuple[Item, bytes | memoryview]]) -> Iterator[tuple[Item, Refused | None]]:
        """Create files; yield each, and why it was refused if it was.

        Where other users may write, a file is recorded before it gets its name: the files of one call together.

        Raises:
            NoSpace, OutputNotWritable: nothing more can be written.

        """
        unnamed: deque[_Unnamed] = deque()
        try:
            for item, data in files:
                try:
                    one = self._write(item, data)
                except Refused as refused:
                    yield item, refused
                else:
                    if one is None:
                        yield item, None
                    else:
                        unnamed.append(one)
            if unnamed:
                self._resume.journal.commit()
            while unnamed:
                one = unnamed.popleft()
                yield one.item, self._name(one)
        finally:
            for one in unnamed:
                self._drop(one)

    def _write(self, item: Item, data: bytes | memoryview) -> _Unnamed | None:
        """Create a file; return it if it has no name yet, because it must be recorded first."""
        directory = self._directories.parent_of(item)
        assert item.digest is not None, "a file that is complete has one"
        if not system.HANDLES or len(data) >= limits.FSYNC_FROM:
            self._write_part(item, data)
            return None
        if directory.created and self._resume.fresh:  # so nothing is there but what came in this conversation
            policy, earlier = self._conflicts.policy_of(item), ""
        else:
            policy, earlier = self._conflicts.check(item, directory)
            if policy is Conflict.OVERWRITE:
                self._write_part(item, data)
                return None
        try:
            if not self._resume.fresh:
                self._files.remove_part(item, directory)
                self._conflicts.remove_earlier(item, directory, earlier)
            if not directory.created:
                if policy is Conflict.RENAME and directory.lstat(item.entry.name) is not None:
                    raise FileExistsError  # a name that exists already is never recorded as ours
                temporary, made = _write_new(directory, item.entry, data, self._resume.tag)
                self._resume.record_complete(item, made, item.digest, item.entry.name, flushed=False)
                return _Unnamed(item, directory, policy, temporary, made)
            there = self._put_new(directory, item.entry, data)
        except FileExistsError:
            if policy is not Conflict.RENAME:
                raise conflicts.taken(policy) from None
            self._write_part(item, data)
        except (OSError, ValueError) as error:
            fail(error)
        else:
            self._resume.record_complete(item, there, item.digest, item.entry.name, flushed=False)
            if item.entry.extra is not None:
                self._hard_links.remember(item, there)
        return None

    def _write_part(self, item: Item, data: bytes | memoryview) -> None:
        part = self._files.open_part(item)
        try:
            if data:
                part.write(data)
            self._files.publish_part(item, part)
        finally:
            part.discard()

    def _put_new(self, directory: Directory, entry: Entry, data: bytes | memoryview) -> os.stat_result:
        """Create a file and give it its name; return its status.

        Raises:
            FileExistsError: its name is taken.
            OSError, ValueError: it cannot be created; nothing is left of it.

        """
        before_naming = self._resume.journal.commit_if_late
        there = self._unnamed.put(directory, entry, data, before_naming)
        if there is None:
            there = self._put_by_another_name(directory, entry, data, before_naming)
            self._unnamed.lack(directory)
        return there

    def _put_by_another_name(
        self,
        directory: Directory,
        entry: Entry,
        data: bytes | memoryview,
        before_naming: Callable[[], None],
    ) -> os.stat_result:
        """Do the same through a temporary name, which works on all systems with directory handles."""
        name, there = _write_new(directory, entry, data, self._resume.tag)
        at, own = directory.handle(), entry.name
        try:
            before_naming()
            try:
                os.link(name, own, src_dir_fd=at, dst_dir_fd=at, follow_symlinks=False)
            except OSError:
                directory.move_new(name, own)  # tries what works without hard links
            return there
        finally:
            try:  # noqa: SIM105  # `suppress` takes longer than the call
                os.unlink(name, dir_fd=at)
            except OSError:
                pass

    def _name(self, one: _Unnamed) -> Refused | None:
        """Give a recorded file its name; return the refusal if it cannot have one."""
        item = one.item

        def intend(name: str, there: os.stat_result) -> None:
            if name != item.entry.name:
                self._resume.record_complete(item, there, item.digest or b"", name, flushed=False)
                self._resume.journal.commit()

        try:
            item.name = conflicts.move_new(
                one.policy, one.directory, one.temporary, item.entry.name, one.made, intend
            )
        except Refused as refused:
            self._drop(one)
            return refused
        except (OSError, ValueError) as error:
            self._drop(one)
            try:
                fail(error)
            except Refused as refused:
                return refused
        self._hard_links.remember(item, one.made)
        return None

    def _drop(self, one: _Unnamed) -> None:
        """Delete a file that gets no name."""
        with suppress(OSError):
            one.directory.unlink(one.temporary)
        self._resume.journal.forget(key_of(one.item.path))


def _write_new(
    directory: Directory, entry: Entry, data: bytes | memoryview, tag: str
) -> tuple[str, os.stat_result]:
    """Create a file with its contents and attributes under a temporary name; return that name, and its status.

    Raises:
        OSError, ValueError: it cannot be created; nothing is left of it.

    """
    at = directory.handle()
    name = temporary_name(tag)
    fd = os.open(name, system.CREATE, 0o600, dir_fd=at)
    try:
        try:
            # An empty file, too, has its time and mode before it has its name.
            mode = entry.mode & directory.allowed
            return name, fill(fd, directory, entry, data, mode, has_mode=False)
        finally:
            os.close(fd)  # network file systems report here what they could not store
    except BaseException:
        with suppress(OSError):
            os.unlink(name, dir_fd=at)
        raise
