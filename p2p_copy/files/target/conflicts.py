"""Decides what happens if a name exists already, in one way for files, symlinks and directories.

Another user could take a name between a look and the creation. So everything is created by a call that fails if the
name exists; then the policy decides.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

from p2p_copy.files.target.errors import Refused, fail
from p2p_copy.options import Conflict
from p2p_copy.protocol.messages import Kind, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from p2p_copy.files.directory import Directory
    from p2p_copy.files.target.resume import ResumeIndex
    from p2p_copy.protocol.manifest import Item

_T = TypeVar("_T")

_MOST_NUMBERS: Final = 9999
"""Names that `Conflict.RENAME` tries before it gives up."""


class Conflicts:
    """Decides for one transfer what an entry's name may replace.

    That is what the user's `policy` allows, and what earlier conversations of this transfer have made themselves.

    Attributes:
        policy: what happens to a name that exists.
        updates: what is up to date here stays; anything else is replaced.
        asks: the user is asked before something is replaced.
        checksum: it is up to date only if its contents are the same, whatever its time.

    """

    def __init__(self, policy: Conflict, resume: ResumeIndex, *, checksum: bool = False) -> None:
        self.checksum = checksum
        self.updates = policy is Conflict.UPDATE
        self.asks = policy is Conflict.ASK
        self.policy = {Conflict.UPDATE: Conflict.OVERWRITE, Conflict.ASK: Conflict.REFUSE}.get(policy, policy)
        self._replaced: set[int] = (
            set()
        )  # numbers of entries that replace what there is, by the user's answer
        self._resume = resume

    def policy_of(self, item: Item) -> Conflict:
        """Return the policy for one entry."""
        return Conflict.OVERWRITE if item.index in self._replaced else self.policy

    def replace(self, item: Item) -> None:
        """Let an entry replace what there is: the user has said so."""
        self._replaced.add(item.index)

    def is_taken(self, item: Item, directory: Directory) -> bool:
        """Return whether an entry could replace something that is not ours, so that the user is to be asked."""
        if directory.created:
            return False
        try:
            there = directory.lstat(item.entry.name)
            kinds = (stat.S_ISREG,) if item.entry.kind is Kind.FILE else (stat.S_ISREG, stat.S_ISLNK)
            if there is None or not any(is_kind(there.st_mode) for is_kind in kinds):
                return False
            return not (self._resume.earlier_name(item, directory) or self.was_left(item, directory))
        except (OSError, ValueError) as error:
            fail(error)

    def check(self, item: Item, directory: Directory) -> tuple[Conflict, str]:
        """Return the policy for the name of a file, and the name under which we made it earlier, empty if we did not.

        Nothing is changed yet: the file may take long to arrive. `remove_earlier` comes right before it gets its name.

        Raises:
            Refused: the name is taken, and the policy offers no other.
            NoSpace, OutputNotWritable: nothing more can be written.

        """
        policy, name = self.policy_of(item), item.entry.name
        try:
            earlier = self._resume.earlier_name(item, directory)
            if not earlier and self.was_left(item, directory):
                earlier = name
            if earlier == name:
                there = directory.lstat(name)
                if there is not None and stat.S_ISREG(there.st_mode):
                    return Conflict.OVERWRITE, earlier
            elif policy is not Conflict.RENAME and not directory.created:  # RENAME takes another name
                check(policy, directory, name)
        except (OSError, ValueError) as error:
            fail(error)
        if directory.created and policy is Conflict.OVERWRITE:
            # Only this transfer can have put a file there, and it replaces none of its own.
            policy = Conflict.REFUSE
        return policy, earlier

    def remove_earlier(self, item: Item, directory: Directory, earlier: str) -> None:
        """Delete what we have made of a file earlier, under the name from `check`, unless a rename will replace it.

        What takes its place counts as ours even if this process is killed before that is recorded.
        """
        if not earlier:
            return
        self._resume.record_intent(item, earlier)
        there = directory.lstat(earlier)
        if there is not None and not (earlier == item.entry.name and stat.S_ISREG(there.st_mode)):
            directory.unlink(earlier)

    def was_left(self, item: Item, directory: Directory) -> bool:
        """Return whether an entry's name was given by an earlier process of ours that was killed, not to a directory.

        That is so if we made the directory in which it lies, and the journal does not have it.
        """
        if not (self._resume.killed and directory.created):
            return False
        there = directory.lstat(item.entry.name)
        if there is None or stat.S_ISDIR(there.st_mode):
            return False
        if directory.unrecorded is None:
            directory.unrecorded = self._resume.unrecorded_names(item.parent, directory)
        return item.entry.name in directory.unrecorded


def place(conflict: Conflict, name: str, put: Callable[[str], _T], *, before_suffix: bool = True) -> _T:
    """Call `put` with one name after another until it raises no `FileExistsError`; return its result.

    Only `Conflict.RENAME` has names after the first, with numbers; `before_suffix` puts these before the last dot.

    Raises:
        Refused: all names exist.

    """
    try:
        return put(name)
    except FileExistsError:
        if conflict is not Conflict.RENAME:
            raise taken(conflict) from None
    for numbered in _numbered(name, before_suffix=before_suffix):
        with suppress(FileExistsError):
            return put(numbered)
    raise Refused(Reason.EXISTS)


def move(
    conflict: Conflict,
    directory: Directory,
    temporary: str,
    name: str,
    made: os.stat_result,
    intend: Callable[[str, os.stat_result], None],
) -> str:
    """Rename a complete file from its temporary name to its own, or to another that the policy offers; return the name.

    Before the rename `intend` is called with each free name and with `made`, the status of the file.

    Raises:
        Refused: the name is taken, or another user has replaced the file.
        OSError: the file system cannot do it.

    """
    if conflict is Conflict.OVERWRITE:
        check(conflict, directory, name)
        move_over(directory, temporary, name, made)
        return name
    return move_new(conflict, directory, temporary, name, made, intend)


def move_new(
    conflict: Conflict,
    directory: Directory,
    temporary: str,
    name: str,
    made: os.stat_result,
    intend: Callable[[str, os.stat_result], None],
) -> str:
    """Do the same as `move`, but never replace anything."""

    def put(free: str) -> str:
        if not directory.created and directory.lstat(free) is not None:
            raise FileExistsError  # a name that exists already is never recorded as ours
        intend(free, made)
        _check_made(directory, temporary, made)
        directory.move_new(temporary, free)
        _check_made(directory, free, made)
        return free

    return place(conflict, name, put)


def move_over(directory: Directory, temporary: str, name: str, made: os.stat_result) -> None:
    """Rename what is complete from its temporary name to its own, which may replace anything but a directory.

    It raises what `move` raises.
    """
    _check_made(directory, temporary, made)
    directory.move_over(temporary, name)
    _check_made(directory, name, made)


def _check_made(directory: Directory, name: str, made: os.stat_result) -> None:
    """Refuse to publish a file that another user has replaced, as can happen in a directory that we did not make.

    Another user can also replace the file between this check and the rename. So the caller checks again after the
    rename, and what is not ours then does not count as delivered.
    """
    if not directory.created and not directory.is_made(name, made):
        raise Refused(Reason.NOT_WRITABLE)


def check(conflict: Conflict, directory: Directory, name: str) -> None:
    """Check that a file can have this name: it is free, or the policy replaces the regular file that has it.

    Raises:
        Refused: it is taken. A file never replaces a symlink or a directory.

    """
    there = directory.lstat(name)
    if there is None or (conflict is Conflict.OVERWRITE and stat.S_ISREG(there.st_mode)):
        return
    raise taken(conflict)


def taken(conflict: Conflict) -> Refused:
    """Return what to raise if a name is taken, and no other is to be tried."""
    return Refused(Reason.SKIPPED if conflict is Conflict.SKIP else Reason.EXISTS)


def _numbered(name: str, *, before_suffix: bool) -> Iterator[str]:
    """Yield "name (1).ext", "name (2).ext" and so on."""
    stem, suffix = os.path.splitext(name) if before_suffix else (name, "")
    for number in range(1, _MOST_NUMBERS + 1):
        yield f"{stem} ({number}){suffix}"
