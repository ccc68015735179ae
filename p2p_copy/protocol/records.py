"""Sealed records: contents in order, each exactly once, up to a last one that says so; or an error.

    header   type u8 = 1 | flags u8 | stream u16 | size u32 | seq u64, big-endian
    record   header | AES-256-GCM(key, nonce = 4 zero bytes | seq, content or its zstd frame, AAD = header)

Flags: 1 FINAL, no record follows; 2 ZSTD, what is sealed is a zstd frame, shorter than the content. `size`
is the content's, after decompression. `seq` counts from 0 through the whole stream. Rules:

1. Each direction of each stream has a key of its own, so no record fits anywhere but in its place.
2. When REKEY_RECORDS records or REKEY_BYTES bytes of content (by `size`) have passed under a key, the
   next record is under `keys.next_key` of it. Both sides count, nothing is said.
3. Lengths are checked before anything is opened, and nothing is used before it is authentic.
4. One bad record ends the stream for good; there is no skipping and no catching up.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from io import BytesIO
from itertools import cycle
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import GCM

from p2p_copy.errors import PeerMisbehaved
from p2p_copy.protocol import keys, limits
from p2p_copy.protocol.compression import decompress
from p2p_copy.units import KIB

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from p2p_copy.protocol.compression import Compressor

    Buffer: TypeAlias = bytes | bytearray | memoryview

RECORD: Final = 1
FINAL: Final = 1
ZSTD: Final = 2

_HEADER: Final = struct.Struct(">BBHIQ")
_NONCE: Final = struct.Struct(">IQ")
_OVERHEAD: Final = limits.RECORD_HEADER + limits.RECORD_TAG

_ROOMS: Final = 2 * limits.PIPELINE + 2
"""Records that one side has at once: some are made while others are sent."""

_WORTH_A_CALL: Final = 16 * KIB
"""Bytes that take as long to be copied as a call to the cipher takes."""


def number_of(record: bytes) -> int:
    """Return the number that a record says it has. It is authentic only once the record is opened.

    Raises:
        PeerMisbehaved: it is no record.

    """
    if not _OVERHEAD <= len(record) <= limits.MAX_RECORD or record[0] != RECORD:
        raise PeerMisbehaved("The other side sent what is no record.")
    number: int = _HEADER.unpack_from(record)[-1]
    return number


class _Cipher:
    """The cipher for one record after the other, with the right key and number for each."""

    def __init__(self, key: bytes, rekey_records: int, rekey_bytes: int) -> None:
        self._rekey_records = rekey_records
        self._rekey_bytes = rekey_bytes
        self.seq = 0
        self._use(key)

    def _use(self, key: bytes) -> None:
        self._key = key
        self._aes = AES256(key)
        self._aead = AESGCM(key)
        self._records = 0
        self._bytes = 0

    @property
    def nonce(self) -> bytes:
        """The nonce of record `seq`."""
        return _NONCE.pack(0, self.seq)

    def encrypt_into(self, parts: Sequence[Buffer], header: bytes, into: memoryview) -> None:
        """Seal `parts` as the content of record `seq`, without joining them first."""
        encryptor = Cipher(self._aes, GCM(self.nonce)).encryptor()
        encryptor.authenticate_additional_data(header)
        at = 0
        for part in parts:
            with into[at:] as rest:
                at += encryptor.update_into(part, rest)
        encryptor.finalize()
        into[at:] = encryptor.tag

    def decrypt_into(self, sealed: memoryview, header: bytes, into: memoryview) -> None:
        """Open record `seq`; InvalidTag if it is none."""
        self._aead.decrypt_into(self.nonce, sealed, header, into)

    def advance(self, size: int) -> None:
        """Go on to the next record, after one with `size` bytes of content."""
        self.seq += 1
        self._records += 1
        self._bytes += size
        if self._records >= self._rekey_records or self._bytes >= self._rekey_bytes:
            self._use(keys.next_key(self._key))


class Sealer:
    """Seals one side's contents, in order. Used by one thread at a time."""

    def __init__(
        self,
        key: bytes,
        stream: int = 0,
        *,
        compressor: Compressor | None = None,
        rekey_records: int = limits.REKEY_RECORDS,
        rekey_bytes: int = limits.REKEY_BYTES,
    ) -> None:
        """Begin a stream under its first key; `compressor` is for a side whose peer opens ZSTD records."""
        self._cipher = _Cipher(key, rekey_records, rekey_bytes)
        self._stream = stream
        self._compressor = compressor
        self._open = True
        # A BytesIO hands out what it holds without a copy, and makes one before it changes what somebody still has. So
        # a record is written over only when nobody has it any more, and no memory need be filled with zeros for it.
        self._rooms = cycle([BytesIO() for _ in range(_ROOMS)])

    def seal(self, parts: Sequence[Buffer], *, final: bool = False) -> bytes:
        """Return the next record, whose content is `parts` one after the other.

        Raises:
            AssertionError: there is too much content, or there may be no more records, because one was
                final or failed. A bug of ours.

        """
        if not self._open:
            raise AssertionError("sealed after the end")
        self._open = False  # a number that was used, if only for a record that failed, is never used again
        size = sum(map(len, parts))
        if size > limits.MAX_RECORD_CONTENT:
            raise AssertionError("too much for one record")
        if size < len(parts) * _WORTH_A_CALL:
            parts = (b"".join(parts),)
        flags, plain = FINAL if final else 0, size
        if self._compressor and (frame := self._compressor.compress(*parts)) is not None:
            flags, plain, parts = flags | ZSTD, len(frame), (frame,)
        header = _HEADER.pack(RECORD, flags, self._stream, size, self._cipher.seq)
        room = next(self._rooms)
        room.seek(plain + _OVERHEAD - 1)
        room.write(b"\0")
        room.truncate()
        with room.getbuffer() as record, record[limits.RECORD_HEADER :] as sealed:
            record[: limits.RECORD_HEADER] = header
            self._cipher.encrypt_into(parts, header, sealed)
        self._cipher.advance(size)
        self._open = not final
        return room.getvalue()


@dataclass(frozen=True, slots=True)
class Opened:
    """What was in a record.

    Attributes:
        content: the bytes, authentic and in order.
        final: no record follows.

    """

    content: bytes | memoryview
    final: bool


class Opener:
    """Opens the other side's records, in order. Used by one thread at a time."""

    def __init__(
        self,
        key: bytes,
        stream: int = 0,
        *,
        rekey_records: int = limits.REKEY_RECORDS,
        rekey_bytes: int = limits.REKEY_BYTES,
    ) -> None:
        """Begin a stream under its first key."""
        self._cipher = _Cipher(key, rekey_records, rekey_bytes)
        self._stream = stream
        self._open = True

    def open(self, record: bytes, into: memoryview | None = None) -> Opened:
        """Return the content of the next record.

        It may lie `into` a buffer of MAX_RECORD_CONTENT, whose owner knows when nobody needs it any more: fresh memory
        would have to be filled with zeros first.

        Raises:
            PeerMisbehaved: this is not the next record, whoever changed it; none is accepted after it.

        """
        if not self._open:
            raise PeerMisbehaved("The other side sent more after its last record.")
        self._open = False
        flags, size = self._check(record)
        header, sealed = record[: limits.RECORD_HEADER], memoryview(record)[limits.RECORD_HEADER :]
        content: bytes | memoryview
        content = (into or memoryview(bytearray(len(sealed))))[: len(sealed) - limits.RECORD_TAG]
        try:
            self._cipher.decrypt_into(sealed, header, content)
        except InvalidTag:
            raise PeerMisbehaved("A record was changed on its way, or is not from the other side.") from None
        if flags & ZSTD:
            content = decompress(content, size)
        self._cipher.advance(size)
        final = bool(flags & FINAL)
        self._open = not final
        return Opened(content, final)

    def _check(self, record: bytes) -> tuple[int, int]:
        """Return flags and content size of a record that may be the next, by its header and length."""
        if not _OVERHEAD <= len(record) <= limits.MAX_RECORD:
            raise PeerMisbehaved("The other side sent a record of an impossible length.")
        kind, flags, stream, size, seq = _HEADER.unpack_from(record)
        if kind != RECORD or flags & ~(FINAL | ZSTD) or stream != self._stream:
            raise PeerMisbehaved("The other side sent a record of an unknown kind.")
        if seq != self._cipher.seq:
            raise PeerMisbehaved("A record was lost, repeated or moved on its way.")
        sealed = len(record) - _OVERHEAD
        if size > limits.MAX_RECORD_CONTENT or not (sealed < size if flags & ZSTD else sealed == size):
            raise PeerMisbehaved("The other side sent a record whose length is not what it says.")
        return flags, size
