"""Where received entries go: nothing outside the output directory, nothing half-done under a final name.

Rules
1. Whoever sends is not trusted: names were checked before they came here, and no link is followed all the
   same (`directories`). Nor is whoever else writes into the output directory.
2. A file gets its name when it is complete (`part`), and nothing is replaced unless asked (`conflicts`).
3. A directory is for its owner alone until all in it is complete.
4. A problem of one entry is `Refused`, and the transfer goes on. A problem of the disk is fatal (`failures`).
5. What an earlier link of the same transfer brought is `ResumeIndex`, and so is the part under way when this one ends
   early.

Not for several threads at once.
"""

from __future__ import annotations

import stat
import sys
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from p2p_copy.files import attributes, directory as directories, limits, system
from p2p_copy.files.state.journal import Journal
from p2p_copy.files.target import cleanup, conflicts, hardlinks, symlinks
from p2p_copy.files.target.errors import Refused, fail, fail_for_good
from p2p_copy.files.target.part import Part, put_new, write_new
from p2p_copy.files.target.probe import open_output, supported
from p2p_copy.files.target.resume import PartialFile, ResumeIndex
from p2p_copy.files.temporary import temporary_name
from p2p_copy.options import Conflict
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.messages import Reason

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from p2p_copy.files.directory import Directory
    from p2p_copy.protocol.manifest import Item
    from p2p_copy.protocol.messages import Preserved

__all__ = ["Part", "PartialFile", "Refused", "ResumeIndex", "Target"]


class _Unnamed(NamedTuple):
    """A small file that is complete under a private name."""

    item: Item
    directory: Directory
    policy: Conflict
    temporary: str
    made: os.stat_result


class Target:
    """The output directory during one transfer.

    Use it as a context manager; leaving it throws away the files that are not complete.

    Args:
        out: the directory; it is created if missing, with its parents. The user named it, so it may be or
            contain symbolic links.
        conflict: what to do when a name exists already.
        kept: what earlier links of this transfer have brought; nothing unless given.
        allowed: the permission bits that files and directories may have; see `modes`.

    Raises:
        OutputNotWritable: nothing can be written there.
        NoSpace: not even an empty file has room there.

    """

    def __init__(
        self,
        out: str,
        *,
        conflict: Conflict,
        kept: ResumeIndex | None = None,
        allowed: int = directories.PERMISSIONS,
    ) -> None:
        self._conflict = conflict
        self.kept = kept or ResumeIndex(Journal(None))
        self._top, self.kept.ahead = open_output(out, self.kept.tag, allowed)
        self._directories: dict[int, Directory] = {}
        self._names = hardlinks.FurtherNames(self._top, self._directories, self.kept)
        self._parts: dict[Item, Part] = {}  # of the files under way
        self._marker = ""
        cleanup.sweep(self._top, self.kept)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def free_bytes(self) -> int:
        """Return the bytes that we may still write.

        Raises:
            OutputNotWritable: the output directory is gone.

        """
        try:
            return self._top.free_bytes()
        except OSError as error:
            fail_for_good(error)

    def supported(self, preserve: Preserved) -> Preserved:
        """Return which of these attributes can be kept here."""
        return supported(self._top, self.kept.tag, preserve)

    def mark(self) -> str:
        """Put a marker into the output directory, and return its name; empty if that cannot be done.

        It is there until all has been named (`remove_orphans`), or until `close`.

        A sender that sees it in what it sends knows that this side writes there.
        """
        name = temporary_name(self.kept.tag)
        try:
            self._top.close_new(name)
        except OSError:
            return ""
        self._marker = name
        return name

    @property
    def attributes_lost(self) -> bool:
        """Whether something could not have all of its attributes."""
        return self._top.attributes_lost

    def make_directory(self, item: Item) -> None:
        """Create a directory, or enter one that exists.

        Raises:
            Refused: it cannot be created, or something else has its name.
            NoSpace, OutputNotWritable: no more can be written at all.

        """
        parent = self._parent(item)
        try:
            directory = self._enter_own(item, parent) or self._make_or_open(item, parent)
            self._directories[item.index] = directory
            item.name = directory.name
            cleanup.sweep(directory, self.kept)
            if directory.created and (there := parent.lstat(directory.name)) is not None:
                self.kept.made(item, there, name=directory.name, flushed=True)
        except (OSError, ValueError) as error:
            fail(error)

    def _enter_own(self, item: Item, parent: Directory) -> Directory | None:
        """Enter a directory that an earlier link of this transfer made, if it is there."""
        if not (name := self.kept.own_name(item, parent)):
            return None
        try:
            return self._open_own(item, parent, name)
        except NotADirectoryError:  # it was none at the sender, either
            parent.unlink(name)
        except FileExistsError:  # somebody has put another one there, which is none of ours
            pass
        return None

    def _make_or_open(self, item: Item, parent: Directory) -> Directory:
        name = item.entry.name

        def make(free: str) -> Directory:
            if parent.created:
                self.kept.renew()
            elif parent.lstat(free) is None:
                self.kept.intend(item, free)  # or nobody would know whose it is, were we killed now
            return parent.make(free, temporary_name(self.kept.tag))

        try:
            return make(name)
        except FileExistsError:
            if self._was_left(item, parent):
                parent.unlink(name)
                return make(name)
            if parent.created and self.kept.restarted:  # nobody else has put anything there
                with suppress(NotADirectoryError, FileExistsError):
                    return self._open_own(item, parent, name)
            with suppress(NotADirectoryError):
                return parent.open(name)
        # To skip is to leave one file as it is; a whole tree that has no place is missing.
        policy = Conflict.REFUSE if self._conflict is Conflict.SKIP else self._conflict
        return conflicts.place(policy, name, make, ending=False)

    def _open_own(self, item: Item, parent: Directory, name: str) -> Directory:
        """Open a directory that we have made. It is ours, or its owner's at the sender if all in it was complete."""
        owner = item.entry.extra.owner if item.entry.extra is not None else None
        given_to = attributes.ids_of(owner)[0] if owner is not None else None
        return parent.open_own(name, temporary_name(self.kept.tag), given_to=given_to)

    def finish_directory(self, item: Item) -> None:
        """Give a directory its attributes, once all that lies in it is done, and let it go.

        One that was there before keeps its own, unless `Conflict.OVERWRITE` was asked for; one that was
        refused is passed over.
        """
        directory = self._directories.pop(item.index, None)
        if directory is None:
            return
        if directory.created or self._conflict is Conflict.OVERWRITE:
            if item.entry.extra is not None:
                directory.give(item.entry.extra)
            directory.set_attributes(item.entry.mode & directory.allowed, item.entry.mtime_ns)
        directory.close()

    def make_link(self, item: Item) -> None:
        """Create a symbolic link; it raises what `symbolic_links.put` does."""
        symlinks.put(item, self._parent(item), self._conflict, self.kept, self._was_left)

    def check_file(self, item: Item) -> None:
        """Find out early whether a file would be refused, so that it is not sent in vain; `publish` decides.

        Raises:
            Refused: its name is taken.

        """
        self._check(item, self._parent(item))

    def check_other_name(self, item: Item) -> None:
        """Do the same for another name of a file, unless that is there from an earlier link.

        Raises:
            Refused: its name is taken.

        """
        directory = self._parent(item)
        try:
            own = self.kept.own_name(item, directory)
        except (OSError, ValueError) as error:
            fail(error)
        if not own:
            self._check(item, directory)

    def holding(self, item: Item) -> PartialFile | None:
        """Return what an earlier link has brought of a file; None if that is nothing, or none of it is left.

        Raises:
            Refused: the directory is gone.
            NoSpace, OutputNotWritable: no more can be written at all.

        """
        directory = self._parent(item)
        try:
            return self.kept.holding(item, directory)
        except (OSError, ValueError) as error:
            fail(error)

    def begin_file(self, item: Item, holding: PartialFile | None = None) -> Part:
        """Make room for a file, or go on behind what is held of it.

        The caller writes all of it, then publishes or discards it.

        Raises:
            Refused: it cannot be created, or its name is taken already.
            NoSpace, OutputNotWritable: no more can be written at all.

        """
        part = self._parts[item] = self._open(item, holding)
        return part

    def _open(self, item: Item, holding: PartialFile | None = None) -> Part:
        directory = self._parent(item)
        policy = self._check(item, directory)
        try:
            if holding is not None:
                part = Part(
                    directory,
                    item.entry,
                    policy,
                    tag=self.kept.tag,
                    kept=holding.part,
                    size=holding.size,
                )
            else:
                self._remove_part(item, directory)
                part = Part(directory, item.entry, policy, tag=self.kept.tag)
                self.kept.begin(item, part.path)
        except (OSError, ValueError) as error:
            fail(error)
        return part

    def _remove_part(self, item: Item, directory: Directory) -> None:
        """Remove what an earlier link has left of a file that starts over."""
        if (old := self.kept.part_of(item)) is not None:
            with suppress(OSError):
                directory.unlink(old)

    def publish(self, item: Item) -> None:
        """Give a file that was begun its name.

        Raises:
            Refused: its name was taken meanwhile, or the directory takes no more files.
            NoSpace, OutputNotWritable: the disk did not take all of it after all.

        """
        self._publish(item, self._parts.pop(item))

    def _publish(self, item: Item, part: Part) -> None:
        assert item.digest is not None, "a file that is complete has one"
        note = partial(self.kept.made, item, digest=item.digest, flushed=item.entry.size >= limits.FSYNC_FROM)

        directory = self._parent(item)
        noted = False

        def intend(name: str, there: os.stat_result) -> None:
            nonlocal noted
            if directory.created and name == item.entry.name:
                self.kept.renew()
            else:
                noted = True
                note(there, name=name)  # or it would be somebody else's, were we killed now
                self.kept.write()

        def look_again() -> Conflict:
            policy = self._check(item, directory)  # what had its name may be somebody else's by now
            self._make_way(item, directory)
            return policy

        try:
            item.name, there = part.publish(intend, look_again)
        except Refused:
            if noted:
                self.kept.unmade(item)
            raise
        note(there, name=item.name)
        self._names.note(item, there)

    def take_held(self, item: Item, holding: PartialFile) -> None:
        """Let a file that is held be complete as it is, with the mode that this process gives it."""
        item.name = holding.name
        directory = self._parent(item)
        if sys.platform != "win32":
            with suppress(OSError):
                self._give_mode(item, directory)
        self._names.note_held(item, directory)

    def _give_mode(self, item: Item, directory: Directory) -> None:
        """Give a file its mode if it has another one: the umask of an earlier process may have been another.

        A copy of the output that shares the file (`cp -al`) keeps what it has.
        """
        mode = item.entry.mode & directory.allowed
        there = directory.lstat(item.name)
        if there is not None and stat.S_IMODE(there.st_mode) != mode and there.st_nlink == 1:
            directory.set_mode(item.name, mode)

    def link_file(self, item: Item) -> None:
        """Give a file that this transfer has brought another name; it raises what `FurtherNames.put` does."""
        self._names.put(item, self._parent(item), self._check, self._make_way)

    def discard(self, item: Item) -> None:
        """Throw away what was begun of a file."""
        self._parts.pop(item).discard()
        self.kept.forget(item)

    def put_file(self, item: Item, data: bytes | memoryview) -> None:
        """Create a file of which all is here.

        Raises:
            Refused: it cannot be created, or its name is taken.
            NoSpace, OutputNotWritable: no more can be written at all.

        """
        for _, refused in self.put_files([(item, data)]):
            if refused is not None:
                raise refused

    def put_files(
        self, files: Sequence[tuple[Item, bytes | memoryview]]
    ) -> Iterator[tuple[Item, Refused | None]]:
        """Create files of which all is here; yield each, and why it cannot be there.

        Where others may have put things, a file is noted before it gets its name: those of one call all at once.

        Raises:
            NoSpace, OutputNotWritable: no more can be written at all.

        """
        unnamed: deque[_Unnamed] = deque()
        try:
            for item, data in files:
                try:
                    one = self._put(item, data)
                except Refused as refused:
                    yield item, refused
                else:
                    if one is None:
                        yield item, None
                    else:
                        unnamed.append(one)
            if unnamed:
                self.kept.write()
            while unnamed:
                one = unnamed.popleft()
                yield one.item, self._name(one)
        finally:
            for one in unnamed:
                self._drop(one)

    def _put(self, item: Item, data: bytes | memoryview) -> _Unnamed | None:
        """Create a file; return it if it has no name yet, and is to be noted before it gets one."""
        directory = self._parent(item)
        policy = self._check(item, directory)
        assert item.digest is not None, "a file that is complete has one"
        if system.HANDLES and policy is not Conflict.OVERWRITE and len(data) < limits.FSYNC_FROM:
            try:
                self._remove_part(item, directory)
                self._make_way(item, directory)
                if not directory.created:
                    if policy is Conflict.RENAME and directory.lstat(item.entry.name) is not None:
                        raise FileExistsError  # a name that somebody has is never noted as ours
                    temporary, made = write_new(directory, item.entry, data, self.kept.tag)
                    self.kept.made(item, made, item.digest, item.entry.name, flushed=False)
                    return _Unnamed(item, directory, policy, temporary, made)
                there = put_new(directory, item.entry, data, self.kept.tag, self.kept.renew)
            except FileExistsError:
                if policy is not Conflict.RENAME:
                    raise conflicts.taken(policy) from None
            except (OSError, ValueError) as error:
                fail(error)
            else:
                self.kept.made(item, there, item.digest, item.entry.name, flushed=False)
                self._names.note(item, there)
                return None
        part = self._open(item)
        try:
            if data:
                part.write(data)
            self._publish(item, part)
        finally:
            part.discard()
        return None

    def _name(self, one: _Unnamed) -> Refused | None:
        """Give a file that is noted its name; return why it cannot have one."""
        item = one.item

        def intend(name: str, there: os.stat_result) -> None:
            if name != item.entry.name:
                self.kept.made(item, there, item.digest or b"", name, flushed=False)
                self.kept.write()

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
        self._names.note(item, one.made)
        return None

    def _drop(self, one: _Unnamed) -> None:
        """Throw away a file that gets no name."""
        with suppress(OSError):
            one.directory.unlink(one.temporary)
        self.kept.unmade(one.item)

    def _check(self, item: Item, directory: Directory) -> Conflict:
        """Return what is to be done if the name of a file is taken, unless it may not be taken and is.

        Nothing is changed: the file may be long in coming. `_make_way` comes right before it gets its name.
        """
        try:
            own = self.kept.own_name(item, directory)
            if own == item.entry.name or self._was_left(item, directory):
                there = directory.lstat(item.entry.name)
                if there is not None and stat.S_ISREG(there.st_mode):
                    return Conflict.OVERWRITE  # an earlier link brought what the sender has changed since
            elif self._conflict is not Conflict.RENAME and not directory.created:
                conflicts.check(self._conflict, directory, item.entry.name)  # by RENAME another name will do
            if directory.created:
                # Nobody else has put anything there: what is there came with this transfer, and is not to be replaced.
                ours = self._conflict is Conflict.OVERWRITE
                return Conflict.REFUSE if ours else self._conflict
        except (OSError, ValueError) as error:
            fail(error)
        return self._conflict

    def _make_way(self, item: Item, directory: Directory) -> None:
        """Remove what an earlier link or process of ours has made of a file, unless a file replaces it in one step.

        What comes in its place is ours then, even if we are killed before that is noted.
        """
        own = self.kept.own_name(item, directory)
        if own:
            self.kept.intend(item, own)
        elif self._was_left(item, directory):
            own = item.entry.name
        there = directory.lstat(own) if own else None
        if there is not None and not (own == item.entry.name and stat.S_ISREG(there.st_mode)):
            directory.unlink(own)

    def _was_left(self, item: Item, directory: Directory) -> bool:
        """Return whether what has an entry's name, and is no directory, was made by a process of ours that was killed.

        It was if we have made the directory, and it stands in no journal.
        """
        if not (self.kept.killed and directory.created):
            return False
        there = directory.lstat(item.entry.name)
        if there is None or stat.S_ISDIR(there.st_mode):
            return False
        if directory.unnoted is None:
            directory.unnoted = self.kept.unnoted(item.parent, directory)
        return item.entry.name in directory.unnoted

    def _parent(self, item: Item) -> Directory:
        if item.parent is None:
            return self._top
        directory = self._directories.get(item.parent.index)
        if directory is None:  # it was refused, and with it all that lies in it
            raise Refused(Reason.NOT_WANTED)
        return directory

    def remove_orphans(self) -> None:
        """Remove what is of no use once the sender has named everything: parts that it did not name, and the marker.

        It goes before this side notes that all is here: a process that is killed then has nothing left to remove.
        """
        cleanup.remove_orphans(self._top, self.kept)
        self._remove_marker()

    def remove_traces(self) -> None:
        """Remove whatever is not finished, here and in all directories below, known or not."""
        self.remove_orphans()
        cleanup.remove_traces(self._top, self.kept.tag)

    def close(self, *, keep: bool = False) -> None:
        """Throw away what is not complete, or keep it for another link; let go of everything. May be called again."""
        if keep:
            self.kept.rest()
        for item, part in list(self._parts.items()):
            if keep and self.kept.is_worth_keeping(item):
                part.keep()
                self.kept.flushed(item, part.flushed // protocol_limits.SEGMENT)
                self.kept.commit(limits.JOURNAL_BYTES)  # nothing of the part is newer than this word
                del self._parts[item]
            else:
                self.discard(item)
        for directory in self._directories.values():
            directory.close()
        self._directories.clear()
        self._remove_marker()
        self._top.close()

    def _remove_marker(self) -> None:
        marker, self._marker = self._marker, ""
        if marker:
            with suppress(OSError):
                self._top.unlink(marker)
