"""Checks that an open file is the one that the walk found, also where inode numbers may change.

FUSE, sshfs and some others give a file a new inode number once the kernel has forgotten it, so another number alone
proves nothing. Then the path is looked up again while the file is open, which keeps its number: it must lead to the
open file. The lookup goes from directory to directory and follows no symlink that the walk did not follow, so another
user who may write in the tree cannot make us read something outside it.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from p2p_copy.errors import exhausted
from p2p_copy.files.system import NO_SYMLINK, OPEN_DIRECTORY

if TYPE_CHECKING:
    from p2p_copy.files.source.entry import SourceEntry

_RELATIVE: Final = os.open in os.supports_dir_fd and os.stat in os.supports_dir_fd
"""Whether names can be looked up relative to open directories; Windows has paths only."""


def is_same(found: SourceEntry, opened: os.stat_result) -> bool:
    """Return whether an open file or directory, with this status, is the one that the walk found.

    The caller compares size and time.

    Raises:
        SystemFailed: the system has no descriptor or memory left to look it up.

    """
    if (opened.st_dev, opened.st_ino) == found.identity[:2]:
        return True
    try:
        return os.path.samestat(_look_up(found), opened)
    except OSError as error:
        if (failed := exhausted(error)) is not None:
            raise failed from None
        return False


def _look_up(found: SourceEntry) -> os.stat_result:
    """Return the status of what is now at the path that the walk found.

    Raises:
        OSError: there is nothing, or a directory on the way was replaced by a symlink.

    """
    way = []
    above = found.parent
    while above is not None:
        way.append(above)
        above = above.parent
    if not way:
        return os.stat(found.path)
    way.reverse()
    if not _RELATIVE:
        for directory in way[1:]:
            _refuse_symlink(os.lstat(directory.path), followed=directory.followed)
        return os.stat(found.path) if found.followed else os.lstat(found.path)
    fd = os.open(way[0].path, OPEN_DIRECTORY)
    try:
        for directory in way[1:]:
            flags = OPEN_DIRECTORY if directory.followed else OPEN_DIRECTORY | NO_SYMLINK
            inner = os.open(directory.entry.name, flags, dir_fd=fd)
            fd, outer = inner, fd
            os.close(outer)
        return os.stat(found.entry.name, dir_fd=fd, follow_symlinks=found.followed)
    finally:
        os.close(fd)


def _refuse_symlink(status: os.stat_result, *, followed: bool) -> None:
    is_reparse_point = getattr(status, "st_reparse_tag", 0)  # on Windows: a symlink or junction, among others
    if not followed and (is_reparse_point or not stat.S_ISDIR(status.st_mode)):
        raise NotADirectoryError
