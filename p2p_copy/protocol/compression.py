"""Compression of one record's content: given up where it does not pay, opened under a hard cap.

Every compressed content is one zstd frame (RFC 8878) on its own, so that records stay independent of each
other and a browser can open them one by one. What can be trusted about a frame from the other side is
checked before it is opened, the rest while it is opened: see `decompress`.
"""

from __future__ import annotations

import sys
from typing import Final

from p2p_copy.errors import PeerMisbehaved
from p2p_copy.protocol import limits

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_SINGLE_SEGMENT: Final = 0x20
"""Bit of a frame's header descriptor: no window descriptor, for the window is the content."""

_MAX_WINDOW_DESCRIPTOR: Final = (limits.ZSTD_WINDOW_LOG - 10) << 3
"""A window descriptor is exponent - 10 in five bits and a fraction in three: it grows with the window."""


class Compressor:
    """Compresses a run of contents as long as that pays, and from time to time tries again."""

    def __init__(self) -> None:
        self._zstd = zstd.ZstdCompressor(
            options={
                zstd.CompressionParameter.compression_level: limits.COMPRESS_LEVEL,
                zstd.CompressionParameter.window_log: limits.ZSTD_WINDOW_LOG,
            }
        )
        self._pause = 0
        """Records left alone after the last failure; it doubles with every failure in a row."""
        self._skip = 0
        """How many of them are still to come."""

    def compress(self, *parts: bytes | bytearray | memoryview) -> bytes | None:
        """Return a content, in one or several parts, as one zstd frame, or None if it is to be sent as it is."""
        if sum(map(len, parts)) < limits.COMPRESS_FROM:
            return None
        if self._skip:
            self._skip -= 1
            return None
        content = memoryview(b"".join(parts) if len(parts) > 1 else parts[0])
        frame = self._attempt(content)
        if frame is None:
            self._pause = min(2 * self._pause or 1, limits.COMPRESS_MAX_SKIP)
            self._skip = self._pause
        else:
            self._pause = 0
        return frame

    def _attempt(self, content: memoryview) -> bytes | None:
        if len(content) >= limits.COMPRESS_PROBE_FROM:
            # From the middle: what stands in front, of a file or a record, is often not like the rest.
            start = (len(content) - limits.COMPRESS_SAMPLE) // 2
            if self._frame(content[start : start + limits.COMPRESS_SAMPLE]) is None:
                return None
        return self._frame(content)

    def _frame(self, content: memoryview) -> bytes | None:
        frame = self._zstd.compress(content, zstd.ZstdCompressor.FLUSH_FRAME)
        gain = len(content) - len(frame)
        return frame if gain * limits.COMPRESS_LEAST_GAIN >= len(content) else None


def decompress(frame: bytes | memoryview, size: int) -> bytes:
    """Return the content of a frame, which is `size` bytes long.

    Never more than `size` + 1 bytes come out, and never more than a window of 2**ZSTD_WINDOW_LOG is held.

    Raises:
        PeerMisbehaved: there is more or less content, more or less than one frame, the frame says another
            size or asks for a larger window, or it is no frame at all.

    """
    try:
        # The library checks the window only where it needs one beside the output, so we look ourselves:
        # what is refused must not depend on who opens it. A single segment's window is the declared size.
        if zstd.get_frame_info(frame).decompressed_size not in (None, size):
            raise PeerMisbehaved(_BROKEN)
        if not frame[4] & _SINGLE_SEGMENT and frame[5] > _MAX_WINDOW_DESCRIPTOR:
            raise PeerMisbehaved(_BROKEN)
        opener = zstd.ZstdDecompressor(
            options={zstd.DecompressionParameter.window_log_max: limits.ZSTD_WINDOW_LOG}
        )
        content = opener.decompress(frame, max_length=size + 1)
    except zstd.ZstdError:
        raise PeerMisbehaved(_BROKEN) from None
    if len(content) != size or not opener.eof or opener.unused_data:
        raise PeerMisbehaved(_BROKEN)
    return content


_BROKEN: Final = "The other side sent compressed data that is not what it claims to be."
