"""Decides which of the sender's permission bits received files and directories get.

The owner gets the bits that were sent: a script stays executable. Group and others get no more than the umask of this
user allows, as with any other program, unless the user asks for the sender's bits (`--preserve mode`, or `owner`, which
only root may use). So a careless or hostile sender does not open the receiver's files to other users of the machine.

The umask is applied here and not by the kernel, because a file gets its mode when it is complete; until then only its
owner may read it. So the umask holds also where a directory's default access list makes the kernel ignore it.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from typing import TYPE_CHECKING, Final

from p2p_copy.files.directory import PERMISSIONS
from p2p_copy.options import Preserve

if TYPE_CHECKING:
    from collections.abc import Collection

_OTHERS: Final = 0o077

_UMASK: Final = re.compile(rb"^Umask:\s*([0-7]+)$", re.MULTILINE)


def allowed(preserve: Collection[Preserve]) -> int:
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
