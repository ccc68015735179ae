"""Whether what was opened is what the walk has found, on file systems whose inode numbers may change, too.

FUSE, sshfs and some others number a file anew once the kernel has forgotten it. So another number alone proves nothing:
then the path is looked up again while the file is open, which keeps its number. What lies there now must be what is
open. The look goes from directory to directory and follows no link that the walk has not followed, so nobody who may
write in the tree can have us read something outside it.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from p2p_copy.errors import exhausted

if TYPE_CHECKING:
    from p2p_copy.files.source.entry import SourceEntry

_RELATIVE: Final = os.open in os.supports_dir_fd and os.stat in os.supports_dir_fd
"""Whether names can be looked up relative to open directories; Windows has paths only."""

_DIRECTORY: Final = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_DIRECTORY", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
)


def is_same(found: SourceEntry, opened: os.stat_result) -> bool:
    """Return whether something that is open, of which the system says this, lies where the walk has found it.

    Of a file, size and time are the caller's to compare.

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
    """Return what lies by now where the walk has found something.

    Raises:
        OSError: nothing, or there is a link on the way that was none.

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
            _refuse_link(os.lstat(directory.path), followed=directory.followed)
        return os.stat(found.path) if found.followed else os.lstat(found.path)
    fd = os.open(way[0].path, _DIRECTORY)
    try:
        for directory in way[1:]:
            flags = _DIRECTORY if directory.followed else _DIRECTORY | getattr(os, "O_NOFOLLOW", 0)
            inner = os.open(directory.entry.name, flags, dir_fd=fd)
            fd, outer = inner, fd
            os.close(outer)
        return os.stat(found.entry.name, dir_fd=fd, follow_symlinks=found.followed)
    finally:
        os.close(fd)


def _refuse_link(status: os.stat_result, *, followed: bool) -> None:
    is_more = getattr(status, "st_reparse_tag", 0)  # on Windows: a link or junction, among others
    if not followed and (is_more or not stat.S_ISDIR(status.st_mode)):
        raise NotADirectoryError
