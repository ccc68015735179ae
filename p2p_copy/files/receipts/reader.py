"""Reads receipts, which may be hostile: nothing that they say is believed before it was checked."""

from __future__ import annotations

import json
import os
import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NoReturn

from p2p_copy.errors import UsageError
from p2p_copy.files import limits
from p2p_copy.files.receipts.writer import (
    DIGEST,
    EPOCH,
    FORMAT,
    GIVEN,
    KINDS,
    SECOND,
    UP_TO_DATE,
    XATTRS,
    system_text,
)
from p2p_copy.protocol import limits as protocol_limits, names
from p2p_copy.protocol.digest import UNREAD
from p2p_copy.protocol.escape import escape
from p2p_copy.protocol.messages import Entry, Extra, Kind, Owner
from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

_KINDS: Final = {name: kind for kind, name in KINDS.items()}
_MOST_TIME: Final = 2**63 - 1
_MOST_ID: Final = 2**32 - 1

_MOST_MODE: Final = 2**16 - 1
"""The largest time, number of an owner and mode that an entry of a manifest can have."""

_HEX: Final = re.compile(r"[0-9a-f]{64}")
_OCTAL: Final = re.compile(r"[0-7]{4,6}")
_TIME: Final = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})\.([0-9]{9})Z")


class Record(NamedTuple):
    """One entry of a receipt.

    Attributes:
        parts: the components of its path, each of them a name that this system allows and that leads nowhere else.
        entry: what the manifest said of it.
        digest: what went into the root digest; `UNREAD` for files that were up to date, None for everything else but
            files that were sent whole.
        delivered: whether the entry should be in the directory.
        marked: whether the receipt marks it as not delivered.
        given_mode: the permission bits that the receiver gave it; None if the receipt does not have them.

    """

    parts: tuple[str, ...]
    entry: Entry
    digest: bytes | None
    delivered: bool
    marked: bool
    given_mode: int | None


class Summary(NamedTuple):
    """What the last line of a receipt says."""

    root: bytes
    files: int
    size: int
    failures: int
    skipped: int
    undelivered: int


class Malformed(Exception):
    """This is not a receipt. The text continues a sentence, and repeats nothing of the file."""


class ReceiptReader:
    """Reads a receipt that may be hostile, line by line.

    Every value is checked before it is passed on. Memory does not depend on the file: a line has a bounded length, and
    one is read at a time. Use it as a context manager.

    Attributes:
        status: what the system says of the file.

    Raises:
        UsageError: it cannot be opened.

    """

    def __init__(self, path: str) -> None:
        self._path = escape(path)
        self._summary: Summary | None = None
        self._line = 0  # the number of the line that was read last
        try:
            self._file = open(path, "rb", limits.RECEIPT_BUFFER)  # noqa: SIM115  # closed by `__exit__`
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from None
        self.status = os.fstat(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def records(self) -> Iterator[Record]:
        """Yield the entries, once, in order.

        Raises:
            UsageError: this is not a receipt, or it is damaged.

        """
        try:
            yield from self._records()
        except Malformed as error:
            where = f" (line {self._line})" if self._line else ""
            raise UsageError(f"'{self._path}' is not a receipt, or it is damaged: {error}{where}.") from None
        except OSError as error:
            raise self._unreadable(error) from None

    @property
    def summary(self) -> Summary:
        """What its last line says; known once all entries were read."""
        assert self._summary is not None, "the entries come first"
        return self._summary

    def _records(self) -> Iterator[Record]:
        lines = self._lines()
        head = next(lines, {})
        if head.get("format") != FORMAT:
            raise Malformed(f"its format is not '{FORMAT}'")
        for fields in lines:
            if "root" in fields:
                self._summary = _summary(fields)
                break
            if self._line > protocol_limits.MAX_ENTRIES + 1:
                raise Malformed(f"it has more than {protocol_limits.MAX_ENTRIES} entries")
            yield _record(fields)
        if self._summary is None:
            raise Malformed("its last line is missing")
        if next(lines, None) is not None:
            raise Malformed("something follows its last line")

    def _lines(self) -> Iterator[dict[str, Any]]:
        """Yield the object in each line."""
        while line := self._file.readline(limits.RECEIPT_LINE + 1):
            self._line += 1
            if len(line) > limits.RECEIPT_LINE:
                raise Malformed("the line is too long")
            try:
                fields = _DECODER.decode(line.decode())
            except (ValueError, RecursionError):
                raise Malformed("the line is not JSON") from None
            if not isinstance(fields, dict):
                raise Malformed("the line is not a JSON object")
            yield fields

    def _unreadable(self, error: OSError | ValueError) -> UsageError:
        return UsageError(f"The receipt '{self._path}' cannot be read: {system_text(error)}.")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse)  # NaN and infinities are not JSON


def _summary(fields: dict[str, Any]) -> Summary:
    """Return what the last line says; it raises what `_record` raises."""
    files, size, failures, skipped, undelivered = (
        _whole(fields.get(key), key) for key in ("files", "size", "failures", "skipped", "undelivered")
    )
    return Summary(_hash(fields["root"], "root"), files, size, failures, skipped, undelivered)


def _record(fields: dict[str, Any]) -> Record:
    """Return the entry of one line.

    Raises:
        Malformed: no receipt has such a line.

    """
    kind = _KINDS.get(_text(fields, "kind"))
    if kind is None:
        raise Malformed("its kind is unknown")
    parts = tuple(_text(fields, "path").split("/"))
    if len(parts) > protocol_limits.MAX_DEPTH:
        raise Malformed("its path is too deep")
    name = _text(fields, "name") if "name" in fields else parts[-1]
    for component in (*parts, name):
        if reason := names.refusal(component, portable=False):
            raise Malformed(f"a name in its path is refused: {reason}")
    digest = None
    if kind is Kind.FILE and fields.get("digest") is not None:
        text = _text(fields, "digest")
        if not text.startswith(DIGEST):
            raise Malformed("its digest is of an unknown kind")
        digest = _hash(text.removeprefix(DIGEST), "digest")
    if kind is Kind.FILE and digest is None and UP_TO_DATE in fields:
        if fields[UP_TO_DATE] is not True:
            raise Malformed(f"its '{UP_TO_DATE}' is not true")
        digest = UNREAD
    delivered = fields.get("delivered", True)
    if not isinstance(delivered, bool):
        raise Malformed("its 'delivered' is neither true nor false")
    entry = Entry(
        kind,
        len(parts) - 1,
        name,
        _mode(fields, "mode"),
        _time(_text(fields, "mtime")),
        _whole(fields.get("size"), "size") if kind is Kind.FILE else 0,
        _target(_text(fields, "target")) if kind is Kind.SYMLINK else "",
        _extra(fields, kind),
    )
    there = delivered and (kind is not Kind.FILE or digest is not None)
    given_mode = _mode(fields, GIVEN) if kind is not Kind.SYMLINK and GIVEN in fields else None
    return Record(parts, entry, digest, there, not delivered, given_mode)


def _extra(fields: dict[str, Any], kind: Kind) -> Extra | None:
    extra = Extra()
    if kind is Kind.FILE:
        again = fields.get("named_again", False)
        if not isinstance(again, bool):
            raise Malformed("its 'named_again' is neither true nor false")
        original = _whole(fields["original"], "original") if "original" in fields else None
        if original is not None and original >= protocol_limits.MAX_ENTRIES:
            raise Malformed("its 'original' is not a possible number")
        extra = Extra(again, original)
    if "uid" in fields:
        uid, gid = (_whole(fields.get(key), key) for key in ("uid", "gid"))
        user, group = (_text(fields, key) for key in ("user", "group"))
        if max(uid, gid) > _MOST_ID or not all(map(_is_owners_name, (user, group))):
            raise Malformed("its owner is not possible")
        extra = extra._replace(owner=Owner(uid, gid, user, group))
    if "xattrs" in fields and kind is not Kind.SYMLINK:
        digest = _hash(_text(fields, "xattrs").removeprefix(XATTRS), "xattrs")
        extra = extra._replace(xattrs_digest=digest)
    return None if extra == Extra() else extra


def _is_owners_name(text: str) -> bool:
    try:
        return len(text.encode()) <= protocol_limits.MAX_NAME
    except UnicodeEncodeError:
        return False


def _text(fields: dict[str, Any], key: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str):
        raise Malformed(f"its '{key}' is not text")
    return value


def _whole(value: object, key: str) -> int:
    # In Python a bool is an int.
    if (
        not isinstance(value, int)
        or isinstance(value, bool)
        or not 0 <= value <= protocol_limits.MAX_FILE_SIZE
    ):
        raise Malformed(f"its '{key}' is not a possible number")
    return value


def _hash(value: object, key: str) -> bytes:
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise Malformed(f"its '{key}' is not a digest")
    return bytes.fromhex(value)


def _mode(fields: dict[str, Any], key: str) -> int:
    text = _text(fields, key)
    if not _OCTAL.fullmatch(text) or int(text, 8) > _MOST_MODE:
        raise Malformed(f"its '{key}' is not a possible octal number")
    return int(text, 8)


def _time(text: str) -> int:
    match = _TIME.fullmatch(text)
    try:
        since = datetime.fromisoformat(match[1]) - EPOCH if match else None
    except ValueError:
        since = None
    if match is None or since is None:
        raise Malformed("its 'mtime' is not a time in UTC with nanoseconds")
    ns = since // timedelta(seconds=1) * SECOND + int(match[2])
    if not -_MOST_TIME - 1 <= ns <= _MOST_TIME:
        raise Malformed("its 'mtime' is too far away")
    return ns


def _target(text: str) -> str:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise Malformed("its 'target' is not valid Unicode text") from None
    if size > protocol_limits.MAX_PATH:
        raise Malformed(f"its 'target' is longer than {protocol_limits.MAX_PATH} bytes")
    return text
