"""Writes receipts: a list of all that a transfer has delivered, so that it can be checked later.

A receipt is JSON, one object a line: the head, a line for each entry in the order of the manifest, and at the end what
is known only then. It is written while the transfer runs, and a million entries take no memory on either side:

    {"format": "p2p-copy receipt 1"}
    {"path": "tree", "kind": "directory", "mode": "0775", "mtime": "…", "given_mode": "0755"}
    {"path": "tree/file", "kind": "file", "mode": "0644", "mtime": "…", "given_mode": "0644", "size": 3, "digest": "…"}
    {"program": "…", "role": "receiver", "started": "…", "ended": "…", "files": 1, "size": 3, …, "root": "d5ba…"}

An entry has all that the root digest covers, so that it can be computed again: a file that was not sent whole has the
digest null, and one that was up to date, so that no side has read it, is marked as such. `docs/receipts.md` describes
every key. `reader` reads it, and trusts nothing.
"""

from __future__ import annotations

import errno
import json
import os
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NoReturn

from p2p_copy.errors import NoSpace, OutputNotWritable, UsageError, exhausted
from p2p_copy.files import limits
from p2p_copy.files.directory import Directory
from p2p_copy.files.temporary import temporary_name
from p2p_copy.protocol.digest import UNREAD, brief
from p2p_copy.protocol.escape import escape
from p2p_copy.protocol.messages import Kind

if TYPE_CHECKING:
    from p2p_copy.observer import Report
    from p2p_copy.protocol.messages import Entry, Extra

FORMAT: Final = "p2p-copy receipt 1"

DIGEST: Final = "blake3-tree:"
"""How a file's digest is computed: docs/protocol.md, "File digest"."""

XATTRS: Final = "blake3:"
"""How the digest of extended attributes is computed: plain BLAKE3 over them as they are in a page."""

GIVEN: Final = "given_mode"
"""The key of the mode that a file or directory got at the receiver: the sender's, less what the umask withheld."""

UP_TO_DATE: Final = "up_to_date"
"""The key that marks a file that the receiver had already, with the same size and time, so that it was not sent."""

KINDS: Final = {Kind.DIRECTORY: "directory", Kind.FILE: "file", Kind.SYMLINK: "symlink"}

SECOND: Final = 10**9
EPOCH: Final = datetime(1970, 1, 1)
"""UTC. Without a time zone, since that makes formatting twice as fast."""

_UNDELIVERED: Final = ', "delivered": false'

_quoted: Final = json.JSONEncoder(ensure_ascii=False).encode


class ReceiptWriter:
    """A receipt that is being written under a temporary name; `publish` or `discard` ends it.

    Args:
        path: where to publish it.
        replace: a file at `path` is a receipt of the same transfer, and is replaced.
        tag: is part of the temporary name.
        allowed: at a receiver, the permission bits that files and directories may get. Then the receipt also has the
            modes that they got.

    Raises:
        UsageError: the receipt cannot be written there, or its name is taken.

    """

    def __init__(
        self, path: str, *, replace: bool = False, tag: str = "", allowed: int | None = None
    ) -> None:
        self._replace = replace
        self._allowed = allowed
        self._tag = tag
        self._escaped = escape(path)
        self._name = os.path.basename(path)
        self._temporary = temporary_name(tag)
        self._undelivered = 0
        self._corrections = bytearray()  # a bit for each entry, set by `undeliver`
        if not self._name:
            raise UsageError(f"The receipt needs the name of a file, and '{self._escaped}' is none.")
        try:
            self._directory = Directory.top(os.path.dirname(path) or os.curdir)
        except (OSError, ValueError) as error:
            raise self._unusable(error) from None
        try:
            if not replace and self._directory.lstat(self._name) is not None:
                raise UsageError(f"'{self._escaped}' exists already. Choose another name for the receipt.")
            fd = self._directory.create(self._temporary)
        except (OSError, ValueError) as error:
            self._directory.close()
            raise self._unusable(error) from None
        except UsageError:
            self._directory.close()
            raise
        self._file = os.fdopen(fd, "wb", buffering=limits.RECEIPT_BUFFER)
        self._write(json.dumps({"format": FORMAT}) + "\n")

    def add(self, path: str, entry: Entry, digest: bytes | None, *, delivered: bool = True) -> None:
        """Write one entry; the order is the manifest's.

        Args:
            path: its path below the receiver's output directory, joined with "/". If it has another name there than at
                the sender, both are written.
            entry: what the manifest says of it.
            digest: a file's digest as it went into the root digest: None if it was not sent whole, `UNREAD` if it was
                up to date. None for directories and symlinks.
            delivered: False for what was announced, or even sent, and is not there: it is not checked later.

        Raises:
            NoSpace, OutputNotWritable: the disk does not take it.

        """
        kind, depth, name, mode, mtime_ns, size, target, extra = entry
        assert path.count("/") == depth, "a path has a component for each level"
        line = (
            f'{{"path": {_quoted(path)}, "kind": "{KINDS[kind]}", '
            f'"mode": "{mode:04o}", "mtime": "{time_text(mtime_ns)}"'
        )
        if self._allowed is not None and kind is not Kind.SYMLINK:
            line += f', "{GIVEN}": "{mode & self._allowed:04o}"'
        if kind is Kind.FILE:
            line += f', "size": {size}, "digest": ' + (f'"{DIGEST}{digest.hex()}"' if digest else "null")
            if digest == UNREAD:
                line += f', "{UP_TO_DATE}": true'
        elif kind is Kind.SYMLINK:
            line += f', "target": {_quoted(target)}'
        if path.rpartition("/")[2] != name:
            line += f', "name": {_quoted(name)}'
        if extra is not None:
            line += _extra_fields(brief(extra))
        if not delivered:
            line += _UNDELIVERED
            self._undelivered += 1
        self._write(line + "}\n")

    def undeliver(self, index: int) -> None:
        """Mark the entry with this index, and all that lies in it, as not delivered, whatever `add` is told."""
        at = index // 8
        if at >= len(self._corrections):
            self._corrections.extend(bytes(at + 1 - len(self._corrections)))
        self._corrections[at] |= 1 << index % 8

    def _is_corrected(self, index: int) -> bool:
        return index // 8 < len(self._corrections) and bool(self._corrections[index // 8] >> index % 8 & 1)

    def _correct(self) -> None:
        """Write all lines again if `undeliver` was called for some of them."""
        if not self._corrections:
            return
        old, written = self._temporary, self._file
        written.flush()
        fd = self._directory.create(name := temporary_name(self._tag))
        self._temporary, self._file = name, os.fdopen(fd, "wb", buffering=limits.RECEIPT_BUFFER)
        written.close()
        above = ""  # the path, with "/", of the directory whose entries are not delivered either
        with os.fdopen(self._directory.read(old), "rb") as lines:
            for number, line in enumerate(lines, -1):
                if number >= 0 and (above or self._is_corrected(number)):
                    text = line.rstrip(b"\n")
                    entry = json.loads(text)
                    inside = bool(above) and entry["path"].startswith(above)
                    if not inside:
                        above = f"{entry['path']}/" if self._is_corrected(number) else ""
                    if (inside or self._is_corrected(number)) and entry.get("delivered", True):
                        self._undelivered += 1
                        self._file.write(text[:-1] + _UNDELIVERED.encode() + line[len(text) - 1 :])
                        continue
                self._file.write(line)
        self._directory.unlink(old)

    def publish(self, report: Report, *, role: str, program: str, started: float, ended: float) -> None:
        """Complete the receipt, flush it to the disk and give it its name. After an error it is gone.

        Args:
            report: how the transfer ended.
            role: "sender" or "receiver".
            program: its name and version.
            started: seconds since 1970.
            ended: seconds since 1970.

        Raises:
            NoSpace, OutputNotWritable: the disk does not take it, or its name was taken meanwhile.

        """
        try:
            self._correct()
            summary = {
                "program": program,
                "role": role,
                "started": _moment_text(started),
                "ended": _moment_text(ended),
                "files": report.files,
                "size": report.size,
                "failures": report.failures,
                "skipped": report.skipped,
                "up_to_date": report.up_to_date,
                "deleted": report.deleted,
                "undelivered": self._undelivered,
                "root": report.root,
            }
            self._write(json.dumps(summary) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
            made = os.fstat(self._file.fileno())
            self._file.close()
            self._expect(self._temporary, made)
            move = self._directory.move_over if self._replace else self._directory.move_new
            move(self._temporary, self._name)
            self._expect(self._name, made)
        except OSError as error:
            self._fail(error)
        finally:
            self.discard()

    def _expect(self, name: str, made: os.stat_result) -> None:
        """Raise if another user has put another file in the receipt's place."""
        if not self._directory.is_made(name, made):
            raise FileExistsError

    def discard(self) -> None:
        """Delete the receipt if it is not published. Never fails; may be called again."""
        with suppress(OSError):
            self._file.close()
        name, self._temporary = self._temporary, ""
        if name:
            with suppress(OSError):  # it is gone already if it was published
                self._directory.unlink(name)
            self._directory.close()

    def _write(self, line: str) -> None:
        try:
            self._file.write(line.encode())
        except OSError as error:
            self._fail(error)

    def _unusable(self, error: OSError | ValueError) -> UsageError:
        return UsageError(f"The receipt cannot be written to '{self._escaped}': {system_text(error)}.")

    def _fail(self, error: OSError) -> NoReturn:
        if isinstance(error, FileExistsError):
            raise OutputNotWritable(f"'{self._escaped}' exists by now, so there is no receipt.") from None
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise NoSpace("The disk here has not enough space for the receipt.") from None
        raise OutputNotWritable(f"The receipt here could not be written: {system_text(error)}.") from None


def _extra_fields(extra: Extra) -> str:
    line = ', "named_again": true' if extra.named_again else ""
    if extra.original is not None:
        line += f', "original": {extra.original}'
    if extra.owner is not None:
        uid, gid, user, group = extra.owner
        line += f', "uid": {uid}, "gid": {gid}, "user": {_quoted(user)}, "group": {_quoted(group)}'
    if extra.xattrs_digest:
        line += f', "xattrs": "{XATTRS}{extra.xattrs_digest.hex()}"'
    return line


def system_text(error: OSError | ValueError) -> str:
    """Return the system's words for an error, without the file name that it may contain.

    Raises:
        SystemFailed: the error is not about the file: this process has no more descriptors, or no more memory.

    """
    if failed := exhausted(error):
        raise failed from None
    text = error.strerror if isinstance(error, OSError) else "no file here can have this name"
    return text or type(error).__name__


def time_text(ns: int) -> str:
    """Return nanoseconds since 1970 as text (RFC 3339, UTC): JSON's numbers lose the last digits in many programs."""
    seconds, rest = divmod(ns, SECOND)
    return f"{(EPOCH + timedelta(seconds=seconds)).isoformat()}.{rest:09d}Z"


def _moment_text(seconds: float) -> str:
    return f"{(EPOCH + timedelta(seconds=seconds)).isoformat(timespec='milliseconds')}Z"
