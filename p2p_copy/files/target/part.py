"""One file on its way: written under a random name, published under its own when it is complete.

The part lies beside its place, readable by its owner alone. It gets its own name in one step that fails if
the name is taken; only `Conflict.OVERWRITE` replaces, and only a regular file. Attributes are set as well as
the system allows; that never costs a file.

A small file that is all here goes the same way in one stretch: `put_new`.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from p2p_copy.files import directory as directories, limits, system
from p2p_copy.files.target import conflicts
from p2p_copy.files.target.errors import fail
from p2p_copy.files.temporary import is_part, temporary_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from p2p_copy.files.directory import Directory
    from p2p_copy.options import Conflict
    from p2p_copy.protocol.messages import Entry


def put_new(
    directory: Directory,
    entry: Entry,
    data: bytes | memoryview,
    tag: str = "",
    before_name: Callable[[], None] = lambda: None,
) -> os.stat_result:
    """Create a file with these contents, in one stretch: between two system calls every call of ours would count.

    Only for systems with `system.HANDLES`. `before_name` is called when it is complete and has no name yet.
    Returns what the system says of the file.

    Raises:
        FileExistsError: its name is taken.
        OSError, ValueError: it cannot be created; nothing is left of it.

    """
    name, there = write_new(directory, entry, data, tag)
    at, own = directory.handle(), entry.name
    try:
        before_name()
        try:
            os.link(name, own, src_dir_fd=at, dst_dir_fd=at, follow_symlinks=False)
        except OSError:
            directory.move_new(name, own)  # knows what else can be done
        return there
    finally:
        try:  # noqa: SIM105  # `suppress` takes longer than the call
            os.unlink(name, dir_fd=at)
        except OSError:
            pass


def write_new(
    directory: Directory, entry: Entry, data: bytes | memoryview, tag: str
) -> tuple[str, os.stat_result]:
    """Create a file with these contents and all attributes under a private name.

    Only for systems with `system.HANDLES`. Returns that name, and what the system says of the file.

    Raises:
        OSError, ValueError: it cannot be created; nothing is left of it.

    """
    at = directory.handle()
    mode, times = entry.mode & directory.allowed, (entry.mtime_ns, entry.mtime_ns)
    name = temporary_name(tag)  # for an empty file, too: it shall have its time and mode when it has its name
    fd = os.open(name, directories.CREATE, 0o600, dir_fd=at)
    try:
        try:
            if data and os.write(fd, data) < len(data):
                os.lseek(fd, 0, os.SEEK_SET)
                _write(fd, data)
            if entry.extra is not None:
                directory.give(entry.extra, fd)
            try:
                if sys.platform != "win32":
                    os.fchmod(fd, mode)
                os.utime(fd, ns=times)
            except (OSError, OverflowError):
                _set_attributes(fd, mode, entry.mtime_ns)
            return name, os.fstat(fd)
        finally:
            os.close(fd)  # network file systems report here what they could not store
    except BaseException:
        with suppress(OSError):
            os.unlink(name, dir_fd=at)
        raise


def _write(fd: int, data: bytes | memoryview) -> None:
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, memoryview(data)[written:])


def _set_attributes(fd: int, mode: int, mtime_ns: int) -> None:
    if sys.platform != "win32":  # permission bits mean nothing there
        with suppress(OSError):
            os.fchmod(fd, mode)
    if system.HANDLES:
        with suppress(OSError, OverflowError):
            os.utime(fd, ns=(mtime_ns, mtime_ns))


class Part:
    """A file that is being written; made by `Target.begin_file`, ended by `publish`, `keep` or `discard`.

    Attributes:
        flushed: bytes from its beginning that are certain to be on the disk.

    """

    __slots__ = ("_at", "_conflict", "_directory", "_entry", "_fd", "_temporary", "flushed")

    def __init__(
        self,
        directory: Directory,
        entry: Entry,
        conflict: Conflict,
        *,
        tag: str = "",
        kept: str = "",
        size: int = 0,
    ) -> None:
        """Begin a file, or go on behind the first `size` bytes of the part that was `kept` under that name."""
        self._directory = directory
        self._entry = entry
        self._conflict = conflict
        self._at = self.flushed = 0
        if not kept:
            self._temporary = temporary_name(tag)
            self._fd = directory.create(self._temporary)
            return
        self._temporary = ""  # until it is certain that it is ours
        self._fd = directory.reopen(kept)
        try:
            status = os.fstat(self._fd)
            if not is_part(directory, status, tag) or status.st_size < size:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            if (
                sys.platform != "win32" and status.st_mode & 0o077
            ):  # a process was killed when it had its mode
                with suppress(OSError):
                    os.fchmod(self._fd, 0o600)
            os.ftruncate(self._fd, size)
            self._at = os.lseek(self._fd, size, os.SEEK_SET)
        except BaseException:
            self.discard()
            raise
        self._temporary = kept

    @property
    def path(self) -> str:
        """Where it lies, from the output directory on."""
        return self._directory.inner_path + self._temporary

    def write(self, data: bytes | memoryview) -> None:
        """Append all of `data`. After an error the part is good for nothing but `discard`.

        Raises:
            Refused: the file is larger than the system allows.
            NoSpace, OutputNotWritable: no more can be written at all.

        """
        try:
            _write(self._fd, data)
            self._at += len(data)
            if self._at - self.flushed >= limits.FLUSH_EVERY:
                self._flush()
        except OSError as error:
            fail(error)

    def add(self, piece: bytes | memoryview | int) -> None:
        """Append a piece of a file: bytes, or the length of a hole; see `write` and `skip`."""
        if isinstance(piece, int):
            self.skip(piece)
        else:
            self.write(piece)

    def skip(self, count: int) -> None:
        """Append so many zero bytes as a hole, which takes no room where the file system can do that.

        Raises:
            Refused: the file is larger than the system allows.
            NoSpace, OutputNotWritable: no more can be written at all.

        """
        try:
            os.ftruncate(self._fd, self._at + count)  # now: nothing else may come after it
            self._at = os.lseek(self._fd, count, os.SEEK_CUR)
        except OSError as error:
            fail(error)

    def _flush(self) -> None:
        os.fsync(self._fd)
        self.flushed = self._at

    def publish(
        self,
        intend: Callable[[str, os.stat_result], None] = lambda name, made: None,
        look_again: Callable[[], Conflict] | None = None,
    ) -> tuple[str, os.stat_result]:
        """Give the file its attributes and its name; return that, and what the system says of it.

        `look_again` says what is to be done if its name is taken, once the disk has all of it. `intend` is told of a
        name before that is given; see `conflicts.move`. After an error the part is gone.

        Raises:
            Refused: its name was taken meanwhile, or the directory takes no more files.
            NoSpace, OutputNotWritable: the disk did not take all of it after all.

        """
        try:
            there = self._seal()
            if look_again is not None:
                self._conflict = look_again()
            return self._move(there, intend), there
        except (OSError, ValueError) as error:
            fail(error)
        finally:
            self.discard()

    def _seal(self) -> os.stat_result:
        if self._entry.extra is not None:
            self._directory.give(self._entry.extra, self._fd)
        _set_attributes(self._fd, self._entry.mode & self._directory.allowed, self._entry.mtime_ns)
        if self._at >= limits.FSYNC_FROM:
            os.fsync(self._fd)
        there = os.fstat(self._fd)
        fd, self._fd = self._fd, -1
        os.close(fd)  # network file systems report here what they could not store
        if not system.HANDLES:  # by name, and after closing, which sets a time on Windows
            with suppress(OSError, OverflowError):
                self._directory.set_time(self._temporary, self._entry.mtime_ns)
            there = self._directory.lstat(self._temporary) or there
        return there

    def _move(self, there: os.stat_result, intend: Callable[[str, os.stat_result], None]) -> str:
        name = conflicts.move(
            self._conflict, self._directory, self._temporary, self._entry.name, there, intend
        )
        self._temporary = ""
        return name

    def keep(self) -> None:
        """Leave what is written for another time, safe from a power cut. Never fails; may be called again."""
        if self._fd >= 0 and self._temporary:
            with suppress(OSError):
                self._flush()
        self._temporary = ""
        self.discard()

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
