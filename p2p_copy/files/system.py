"""What operating systems offer for files, as far as they differ, and the flags with which this package opens files."""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import suppress
from typing import Final, TypeAlias

from p2p_copy.protocol.messages import Kind

Identity: TypeAlias = tuple[int, int, int, int]
"""Device, inode, size, time of modification in ns."""


def identity_of(status: os.stat_result) -> Identity:
    """Return what tells this file, in its present state, from any other."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


# Python opens no descriptor that other programs inherit, so no flag asks for that.
if sys.platform == "win32":
    _WITHOUT_WAITING: Final = 0
    _DIRECTORY: Final = 0
    _BINARY: Final = os.O_BINARY
    NO_SYMLINK: Final = 0
    """Flag not to follow a symlink; 0 where the system cannot be told so."""
else:
    _WITHOUT_WAITING: Final = os.O_NONBLOCK | os.O_NOCTTY
    _DIRECTORY: Final = os.O_DIRECTORY
    _BINARY: Final = 0
    NO_SYMLINK: Final = os.O_NOFOLLOW

if sys.platform == "linux":
    HANDLE: Final = os.O_PATH | os.O_NOFOLLOW
    """Linux' flags for a handle of something that this process may not open; 0 elsewhere."""
    CREATE_UNNAMED: Final = os.O_WRONLY | os.O_TMPFILE
    """Linux' flags to create a file that has no name yet, for writing; the path is its directory's. 0 elsewhere."""
else:
    HANDLE: Final = 0
    CREATE_UNNAMED: Final = 0

HANDLE_OF_DIRECTORY: Final = HANDLE | _DIRECTORY
"""The same, for nothing but a directory."""

OPEN: Final = os.O_RDONLY | _WITHOUT_WAITING | _BINARY
"""Flags to open a file for reading without waiting for another process: a pipe may have replaced it."""

OPEN_NO_SYMLINK: Final = OPEN | NO_SYMLINK
"""The same; a symlink is not followed."""

OPEN_DIRECTORY: Final = OPEN | _DIRECTORY
"""The same, for nothing but a directory."""

OPEN_TO_WRITE: Final = os.O_WRONLY | _WITHOUT_WAITING | _BINARY | NO_SYMLINK
"""Flags to open a file that exists for writing; a symlink is not followed."""

OPEN_OWN: Final = os.O_RDWR | _BINARY | NO_SYMLINK
"""Flags to open a file in a directory of our own."""

CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY | NO_SYMLINK
"""Flags to create a file for writing, under a name that must be free."""

KINDS: Final = {stat.S_IFDIR: Kind.DIRECTORY, stat.S_IFREG: Kind.FILE, stat.S_IFLNK: Kind.SYMLINK}
"""The kinds that can be sent, by what `stat.S_IFMT` returns."""

HANDLES = os.open in os.supports_dir_fd
"""Whether this system can work relative to open directories, or only with paths (Windows)."""

_TIME_GRAINS: Final = (1, 100, 1_000, 10**9, 2 * 10**9)
"""Units of time in file systems, in nanoseconds: a stored time may have been rounded down to one of them."""


def is_time(stored_ns: int, given_ns: int) -> bool:
    """Return whether a file system may have stored a time when it was given another one."""
    return any(stored_ns == given_ns // grain * grain for grain in _TIME_GRAINS)


_BLOCK: Final = 512
"""Unit of a file's `st_blocks`, whatever the file system."""

_NAME_SURROGATE: Final = 0x2000_0000
"""The bit of a Windows reparse tag that symlinks and junctions have: they refer to something elsewhere."""


def is_symlink(status: os.stat_result) -> bool:
    """Return whether this is a symlink, or a junction on Windows."""
    if sys.platform != "win32":
        return stat.S_ISLNK(status.st_mode)
    return stat.S_ISLNK(status.st_mode) or bool(getattr(status, "st_reparse_tag", 0) & _NAME_SURROGATE)


def will_read_in_order(fd: int) -> None:
    """Tell the system that a file will be read from its beginning to its end, if it can be told so."""
    if sys.platform == "linux":
        with suppress(OSError):  # it is only a hint
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)


def has_holes(status: os.stat_result) -> bool:
    """Return whether a file occupies less space than it has bytes, on systems that can say where its holes are."""
    return sys.platform != "win32" and status.st_blocks * _BLOCK < status.st_size


def next_data(fd: int, at: int, size: int) -> tuple[int, int]:
    """Return where the next data from `at` on begin in a file of `size` bytes, and where they end."""
    if sys.platform == "win32":
        return at, size
    try:
        data = os.lseek(fd, at, os.SEEK_DATA)
        end = os.lseek(fd, data, os.SEEK_HOLE)
    except OSError as error:
        # ENXIO: only a hole is left. Any other error: this file system does not report holes.
        return (size, size) if error.errno == errno.ENXIO else (at, size)
    return min(data, size), min(end, size)
