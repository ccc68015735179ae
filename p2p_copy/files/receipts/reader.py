"""Receipts that somebody hands to us, entry by entry: nothing that they say is believed before it was checked."""

from __future__ import annotations

import os
import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from p2p_copy.errors import UsageError
from p2p_copy.files.receipts.json_stream import JsonStream, Malformed
from p2p_copy.files.receipts.writer import DIGEST, EPOCH, FORMAT, GIVEN, KINDS, SECOND, XATTRS, said
from p2p_copy.protocol import limits, names
from p2p_copy.protocol.escape import escape
from p2p_copy.protocol.messages import Entry, Extra, Kind, Owner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

_KINDS: Final = {name: kind for kind, name in KINDS.items()}
_MOST_TIME: Final = 2**63 - 1
_MOST_ID: Final = 2**32 - 1

_MOST_MODE: Final = 2**16 - 1
"""What a manifest's entry holds of either."""

_HEX: Final = re.compile(r"[0-9a-f]{64}")
_OCTAL: Final = re.compile(r"[0-7]{4,6}")
_TIME: Final = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})\.([0-9]{9})Z")


class Record(NamedTuple):
    """One entry of a receipt.

    Attributes:
        parts: where it lies: names that this system takes, none of which leads elsewhere.
        entry: what the manifest said of it.
        digest: what went into the root digest, None for all but files that were sent whole.
        delivered: whether it lies there.
        marked: the receipt says that it does not.
        given_mode: the permission bits that the receiver gave it; None if the receipt does not know them.

    """

    parts: tuple[str, ...]
    entry: Entry
    digest: bytes | None
    delivered: bool
    marked: bool
    given_mode: int | None


class Summary(NamedTuple):
    """What a receipt says behind its entries."""

    root: bytes
    files: int
    size: int
    failures: int
    skipped: int
    undelivered: int


_HEADER: Final = frozenset(("format", *Summary._fields))


class ReceiptReader:
    """A receipt that somebody hands to us: any JSON that says the same, in whatever form, and nothing else.

    Every value is checked before it is passed on, and memory does not depend on the file. Use it as a context manager.

    Attributes:
        status: what the system says of the file.

    Raises:
        UsageError: it cannot be opened.

    """

    def __init__(self, path: str) -> None:
        self._shown = escape(path)
        self._summary: Summary | None = None
        self._at = 0  # the number of the entry that is being read
        try:
            self._file = open(path, encoding="utf-8", newline="")  # noqa: SIM115  # closed by `__exit__`
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
            UsageError: this is no receipt, or it is damaged.

        """
        try:
            yield from self._document(JsonStream(self._file))
        except Malformed as error:
            where = f" (near entry {self._at})" if self._at else ""
            raise UsageError(f"'{self._shown}' is no receipt, or it is damaged: {error}{where}.") from None
        except OSError as error:
            raise self._unreadable(error) from None

    @property
    def summary(self) -> Summary:
        """What stands behind the entries; known once all of them were read."""
        assert self._summary is not None, "the entries come first"
        return self._summary

    def _document(self, stream: JsonStream) -> Iterator[Record]:
        header: dict[str, object] = {}
        listed = False
        for key in stream.object_keys():
            if key == "entries":
                if listed:
                    raise Malformed("it has two lists of entries")
                listed = True
                yield from self._entries(stream)
            elif key in _HEADER:
                header[key] = stream.value()
            else:
                stream.value()  # a later version may say more
        stream.end()
        if header.get("format") != FORMAT:
            raise Malformed(f"its format is not '{FORMAT}'")
        if not listed:
            raise Malformed("it has no entries")
        files, size, failures, skipped, undelivered = (
            _whole(header.get(key), key) for key in ("files", "size", "failures", "skipped", "undelivered")
        )
        self._summary = Summary(
            _hash(header.get("root"), "root"), files, size, failures, skipped, undelivered
        )

    def _entries(self, stream: JsonStream) -> Iterator[Record]:
        for self._at, value in enumerate(stream.array_values(), 1):
            if self._at > limits.MAX_ENTRIES:
                raise Malformed(f"it has more than {limits.MAX_ENTRIES} entries")
            yield _record(value)
        self._at = 0

    def _unreadable(self, error: OSError | ValueError) -> UsageError:
        return UsageError(f"The receipt '{self._shown}' cannot be read: {said(error)}.")


def _record(value: object) -> Record:
    """Return what one entry says.

    Raises:
        Malformed: it says something that no receipt does.

    """
    if not isinstance(value, dict):
        raise Malformed("an entry is no object")
    fields: dict[str, Any] = value
    kind = _KINDS.get(_text(fields, "kind"))
    if kind is None:
        raise Malformed("its kind is unknown")
    parts = tuple(_text(fields, "path").split("/"))
    if len(parts) > limits.MAX_DEPTH:
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
        _target(_text(fields, "target")) if kind is Kind.LINK else "",
        _extra(fields, kind),
    )
    there = delivered and (kind is not Kind.FILE or digest is not None)
    given_mode = _mode(fields, GIVEN) if kind is not Kind.LINK and GIVEN in fields else None
    return Record(parts, entry, digest, there, not delivered, given_mode)


def _extra(fields: dict[str, Any], kind: Kind) -> Extra | None:
    extra = Extra()
    if kind is Kind.FILE:
        again = fields.get("named_again", False)
        if not isinstance(again, bool):
            raise Malformed("its 'named_again' is neither true nor false")
        original = _whole(fields["original"], "original") if "original" in fields else None
        if original is not None and original >= limits.MAX_ENTRIES:
            raise Malformed("its 'original' is no number that it could be")
        extra = Extra(again, original)
    if "uid" in fields:
        uid, gid = (_whole(fields.get(key), key) for key in ("uid", "gid"))
        user, group = (_text(fields, key) for key in ("user", "group"))
        if max(uid, gid) > _MOST_ID or not all(map(_is_owners_name, (user, group))):
            raise Malformed("its owner is none that it could have")
        extra = extra._replace(owner=Owner(uid, gid, user, group))
    if "xattrs" in fields and kind is not Kind.LINK:
        digest = _hash(_text(fields, "xattrs").removeprefix(XATTRS), "xattrs")
        extra = extra._replace(xattrs_digest=digest)
    return None if extra == Extra() else extra


def _is_owners_name(text: str) -> bool:
    try:
        return len(text.encode()) <= limits.MAX_NAME
    except UnicodeEncodeError:
        return False


def _text(fields: dict[str, Any], key: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str):
        raise Malformed(f"its '{key}' is no text")
    return value


def _whole(value: object, key: str) -> int:
    # A bool is an int to Python, and to nobody else.
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= limits.MAX_FILE_SIZE:
        raise Malformed(f"its '{key}' is no number that it could be")
    return value


def _hash(value: object, key: str) -> bytes:
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise Malformed(f"its '{key}' is no digest")
    return bytes.fromhex(value)


def _mode(fields: dict[str, Any], key: str) -> int:
    text = _text(fields, key)
    if not _OCTAL.fullmatch(text) or int(text, 8) > _MOST_MODE:
        raise Malformed(f"its '{key}' is no octal number that it could be")
    return int(text, 8)


def _time(text: str) -> int:
    match = _TIME.fullmatch(text)
    try:
        since = datetime.fromisoformat(match[1]) - EPOCH if match else None
    except ValueError:
        since = None
    if match is None or since is None:
        raise Malformed("its 'mtime' is no time in UTC with nanoseconds")
    ns = since // timedelta(seconds=1) * SECOND + int(match[2])
    if not -_MOST_TIME - 1 <= ns <= _MOST_TIME:
        raise Malformed("its 'mtime' is too far away")
    return ns


def _target(text: str) -> str:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise Malformed("its 'target' is not valid Unicode text") from None
    if size > limits.MAX_PATH:
        raise Malformed(f"its 'target' is longer than {limits.MAX_PATH} bytes")
    return text
