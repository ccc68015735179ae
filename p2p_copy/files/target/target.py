"""The output directory during one transfer: nothing is written outside it, and no file has its name before it is whole.

Rules
1. The sender is not trusted. Its names were checked before they come here; still, no symlink is followed
   (`files.directory`). Other users who may write into the output directory are not trusted either.
2. A file gets its name when it is complete (`part`). Nothing is replaced unless the user asked for that (`conflicts`).
3. Only the owner may enter a directory until everything in it is complete (`directories`).
4. A problem with one entry is `Refused`, and the transfer goes on. A problem with the disk ends it (`errors`).
5. What earlier conversations of the same transfer brought is found again (`resume`). If this one ends early, its
   incomplete files are kept for the next.

Not for several threads at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_copy.files.attributes import PERMISSIONS
from p2p_copy.files.state.journal import Journal
from p2p_copy.files.target import cleanup, symlinks
from p2p_copy.files.target.conflicts import Conflicts
from p2p_copy.files.target.directories import Directories
from p2p_copy.files.target.errors import fail_for_good
from p2p_copy.files.target.extraneous import Extraneous
from p2p_copy.files.target.files import Files
from p2p_copy.files.target.hardlinks import HardLinks
from p2p_copy.files.target.probe import open_output, supported
from p2p_copy.files.target.resume import ResumeIndex
from p2p_copy.files.target.small_files import SmallFiles
from p2p_copy.options import Conflict

if TYPE_CHECKING:
    from p2p_copy.files.target.extraneous import Protected
    from p2p_copy.protocol.manifest import Item
    from p2p_copy.protocol.messages import Preserved


class Target:
    """What one transfer writes. End it with `close`, which deletes the files that are incomplete or keeps them.

    Args:
        out: the output directory. It is created if it is missing, with its parents. The user named it, so it may be a
            symlink, or lie below one.
        conflict: what to do if a name exists already.
        checksum: with `Conflict.UPDATE`, contents are compared, and not times.
        delete: delete what the sender does not have, but for this; None to delete nothing.
        resume: what earlier conversations of this transfer have brought; nothing by default.
        allowed: the permission bits that files and directories may get; see `allowed_permissions`.

    Attributes:
        resume: as given.
        asks: the user is to be asked before something `is_taken` and replaced.
        extraneous: what the sender does not have, if that is to be deleted.
        directories: creates and completes directories.
        files: writes files piece by piece, and finds those that are here already.
        small_files: writes small files at once.
        hard_links: creates further names of files.
        replaces: of what lies here already some, or all of a file, may be used.
        marker: a file in the output directory by which a sender notices that it reads what this side writes.

    Raises:
        OutputNotWritable: nothing can be written there.
        NoSpace: not even an empty file has space there.

    """

    def __init__(
        self,
        out: str,
        *,
        conflict: Conflict,
        checksum: bool = False,
        delete: Protected | None = None,
        resume: ResumeIndex | None = None,
        allowed: int = PERMISSIONS,
    ) -> None:
        self.resume = resume = resume or ResumeIndex(Journal(None))
        self._top, resume.clock_ahead = open_output(out, resume.tag, allowed)
        self._conflicts = Conflicts(conflict, resume, checksum=checksum)
        self.asks = self._conflicts.asks
        self.replaces = self._conflicts.policy is Conflict.OVERWRITE
        self.extraneous = None if delete is None else Extraneous(self._top, delete, resume.tag)
        self.directories = Directories(self._top, self._conflicts, resume, self.extraneous)
        self.hard_links = HardLinks(self.directories, self._conflicts, resume)
        self.files = Files(self.directories, self._conflicts, resume, self.hard_links)
        self.small_files = SmallFiles(self.files, self.directories, self._conflicts, resume, self.hard_links)
        self.marker = cleanup.Marker(self._top, resume.tag)
        cleanup.sweep(self._top, resume)

    def free_bytes(self) -> int:
        """Return the bytes that may still be written.

        Raises:
            OutputNotWritable: the output directory is gone.

        """
        try:
            return self._top.free_bytes()
        except OSError as error:
            fail_for_good(error)

    def supported(self, preserve: Preserved) -> Preserved:
        """Return which of these attributes can be preserved here."""
        return supported(self._top, self.resume.tag, preserve)

    @property
    def attributes_lost(self) -> bool:
        """Whether something could not be given all of its attributes."""
        return self._top.attributes_lost

    def is_taken(self, item: Item) -> bool:
        """Return whether something has the name of a file or symlink that could be replaced by it.

        Raises:
            Refused: its directory is gone.

        """
        return self._conflicts.is_taken(item, self.directories.parent_of(item))

    def replace(self, item: Item) -> None:
        """Let a file or symlink replace what has its name."""
        self._conflicts.replace(item)

    def make_symlink(self, item: Item) -> None:
        """Create a symlink; it raises what `symlinks.make` raises."""
        symlinks.make(item, self.directories.parent_of(item), self._conflicts, self.resume)

    def remove_orphans(self) -> None:
        """Delete the parts that the sender did not name, and the marker, once it has named everything.

        Call it before this side records that all is here: if the process is killed later, nothing is left to delete.
        """
        cleanup.remove_orphans(self._top, self.resume)
        self.marker.remove()

    def remove_traces(self) -> None:
        """Delete everything incomplete, here and in all directories below, whether the journal knows it or not."""
        self.remove_orphans()
        cleanup.remove_traces(self._top, self.resume.tag)

    def close(self, *, keep: bool = False) -> None:
        """Delete what is incomplete, or `keep` it for another conversation; close all handles. May be called again."""
        if keep:
            self.resume.mark_stopped()
        self.files.close(keep=keep)
        self.directories.close()
        self.marker.remove()
        if self.extraneous is not None:
            self.extraneous.close()
        self._top.close()
