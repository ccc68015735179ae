"""Which of the permission bits that a sender names are given to what is received.

The owner's bits are given as they were sent: whoever receives may do with a script what the sender could. Group and
others get no more than a program of this user would give them, which is what the umask says, unless the user asks for
the sender's bits (`--preserve mode`, or `owner`, for which one must be root): a sender that is careless, or means harm,
does not open the receiver's files to the other users of that machine.

The umask is applied here, and not by the kernel: a file has its mode set when it is complete, and until then it is for
its owner alone. So it counts also where a directory's default access list makes the kernel ignore it.
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
    """Return the bits that what is received may have in this process, if the user wants this kept; blocks on a disk."""
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
    """Return what is missing in the mode of a new file, where nobody else can put one."""
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
