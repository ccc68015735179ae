"""Removing what a transfer has left in the output directory, and what nobody will ever go on with."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from p2p_copy.files.directory import Directory, reached
from p2p_copy.files.temporary import has_tag
from p2p_copy.protocol import limits

if TYPE_CHECKING:
    from p2p_copy.files.target.resume import ResumeIndex


def sweep(directory: Directory, kept: ResumeIndex) -> None:
    """Remove what a process of this transfer was writing into a directory when it was killed, but for parts."""
    if not kept.restarted:
        return
    parts = kept.parts()
    with suppress(OSError):
        for name in [each for each in directory.names() if has_tag(each, kept.tag)]:
            if name not in parts:
                directory.unlink(name)


def remove_orphans(top: Directory, kept: ResumeIndex) -> None:
    """Remove the parts of files that the sender does not name any more, and forget them."""
    for path in kept.orphans():
        *way, name = path.split("/")
        with suppress(OSError, ValueError), reached(top, way) as directory:
            _remove(directory, name)


def remove_traces(directory: Directory, tag: str, *, depth: int = limits.MAX_DEPTH) -> None:
    """Remove whatever the transfer with this tag has not finished in a tree that it is given up in.

    No journal knows what a process wrote in the second before it was killed. Other file systems are left alone, and so
    is what we may not look into.
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
    """Remove what the transfer with this tag has not finished in the directory of a file of its own."""
    with suppress(OSError, ValueError):
        directory = Directory.top(os.path.dirname(path) or os.curdir)
        try:
            for name in [each for each in directory.names() if has_tag(each, tag)]:
                directory.unlink(name)
        finally:
            directory.close()


def _remove(directory: Directory, name: str) -> None:
    """Remove a part, and leave no other trace in its directory, which is complete and has its time and mode."""
    before = directory.status()
    if directory.lstat(name) is None:
        return
    directory.unlock()
    try:
        directory.unlink(name)
    finally:
        directory.set_attributes(stat.S_IMODE(before.st_mode), before.st_mtime_ns)
