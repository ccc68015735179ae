"""Owners and extended attributes: read at the sender, given at the receiver, each as far as the system allows.

Of extended attributes only those of users travel (`user.`): others are capabilities, access lists and labels, which
decide what somebody may do. Whoever is not root gives nothing away, so owners are for root.

Nothing here costs a file: what cannot be told, or given, is said by the answer.
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
from p2p_copy.protocol.messages import Extra, Kind, Owner, Preserved, Xattrs
from p2p_copy.protocol.names import PARTIAL_PREFIX

if TYPE_CHECKING:
    from p2p_copy.files.directory import Directory
    from p2p_copy.files.source.found import SourceEntry

_NAMES: Final = 1024
"""Names of users and groups whose numbers are remembered."""

_HAS_NONE: Final = frozenset((errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS))
"""How file systems say that they know no extended attributes."""


def is_root() -> bool:
    """Return whether this process may give files to anybody."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


# At the sender


def tell(found: SourceEntry, preserve: Preserved) -> bool:
    """Let the entry of something say whose it is, and its extended attributes; False if not all could be told."""
    extra, complete = found.entry.extra or Extra(), True
    if Preserved.OWNER in preserve and sys.platform != "win32":
        uid, gid = found.owner
        extra = extra._replace(owner=Owner(uid, gid, _user_name(uid), _group_name(gid)))
    if Preserved.XATTRS in preserve and found.entry.kind is not Kind.LINK:
        try:
            extra = extra._replace(xattrs=_xattrs(found))
        except OSError as error:
            if failed := exhausted(error):
                raise failed from None
            complete = error.errno in _HAS_NONE
    if extra != Extra():
        found.entry = found.entry._replace(extra=extra)
    return complete


def _xattrs(found: SourceEntry) -> Xattrs:
    """Return the extended attributes of something that the walk has found.

    Raises:
        OSError: they cannot be read, or not be told; `_HAS_NONE` if there are none.

    """
    if sys.platform != "linux":
        raise OSError("Python can read them on Linux only.")
    fd = open_itself(found)
    try:
        return read(fd)
    finally:
        os.close(fd)


def read(fd: int) -> Xattrs:
    """Return the extended attributes of something that is open, those that are for users to set.

    Raises:
        OSError: they cannot be read, or not be told; `_HAS_NONE` if there are none.

    """
    if sys.platform != "linux":
        raise OSError("Python can read them on Linux only.")
    names = sorted(name for name in os.listxattr(fd) if name.startswith(XATTR_PREFIX))
    if len(names) > limits.MAX_XATTRS or not all(map(_is_told, names)):
        raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
    xattrs = tuple((name, os.getxattr(fd, name)) for name in names)
    if xattrs_refusal(xattrs) is not None:
        raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
    return xattrs


def _is_told(name: str) -> bool:
    """Return whether the other side can be told a name: it is text, and not too long."""
    try:
        return len(name.encode()) <= limits.MAX_NAME
    except UnicodeEncodeError:
        return False


@lru_cache(_NAMES)
def _user_name(uid: int) -> str:
    import pwd

    with suppress(KeyError):
        if _is_told(name := pwd.getpwuid(uid).pw_name):
            return name
    return ""


@lru_cache(_NAMES)
def _group_name(gid: int) -> str:
    import grp

    with suppress(KeyError):
        if _is_told(name := grp.getgrgid(gid).gr_name):
            return name
    return ""


# At the receiver


def are_possible(directory: Directory, tag: str) -> bool:
    """Try out whether files in a directory can have extended attributes."""
    if sys.platform != "linux":
        return False
    name = f"{PARTIAL_PREFIX}{tag}{os.urandom(8).hex()}"
    try:
        fd = directory.create(name)
    except OSError:
        return False
    try:
        os.setxattr(fd, XATTR_PREFIX + "p2p-copy", b"")
    except OSError:
        return False
    finally:
        os.close(fd)
        with suppress(OSError):
            directory.unlink(name)
    return True


def give(itself: int | str, extra: Extra) -> bool:
    """Give a file or directory its extended attributes and its owner; False if it did not get all."""
    complete = True
    if sys.platform == "linux":
        for name, value in extra.xattrs:
            try:
                os.setxattr(itself, name, value)
            except OSError:
                complete = False
    if extra.owner is not None and sys.platform != "win32":
        try:
            os.chown(itself, *ids_of(extra.owner))
        except (OSError, OverflowError):
            complete = False
    return complete


def give_link(name: str, fd: int | None, extra: Extra) -> bool:
    """Give a symbolic link its owner; `fd` is the directory in which it lies. False if it did not get that."""
    if extra.owner is not None and sys.platform != "win32":
        try:
            os.chown(name, *ids_of(extra.owner), dir_fd=fd, follow_symlinks=False)
        except (OSError, OverflowError):
            return False
    return True


def ids_of(owner: Owner) -> tuple[int, int]:
    """Return the numbers that the names have here, else those that they had at the sender."""
    uid = _uid(owner.user) if owner.user else None
    gid = _gid(owner.group) if owner.group else None
    return owner.uid if uid is None else uid, owner.gid if gid is None else gid


@lru_cache(_NAMES)
def _uid(name: str) -> int | None:
    import pwd

    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):
        return None


@lru_cache(_NAMES)
def _gid(name: str) -> int | None:
    import grp

    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        return None
