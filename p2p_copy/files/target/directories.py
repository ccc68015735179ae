"""The directories of one transfer: created or opened when named, completed when all entries in them are."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from p2p_copy.files import attributes
from p2p_copy.files.directory import reached
from p2p_copy.files.target import cleanup, conflicts
from p2p_copy.files.target.errors import Refused, fail
from p2p_copy.files.temporary import temporary_name
from p2p_copy.options import Conflict
from p2p_copy.protocol.messages import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from p2p_copy.files.directory import Directory
    from p2p_copy.files.target.conflicts import Conflicts
    from p2p_copy.files.target.extraneous import Extraneous
    from p2p_copy.files.target.resume import ResumeIndex
    from p2p_copy.protocol.manifest import Item


class Directories:
    """The directories that may still get entries, by the index of their item."""

    def __init__(
        self, top: Directory, conflicts: Conflicts, resume: ResumeIndex, extraneous: Extraneous | None
    ) -> None:
        self._top = top
        self._conflicts = conflicts
        self._resume = resume
        self._extraneous = extraneous
        self._open: dict[int, Directory] = {}

    def parent_of(self, item: Item) -> Directory:
        """Return the directory in which an entry lies.

        Raises:
            Refused: the directory was refused, and everything in it with it.

        """
        if item.parent is None:
            return self._top
        directory = self._open.get(item.parent.index)
        if directory is None:
            raise Refused(Reason.NOT_WANTED)
        return directory

    @contextmanager
    def reached(self, item: Item) -> Iterator[Directory]:
        """Yield the directory in which an entry lies; it is opened again if it is complete already."""
        if item.parent is None:
            yield self._top
        elif (directory := self._open.get(item.parent.index)) is not None:
            yield directory
        else:
            with reached(self._top, item.parent.published_path.split("/")) as directory:
                yield directory

    def make(self, item: Item) -> None:
        """Create a directory, or enter one that exists.

        Raises:
            Refused: it cannot be created, or something else has its name.
            NoSpace, OutputNotWritable: nothing more can be written.

        """
        parent = self.parent_of(item)
        try:
            directory = self._enter_own(item, parent) or self._make_or_open(item, parent)
            self._open[item.index] = directory
            item.name = directory.name
            cleanup.sweep(directory, self._resume)
            if directory.created and (there := parent.lstat(directory.name)) is not None:
                self._resume.record_complete(item, there, name=directory.name, flushed=True)
        except (OSError, ValueError) as error:
            fail(error)

    def _enter_own(self, item: Item, parent: Directory) -> Directory | None:
        """Enter a directory that an earlier conversation of this transfer made, if it exists."""
        if not (name := self._resume.earlier_name(item, parent)):
            return None
        try:
            return self._open_own(item, parent, name)
        except NotADirectoryError:  # we made it when the sender had no directory there
            parent.unlink(name)
        except FileExistsError:  # another user has put a different directory there
            pass
        return None

    def _make_or_open(self, item: Item, parent: Directory) -> Directory:
        name = item.entry.name

        def make(free: str) -> Directory:
            if parent.created:
                self._resume.journal.commit_if_late()
            elif parent.lstat(free) is None:
                # If this process were killed right after, the directory would else count as another user's.
                self._resume.record_intent(item, free)
            return parent.make(free, temporary_name(self._resume.tag))

        try:
            return make(name)
        except FileExistsError:
            if self._conflicts.was_left(item, parent):
                parent.unlink(name)
                return make(name)
            if parent.created and self._resume.restarted:  # no other user could put anything there
                with suppress(NotADirectoryError, FileExistsError):
                    return self._open_own(item, parent, name)
            with suppress(NotADirectoryError):
                return parent.open(name)
        # SKIP is about files: skipping a directory would lose a whole tree.
        policy = Conflict.REFUSE if self._conflicts.policy is Conflict.SKIP else self._conflicts.policy
        return conflicts.place(policy, name, make, before_suffix=False)

    def _open_own(self, item: Item, parent: Directory, name: str) -> Directory:
        """Open a directory that we made. If we completed it, it may have the owner that it has at the sender."""
        owner = item.entry.extra.owner if item.entry.extra is not None else None
        given_to = attributes.ids_of(owner)[0] if owner is not None else None
        return parent.open_own(name, temporary_name(self._resume.tag), given_to=given_to)

    def finish(self, item: Item) -> None:
        """Give a directory its attributes and close it, once everything in it is done.

        A directory that existed before keeps its attributes unless the user asked to overwrite. A directory that was
        refused is ignored.
        """
        directory = self._open.pop(item.index, None)
        if directory is None:
            return
        if self._extraneous is not None:
            with suppress(OSError):  # what cannot be listed is not deleted
                self._extraneous.list(item, directory)
        if directory.created or self._conflicts.policy is Conflict.OVERWRITE:
            if item.entry.extra is not None:
                directory.give(item.entry.extra)
            directory.set_attributes(item.entry.mode & directory.allowed, item.entry.mtime_ns)
        directory.close()

    def close(self) -> None:
        """Close all open directories without setting their attributes."""
        for directory in self._open.values():
            directory.close()
        self._open.clear()
