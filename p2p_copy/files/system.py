"""What the operating system offers for files, and the flags with which this package opens them."""

from __future__ import annotations

import os
import stat
from typing import Final, TypeAlias

from p2p_copy.protocol.messages import Kind

Identity: TypeAlias = tuple[int, int, int, int]
"""Device, inode, size, time of modification in ns."""


def identity_of(status: os.stat_result) -> Identity:
    """Return what tells this file, in its present state, from any other."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


OPEN: Final = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a pipe may have replaced the file
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)
"""Flags to open a file for reading without waiting for another process."""

OPEN_NO_SYMLINK: Final = OPEN | getattr(os, "O_NOFOLLOW", 0)
"""The same; a symlink is not followed."""

OPEN_DIRECTORY: Final = OPEN | getattr(os, "O_DIRECTORY", 0)
"""The same, for nothing but a directory."""

CREATE: Final = (
    os.O_WRONLY | os.O_CREAT | os.O_EXCL
    | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)  # fmt: skip
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


_NAME_SURROGATE: Final = 0x2000_0000
"""The bit of a Windows reparse tag that symlinks and junctions have: they refer to something elsewhere."""


def is_symlink(status: os.stat_result) -> bool:
    """Return whether this is a symlink, or a junction on Windows."""
    return stat.S_ISLNK(status.st_mode) or bool(getattr(status, "st_reparse_tag", 0) & _NAME_SURROGATE)
