"""Compares a directory with a receipt: is what was delivered still there and unchanged?

Rules
1. Nothing outside the directory is opened: a receipt's paths consist of names that were checked, and no symlink is
   followed at any level (`files.directory`). Only files and directories are opened.
2. Everything is compared, whatever was found before. A difference is reported, never raised.
3. Memory does not depend on the number or size of files: only the directories from the top to the present entry are
   remembered, and with `strict` some eight bytes for each name in them.
"""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from p2p_copy.errors import UsageError
from p2p_copy.files import attributes, limits, system
from p2p_copy.files.attributes import PERMISSIONS, read_xattrs
from p2p_copy.files.directory import Directory
from p2p_copy.files.receipts.reader import ReceiptReader
from p2p_copy.files.receipts.writer import system_text, time_text
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.digest import UNREAD, FileDigest, RootDigest, brief
from p2p_copy.protocol.escape import escape
from p2p_copy.protocol.messages import Extra, Kind
from p2p_copy.protocol.names import SeenNames
from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from p2p_copy.files.receipts.reader import Record, Summary

_WORDS: Final = {Kind.DIRECTORY: "a directory", Kind.FILE: "a file", Kind.SYMLINK: "a symlink"}

_CHANGING: Final = "is being changed while it is read"

_WITHHELD: Final = 0o077
"""The permission bits that a receiver's umask may withhold."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a comparison.

    Attributes:
        files: how many files have the same contents, with those that are `unread`.
        size: bytes of these files.
        differences: how many things differ, including the receipt itself.
        root: the root digest of the receipt, as hexadecimal digits.
        failures: how many things the transfer did not deliver.
        skipped: how many it left as they were.
        undelivered: how many entries the receipt marks as not delivered; they were not compared.
        unread: how many files were compared by size and time alone: they were up to date when they were to be
            transferred, so the receipt has no digest of them.

    """

    files: int
    size: int
    differences: int
    root: str
    failures: int
    skipped: int
    undelivered: int
    unread: int


class Scope(NamedTuple):
    """What is compared beyond names, kinds, contents of files and targets of symlinks.

    Attributes:
        times: times, permission bits and special bits, too.
        preserved: hard links, owners and extended attributes, too, as far as the receipt has them.
        complete: report what the receipt marks as not delivered.
        strict: report what is in the directory and not in the receipt.

    """

    times: bool = False
    preserved: bool = False
    complete: bool = False
    strict: bool = False


def verify(receipt: str, directory: str, scope: Scope, differs: Callable[[str, str], object]) -> Verdict:
    """Compare the contents of a directory with a receipt.

    Args:
        receipt: the receipt's path.
        directory: the output directory of the transfer. The user named it, so its path may contain symlinks.
        scope: what to compare.
        differs: called with an escaped path, and how it differs; the path is empty for the receipt itself.

    Raises:
        UsageError: there is no such receipt or directory, or the file is not a receipt.

    """
    with ReceiptReader(receipt) as reader:
        try:
            top = Directory.top(directory)
        except (OSError, ValueError) as error:
            raise UsageError(
                f"The directory '{escape(directory)}' cannot be read: {system_text(error)}."
            ) from None
        check = _Check(top, scope, differs, reader.status)
        try:
            root = RootDigest()
            for record in reader.records():
                root.add(record.entry, record.digest)
                check.compare(record)
            check.finish()
        finally:
            check.close()
        summary = reader.summary
        if root.digest() != summary.root:
            check.differ("", "The receipt itself was changed: its entries do not make up its root digest.")
        elif not check.adds_up(summary):
            check.differ("", "The receipt itself was changed: its entries do not make up its sums.")
        return Verdict(
            check.files,
            check.size,
            check.differences,
            summary.root.hex(),
            summary.failures,
            summary.skipped,
            check.undelivered,
            check.unread,
        )


class _Level:
    """A directory on the path to the present entry.

    Attributes:
        path: the path for messages.
        directory: None if it is not there.
        problem: how everything in it differs, if it is not there.
        seen: the names in it that the receipt has; None unless strict.

    """

    __slots__ = ("directory", "name", "path", "problem", "seen")

    def __init__(self, name: str, path: str, directory: Directory | None, problem: str = "") -> None:
        self.name = name
        self.path = path
        self.directory = directory
        self.problem = problem
        self.seen: SeenNames | None = None


class _Levels:
    """The directories from the top to the present entry; each is left when an entry elsewhere comes.

    With `receipt`, the status of the receipt, what a directory contains and the receipt does not name is reported when
    the directory is left.
    """

    def __init__(
        self, top: Directory, differ: Callable[[str, str], None], receipt: os.stat_result | None
    ) -> None:
        self._differ = differ
        self._receipt = receipt
        self._key = os.urandom(16)
        self._levels: list[_Level] = []
        self._push(_Level("", "", top))

    def enter(self, parts: Sequence[str]) -> _Level:
        """Leave and enter directories until the given one is the last; return it."""
        levels = self._levels
        common = 0
        for name, level in zip(parts, levels[1:], strict=False):
            if level.name != name:
                break
            common += 1
        while len(levels) > common + 1:
            self._leave()
        for name in parts[common:]:
            self._push(_opened(levels[-1], name))
        return levels[-1]

    def _push(self, level: _Level) -> None:
        if self._receipt is not None and level.directory is not None:
            level.seen = SeenNames(self._key)
        self._levels.append(level)

    def _leave(self) -> None:
        level = self._levels[-1]
        if level.directory is not None:
            if level.seen is not None:
                self._report_others(level, level.directory, level.seen)
            level.directory.close()
        self._levels.pop()

    def leave_all(self) -> None:
        """Leave all directories, the top included."""
        while self._levels:
            self._leave()

    def close(self) -> None:
        """Close all directories, without looking at them."""
        for level in self._levels:
            if level.directory is not None:
                level.directory.close()

    def _report_others(self, level: _Level, directory: Directory, seen: SeenNames) -> None:
        try:
            for name in directory.names():
                if seen.add(name) and not self._is_receipt(directory, name):
                    self._differ(level.path + name, "is not in the receipt")
        except OSError as error:
            self._differ(level.path or ".", f"cannot be listed: {system_text(error)}")

    def _is_receipt(self, directory: Directory, name: str) -> bool:
        """Return whether it is the receipt itself, which may lie in the directory."""
        status = directory.lstat(name)
        return status is not None and self._receipt is not None and os.path.samestat(status, self._receipt)


class _Check:
    """Compares entries one after the other with `compare`; then `finish`, and `close` in any case."""

    def __init__(
        self,
        top: Directory,
        scope: Scope,
        differs: Callable[[str, str], object],
        receipt: os.stat_result,
    ) -> None:
        self._scope = scope
        self._differs = differs
        self._levels = _Levels(top, self.differ, receipt if scope.strict else None)
        self._index = -1  # of the present entry
        self._linked: dict[int, tuple[bytes | None, str, os.stat_result]] = {}
        self._buffer = memoryview(bytearray(limits.VERIFY_READ))
        self._named_files = self._named_size = self._marked = 0
        self.files = self.size = self.differences = self.undelivered = self.unread = 0

    def differ(self, path: str, how: str) -> None:
        """Count and report a difference."""
        self.differences += 1
        self._differs(escape(path), how)

    def compare(self, record: Record) -> None:
        """Compare one entry with what is there."""
        *above, name = record.parts
        level = self._levels.enter(above)
        if level.seen is not None:
            level.seen.add(name)
        self._index += 1
        if not record.delivered:
            self.undelivered += 1
            self._marked += record.marked
            if self._scope.complete:
                self.differ("/".join(record.parts), "was not delivered, says the receipt")
            return
        if record.entry.kind is Kind.FILE:
            self._named_files += 1
            self._named_size += record.entry.size
        problem = self._problem(level, name, record)
        if problem is not None:
            self.differ("/".join(record.parts), problem)
        elif record.entry.kind is Kind.FILE:
            self.files += 1
            self.size += record.entry.size
        elif record.entry.kind is Kind.DIRECTORY and level.seen is not None:
            self._levels.enter(record.parts)  # to report what is in it, should the receipt have nothing there

    def adds_up(self, summary: Summary) -> bool:
        """Return whether the entries make up the sums in the last line."""
        if self._marked != summary.undelivered:
            return False
        sums = self._named_files, self._named_size
        return sums == (summary.files, summary.size)

    def finish(self) -> None:
        """Complete the comparison of the directories that are open."""
        self._levels.leave_all()

    def close(self) -> None:
        """Close all directories."""
        self._levels.close()

    def _problem(self, level: _Level, name: str, record: Record) -> str | None:
        directory, entry = level.directory, record.entry
        if directory is None:
            return level.problem
        try:
            status = directory.lstat(name)
            if status is None:
                return "is missing"
            kind = (
                Kind.SYMLINK if system.is_symlink(status) else system.KINDS.get(stat.S_IFMT(status.st_mode))
            )
            if kind is not entry.kind:
                found = _WORDS[kind] if kind is not None else "something special"
                return f"is {found} instead of {_WORDS[entry.kind]}"
            if kind is Kind.FILE and (problem := self._content_problem(directory, name, status, record)):
                return problem
            if kind is Kind.SYMLINK and directory.readlink(name) != entry.target:
                return "points elsewhere"
        except (OSError, ValueError) as error:
            return f"cannot be read: {system_text(error)}"
        problem = _attribute_problem(record, status) if self._scope.times else None
        if problem is None and self._scope.preserved:
            problem = self._preserved_problem(directory, name, status, record)
        return problem

    def _preserved_problem(
        self, directory: Directory, name: str, status: os.stat_result, record: Record
    ) -> str | None:
        """Compare what only `--preserve` preserves."""
        extra = record.entry.extra
        if extra is None:
            return None
        if (extra.named_again or extra.original is not None) and (
            problem := self._split(extra, status, record)
        ):
            return problem
        if extra.owner is not None and sys.platform != "win32":
            ids = attributes.ids_of(extra.owner)
            if (status.st_uid, status.st_gid) != ids:
                return f"belongs to {status.st_uid}:{status.st_gid} instead of {ids[0]}:{ids[1]}"
        if extra.xattrs_digest and sys.platform == "linux":
            try:
                fd = directory.read(name)
                try:
                    xattrs = read_xattrs(fd)
                finally:
                    os.close(fd)
            except OSError as error:
                return f"has extended attributes that cannot be read: {system_text(error)}"
            if brief(Extra(xattrs=xattrs)).xattrs_digest != extra.xattrs_digest:
                return "has other extended attributes"
        return None

    def _split(self, extra: Extra, status: os.stat_result, record: Record) -> str | None:
        """Return how a further name of a file differs if it is a separate file now."""
        number = self._index if extra.original is None else extra.original
        first = self._linked.get(number)
        if first is None or first[0] != record.digest:  # its contents were sent separately
            if first is None and len(self._linked) >= protocol_limits.MAX_NAMED_AGAIN:
                return None
            self._linked[number] = record.digest, "/".join(record.parts), status
            return None
        if os.path.samestat(first[2], status):
            return None
        return f"is a file of its own, and no other name of {escape(first[1])}"

    def _content_problem(
        self, directory: Directory, name: str, status: os.stat_result, record: Record
    ) -> str | None:
        size = record.entry.size
        if status.st_size != size:
            return f"has the size {status.st_size} instead of {size}"
        if record.digest == UNREAD:
            self.unread += 1
            return _time_problem(record, status)
        digest = FileDigest(size)
        left = size
        with os.fdopen(directory.read(name), "rb", buffering=0) as file:
            if not os.path.samestat(os.fstat(file.fileno()), status):
                return _CHANGING
            while count := file.readinto(self._buffer):
                left -= count
                if left < 0:
                    return _CHANGING
                digest.update(self._buffer[:count])
        if left:
            return _CHANGING
        return None if digest.digest() == record.digest else "has other contents"


def _opened(above: _Level, name: str) -> _Level:
    path = f"{above.path}{name}/"
    if above.directory is None:
        return _Level(name, path, None, above.problem)
    try:
        return _Level(name, path, above.directory.open(name))
    except (FileNotFoundError, NotADirectoryError):
        return _Level(name, path, None, "is missing")
    except (OSError, ValueError) as error:
        return _Level(name, path, None, f"cannot be reached: {system_text(error)}")


def _attribute_problem(record: Record, status: os.stat_result) -> str | None:
    entry = record.entry
    # A transfer sets no special bits, so these were set later; but a directory may have inherited setgid.
    mode = status.st_mode & (0o5777 if entry.kind is Kind.DIRECTORY else 0o7777)
    expected = (entry.mode if record.given_mode is None else record.given_mode) & PERMISSIONS
    # A sender does not know which bits of group and others the receiver's umask withheld.
    withheld = expected & _WITHHELD & ~mode if record.given_mode is None else 0
    # The mode of a symlink means nothing, and Windows makes modes up.
    if entry.kind is not Kind.SYMLINK and sys.platform != "win32" and mode | withheld != expected:
        return f"has mode {mode:04o} instead of {expected:04o}"
    return _time_problem(record, status)


def _time_problem(record: Record, status: os.stat_result) -> str | None:
    sent = record.entry.mtime_ns
    if system.is_time(status.st_mtime_ns, sent):
        return None
    return f"has the time {time_text(status.st_mtime_ns)} instead of {time_text(sent)}"
