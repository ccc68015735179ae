"""Where received entries go: nothing outside the output directory, nothing half-done under a final name.

Rules
1. Whoever sends is not trusted: names were checked before they came here, and no link is followed all the
   same (`directories`). Nor is whoever else writes into the output directory.
2. A file gets its name when it is complete (`part`), and nothing is replaced unless asked (`conflicts`).
3. A directory is for its owner alone until all in it is complete.
4. A problem of one entry is `Refused`, and the transfer goes on. A problem of the disk is fatal (`failures`).

Not for several threads at once. Part files of an earlier run that was killed are not touched.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from p2p_copy import limits
from p2p_copy.errors import OutputNotWritable
from p2p_copy.files import conflicts, directories
from p2p_copy.files.directories import Directory
from p2p_copy.files.failures import Refused, fail, fail_for_good
from p2p_copy.files.part import Part, put_new, temporary_name
from p2p_copy.options import Conflict
from p2p_copy.protocol.messages import Reason

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from p2p_copy.protocol.manifest import Item

__all__ = ["Part", "Refused", "Target"]

_NO_LINKS: Final = frozenset((errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP))
"""How file systems say that they know no symbolic links."""


class Target:
    """The output directory during one transfer.

    Use it as a context manager; leaving it throws away the file that is not complete.

    Args:
        out: the directory; it is created if missing, with its parents. The user named it, so it may be or
            contain symbolic links.
        conflict: what to do when a name exists already.

    Raises:
        OutputNotWritable: nothing can be written there.
        NoSpace: not even an empty file has room there.

    """

    def __init__(self, out: str, *, conflict: Conflict) -> None:
        self._conflict = conflict
        self._top = _open_output(out)
        self._directories: dict[int, Directory] = {}
        self._part: Part | None = None

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

    def make_directory(self, item: Item) -> None:
        """Create a directory, or enter one that exists.

        Raises:
            Refused: it cannot be created, or something else has its name.
            NoSpace, OutputNotWritable: no more can be written at all.

        """
        parent = self._parent(item)
        try:
            self._directories[item.index] = self._make_or_open(parent, item.entry.name)
        except (OSError, ValueError) as error:
            fail(error)

    def _make_or_open(self, parent: Directory, name: str) -> Directory:
        try:
            return parent.make(name)
        except FileExistsError:
            with suppress(NotADirectoryError):
                return parent.open(name)
        # To skip is to leave one file as it is; a whole tree that has no place is missing.
        policy = Conflict.REFUSE if self._conflict is Conflict.SKIP else self._conflict
        return conflicts.place(policy, name, parent.make, ending=False)

    def finish_directory(self, item: Item) -> None:
        """Give a directory its attributes, once all that lies in it is done, and let it go.

        One that was there before keeps its own, unless `Conflict.OVERWRITE` was asked for; one that was
        refused is passed over.
        """
        directory = self._directories.pop(item.index, None)
        if directory is None:
            return
        if directory.created or self._conflict is Conflict.OVERWRITE:
            directory.set_attributes(item.entry.mode, item.entry.mtime_ns)
        directory.close()

    def make_link(self, item: Item) -> None:
        """Create a symbolic link, without a look at what it points to.

        Windows is left out: a link there needs a privilege, and must know beforehand whether it will point to
        a directory.

        Raises:
            Refused: it cannot be created, or something has its name.
            NoSpace, OutputNotWritable: no more can be written at all.

        """
        if sys.platform == "win32":
            raise Refused(Reason.UNSUPPORTED)
        directory = self._parent(item)
        name, target = item.entry.name, item.entry.target

        def put(free: str) -> None:
            directory.symlink(target, free)
            with suppress(OSError, OverflowError):
                directory.set_time(free, item.entry.mtime_ns)

        try:
            there = directory.lstat(name) if self._conflict is Conflict.OVERWRITE else None
            if there is None:
                conflicts.place(self._conflict, name, put)
            elif stat.S_ISDIR(there.st_mode):
                raise Refused(Reason.EXISTS)
            else:
                temporary = temporary_name()
                put(temporary)
                _replace(directory, temporary, name)
        except OSError as error:
            if error.errno in _NO_LINKS:
                raise Refused(Reason.UNSUPPORTED) from None
            fail(error)
        except ValueError as error:
            fail(error)

    def check_file(self, item: Item) -> None:
        """Find out early whether a file would be refused, so that it is not sent in vain; `publish` decides.

        Raises:
            Refused: its name is taken.

        """
        self._check(item, self._parent(item))

    def begin_file(self, item: Item) -> Part:
        """Make room for a file. The caller writes all of it, then publishes or discards it: one at a time.

        Raises:
            Refused: it cannot be created, or its name is taken already.
            NoSpace, OutputNotWritable: no more can be written at all.

        """
        directory = self._parent(item)
        self._check(item, directory)
        try:
            self._part = Part(directory, item.entry, self._policy(directory))
        except (OSError, ValueError) as error:
            fail(error)
        return self._part

    def put_file(self, item: Item, data: bytes | memoryview) -> None:
        """Create a file of which all is here.

        Raises:
            Refused: it cannot be created, or its name is taken.
            NoSpace, OutputNotWritable: no more can be written at all.

        """
        directory = self._parent(item)
        policy = self._policy(directory)
        if directories.HANDLES and policy is not Conflict.OVERWRITE and len(data) < limits.FSYNC_FROM:
            self._check(item, directory)
            try:
                put_new(directory, item.entry, data)
            except FileExistsError:
                if policy is not Conflict.RENAME:
                    raise conflicts.taken(policy) from None
            except (OSError, ValueError) as error:
                fail(error)
            else:
                return
        part = self.begin_file(item)
        try:
            if data:
                part.write(data)
            part.publish()
        finally:
            part.discard()

    def _check(self, item: Item, directory: Directory) -> None:
        if directory.created or self._conflict is Conflict.RENAME:
            return  # there is room: nobody else has put anything there, or another name will do
        try:
            conflicts.check(self._conflict, directory, item.entry.name)
        except (OSError, ValueError) as error:
            fail(error)

    def _policy(self, directory: Directory) -> Conflict:
        """In a directory of our own making, whatever is there came with this transfer: it is not to be replaced."""
        ours = directory.created and self._conflict is Conflict.OVERWRITE
        return Conflict.REFUSE if ours else self._conflict

    def _parent(self, item: Item) -> Directory:
        if item.parent is None:
            return self._top
        directory = self._directories.get(item.parent.index)
        if directory is None:  # it was refused, and with it all that lies in it
            raise Refused(Reason.NOT_WANTED)
        return directory

    def close(self) -> None:
        """Throw away what is not complete, and let go of everything. May be called again."""
        if self._part is not None:
            self._part.discard()
        for directory in self._directories.values():
            directory.close()
        self._directories.clear()
        self._top.close()


def _replace(directory: Directory, temporary: str, name: str) -> None:
    try:
        directory.move_over(temporary, name)
    except OSError:
        with suppress(OSError):
            directory.unlink(temporary)
        raise


def _open_output(out: str) -> Directory:
    try:
        os.makedirs(out, exist_ok=True)
        top = Directory.top(out)
    except (FileExistsError, NotADirectoryError):
        raise OutputNotWritable(
            "The path of the output directory here leads to something that is no directory."
        ) from None
    except PermissionError:
        raise OutputNotWritable("You may not create or enter the output directory here.") from None
    except (OSError, ValueError) as error:
        fail_for_good(error)
    try:
        probe = temporary_name()
        os.close(top.create(probe))
        top.unlink(probe)
    except PermissionError:
        top.close()
        raise OutputNotWritable("You may not write into the output directory here.") from None
    except OSError as error:
        top.close()
        fail_for_good(error)
    return top
