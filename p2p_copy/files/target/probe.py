"""Asks what the output directory can take: is it writable, what space has it, what can its file system store?"""

from __future__ import annotations

import os
import shutil
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from p2p_copy.errors import NoSpace, OutputNotWritable, TooMuch
from p2p_copy.files.directory import Directory
from p2p_copy.files.target.errors import fail_for_good
from p2p_copy.files.temporary import temporary_name
from p2p_copy.protocol import limits
from p2p_copy.protocol.attributes import XATTR_PREFIX
from p2p_copy.protocol.messages import Preserved
from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from p2p_copy.protocol.manifest import Manifest


class Space(NamedTuple):
    """The file system and the names where the output directory is, or will be.

    Attributes:
        size: bytes that are free.
        files: how many more files the file system takes; None if it has no limit.
        taken: the names, of those that the caller asked about, that exist.

    """

    size: int
    files: int | None
    taken: frozenset[str]


def space_for(out: str, names: Iterable[str]) -> Space:
    """Look at the output directory, which need not exist; nothing is written.

    `names` are single components, checked before.

    Raises:
        OutputNotWritable: it could not be created, or not be written to.

    """
    existing = os.path.abspath(out)
    while not os.path.lexists(existing) and existing != os.path.dirname(existing):
        existing = os.path.dirname(existing)
    if not os.path.isdir(existing) or not os.access(existing, os.W_OK | os.X_OK):
        raise OutputNotWritable("You may not write into the output directory here, or it is not a directory.")
    try:
        taken = frozenset(name for name in names if os.path.lexists(os.path.join(out, name)))
        if sys.platform == "win32":
            return Space(shutil.disk_usage(existing).free, None, taken)
        status = os.statvfs(existing)
    except (OSError, ValueError):
        raise OutputNotWritable("The output directory here cannot be looked at.") from None
    size = status.f_bavail * status.f_frsize if status.f_blocks else limits.MAX_FILE_SIZE
    return Space(size, status.f_favail if status.f_files else None, taken)


def check_space(manifest: Manifest, free_bytes: Callable[[], int], max_size: int | None) -> None:
    """Check that all that is still to come fits on the disk, and that all of it is at most `max_size` bytes.

    Raises:
        TooMuch: it is more than `max_size`.
        NoSpace: it does not fit on the disk.

    """
    if max_size is not None and manifest.declared > max_size:
        raise TooMuch(limit=max_size)
    if manifest.owed > free_bytes():
        raise NoSpace(f"The sender announces {manifest.owed} more bytes, but the disk here has less space.")


def open_output(out: str, tag: str, allowed: int) -> tuple[Directory, float]:
    """Create the output directory if it is missing, open it, and write a file into it for a moment.

    Args:
        out: its path.
        tag: a part of that file's name; see `temporary_name`.
        allowed: the permission bits that files and directories below may get.

    Returns:
        The directory, and the seconds by which the clock of its file system (a server's, perhaps) is ahead of ours.

    Raises:
        OutputNotWritable: nothing can be written there.
        NoSpace: not even an empty file has space there.

    """
    try:
        os.makedirs(out, exist_ok=True)
        top = Directory.top(out, allowed)
    except (FileExistsError, NotADirectoryError):
        raise OutputNotWritable(
            "The path of the output directory here leads to something that is no directory."
        ) from None
    except PermissionError:
        raise OutputNotWritable("You may not create or enter the output directory here.") from None
    except (OSError, ValueError) as error:
        fail_for_good(error)
    try:
        now = time.time()
        ahead = max(0.0, top.try_out(temporary_name(tag)).st_ctime - now)
    except PermissionError:
        top.close()
        raise OutputNotWritable("You may not write into the output directory here.") from None
    except OSError as error:
        top.close()
        fail_for_good(error)
    return top, ahead


def supported(directory: Directory, tag: str, preserve: Preserved) -> Preserved:
    """Return which of these attributes the file system of a directory can store; it is tried out."""
    if Preserved.HARD_LINKS in preserve and not _has_hard_links(directory, tag):
        preserve &= ~Preserved.HARD_LINKS
    if Preserved.XATTRS in preserve and not _has_xattrs(directory, tag):
        preserve &= ~Preserved.XATTRS
    return preserve


def _has_hard_links(directory: Directory, tag: str) -> bool:
    first, second = temporary_name(tag), temporary_name(tag)
    try:
        directory.close_new(first)
        directory.hard_link(first, directory, second)
    except OSError:
        return False
    finally:
        for name in (first, second):
            with suppress(OSError):
                directory.unlink(name)
    return True


def _has_xattrs(directory: Directory, tag: str) -> bool:
    if sys.platform != "linux":
        return False
    name = temporary_name(tag)
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
