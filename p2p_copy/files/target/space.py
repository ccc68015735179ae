"""Measures the space on the receiver's disk, and checks that what the sender announces fits."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING, NamedTuple

from p2p_copy.errors import NoSpace, OutputNotWritable, TooMuch
from p2p_copy.protocol import limits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from p2p_copy.files.target.target import Target
    from p2p_copy.protocol.manifest import Manifest


class Space(NamedTuple):
    """What there is where the output directory is, or will be.

    Attributes:
        size: bytes that are free.
        files: how many more files the file system takes; None if it has no limit.
        taken: those of the names asked for that exist.

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


def check_space(manifest: Manifest, target: Target, max_size: int | None) -> None:
    """Check that all that is still to come fits on the disk, and that all of it is at most `max_size` bytes.

    Raises:
        TooMuch: it is more than `max_size`.
        NoSpace: it does not fit on the disk.

    """
    if max_size is not None and manifest.declared > max_size:
        raise TooMuch(limit=max_size)
    if manifest.owed > target.free_bytes():
        raise NoSpace(f"The sender announces {manifest.owed} more bytes, but the disk here has less space.")
