"""Translates system errors: either one entry cannot be created, or nothing more can be written."""

from __future__ import annotations

import errno
from typing import Final, NoReturn

from p2p_copy.errors import NoSpace, OutputNotWritable, exhausted
from p2p_copy.protocol.messages import Reason


class Refused(Exception):
    """One entry cannot be created; the transfer goes on with the others. `reason` says why."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.name)
        self.reason = reason


_REASONS: Final = {
    errno.EEXIST: Reason.EXISTS,
    errno.EISDIR: Reason.EXISTS,
    errno.EACCES: Reason.NOT_WRITABLE,
    errno.EPERM: Reason.NOT_WRITABLE,
    errno.ENOENT: Reason.NOT_WRITABLE,  # the directory was removed, or is another one now
    errno.ENOTDIR: Reason.NOT_WRITABLE,
    errno.ELOOP: Reason.NOT_WRITABLE,
    errno.ESTALE: Reason.NOT_WRITABLE,
    errno.EMLINK: Reason.NOT_WRITABLE,  # the directory holds as many others as its file system allows
    errno.ENAMETOOLONG: Reason.NAME,
    errno.EINVAL: Reason.NAME,
    errno.EILSEQ: Reason.NAME,
    errno.EFBIG: Reason.TOO_MUCH,
}
"""Errors that concern one entry; every other error concerns the disk."""


def fail(error: OSError | ValueError) -> NoReturn:
    """Raise what a system error means, without its own text, which may contain a file name.

    Raises:
        Refused: one entry is concerned.
        NoSpace: the disk, or the user's quota on it, is full.
        SystemFailed: this process has no more descriptors or memory.
        OutputNotWritable: anything else.

    """
    if isinstance(error, ValueError):  # this system's encoding has no such characters
        raise Refused(Reason.NAME) from None
    if error.errno in _REASONS:
        raise Refused(_REASONS[error.errno]) from None
    fail_for_good(error)


def fail_for_good(error: OSError | ValueError) -> NoReturn:
    """Raise what a system error means where the output directory itself fails, which ends the transfer.

    Raises:
        NoSpace: the disk, or the user's quota on it, is full.
        SystemFailed: this process has no more descriptors or memory.
        OutputNotWritable: anything else.

    """
    if failed := exhausted(error):
        raise failed from None
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ENOSPC:
        raise NoSpace from None
    if number == errno.EDQUOT:
        raise NoSpace("Your disk quota here is used up.") from None
    text = error.strerror if isinstance(error, OSError) else None
    raise OutputNotWritable(
        f"Writing into the output directory here failed: {text or 'its name is not possible here'}."
    ) from None
