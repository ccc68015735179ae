"""A directory held against a receipt: what lies there, and is it what was delivered?

Rules
1. Nothing is opened outside the directory: names of the receipt are single components that were checked, and no link
   is followed at any level (`directories`). What is neither file nor directory is never opened.
2. Everything is looked at, whatever was found before. A difference is told, never raised.
3. Memory does not depend on the numbers or sizes of files: only the directories from the top to the entry under way
   are remembered, with eight bytes or so for each name in them if they are to hold nothing else.
"""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING, Final, NamedTuple

from p2p_copy.errors import UsageError
from p2p_copy.files import attributes, limits, system
from p2p_copy.files.directory import PERMISSIONS, Directory
from p2p_copy.files.receipts.reader import ReceiptReader
from p2p_copy.files.receipts.writer import said, time_text
from p2p_copy.files.source.attributes import read_xattrs
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.digest import FileDigest, RootDigest, brief
from p2p_copy.protocol.escape import escape
from p2p_copy.protocol.messages import Extra, Kind
from p2p_copy.protocol.seen_names import SeenNames

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from p2p_copy.files.receipts.reader import Record, Summary

_WORDS: Final = {Kind.DIRECTORY: "a directory", Kind.FILE: "a file", Kind.LINK: "a symlink"}

_KINDS: Final = {stat.S_IFDIR: Kind.DIRECTORY, stat.S_IFREG: Kind.FILE}

_CHANGING: Final = "is being changed while it is read"

_WITHHELD: Final = 0o077
"""The permission bits that a receiver may have kept from group and others."""

_TIME_GRAINS: Final = (1, 100, 1_000, 10**9, 2 * 10**9)
"""Nanoseconds that file systems count in: a time may have been cut to one of them when it was stored."""


class Verdict(NamedTuple):
    """What came out.

    Attributes:
        files: files whose contents were compared and are the same.
        size: bytes of them.
        differences: how many things differ, the receipt itself included.
        root: the root digest of the receipt, as hexadecimal digits.
        failures: what the transfer itself had not delivered.
        skipped: what it had left as it was.
        undelivered: entries that the receipt says were not delivered, which were not compared.

    """

    files: int
    size: int
    differences: int
    root: str
    failures: int
    skipped: int
    undelivered: int


def verify(
    receipt: str,
    directory: str,
    *,
    times: bool,
    strict: bool,
    differs: Callable[[str, str], None],
    preserved: bool = False,
    complete: bool = False,
) -> Verdict:
    """Compare what lies in a directory with a receipt.

    Args:
        receipt: the receipt's path.
        directory: the directory that was received into. The user named it, so links in its path are fine.
        times: compare times, permission bits and special bits, too.
        strict: what the receipt does not name is a difference.
        preserved: compare what was preserved beyond that, as far as the receipt has it: hard links, owners, extended
            attributes.
        complete: what the receipt says was not delivered is a difference.
        differs: called with a path, fit to be printed, and how it differs; the path is empty for the receipt itself.

    Raises:
        UsageError: there is no such receipt or directory, or it is no receipt.

    """
    with ReceiptReader(receipt) as reader:
        try:
            top = Directory.top(directory)
        except (OSError, ValueError) as error:
            raise UsageError(f"The directory '{escape(directory)}' cannot be read: {said(error)}.") from None
        check = _Check(
            top,
            differs,
            times=times,
            strict=strict,
            preserved=preserved,
            complete=complete,
            receipt=reader.status,
        )
        try:
            root = RootDigest()
            for record in reader.records():
                root.add(record.entry, record.digest)
                check.take(record)
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
        )


class _Level:
    """A directory on the way to the entry under way.

    Attributes:
        path: for messages.
        directory: None if it is not there.
        problem: what is to be said of all that lies in it, if it is not there.
        seen: the names in it that the receipt has, if they matter.

    """

    __slots__ = ("directory", "name", "path", "problem", "seen")

    def __init__(self, name: str, path: str, directory: Directory | None, problem: str = "") -> None:
        self.name = name
        self.path = path
        self.directory = directory
        self.problem = problem
        self.seen: SeenNames | None = None


class _Check:
    """Compares entries one after the other; `finish` once all were taken, `close` in any case."""

    def __init__(
        self,
        top: Directory,
        differs: Callable[[str, str], None],
        *,
        times: bool,
        strict: bool,
        preserved: bool,
        complete: bool,
        receipt: os.stat_result,
    ) -> None:
        self._preserved = preserved
        self._complete = complete
        self._number = -1  # of the entry under way
        self._linked: dict[int, tuple[bytes | None, str, os.stat_result]] = {}
        self._named_files = self._named_size = 0
        self._marked = 0
        self.undelivered = 0
        self._differs = differs
        self._times = times
        self._key = os.urandom(16) if strict else None
        self._receipt = receipt
        self._buffer = memoryview(bytearray(limits.VERIFY_READ))
        self._levels: list[_Level] = []
        self._push(_Level("", "", top))
        self.files = 0
        self.size = 0
        self.differences = 0

    def differ(self, path: str, how: str) -> None:
        """Count and tell a difference."""
        self.differences += 1
        self._differs(escape(path), how)

    def take(self, record: Record) -> None:
        """Compare one entry with what lies there."""
        *above, name = record.parts
        level = self._enter(above)
        if level.seen is not None:
            level.seen.add(name)
        self._number += 1
        if not record.delivered:
            self.undelivered += 1
            self._marked += record.marked
            if self._complete:
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
            self._enter(record.parts)  # something may lie in it even if nothing should

    def adds_up(self, summary: Summary) -> bool:
        """Return whether the entries make up the sums behind them."""
        if self._marked != summary.undelivered:
            return False
        sums = self._named_files, self._named_size
        return sums == (summary.files, summary.size)

    def finish(self) -> None:
        """Look at what is left in the directories under way."""
        while self._levels:
            self._leave()

    def close(self) -> None:
        """Let go of everything."""
        for level in self._levels:
            if level.directory is not None:
                level.directory.close()

    # The way

    def _enter(self, parts: Sequence[str]) -> _Level:
        """Go from where we are to another directory; `_levels[0]` is the top."""
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
        if self._key is not None and level.directory is not None:
            level.seen = SeenNames(self._key)
        self._levels.append(level)

    def _leave(self) -> None:
        level = self._levels[-1]
        if level.directory is not None:
            if level.seen is not None:
                self._find_others(level, level.directory, level.seen)
            level.directory.close()
        self._levels.pop()

    def _find_others(self, level: _Level, directory: Directory, seen: SeenNames) -> None:
        try:
            for name in directory.names():
                if seen.add(name) and not self._is_receipt(directory, name):
                    self.differ(level.path + name, "is not in the receipt")
        except OSError as error:
            self.differ(level.path or ".", f"cannot be listed: {said(error)}")

    def _is_receipt(self, directory: Directory, name: str) -> bool:
        """Tell whether it is the receipt itself, which lies well where it describes."""
        status = directory.lstat(name)
        return status is not None and os.path.samestat(status, self._receipt)

    # One entry

    def _problem(self, level: _Level, name: str, record: Record) -> str | None:
        directory, entry = level.directory, record.entry
        if directory is None:
            return level.problem
        try:
            status = directory.lstat(name)
            if status is None:
                return "is missing"
            kind = _kind_of(status)
            if kind is not entry.kind:
                found = _WORDS[kind] if kind is not None else "something special"
                return f"is {found} instead of {_WORDS[entry.kind]}"
            if kind is Kind.FILE and (problem := self._content_problem(directory, name, status, record)):
                return problem
            if kind is Kind.LINK and directory.readlink(name) != entry.target:
                return "points elsewhere"
        except (OSError, ValueError) as error:
            return f"cannot be read: {said(error)}"
        problem = _attribute_problem(record, status) if self._times else None
        if problem is None and self._preserved:
            problem = self._preserved_problem(directory, name, status, record)
        return problem

    def _preserved_problem(
        self, directory: Directory, name: str, status: os.stat_result, record: Record
    ) -> str | None:
        """Compare what only `--preserve` keeps."""
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
                return f"has extended attributes that cannot be read: {said(error)}"
            if brief(Extra(xattrs=xattrs)).xattrs_digest != extra.xattrs_digest:
                return "has other extended attributes"
        return None

    def _split(self, extra: Extra, status: os.stat_result, record: Record) -> str | None:
        """Return what is to be said of a name of a file that is a file of its own by now."""
        number = self._number if extra.original is None else extra.original
        first = self._linked.get(number)
        if first is None or first[0] != record.digest:  # it came with contents of its own
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
            return f"has {status.st_size} bytes instead of {size}"
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
        return _Level(name, path, None, f"cannot be reached: {said(error)}")


def _kind_of(status: os.stat_result) -> Kind | None:
    if system.is_symlink(status):
        return Kind.LINK
    return _KINDS.get(stat.S_IFMT(status.st_mode))


def _attribute_problem(record: Record, status: os.stat_result) -> str | None:
    entry = record.entry
    # A directory may have inherited setgid here. Nothing else of this is ever kept, so somebody has set it.
    mode = status.st_mode & (0o5777 if entry.kind is Kind.DIRECTORY else 0o7777)
    expected = (entry.mode if record.given_mode is None else record.given_mode) & PERMISSIONS
    # A sender does not know what the receiver's umask keeps from group and others.
    withheld = expected & _WITHHELD & ~mode if record.given_mode is None else 0
    # Those of a link mean nothing, and Windows makes them up.
    if entry.kind is not Kind.LINK and sys.platform != "win32" and mode | withheld != expected:
        return f"has mode {mode:04o} instead of {expected:04o}"
    if not any(status.st_mtime_ns == entry.mtime_ns // grain * grain for grain in _TIME_GRAINS):
        return f"has the time {time_text(status.st_mtime_ns)} instead of {time_text(entry.mtime_ns)}"
    return None
