"""Deletes incomplete files that a transfer has left in the output directory and will never continue."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from p2p_copy.files.directory import Directory, reached
from p2p_copy.files.temporary import has_tag, temporary_name
from p2p_copy.protocol import limits

if TYPE_CHECKING:
    from p2p_copy.files.target.resume import ResumeIndex


class Marker:
    """An empty file in the output directory, until `remove`; a sender that finds it reads what the receiver writes."""

    def __init__(self, top: Directory, tag: str) -> None:
        self._top = top
        self._tag = tag
        self._name = ""

    def create(self) -> str:
        """Create it, and return its name; an empty name if it cannot be created."""
        name = temporary_name(self._tag)
        try:
            self._top.close_new(name)
        except OSError:
            return ""
        self._name = name
        return name

    def remove(self) -> None:
        """Delete it if it is there. Never fails; may be called again."""
        name, self._name = self._name, ""
        if name:
            with suppress(OSError):
                self._top.unlink(name)


def sweep(directory: Directory, resume: ResumeIndex) -> None:
    """Delete what a process of this transfer was writing into a directory when it was killed, except parts."""
    if not resume.restarted:
        return
    parts = {begun.part.rpartition("/")[2] for _, begun in resume.journal.all_begun()}
    with suppress(OSError):
        for name in [each for each in directory.names() if has_tag(each, resume.tag)]:
            if name not in parts:
                directory.unlink(name)


def remove_orphans(top: Directory, resume: ResumeIndex) -> None:
    """Delete the parts of files that the sender does not name any more, and forget them."""
    for key, begun in resume.journal.all_begun():
        resume.journal.forget(key)
        *names, name = begun.part.split("/")
        with suppress(OSError, ValueError), reached(top, names) as directory:
            _remove(directory, name)


def remove_traces(directory: Directory, tag: str, *, depth: int = limits.MAX_DEPTH) -> None:
    """Delete everything that the transfer with this tag has not completed in a tree, when the user gives it up.

    The whole tree is searched, since no journal has what a process wrote in the second before it was killed. Other file
    systems, and directories that we may not read, are left alone.
    """
    device = directory.status().st_dev
    with suppress(OSError, ValueError):
        for name in list(directory.names()):
            if has_tag(name, tag):
                _remove(directory, name)
            elif depth and (there := directory.lstat(name)) and stat.S_ISDIR(there.st_mode):
                with suppress(OSError, ValueError):
                    inner = directory.open(name)
                    try:
                        if there.st_dev == device:
                            remove_traces(inner, tag, depth=depth - 1)
                    finally:
                        inner.close()


def remove_beside(path: str, tag: str) -> None:
    """Delete what the transfer with this tag has not completed in the directory of one file, a receipt."""
    with suppress(OSError, ValueError):
        directory = Directory.top(os.path.dirname(path) or os.curdir)
        try:
            for name in [each for each in directory.names() if has_tag(each, tag)]:
                directory.unlink(name)
        finally:
            directory.close()


def _remove(directory: Directory, name: str) -> None:
    """Delete a part, and restore mode and time of its directory, which may be complete already."""
    before = directory.status()
    if directory.lstat(name) is None:
        return
    directory.unlock()
    try:
        directory.unlink(name)
    finally:
        directory.set_attributes(stat.S_IMODE(before.st_mode), before.st_mtime_ns)
