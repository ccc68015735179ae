"""The names of incomplete files, and a check of which of them belong to this transfer."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from p2p_copy.protocol import names

if TYPE_CHECKING:
    from p2p_copy.files.directory import Directory


def temporary_name(tag: str = "") -> str:
    """Return a name that cannot be guessed. If it exists all the same, creating the file fails.

    By the `tag` a transfer finds what an earlier process of it has left.
    """
    return f"{names.PARTIAL_PREFIX}{tag}{os.urandom(8).hex()}.part"


def has_tag(name: str, tag: str) -> bool:
    """Return whether this is a temporary name of the transfer with that tag; never with an empty tag."""
    return bool(tag) and name.startswith(names.PARTIAL_PREFIX + tag)


def is_part(directory: Directory, status: os.stat_result, tag: str) -> bool:
    """Return whether a file in a directory can be a part of this transfer, and may be continued.

    It must belong to us, and no other user may write to it. It must have no other name: a copy of the output made with
    `cp -al` shares the file, and would change with it.
    """
    return (
        stat.S_ISREG(status.st_mode)
        and status.st_nlink == 1
        and directory.is_ours(status, temporary_name(tag))
    )
