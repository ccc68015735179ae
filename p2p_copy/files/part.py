"""One file on its way: written under a random name, published under its own when it is complete.

The part lies beside its place, readable by its owner alone. It gets its own name in one step that fails if
the name is taken; only `Conflict.OVERWRITE` replaces, and only a regular file. Attributes are set as well as
the system allows; that never costs a file.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from p2p_copy import limits
from p2p_copy.files import conflicts, directories
from p2p_copy.files.failures import fail
from p2p_copy.options import Conflict
from p2p_copy.protocol import names

if TYPE_CHECKING:
    from p2p_copy.files.directories import Directory
    from p2p_copy.protocol.messages import Entry


def temporary_name() -> str:
    """Return a name that nobody can guess; should it be taken all the same, creating it fails."""
    return f"{names.PARTIAL_PREFIX}{os.urandom(8).hex()}.part"


class Part:
    """A file that is being written; made by `Target.begin_file`, ended by `publish` or `discard`.

    An empty file is complete as soon as it exists, so it is created by `publish`, under its own name at once.
    """

    __slots__ = ("_conflict", "_directory", "_entry", "_fd", "_temporary", "_unflushed")

    def __init__(self, directory: Directory, entry: Entry, conflict: Conflict) -> None:
        self._directory = directory
        self._entry = entry
        self._conflict = conflict
        self._fd = -1
        self._temporary = ""
        self._unflushed = 0
        if entry.size:
            self._create()

    def _create(self) -> None:
        name = temporary_name()
        self._fd = self._directory.create(name)
        self._temporary = name

    def write(self, data: bytes | memoryview) -> None:
        """Append all of `data`. After an error the part is good for nothing but `discard`.

        Raises:
            Refused: the file is larger than the system allows.
            NoSpace, OutputNotWritable: no more can be written at all.

        """
        try:
            written = os.write(self._fd, data)
            while written < len(data):
                written += os.write(self._fd, memoryview(data)[written:])
            self._unflushed += written
            if self._unflushed >= limits.FLUSH_EVERY:
                self._unflushed = 0
                os.fsync(self._fd)
        except OSError as error:
            fail(error)

    def publish(self) -> None:
        """Give the file its attributes and its name. After an error the part is gone.

        Raises:
            Refused: its name was taken meanwhile, or the directory takes no more files.
            NoSpace, OutputNotWritable: the disk did not take all of it after all.

        """
        try:
            if not self._temporary and self._publish_empty():
                return
            self._seal()
            self._move()
        except (OSError, ValueError) as error:
            fail(error)
        finally:
            self.discard()

    def _publish_empty(self) -> bool:
        """Create the file under its own name; False if it has to replace one, with a part made for that."""
        if self._conflict is not Conflict.OVERWRITE:
            conflicts.place(self._conflict, self._entry.name, self._create_published)
            return True
        try:
            self._create_published(self._entry.name)
        except FileExistsError:
            self._create()
            return False
        return True

    def _create_published(self, name: str) -> None:
        self._fd = self._directory.create(name)
        self._set_mode()
        self._set_time(name)

    def _seal(self) -> None:
        self._set_mode()
        if directories.HANDLES:
            self._set_time(self._temporary)
        if self._entry.size >= limits.FSYNC_FROM:
            os.fsync(self._fd)
        fd, self._fd = self._fd, -1
        os.close(fd)  # network file systems report here what they could not store
        if not directories.HANDLES:
            self._set_time(self._temporary)  # by name, and after closing, which sets a time on Windows

    def _set_mode(self) -> None:
        if sys.platform != "win32":  # permission bits mean nothing there
            with suppress(OSError):
                os.fchmod(self._fd, self._entry.mode & 0o777)

    def _set_time(self, name: str) -> None:
        mtime_ns = self._entry.mtime_ns
        with suppress(OSError, OverflowError):
            if directories.HANDLES:
                os.utime(self._fd, ns=(mtime_ns, mtime_ns))
            else:
                self._directory.set_time(name, mtime_ns)

    def _move(self) -> None:
        directory, name = self._directory, self._entry.name
        if self._conflict is Conflict.OVERWRITE:
            conflicts.check(self._conflict, directory, name)
            directory.move_over(self._temporary, name)
        else:
            conflicts.place(self._conflict, name, lambda free: directory.move_new(self._temporary, free))
        self._temporary = ""

    def discard(self) -> None:
        """Throw away what is not published. Never fails; may be called again."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)
        name, self._temporary = self._temporary, ""
        if name:
            with suppress(OSError):
                self._directory.unlink(name)
