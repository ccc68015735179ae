"""Further names for files that this transfer has put into the output directory.

Rules
1. Only what this transfer itself has brought gets another name, and only while it is what it was then: the same device,
   inode, size and time; or, where numbers of inodes change (FUSE), the same size, time and contents.
2. The new name is a private one at first. It becomes the real one only if what is under it is that very file: whoever
   swaps files in between gains nothing.
"""

from __future__ import annotations

import errno
import stat
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from p2p_copy.files import limits
from p2p_copy.files.directory import reached
from p2p_copy.files.target import conflicts
from p2p_copy.files.target.errors import Refused, fail
from p2p_copy.files.target.resume import digest_of
from p2p_copy.files.temporary import temporary_name
from p2p_copy.protocol.messages import Reason

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping

    from p2p_copy.files.directory import Directory
    from p2p_copy.files.target.resume import ResumeIndex
    from p2p_copy.options import Conflict
    from p2p_copy.protocol.manifest import Item


_NOT_HERE: Final = frozenset(
    (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EXDEV, errno.EMLINK)
)
"""How systems say that a file cannot have another name there, or not one more."""


class FurtherNames:
    """The files of one transfer that may get further names."""

    def __init__(self, top: Directory, opened: Mapping[int, Directory], kept: ResumeIndex) -> None:
        """Find directories below `top`, and those that are open in `opened`, by number; tell `kept` what was made."""
        self._top = top
        self._opened = opened
        self._kept = kept
        self._there: dict[
            int | None, tuple[int, tuple[int, int, int, int]]
        ] = {}  # number, and what the disk said

    def note(self, item: Item, there: os.stat_result) -> None:
        """Remember a file that is complete, if it may get further names."""
        key = _key(item)
        if key is not None:
            self._there[key] = item.index, _seen(there)

    def note_held(self, item: Item, directory: Directory) -> None:
        """Do the same for one that an earlier link has brought."""
        if item.entry.extra is not None:
            with suppress(OSError):
                there = directory.lstat(item.name)
                if there is not None and there.st_size == item.entry.size:
                    self.note(item, there)

    def put(
        self,
        item: Item,
        directory: Directory,
        check: Callable[[Item, Directory], Conflict],
        make_way: Callable[[Item, Directory], None],
    ) -> None:
        """Give the file of which `item` is another name that name, in this directory.

        `check` says what is to be done if the name is taken, or that it is refused; `make_way` removes what is ours.

        Raises:
            Refused: the file is not there, or not as this transfer has put it there; the name is taken; or this file
                system does not do it.
            NoSpace, OutputNotWritable: no more can be written at all.

        """
        original, digest, kept = item.original, item.digest, self._kept
        assert original is not None, "else it is no other name"
        assert digest is not None, "it has that of its first name"
        note = partial(kept.made, item, digest=digest, flushed=item.entry.size >= limits.FSYNC_FROM)
        try:
            item.name = kept.own_name(item, directory) or item.entry.name
            there = directory.lstat(item.name)
            if there is None or _seen(there) != self._known(original):  # a copy is a file of its own
                policy = check(item, directory)
                item.name = self._link(item, original, directory, policy, note, make_way)
            if (there := directory.lstat(item.name)) is not None:
                note(there, name=item.name)
        except FileNotFoundError:
            raise Refused(Reason.ORIGINAL) from None
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in _NOT_HERE:
                raise Refused(Reason.UNSUPPORTED) from None
            fail(error)

    def _link(
        self,
        item: Item,
        original: Item,
        directory: Directory,
        conflict: Conflict,
        note: Callable[..., None],
        make_way: Callable[[Item, Directory], None],
    ) -> str:
        noted = False

        def intend(name: str, there: os.stat_result) -> None:
            nonlocal noted
            if directory.created and name == item.entry.name:
                self._kept.renew()
            else:
                noted = True
                note(there, name=name)
                self._kept.write()

        if self._known(original) is None:
            raise Refused(Reason.ORIGINAL)
        temporary = temporary_name(self._kept.tag)
        try:
            with self._directory_of(original) as source:
                source.link(original.name, directory, temporary)
            there = directory.lstat(temporary)
            if there is None or not self._is_it(original, directory, temporary):
                raise Refused(Reason.ORIGINAL)
            make_way(item, directory)
            return conflicts.move(conflict, directory, temporary, item.entry.name, there, intend)
        except Refused:
            if noted:
                self._kept.unmade(item)
            raise
        finally:
            # It is still there if it failed, or if a rename found that both names were of the same file already.
            with suppress(OSError):
                directory.unlink(temporary)

    def _is_it(self, original: Item, directory: Directory, name: str) -> bool:
        """Return whether what has this name is the file that was put there under its first name."""
        known = self._known(original)
        there = directory.lstat(name)
        if known is None or there is None or not stat.S_ISREG(there.st_mode):
            return False
        seen = _seen(there)
        return seen == known or (seen[2:] == known[2:] and digest_of(directory, name) == original.digest)

    def _known(self, original: Item) -> tuple[int, int, int, int] | None:
        """Return what the disk said of a file when it was complete; None if it is not there."""
        number, known = self._there.get(_key(original), (-1, None))
        return known if number == original.index else None

    @contextmanager
    def _directory_of(self, item: Item) -> Iterator[Directory]:
        if item.parent is None:
            yield self._top
        elif (opened := self._opened.get(item.parent.index)) is not None:
            yield opened
        else:
            with reached(self._top, item.parent.place.split("/")) as directory:
                yield directory


def _key(item: Item) -> int | None:
    """Return under what a file is remembered: of its other names only the last one that came with contents is."""
    extra = item.entry.extra
    if extra is None:
        return None
    if extra.named_again:
        return item.index
    return None if extra.original is None else -1 - extra.original


def _seen(there: os.stat_result) -> tuple[int, int, int, int]:
    return there.st_dev, there.st_ino, there.st_size, there.st_mtime_ns
