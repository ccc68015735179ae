"""What a transfer must leave on the disk, and what both sides must say of it: written from docs/transfers.md alone."""

from __future__ import annotations

import fnmatch
import os
import stat
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from p2p_copy.options import Conflict, Symlinks
from tests.support.random_trees import NEVER, NOT_PORTABLE, Case, Kind, Node, Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path


@dataclass
class Expected:
    """What must come of one transfer.

    Attributes:
        tree: what lies in the output directory.
        ours: paths there with the sender's mode and time; what is not among them has the ones that it had.
        entered: directories that were there, and got something; their times are what they are.
        failures: what is not delivered; `more` may be, as it lies in a directory that is refused.
        skipped: what was left as it was, as asked.
        files, size: what was delivered.
        places: of each file that was delivered, by its path at the sender.

    """

    tree: Tree
    ours: set[str] = field(default_factory=set)
    entered: set[str] = field(default_factory=set)
    failures: int = 0
    more: int = 0
    skipped: int = 0
    files: int = 0
    size: int = 0
    places: dict[str, str] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """Of both sides."""
        return 3 if self.failures else 0


def expect(case: Case) -> Expected:
    """Say what must come of a transfer."""
    return _Oracle(case).expected


class _Oracle:
    def __init__(self, case: Case) -> None:
        self._case = case
        self._asked = case.asked
        self.expected = Expected(dict(case.existing))
        for path in case.tops:
            self._put(path, "", made=False)

    def _children(self, path: str) -> Iterator[str]:
        for other in self._case.source:
            if other.rpartition("/")[0] == path:
                yield other

    # What the sender sends

    def _unsendable(self, path: str) -> bool:
        node, name = self._case.source[path], path.rpartition("/")[2]
        return (
            name in NEVER
            or (self._asked.portable and name in NOT_PORTABLE)
            or node.kind is Kind.PIPE
            or (node.kind is Kind.SYMLINK and _leads_outside(node.target, path.count("/"), self._asked))
        )

    def _wanted(self, path: str) -> bool:
        """Return whether both sides' patterns take something for its own sake."""
        return self._by_sender(path) and self._by_receiver(path)

    def _by_sender(self, path: str) -> bool:
        return self._taken(path, self._asked.sender_only, self._asked.sender_exclude)

    def _by_receiver(self, path: str) -> bool:
        return self._taken(path, self._asked.receiver_only, self._asked.receiver_exclude)

    def _taken(self, path: str, only: Sequence[str], exclude: Sequence[str]) -> bool:
        return not self._matches(path, exclude) and (not only or self._matches(path, only))

    def _matches(self, path: str, patterns: Sequence[str]) -> bool:
        """Return whether a pattern matches something, or a directory in which it lies."""
        while path:
            directory = self._case.source[path].kind is Kind.DIRECTORY
            for pattern in patterns:
                if pattern.startswith("/"):
                    if path == pattern[1:]:
                        return True
                elif fnmatch.fnmatchcase(path.rpartition("/")[2], pattern.rstrip("/")) and (
                    directory or not pattern.endswith("/")
                ):
                    return True
            path = path.rpartition("/")[0]
        return False

    def _left_out(self, path: str) -> bool:
        """Return whether a directory is excluded: then nothing in it is looked at."""
        return self._matches(path, self._asked.sender_exclude) or self._matches(
            path, self._asked.receiver_exclude
        )

    def _is_made(self, path: str) -> bool:
        """Return whether a directory is made: each side selects the directory itself, or something in it."""
        return (self._by_sender(path) or self._has_something(path, self._by_sender)) and (
            self._by_receiver(path) or self._has_something(path, self._wanted)
        )

    def _has_something(self, path: str, wanted: Callable[[str], bool]) -> bool:
        """Return whether something in a directory is wanted, and can be sent."""
        for child in self._children(path):
            node = self._case.source[child]
            if self._silent(node) or self._unsendable(child):
                continue
            if self._matches(child, self._asked.sender_exclude):
                continue
            if wanted(child) or (node.kind is Kind.DIRECTORY and self._has_something(child, wanted)):
                return True
        return False

    def _silent(self, node: Node) -> bool:
        return node.kind is Kind.SYMLINK and self._asked.links is Symlinks.SKIP

    # Where it goes

    def _put(self, path: str, above: str, *, made: bool) -> None:
        node = self._case.source[path]
        if self._silent(node) or self._left_out(path):
            return
        directory = node.kind is Kind.DIRECTORY
        if not self._wanted(path) and not (directory and self._leads(path)):
            return
        if self._unsendable(path):
            self.expected.failures += 1
            return
        if directory:
            if self._is_made(path):
                self._put_directory(path, above, made=made)
            else:
                self._count_unsendable(path)
            return
        self._put_other(path, node, above)

    def _leads(self, path: str) -> bool:
        """Return whether an `--only` may match something in a directory, as far as its patterns say."""
        for only in (self._asked.sender_only, self._asked.receiver_only):
            if only and not self._matches(path, only) and not any(_may_match(one, path) for one in only):
                return False
        return True

    def _count_unsendable(self, path: str) -> None:
        """Count what cannot be sent in a directory of which nothing else is taken."""
        for child in self._children(path):
            node = self._case.source[child]
            if self._silent(node) or self._left_out(child):
                continue
            directory = node.kind is Kind.DIRECTORY
            if not self._wanted(child) and not (directory and self._leads(child)):
                continue
            if self._unsendable(child):
                self.expected.failures += 1
            elif directory:
                self._count_unsendable(child)

    def _put_directory(self, path: str, above: str, *, made: bool) -> None:
        node, tree, expected = self._case.source[path], self.expected.tree, self.expected
        place = _joined(above, path.rpartition("/")[2])
        there = tree.get(place)
        if there is not None and there.kind is not Kind.DIRECTORY:
            if self._asked.conflict is not Conflict.RENAME:
                expected.failures += 1
                expected.more += self._hidden(path)
                return
            place = self._free(place, ending=False)
            there = None
        if there is None or self._asked.conflict in {Conflict.OVERWRITE, Conflict.UPDATE}:
            tree[place] = self._as_kept(node)
            expected.ours.add(place)
        else:
            expected.entered.add(place)
        for child in self._children(path):
            self._put(child, place, made=there is None)

    def _as_kept(self, node: Node) -> Node:
        return node if self._asked.xattrs else replace(node, xattrs=())

    def _hidden(self, path: str) -> int:
        """Return how much in a refused directory may be told as not sendable before the sender knows that."""
        return sum(self._unsendable(other) for other in self._case.source if other.startswith(f"{path}/"))

    def _put_other(self, path: str, node: Node, above: str) -> None:
        tree, expected, conflict = self.expected.tree, self.expected, self._asked.conflict
        place = _joined(above, path.rpartition("/")[2])
        there = tree.get(place)
        if there is not None:
            replaced = (Kind.FILE,) if node.kind is Kind.FILE else (Kind.FILE, Kind.SYMLINK)
            if conflict is Conflict.RENAME:
                place = self._free(place, ending=True)
            elif conflict is Conflict.SKIP:
                expected.skipped += 1
                return
            elif conflict is Conflict.REFUSE or there.kind not in replaced:
                expected.failures += 1
                return
        tree[place] = self._as_kept(node)
        expected.ours.add(place)
        if node.kind is Kind.FILE:
            expected.files += 1
            expected.size += node.size
            expected.places[path] = place

    def _free(self, place: str, *, ending: bool) -> str:
        stem, end = os.path.splitext(place) if ending else (place, "")
        number = 1
        while f"{stem} ({number}){end}" in self.expected.tree:
            number += 1
        return f"{stem} ({number}){end}"


def _joined(above: str, name: str) -> str:
    return f"{above}/{name}" if above else name


def _may_match(pattern: str, directory: str) -> bool:
    """Return whether a pattern may match in a directory: one without a `/` inside may anywhere."""
    if not pattern.startswith("/"):
        return True
    return f"{pattern[1:]}/".startswith(f"{directory}/")


def _leads_outside(target: str, depth: int, _asked: object) -> bool:
    """Return whether a link at this depth leads out of what is sent, or might once names are links themselves."""
    if target.startswith("/"):
        return True
    parts = [part for part in target.split("/") if part != "."]
    ups = 0
    while ups < len(parts) and parts[ups] == "..":
        ups += 1
    return ups > depth - 1 or ".." in parts[ups:]


# The disk


def differences(out: Path, case: Case, expected: Expected, changed: Collection[str] = ()) -> list[str]:
    """Return what lies on the disk otherwise than it must, a line each.

    What was there of an earlier version of what has `changed`, with the directories on the way to it, may stay.
    """
    found: list[str] = []
    seen = _names(out)
    may_stay = {path[:end] for path in changed for end in _ends(path)}
    found += [f"{path!r} is missing" for path in expected.tree if path not in seen]
    found += [f"{path!r} should not be there" for path in seen - may_stay if path not in expected.tree]
    for path in seen & set(expected.tree):
        found += [f"{path!r}: {problem}" for problem in _compare(out / path, path, expected)]
    if case.asked.hard_links and not found:
        found += _split_links(out, case, expected)
    return found


def _ends(path: str) -> list[int]:
    """Return where the paths of the directories on the way to something end, and its own."""
    return [at for at, letter in enumerate(path) if letter == "/"] + [len(path)]


def _names(out: Path) -> set[str]:
    return {
        os.path.relpath(os.path.join(folder, name), out)
        for folder, directories, files in os.walk(out)
        for name in [*directories, *files]
    }


def _compare(where: Path, path: str, expected: Expected) -> Iterator[str]:
    node, status = expected.tree[path], os.lstat(where)
    kind = (
        Kind.SYMLINK
        if stat.S_ISLNK(status.st_mode)
        else Kind.DIRECTORY
        if stat.S_ISDIR(status.st_mode)
        else Kind.FILE
    )
    if kind is not node.kind:
        yield f"a {kind.value}, not a {node.kind.value}"
        return
    if kind is Kind.SYMLINK and os.readlink(where) != node.target:
        yield f"leads to {os.readlink(where)!r}, not {node.target!r}"
    if kind is Kind.FILE and where.read_bytes() != node.contents():
        yield "other contents"
    if kind is not Kind.SYMLINK and stat.S_IMODE(status.st_mode) != node.mode:
        yield f"mode {stat.S_IMODE(status.st_mode):o}, not {node.mode:o}"
    if kind is not Kind.SYMLINK and hasattr(os, "listxattr"):
        names = [name for name in os.listxattr(where) if name.startswith("user.")]
        found = {name: os.getxattr(where, name) for name in names}
        if found != dict(node.xattrs):
            yield f"extended attributes {found}, not {dict(node.xattrs)}"
    entered = path in expected.entered or (
        kind is Kind.DIRECTORY
        and path not in expected.ours  # another program put something there under another name
    )
    if not entered and status.st_mtime_ns != node.mtime_ns:
        yield f"time {status.st_mtime_ns}, not {node.mtime_ns}"


def _split_links(out: Path, case: Case, expected: Expected) -> Iterator[str]:
    """Yield names of one file that are several files here; if one was not delivered, the others are let be."""
    groups: dict[str, list[str]] = {}
    for path, node in case.source.items():
        if node.kind is Kind.FILE:
            groups.setdefault(node.twin or path, []).append(path)
    for names in groups.values():
        if len(names) > 1 and all(name in expected.places for name in names):
            inodes = {os.stat(out / expected.places[name]).st_ino for name in names}
            if len(inodes) > 1:
                yield f"{names} are {len(inodes)} files"
