"""Compresses contents of records as zstd frames (RFC 8878), where that makes them smaller; decompresses within bounds.

`records` imports this when a content is long enough, or compressed: a small transfer starts faster without it.
"""

from __future__ import annotations

import sys
from typing import Final

from p2p_copy.errors import PeerMisbehaved
from p2p_copy.protocol import limits
from p2p_copy.units import KIB

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LEVEL: Final = 1
"""zstd level: some 300 MB/s for each core. Level 3 takes half as long again for texts that are 6 % smaller."""

SAMPLE_FROM: Final = 64 * KIB
"""Content bytes from which a sample is tried first; below, the whole costs hardly more than a sample."""

SAMPLE: Final = 8 * KIB
"""Bytes of that sample: enough to tell, and 10 microseconds of work where nothing is gained."""

LEAST_GAIN: Final = 20
"""A record is sent compressed if that saves at least 1/20 of it: decompressing costs the other side time."""

MOST_SKIPPED: Final = 32
"""Records sent uncompressed after a failure before the next try: 30 MB at most, so that a change is noticed soon."""

_SINGLE_SEGMENT: Final = 0x20
"""Bit of a frame's header descriptor: there is no window descriptor, since the window is as large as the content."""

_MAX_WINDOW_DESCRIPTOR: Final = (limits.ZSTD_WINDOW_LOG - 10) << 3
"""A window descriptor is exponent - 10 in five bits and a fraction in three: it grows with the window."""


class Compressor:
    """Compresses contents as long as that makes them smaller. Otherwise it skips some, then tries again."""

    def __init__(self) -> None:
        self._zstd = zstd.ZstdCompressor(
            options={
                zstd.CompressionParameter.compression_level: LEVEL,
                zstd.CompressionParameter.window_log: limits.ZSTD_WINDOW_LOG,
            }
        )
        self._pause = 0
        """Records skipped after the last failure; doubles with every failure in a row."""
        self._skip = 0
        """How many of them are still to be skipped."""

    def compress(self, *parts: bytes | bytearray | memoryview) -> bytes | None:
        """Return a content, in one or several parts, as one zstd frame, or None to send it uncompressed."""
        if self._skip:
            self._skip -= 1
            return None
        content = memoryview(b"".join(parts) if len(parts) > 1 else parts[0])
        frame = self._attempt(content)
        if frame is None:
            self._pause = min(2 * self._pause or 1, MOST_SKIPPED)
            self._skip = self._pause
        else:
            self._pause = 0
        return frame

    def _attempt(self, content: memoryview) -> bytes | None:
        if len(content) >= SAMPLE_FROM:
            # From the middle: the beginning of a file or a record is often not like the rest.
            start = (len(content) - SAMPLE) // 2
            if self._frame(content[start : start + SAMPLE]) is None:
                return None
        return self._frame(content)

    def _frame(self, content: memoryview) -> bytes | None:
        frame = self._zstd.compress(content, zstd.ZstdCompressor.FLUSH_FRAME)
        gain = len(content) - len(frame)
        return frame if gain * LEAST_GAIN >= len(content) else None


def decompress(frame: bytes | memoryview, size: int) -> bytes:
    """Return the content of a frame, which is `size` bytes long.

    At most `size` + 1 bytes are decompressed, with a window of at most 2**ZSTD_WINDOW_LOG bytes.

    Raises:
        PeerMisbehaved: the content is longer or shorter, this is more or less than one frame, or the frame says
            another size or asks for a larger window.

    """
    try:
        # All implementations must refuse the same frames, but the library checks the window only where it needs one
        # besides the output. So it is checked here. The window of a single segment is the declared size.
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
