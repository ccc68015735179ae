"""Reads the owners and extended attributes of files to send, as far as the system allows.

Of extended attributes only those of users are sent (`user.`): others are capabilities, access lists and labels, which
decide what a process may do. An attribute that cannot be read costs no file.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from p2p_copy.errors import exhausted
from p2p_copy.files.source.reader import open_itself
from p2p_copy.protocol import limits
from p2p_copy.protocol.attributes import XATTR_PREFIX, xattrs_refusal
from p2p_copy.protocol.messages import Extra, Kind, Owner, Preserved

if TYPE_CHECKING:
    from p2p_copy.files.source.entry import SourceEntry
    from p2p_copy.protocol.messages import Xattrs

_NAMES: Final = 1024
"""Names of users and groups whose numbers are remembered."""

_HAS_NONE: Final = frozenset((errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS))
"""What a file system without extended attributes answers."""


def add_attributes(found: SourceEntry, preserve: Preserved) -> bool:
    """Add owner and extended attributes to an entry, as far as `preserve` asks; return False if some cannot be sent."""
    extra, complete = found.entry.extra or Extra(), True
    if Preserved.OWNER in preserve and sys.platform != "win32":
        uid, gid = found.owner
        extra = extra._replace(owner=Owner(uid, gid, _user_name(uid), _group_name(gid)))
    if Preserved.XATTRS in preserve and found.entry.kind is not Kind.SYMLINK:
        try:
            extra = extra._replace(xattrs=_xattrs_of(found))
        except OSError as error:
            if failed := exhausted(error):
                raise failed from None
            complete = error.errno in _HAS_NONE
    if extra != Extra():
        found.entry = found.entry._replace(extra=extra)
    return complete


def _xattrs_of(found: SourceEntry) -> Xattrs:
    """Return the extended attributes of what the walk has found.

    Raises:
        OSError: they cannot be read, or not be sent; with a number in `_HAS_NONE` the file system has none.

    """
    if sys.platform != "linux":
        raise OSError("Python can read them on Linux only.")
    fd = open_itself(found)
    try:
        return read_xattrs(fd)
    finally:
        os.close(fd)


def read_xattrs(fd: int) -> Xattrs:
    """Return the extended attributes of an open file or directory that its user may set.

    Raises:
        OSError: they cannot be read, or not be sent; with a number in `_HAS_NONE` the file system has none.

    """
    if sys.platform != "linux":
        raise OSError("Python can read them on Linux only.")
    names = sorted(name for name in os.listxattr(fd) if name.startswith(XATTR_PREFIX))
    if len(names) > limits.MAX_XATTRS or not all(map(_is_sendable, names)):
        raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
    xattrs = tuple((name, os.getxattr(fd, name)) for name in names)
    if xattrs_refusal(xattrs) is not None:
        raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
    return xattrs


def _is_sendable(name: str) -> bool:
    """Return whether the protocol can carry a name: it is text, and not too long."""
    try:
        return len(name.encode()) <= limits.MAX_NAME
    except UnicodeEncodeError:
        return False


@lru_cache(_NAMES)
def _user_name(uid: int) -> str:
    import pwd

    with suppress(KeyError):
        if _is_sendable(name := pwd.getpwuid(uid).pw_name):
            return name
    return ""


@lru_cache(_NAMES)
def _group_name(gid: int) -> str:
    import grp

    with suppress(KeyError):
        if _is_sendable(name := grp.getgrgid(gid).gr_name):
            return name
    return ""
