"""Creates small files that have no name until they are complete, on Linux.

If the process is killed before a file has its name, the system deletes the file: nothing is left in the directory, and
nobody could have opened it. It also takes fewer system calls than a temporary name.

Not all file systems have that. The first file on each one shows whether it works there, so it costs nothing to look.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from p2p_copy.files import system
from p2p_copy.files.target.part import set_attributes, write_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from p2p_copy.files.directory import Directory
    from p2p_copy.protocol.messages import Entry

_PRIVATE: Final = 0o600
"""The mode of a file that is not complete and could be opened by others, or is to get attributes."""


class UnnamedFiles:
    """Creates such files in the directories of one transfer that no other user can write to."""

    def __init__(self) -> None:
        self._lacking: set[int] = set()  # file systems that cannot do it, by their device

    def put(
        self,
        directory: Directory,
        entry: Entry,
        data: bytes | memoryview,
        before_naming: Callable[[], None],
    ) -> os.stat_result | None:
        """Create a file with its contents, attributes and name; return its status.

        It returns None if that is not possible here, and nothing has happened. Then the caller creates the file in
        another way, and calls `lack` if that works.

        Raises:
            FileExistsError: its name is taken.
            OSError, ValueError: it cannot be written; nothing is left of it.

        """
        if not system.CREATE_UNNAMED or directory.device in self._lacking:
            return None
        at, mode = directory.handle(), entry.mode & directory.allowed
        # Nobody can open it, so it has its final mode from the beginning; but some attributes can be set only while its
        # owner may write to it.
        first = mode if entry.extra is None else _PRIVATE
        try:
            fd = os.open(".", system.CREATE_UNNAMED, first, dir_fd=at)
        except OSError:
            return None
        named = False
        try:
            there = fill(fd, directory, entry, data, mode, has_mode=first == mode)
            before_naming()
            try:
                os.link(f"/proc/self/fd/{fd}", entry.name, dst_dir_fd=at, follow_symlinks=True)
            except FileExistsError:
                raise
            except OSError:  # no /proc, or not on this file system
                return None
            named = True
            return there
        finally:
            _close(fd, at, entry.name if named else "")

    def lack(self, directory: Directory) -> None:
        """Record that the file system of a directory cannot do it."""
        self._lacking.add(directory.device)


def _close(fd: int, at: int, name: str) -> None:
    """Close a file; if what was written cannot be stored after all, delete the name that it has already."""
    try:
        os.close(fd)
    except OSError:
        if name:
            with suppress(OSError):
                os.unlink(name, dir_fd=at)
        raise


def fill(
    fd: int, directory: Directory, entry: Entry, data: bytes | memoryview, mode: int, *, has_mode: bool
) -> os.stat_result:
    """Write a small file and set its attributes; return its status. `has_mode`: it was created with this mode."""
    if data and os.write(fd, data) < len(data):
        os.lseek(fd, 0, os.SEEK_SET)
        write_all(fd, data)
    if entry.extra is not None:
        directory.give(entry.extra, fd)
    mtime_ns = entry.mtime_ns
    try:
        if not has_mode and sys.platform != "win32":
            os.fchmod(fd, mode)
        os.utime(fd, ns=(mtime_ns, mtime_ns))
    except (OSError, OverflowError):
        set_attributes(fd, mode, mtime_ns)
    there = os.fstat(fd)
    if has_mode and there.st_mode & 0o777 != mode:  # the umask of this process has more bits
        set_attributes(fd, mode, mtime_ns)
        there = os.fstat(fd)
    return there
