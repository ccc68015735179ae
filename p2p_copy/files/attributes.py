"""The owners, extended attributes and permission bits of files: reads those to send, and sets those of received files.

The owner gets the bits that were sent: a script stays executable. Group and others get no more than the umask of this
user allows, as with any other program, unless the user asks for the sender's bits (`--preserve mode`, or `owner`, which
only root may use). So a careless or hostile sender does not open the receiver's files to other users of the machine.

The umask is applied here and not by the kernel, because a file gets its mode when it is complete; until then only its
owner may read it. So the umask holds also where a directory's default access list makes the kernel ignore it.

Only extended attributes of users (`user.`) are sent: the others are capabilities, access lists and labels, which grant
rights. Only root may give files to other users, so owners are preserved for root only. No file is lost for an attribute
that cannot be read or set.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from typing import TYPE_CHECKING, Final

from p2p_copy.errors import exhausted
from p2p_copy.files import accounts
from p2p_copy.options import Preserve
from p2p_copy.protocol import limits
from p2p_copy.protocol.attributes import XATTR_PREFIX, xattrs_refusal
from p2p_copy.protocol.messages import Owner, Preserved

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from p2p_copy.protocol.messages import Extra, Xattrs

PERMISSIONS: Final = 0o777
"""The permission bits that may be given; setuid, setgid and sticky never are."""

_OTHERS: Final = 0o077

_UMASK: Final = re.compile(rb"^Umask:\s*([0-7]+)$", re.MULTILINE)

_HAS_NONE: Final = frozenset((errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS))
"""What a file system without extended attributes answers."""


def allowed_permissions(preserve: Collection[Preserve]) -> int:
    """Return the bits that received files may have, given what the user wants to preserve; blocks on a disk."""
    if Preserve.MODE in preserve or Preserve.OWNER in preserve or sys.platform == "win32":
        return PERMISSIONS
    return PERMISSIONS & ~(_umask() & _OTHERS)


def _umask() -> int:
    """Return the umask of this process. `os.umask` would change it for a moment, under other threads."""
    try:
        with open("/proc/self/status", "rb") as status:
            if match := _UMASK.search(status.read()):
                return int(match[1], 8)
    except OSError:
        pass  # this is not Linux, or has no /proc
    return _umask_by_trial()


def _umask_by_trial() -> int:
    """Return the bits that a new file lacks; it is made where no other user can write."""
    import tempfile

    try:
        with tempfile.TemporaryDirectory(prefix="p2p-copy-") as directory:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            fd = os.open(os.path.join(directory, "umask"), flags, PERMISSIONS)
            try:
                return PERMISSIONS & ~os.fstat(fd).st_mode
            finally:
                os.close(fd)
    except OSError:
        return _OTHERS


def is_root() -> bool:
    """Return whether this process may give files to other users."""
    return accounts.own_id() == 0


def read(
    extra: Extra, preserve: Preserved, owner: tuple[int, int], opened: Callable[[], int] | None
) -> tuple[Extra, bool]:
    """Return `extra` with what else `preserve` asks for, and whether all of it can be sent.

    Args:
        extra: what is known of the entry beyond mode and time.
        preserve: what both sides want to keep.
        owner: the ids of its user and group.
        opened: opens the entry, to read its extended attributes; None if it has none, as a symlink.

    """
    complete = True
    if Preserved.OWNER in preserve and sys.platform != "win32":
        names = accounts.user_name(owner[0]), accounts.group_name(owner[1])
        extra = extra._replace(owner=Owner(*owner, *(name if _is_sendable(name) else "" for name in names)))
    if Preserved.XATTRS in preserve and opened is not None:
        try:
            extra = extra._replace(xattrs=_read_xattrs_of(opened))
        except OSError as error:
            if failed := exhausted(error):
                raise failed from None
            complete = error.errno in _HAS_NONE
    return extra, complete


def _read_xattrs_of(opened: Callable[[], int]) -> Xattrs:
    if sys.platform != "linux":
        raise OSError("Python can read them on Linux only.")
    fd = opened()
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


def give(itself: int | str, extra: Extra) -> bool:
    """Set the extended attributes and the owner of a file or directory; return whether all were set."""
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


def update(fd: int, there: os.stat_result, extra: Extra) -> bool:
    """Set what differs of the attributes and the owner of an open file; return whether all is as it should be."""
    complete = True
    if sys.platform == "linux" and extra.xattrs:
        try:
            now = read_xattrs(fd)
            for name, _ in now:
                if name not in dict(extra.xattrs):
                    os.removexattr(fd, name)
        except OSError:
            now, complete = (), False
        extra = extra._replace(xattrs=tuple(each for each in extra.xattrs if each not in now))
    return give(fd, extra._replace(owner=None) if has_owner(there, extra) else extra) and complete


def has_xattrs(fd: int, extra: Extra) -> bool:
    """Return whether an open file has the extended attributes that it should have, if any, or cannot have them."""
    if not extra.xattrs:
        return True
    try:
        return read_xattrs(fd) == extra.xattrs
    except OSError:
        return True


def has_owner(there: os.stat_result, extra: Extra) -> bool:
    """Return whether something with this status has the owner that it should have, if any."""
    if extra.owner is None or sys.platform == "win32":
        return True
    return (there.st_uid, there.st_gid) == ids_of(extra.owner)


def give_symlink(name: str, fd: int | None, extra: Extra) -> bool:
    """Set the owner of a symlink in the directory `fd`; return whether it was set."""
    if extra.owner is not None and sys.platform != "win32":
        try:
            os.chown(name, *ids_of(extra.owner), dir_fd=fd, follow_symlinks=False)
        except (OSError, OverflowError):
            return False
    return True


def ids_of(owner: Owner) -> tuple[int, int]:
    """Return the ids of user and group: those that their names have here, else those at the sender."""
    uid = accounts.user_id(owner.user) if owner.user else None
    gid = accounts.group_id(owner.group) if owner.group else None
    return owner.uid if uid is None else uid, owner.gid if gid is None else gid
