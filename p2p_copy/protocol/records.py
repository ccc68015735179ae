"""Seals records and opens them: each exactly once and in order, up to a marked last one; else an error.

    header   type u8 = 1 | flags u8 | reserved u16 = 0 | size u32 | seq u64, big-endian
    record   header | AES-256-GCM(key, nonce = 4 zero bytes | seq, content or its zstd frame, AAD = header)

Flags: 1 FINAL, no record follows; 2 ZSTD, one zstd frame (RFC 8878) is encrypted, which is shorter than the content.
`size` is that of the content, after decompression. `seq` counts the records of one direction from 0. Rules:

1. Each direction has its own key, so a record can be opened only in its direction and with its number.
2. After REKEY_RECORDS records or REKEY_BYTES bytes of content (by `size`) under one key, the next record is under
   `keys.next_key` of it. Both sides count; no message announces it.
3. Lengths are checked before anything is decrypted, and nothing is used before it is authentic.
4. The first bad record ends the conversation. No record is skipped.
5. A content is compressed only where that pays. Records do not depend on each other: each frame stands for itself.
   Decompressing one takes bounded time and memory, also if the frame lies.
"""

from __future__ import annotations

import struct
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
from p2p_copy.units import KIB
from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from p2p_copy.protocol.compression import Compressor

    Buffer: TypeAlias = bytes | bytearray | memoryview

RECORD: Final = 1
FINAL: Final = 1
ZSTD: Final = 2

_HEADER: Final = struct.Struct(">BBHIQ")
_NONCE: Final = struct.Struct(">IQ")
_OVERHEAD: Final = limits.RECORD_HEADER + limits.RECORD_TAG

_BUFFERS: Final = 10
"""Records that exist at once: those of one trip to the thread that makes them (4), those that wait for the link while
the next trip is made (4), and one on each side of that. With fewer, buffers are copied; with more, memory is wasted."""

_WORTH_A_CALL: Final = 16 * KIB
"""Bytes that take as long to copy as a call to the cipher takes."""

LEAST_CONTENT: Final = 512
"""Content bytes from which compressing is tried; smaller contents gain nothing on a network."""


def number_of(record: bytes) -> int:
    """Return the number in a record's header. It is authentic only once the record is opened.

    Raises:
        PeerMisbehaved: it is no record.

    """
    if not _OVERHEAD <= len(record) <= limits.MAX_RECORD or record[0] != RECORD:
        raise PeerMisbehaved("The other side sent something that is not a record.")
    number: int = _HEADER.unpack_from(record)[-1]
    return number


class _Cipher:
    """The cipher of one direction: the right key and number for each record."""

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
        """Decrypt record `seq`; raise InvalidTag if this is not it."""
        self._aead.decrypt_into(self.nonce, sealed, header, into)

    def advance(self, size: int) -> None:
        """Count a record with `size` bytes of content, and prepare for the next one."""
        self.seq += 1
        self._records += 1
        self._bytes += size
        if self._records >= self._rekey_records or self._bytes >= self._rekey_bytes:
            self._use(keys.next_key(self._key))


class Sealer:
    """Makes one side's records, in order. Used by one thread at a time."""

    def __init__(
        self,
        key: bytes,
        *,
        compressor: Callable[[], Compressor] | None = None,
        rekey_records: int = limits.REKEY_RECORDS,
        rekey_bytes: int = limits.REKEY_BYTES,
    ) -> None:
        """Begin under the first key.

        Give a `compressor` only if the other side opens ZSTD records. It is made when a content is long enough.
        """
        self._cipher = _Cipher(key, rekey_records, rekey_bytes)
        self._new_compressor = compressor
        self._compressor: Compressor | None = None
        self._open = True
        # A BytesIO returns its value without a copy, and copies before it changes a value that is still in use. So a
        # record is overwritten only when it is no longer in use, and no memory has to be filled with zeros first.
        self._buffers = cycle([BytesIO() for _ in range(_BUFFERS)])

    @property
    def is_open(self) -> bool:
        """Whether there may be more records: none was final, and none has failed."""
        return self._open

    def seal(self, parts: Sequence[Buffer], *, final: bool = False) -> bytes:
        """Return the next record; its content is `parts`, joined.

        Raises:
            AssertionError: there is too much content, or an earlier record was final or failed. A bug of ours.

        """
        if not self._open:
            raise AssertionError("sealed after the end")
        self._open = False  # a number is never used twice, not even after a failure
        size = sum(map(len, parts))
        if size > limits.MAX_RECORD_CONTENT:
            raise AssertionError("too much for one record")
        if size < len(parts) * _WORTH_A_CALL:
            parts = (b"".join(parts),)
        flags, plain = FINAL if final else 0, size
        if size >= LEAST_CONTENT and (frame := self._compressed(parts)) is not None:
            flags, plain, parts = flags | ZSTD, len(frame), (frame,)
        header = _HEADER.pack(RECORD, flags, 0, size, self._cipher.seq)
        buffer = next(self._buffers)
        buffer.seek(plain + _OVERHEAD - 1)
        buffer.write(b"\0")
        buffer.truncate()
        with buffer.getbuffer() as record, record[limits.RECORD_HEADER :] as sealed:
            record[: limits.RECORD_HEADER] = header
            self._cipher.encrypt_into(parts, header, sealed)
        self._cipher.advance(size)
        self._open = not final
        return buffer.getvalue()

    def _compressed(self, parts: Sequence[Buffer]) -> bytes | None:
        if self._new_compressor is None:
            return None
        if self._compressor is None:
            self._compressor = self._new_compressor()
        return self._compressor.compress(*parts)


class Opened(NamedTuple):
    """The content of a record.

    Attributes:
        content: authentic bytes.
        final: whether this is the last record.

    """

    content: bytes | memoryview
    final: bool


class Opener:
    """Opens the other side's records, in order. Used by one thread at a time."""

    def __init__(
        self,
        key: bytes,
        *,
        rekey_records: int = limits.REKEY_RECORDS,
        rekey_bytes: int = limits.REKEY_BYTES,
    ) -> None:
        """Begin under the first key."""
        self._cipher = _Cipher(key, rekey_records, rekey_bytes)
        self._open = True

    def open(self, record: bytes, into: memoryview | None = None) -> Opened:
        """Return the content of the next record.

        It may be written `into` a buffer of MAX_RECORD_CONTENT bytes, which the caller uses for every record: fresh
        memory would have to be filled with zeros first.

        Raises:
            PeerMisbehaved: this is not the next record, or it was changed. No record is accepted after that.

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
            from p2p_copy.protocol.compression import decompress  # not every transfer needs it

            content = decompress(content, size)
        self._cipher.advance(size)
        final = bool(flags & FINAL)
        self._open = not final
        return Opened(content, final)

    def _check(self, record: bytes) -> tuple[int, int]:
        """Check header and length of a record; return its flags and the size of its content."""
        if not _OVERHEAD <= len(record) <= limits.MAX_RECORD:
            raise PeerMisbehaved("The other side sent a record of an impossible length.")
        kind, flags, reserved, size, seq = _HEADER.unpack_from(record)
        if kind != RECORD or flags & ~(FINAL | ZSTD) or reserved:
            raise PeerMisbehaved("The other side sent a record of an unknown kind.")
        if seq != self._cipher.seq:
            raise PeerMisbehaved("A record was lost, repeated or moved on its way.")
        sealed = len(record) - _OVERHEAD
        if size > limits.MAX_RECORD_CONTENT or not (sealed < size if flags & ZSTD else sealed == size):
            raise PeerMisbehaved("The other side sent a record whose length is not what it says.")
        return flags, size
