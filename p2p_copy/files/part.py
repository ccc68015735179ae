"""One file on its way: written under a random name, published under its own when it is complete.

The part lies beside its place, readable by its owner alone. It gets its own name in one step that fails if
the name is taken; only `Conflict.OVERWRITE` replaces, and only a regular file. Attributes are set as well as
the system allows; that never costs a file.

A small file that is all here goes the same way in one stretch: `put_new`.
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


def put_new(directory: Directory, entry: Entry, data: bytes | memoryview) -> None:
    """Create a file with these contents, in one stretch: between two system calls every call of ours would count.

    Only for systems with `directories.HANDLES`.

    Raises:
        FileExistsError: its name is taken.
        OSError, ValueError: it cannot be created; nothing is left of it.

    """
    at = directory.handle()
    own, mode, times = entry.name, entry.mode & 0o777, (entry.mtime_ns, entry.mtime_ns)
    name = temporary_name() if data else own  # an empty file is complete as soon as it exists
    fd = os.open(name, directories.CREATE, 0o600, dir_fd=at)
    try:
        try:
            if data and os.write(fd, data) < len(data):
                os.lseek(fd, 0, os.SEEK_SET)
                _write(fd, data)
            try:
                if sys.platform != "win32":
                    os.fchmod(fd, mode)
                os.utime(fd, ns=times)
            except (OSError, OverflowError):
                _set_attributes(fd, entry)
        finally:
            os.close(fd)  # network file systems report here what they could not store
        if data:
            try:
                os.link(name, own, src_dir_fd=at, dst_dir_fd=at, follow_symlinks=False)
            except OSError:
                directory.move_new(name, own)  # knows what else can be done
    finally:
        if data:
            try:  # noqa: SIM105  # `suppress` takes longer than the call
                os.unlink(name, dir_fd=at)
            except OSError:
                pass


def _write(fd: int, data: bytes | memoryview) -> None:
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, memoryview(data)[written:])


def _set_attributes(fd: int, entry: Entry) -> None:
    if sys.platform != "win32":  # permission bits mean nothing there
        with suppress(OSError):
            os.fchmod(fd, entry.mode & 0o777)
    if directories.HANDLES:
        with suppress(OSError, OverflowError):
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))


class Part:
    """A file that is being written; made by `Target.begin_file`, ended by `publish` or `discard`."""

    __slots__ = ("_conflict", "_directory", "_entry", "_fd", "_temporary", "_unflushed")

    def __init__(self, directory: Directory, entry: Entry, conflict: Conflict) -> None:
        self._directory = directory
        self._entry = entry
        self._conflict = conflict
        self._unflushed = 0
        self._temporary = temporary_name()
        self._fd = directory.create(self._temporary)

    def write(self, data: bytes | memoryview) -> None:
        """Append all of `data`. After an error the part is good for nothing but `discard`.

        Raises:
            Refused: the file is larger than the system allows.
            NoSpace, OutputNotWritable: no more can be written at all.

        """
        try:
            _write(self._fd, data)
            self._unflushed += len(data)
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
            self._seal()
            self._move()
        except (OSError, ValueError) as error:
            fail(error)
        finally:
            self.discard()

    def _seal(self) -> None:
        _set_attributes(self._fd, self._entry)
        if self._entry.size >= limits.FSYNC_FROM:
            os.fsync(self._fd)
        fd, self._fd = self._fd, -1
        os.close(fd)  # network file systems report here what they could not store
        if not directories.HANDLES:  # by name, and after closing, which sets a time on Windows
            with suppress(OSError, OverflowError):
                self._directory.set_time(self._temporary, self._entry.mtime_ns)

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
