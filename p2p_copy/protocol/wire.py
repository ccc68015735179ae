"""Encodes messages, and decodes and checks them. It has no state.

A record's content is a sequence of messages. Each is `type u8 | length u32 | body`; numbers are big-endian,
texts are UTF-8 behind a u16 length. `decode` either returns every message of a content or raises
`PeerMisbehaved`, so a side acts on whole, well-formed records only.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from p2p_copy.errors import PeerMisbehaved
from p2p_copy.protocol import limits
from p2p_copy.protocol.messages import (
    Abort,
    Accept,
    Ask,
    Data,
    Entry,
    Extra,
    FileEnd,
    FileFail,
    Finish,
    Goodbye,
    Held,
    Holds,
    Hole,
    Kept,
    Kind,
    Message,
    Offer,
    Omitted,
    Owner,
    Page,
    Preserved,
    Preview,
    Progress,
    Reason,
    Receipt,
    Reject,
    SameSegments,
    SegmentDigests,
    Total,
    Unwanted,
    WholeFile,
    Xattrs,
)

if TYPE_CHECKING:
    from collections.abc import Callable

FRAME: Final = struct.Struct(">BI")
_U16: Final = struct.Struct(">H")
_U64: Final = struct.Struct(">Q")
_ENTRY: Final = struct.Struct(">BBHqQH")  # the last field is the length of the name
_DATA: Final = struct.Struct(">IQ")
_HOLE: Final = struct.Struct(">IQQ")
_INDEX: Final = struct.Struct(">I")
_IDS: Final = struct.Struct(">II")
_INDEX_REASON: Final = struct.Struct(">IB")
_TWO: Final = struct.Struct(">QQ")
_THREE: Final = struct.Struct(">QQQ")
_FINISH: Final = struct.Struct(f">QQQQ{limits.DIGEST}s")
_PREVIEW: Final = struct.Struct(">QQBI")
_HELD: Final = struct.Struct(f">IQ{limits.DIGEST}s")
_RUN: Final = struct.Struct(">II")
_HOLDS: Final = struct.Struct(">IHH")
_SAME: Final = struct.Struct(">IIB")
_WHOLE: Final = struct.Struct(">BIIQ")  # a Data's frame and fields
_WHOLE_END: Final = struct.Struct(f">BII{limits.DIGEST}s")  # a FileEnd

_FILE_END: Final = struct.Struct(f">I{limits.DIGEST}s")

_DATA_NUMBER: Final = 0x04
_FILE_END_NUMBER: Final = 0x05

WHOLE_OVERHEAD: Final = _WHOLE.size + _WHOLE_END.size
"""Bytes that a WholeFile adds to its data; a Data adds less."""


def encode(message: Message) -> tuple[bytes | memoryview, ...]:
    """Return a message in parts, which are to be joined. File data is not copied."""
    if isinstance(message, WholeFile):
        return _encode_whole(message)
    number, body_of = _ENCODERS[type(message)]
    body = body_of(message)
    if isinstance(body, tuple):
        head, data = body
        return (FRAME.pack(number, len(head) + len(data)) + head, data)
    return (FRAME.pack(number, len(body)) + body,)


def weight(message: Message) -> int:
    """Return for how many messages this one counts towards `limits.MAX_RECORD_MESSAGES`."""
    weigh = _HEAVY.get(type(message))
    if weigh is None:
        return 1
    return weigh if isinstance(weigh, int) else weigh(message)


def _weight_of_entries(message: Page | Preview) -> int:
    return 1 + sum(1 + len(entry.extra.xattrs) if entry.extra else 1 for entry in message.entries)


_HEAVY: Final[dict[type, int | Callable[[Any], int]]] = {
    Page: _weight_of_entries,
    Preview: _weight_of_entries,
    Holds: lambda message: 1 + len(message.files) + len(message.same) + len(message.compare),
    WholeFile: 2,
}
"""Messages that count as more than one."""


def decode(content: bytes | memoryview) -> list[Message]:
    """Return all messages of a record's content.

    Raises:
        PeerMisbehaved: the content is not a sequence of well-formed messages.

    """
    view = memoryview(content)
    messages: list[Message] = []
    at = holes = count = 0
    while at < len(view):
        message: Message | None = _decode_whole(view, at)
        if isinstance(message, WholeFile):
            at += len(message.data) + WHOLE_OVERHEAD
            count += 2
        else:
            message, at = _decode_message(view, at)
            holes += message.size if isinstance(message, (Hole, Kept)) else 0
            count += weight(message)
        if holes > limits.MAX_RECORD_HOLES:
            raise PeerMisbehaved("The other side sent larger holes than a record may have.")
        if count > limits.MAX_RECORD_MESSAGES:
            raise PeerMisbehaved("The other side sent more messages than a record may have.")
        messages.append(message)
    return messages


def _decode_message(view: memoryview, at: int) -> tuple[Message, int]:
    """Return the message that begins at `at`, and where it ends."""
    if len(view) - at < FRAME.size:
        raise PeerMisbehaved("The other side sent a cut message.")
    number, length = FRAME.unpack_from(view, at)
    at += FRAME.size
    if length > len(view) - at:
        raise PeerMisbehaved("The other side sent a message longer than its record.")
    decoder = _DECODERS.get(number)
    if decoder is None:
        raise PeerMisbehaved(f"The other side sent a message of unknown type {number}.")
    reader = _Reader(view[at : at + length])
    message = decoder(reader)
    if reader.left:
        raise PeerMisbehaved("The other side sent a message that is too long.")
    return message, at + length


def _encode_whole(file: WholeFile) -> tuple[bytes | memoryview, ...]:
    return (
        _WHOLE.pack(_DATA_NUMBER, _DATA.size + len(file.data), file.index, 0),
        file.data,
        _WHOLE_END.pack(_FILE_END_NUMBER, _FILE_END.size, file.index, file.digest),
    )


def _decode_whole(view: memoryview, at: int) -> WholeFile | None:
    """Return the small file that begins at `at`; None if there is anything else, well-formed or not."""
    if view[at] != _DATA_NUMBER or len(view) - at <= WHOLE_OVERHEAD:
        return None
    _, length, index, offset = _WHOLE.unpack_from(view, at)
    data, end = at + _WHOLE.size, at + FRAME.size + length
    if offset or end <= data or end + _WHOLE_END.size > len(view):
        return None
    number, size, ended, digest = _WHOLE_END.unpack_from(view, end)
    if (number, size, ended) != (_FILE_END_NUMBER, _FILE_END.size, index):
        return None
    return WholeFile(index, view[data:end], digest)


def _encode_text(text: str, most: int) -> bytes:
    """Return a text behind its length, cut to at most `most` bytes."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) > most:
        data = data[:most].decode("utf-8", "ignore").encode()
    return _U16.pack(len(data)) + data


class _Reader:
    """Reads the fields of one message body, from its beginning to its end."""

    __slots__ = ("_at", "_view")

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._at = 0

    def take(self, count: int) -> memoryview:
        """Return the next bytes."""
        if count > len(self._view) - self._at:
            raise PeerMisbehaved("The other side sent a message that is too short.")
        self._at += count
        return self._view[self._at - count : self._at]

    def fields(self, shape: struct.Struct) -> tuple[Any, ...]:
        """Return the next fields of a fixed shape."""
        at = self._at
        if shape.size > len(self._view) - at:
            raise PeerMisbehaved("The other side sent a message that is too short.")
        self._at = at + shape.size
        return shape.unpack_from(self._view, at)

    def text(self, most: int) -> str:
        """Return a text of at most `most` bytes that stands behind its length."""
        length = self.fields(_U16)[0]
        return self.string(length, most) if length else ""

    def string(self, length: int, most: int) -> str:
        """Return a text of `length` bytes; raise if that is more than `most`."""
        if not length:
            return ""
        if length > most:
            raise PeerMisbehaved("The other side sent a text that is too long.")
        try:
            return str(self.take(length), "utf-8")
        except UnicodeDecodeError:
            raise PeerMisbehaved("The other side sent a text that is not UTF-8.") from None

    def reason(self, number: int) -> Reason:
        """Return the reason with that number."""
        try:
            return Reason(number)
        except ValueError:
            return Reason.OTHER  # a newer peer may know more reasons

    def rest(self) -> memoryview:
        """Return all that is left."""
        return self.take(self.left)

    @property
    def left(self) -> int:
        """How many bytes are left."""
        return len(self._view) - self._at


_MAX_TEXT_BYTES: Final = 4 * limits.MAX_TEXT
_PRESERVED: Final = int(sum(Preserved))

_NAMED_AGAIN, _ORIGINAL, _OWNER, _XATTRS = 1, 2, 4, 8
"""Bits that say what an extra has."""

_MOST_BUT_XATTRS: Final = 1 + _INDEX.size + _IDS.size + 2 * (_U16.size + limits.MAX_NAME)

_MOST_EXTRA: Final = _MOST_BUT_XATTRS + _U16.size + 2 * _U16.size * limits.MAX_XATTRS + limits.MAX_XATTR_BYTES
"""Bytes of an extra, at most."""


def _encode_extra(extra: Extra) -> bytes:
    """Return what follows an entry in a page."""
    has, parts = 0, []
    if extra.named_again:
        has |= _NAMED_AGAIN
    if extra.original is not None:
        has |= _ORIGINAL
        parts.append(_INDEX.pack(extra.original))
    if extra.owner is not None:
        has |= _OWNER
        uid, gid, user, group = extra.owner
        parts += _IDS.pack(uid, gid), *(_encode_text(name, limits.MAX_NAME) for name in (user, group))
    if extra.xattrs or extra.xattrs_digest:
        has |= _XATTRS
        parts.append(extra.xattrs_digest or encode_xattrs(extra.xattrs))
    return bytes((has,)) + b"".join(parts)


def encode_xattrs(xattrs: Xattrs) -> bytes:
    """Return extended attributes as they stand in an extra."""
    each = (_encode_text(name, limits.MAX_NAME) + _U16.pack(len(value)) + value for name, value in xattrs)
    return _U16.pack(len(xattrs)) + b"".join(each)


_NO_TARGET: Final = _U16.pack(0)


def encode_entry(entry: Entry) -> bytes:
    """Return the bytes of one entry in a page."""
    kind, depth, text, mode, mtime_ns, size, there, extra = entry
    name = text.encode()
    if not there and extra is None:  # as most entries
        return _ENTRY.pack(kind, depth, mode, mtime_ns, size, len(name)) + name + _NO_TARGET
    target = there.encode()
    number, more = (kind, b"") if extra is None else (kind | _HAS_EXTRA, _encode_extra(extra))
    head = _ENTRY.pack(number, depth, mode, mtime_ns, size, len(name))
    return head + name + _U16.pack(len(target)) + target + more


def most_bytes(entry: Entry) -> int:
    """Return an upper bound for the bytes of an entry in a page."""
    extra = 0
    if entry.extra is not None:
        xattrs = entry.extra.xattrs
        extra = _MOST_BUT_XATTRS + (len(encode_xattrs(xattrs)) if xattrs else 0)
    return _ENTRY.size + _U16.size + 4 * (len(entry.name) + len(entry.target)) + extra


MOST_ENTRY: Final = _ENTRY.size + _U16.size + limits.MAX_NAME + limits.MAX_PATH + _MOST_EXTRA
"""Bytes of an entry, at most."""

_KINDS: Final = {kind.value: kind for kind in Kind}

_HAS_EXTRA: Final = 0x80
"""Added to the kind of an entry that has an extra."""


def _decode_extra(reader: _Reader) -> Extra:
    has = reader.take(1)[0]
    if not has or has & ~(_NAMED_AGAIN | _ORIGINAL | _OWNER | _XATTRS):
        raise PeerMisbehaved("The other side sent attributes of a file that make no sense.")
    original = reader.fields(_INDEX)[0] if has & _ORIGINAL else None
    owner = None
    if has & _OWNER:
        uid, gid = reader.fields(_IDS)
        owner = Owner(uid, gid, reader.text(limits.MAX_NAME), reader.text(limits.MAX_NAME))
    xattrs = _decode_xattrs(reader) if has & _XATTRS else ()
    return Extra(bool(has & _NAMED_AGAIN), original, owner, xattrs)


def _decode_xattrs(reader: _Reader) -> Xattrs:
    (count,) = reader.fields(_U16)
    if not 0 < count <= limits.MAX_XATTRS:
        raise PeerMisbehaved("The other side sent no extended attributes, or too many.")
    xattrs = []
    for _ in range(count):
        name = reader.text(limits.MAX_NAME)
        xattrs.append((name, bytes(reader.take(reader.fields(_U16)[0]))))
    return tuple(xattrs)


def _decode_entry(reader: _Reader) -> Entry:
    number, depth, mode, mtime_ns, size, length = reader.fields(_ENTRY)
    kind = _KINDS.get(number) or _KINDS.get(number ^ _HAS_EXTRA)
    if kind is None:
        raise PeerMisbehaved("The other side named something that is neither file, directory nor symlink.")
    # A name may be longer here than the manifest allows: that can say which rule it breaks.
    name = reader.string(length, 2 * limits.MAX_PATH)
    target = reader.text(limits.MAX_PATH)
    extra = _decode_extra(reader) if number & _HAS_EXTRA else None
    return Entry(kind, depth, name, mode, mtime_ns, size, target, extra)


def _decode_entries(reader: _Reader, most: int) -> list[Entry]:
    entries = []
    while reader.left:
        entries.append(_decode_entry(reader))
        if len(entries) > most:
            raise PeerMisbehaved("The other side sent a list with too many entries.")
    return entries


def _decode_page(reader: _Reader) -> Page:
    entries = _decode_entries(reader, limits.MAX_PAGE_ENTRIES)
    if not entries:
        raise PeerMisbehaved("The other side sent an empty manifest page.")
    return Page(tuple(entries))


def _flag(number: int) -> bool:
    if number > 1:
        raise PeerMisbehaved("The other side sent something that is neither yes nor no.")
    return bool(number)


def _encode_preview(preview: Preview) -> bytes:
    head = _PREVIEW.pack(preview.files, preview.size, preview.counted, preview.names)
    return head + b"".join(map(encode_entry, preview.entries))


def _decode_preview(reader: _Reader) -> Preview:
    files, size, counted, names = reader.fields(_PREVIEW)
    entries = _decode_entries(reader, limits.MAX_PREVIEW_ENTRIES)
    return Preview(files, size, _flag(counted), names, tuple(entries))


def _decode_offer(reader: _Reader) -> Offer:
    program = reader.text(_MAX_TEXT_BYTES)
    links, preserve, pipe, partial = reader.take(4)
    if links > limits.MAX_LINKS:
        raise PeerMisbehaved("The other side asks for too many links.")
    known = Preserved(preserve & _PRESERVED)  # a newer peer may know more
    return Offer(program, links, known, _flag(pipe), _flag(partial))


def _decode_accept(reader: _Reader) -> Accept:
    program = reader.text(_MAX_TEXT_BYTES)
    portable, holds, links, preserve, pipe = reader.take(5)
    if not 1 <= links <= limits.MAX_LINKS or preserve & ~_PRESERVED:
        raise PeerMisbehaved("The other side sent an answer that makes no sense.")
    (rate,) = reader.fields(_U64)
    marker = reader.text(limits.MAX_NAME)
    return Accept(
        program, _flag(portable), _flag(holds), links, Preserved(preserve), _flag(pipe), marker, rate
    )


def _decode_holds(reader: _Reader) -> Holds:
    end, runs, compare = reader.fields(_HOLDS)
    if max(runs, compare) > limits.MAX_RECORD_MESSAGES:
        raise PeerMisbehaved("The other side sent a list of what it has that is too long.")
    same = tuple(_RUN.unpack(reader.take(_RUN.size)) for _ in range(runs))
    old = struct.unpack(f">{compare}I", reader.take(compare * _INDEX.size))
    if reader.left % _HELD.size or reader.left > limits.MAX_RECORD_MESSAGES * _HELD.size:
        raise PeerMisbehaved("The other side sent a list of what it has that is cut or too long.")
    return Holds(end, tuple(Held(*each) for each in _HELD.iter_unpack(reader.rest())), same, old)


def _encode_holds(holds: Holds) -> bytes:
    runs = b"".join(_RUN.pack(*run) for run in holds.same)
    files = b"".join(_HELD.pack(file.index, file.size, file.digest) for file in holds.files)
    old = struct.pack(f">{len(holds.compare)}I", *holds.compare)
    return _HOLDS.pack(holds.end, len(holds.same), len(holds.compare)) + runs + old + files


def _decode_segment_digests(reader: _Reader) -> SegmentDigests:
    index, first = reader.fields(_RUN)
    if reader.left % limits.DIGEST or not reader.left:
        raise PeerMisbehaved("The other side sent digests that are cut.")
    return SegmentDigests(index, first, bytes(reader.rest()))


def _decode_same_segments(reader: _Reader) -> SameSegments:
    index, first, whole = reader.fields(_SAME)
    return SameSegments(index, first, tuple(map(_flag, reader.rest())), _flag(whole))


def _decode_data(reader: _Reader) -> Data:
    index, offset = reader.fields(_DATA)
    data = reader.rest()
    if not data:
        raise PeerMisbehaved("The other side sent an empty piece of a file.")
    return Data(index, offset, data)


def _decode_hole(reader: _Reader) -> Hole:
    index, offset, size = reader.fields(_HOLE)
    if not size:
        raise PeerMisbehaved("The other side sent an empty piece of a file.")
    return Hole(index, offset, size)


def _decode_kept(reader: _Reader) -> Kept:
    hole = _decode_hole(reader)
    return Kept(hole.index, hole.offset, hole.size)


def _decode_indexed(reader: _Reader) -> tuple[int, Reason]:
    index, reason = reader.fields(_INDEX_REASON)
    return index, reader.reason(reason)


def _decode_omitted(reader: _Reader) -> Omitted:
    path = reader.text(2 * limits.MAX_PATH)
    reason, directory = reader.take(2)
    return Omitted(path, reader.reason(reason), _flag(directory))


def _decode_abort(reader: _Reader) -> Abort:
    reason = reader.reason(reader.take(1)[0])
    return Abort(reason, reader.text(_MAX_TEXT_BYTES)[: limits.MAX_TEXT])


_Body = bytes | tuple[bytes, bytes | memoryview]

_ENCODERS: dict[type, tuple[int, Callable[..., _Body]]] = {
    Offer: (
        0x01,
        lambda m: _encode_text(m.program, _MAX_TEXT_BYTES) + bytes((m.links, m.preserve, m.pipe, m.partial)),
    ),
    Total: (0x02, lambda m: _TWO.pack(m.files, m.size)),
    Page: (0x03, lambda m: b"".join(map(encode_entry, m.entries))),
    Data: (_DATA_NUMBER, lambda m: (_DATA.pack(m.index, m.offset), m.data)),
    Hole: (0x0A, lambda m: _HOLE.pack(m.index, m.offset, m.size)),
    SegmentDigests: (0x0C, lambda m: (_RUN.pack(m.index, m.first), m.digests)),
    Kept: (0x0D, lambda m: _HOLE.pack(m.index, m.offset, m.size)),
    SameSegments: (0x18, lambda m: _SAME.pack(m.index, m.first, m.whole) + bytes(m.same)),
    FileEnd: (_FILE_END_NUMBER, lambda m: _FILE_END.pack(m.index, m.digest)),
    FileFail: (0x06, lambda m: _INDEX_REASON.pack(m.index, m.reason)),
    Omitted: (0x07, lambda m: _encode_text(m.path, 2 * limits.MAX_PATH) + bytes((m.reason, m.directory))),
    Finish: (0x08, lambda m: _FINISH.pack(m.entries, m.files, m.size, m.failures, m.root)),
    Goodbye: (0x09, lambda m: b""),
    Preview: (0x0B, _encode_preview),
    Ask: (0x16, lambda m: bytes((m.portable_names,))),
    Accept: (
        0x11,
        lambda m: (
            _encode_text(m.program, _MAX_TEXT_BYTES)
            + bytes((m.portable_names, m.holds, m.links, m.preserve, m.pipe))
            + _U64.pack(m.rate)
            + _encode_text(m.marker, limits.MAX_NAME)
        ),
    ),
    Reject: (
        0x12,
        lambda m: _INDEX_REASON.pack(m.index, m.reason) + _encode_text(m.path, 2 * limits.MAX_PATH),
    ),
    Unwanted: (0x17, lambda m: _INDEX.pack(m.number)),
    Holds: (0x15, _encode_holds),
    Progress: (0x13, lambda m: _THREE.pack(m.files, m.size, m.records)),
    Receipt: (0x14, lambda m: _FINISH.pack(m.files, m.size, m.rejected, m.skipped, m.root)),
    Abort: (0x1F, lambda m: bytes((m.reason,)) + _encode_text(m.sentence, _MAX_TEXT_BYTES)),
}

_DECODERS: dict[int, Callable[[_Reader], Message]] = {
    0x01: _decode_offer,
    0x02: lambda r: Total(*r.fields(_TWO)),
    0x03: _decode_page,
    _DATA_NUMBER: _decode_data,
    _FILE_END_NUMBER: lambda r: FileEnd(*r.fields(_FILE_END)),
    0x06: lambda r: FileFail(*_decode_indexed(r)),
    0x07: _decode_omitted,
    0x08: lambda r: Finish(*r.fields(_FINISH)),
    0x09: lambda r: Goodbye(),
    0x0A: _decode_hole,
    0x0C: _decode_segment_digests,
    0x0D: _decode_kept,
    0x18: _decode_same_segments,
    0x0B: _decode_preview,
    0x16: lambda r: Ask(_flag(r.take(1)[0])),
    0x11: _decode_accept,
    0x12: lambda r: Reject(*_decode_indexed(r), r.text(2 * limits.MAX_PATH)),
    0x15: _decode_holds,
    0x17: lambda r: Unwanted(*r.fields(_INDEX)),
    0x13: lambda r: Progress(*r.fields(_THREE)),
    0x14: lambda r: Receipt(*r.fields(_FINISH)),
    0x1F: _decode_abort,
}
