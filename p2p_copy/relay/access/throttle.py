"""Limits how much work one connection may cause: little until it is paired, then in proportion to its bytes.

A read costs a relay some 0.2 ms whether it brings a byte or a mebibyte, and a frame or a TLS record costs some
microseconds even if it is empty. So reads, frames and records are counted, content pays for the reads that bring it,
and a connection over the limit is read from a little later. Nothing is lost by that: meanwhile more gathers in the
kernel, and the next read brings it all at once.

All connections that are not paired share one more limit, equally, so that a crowd of them cannot fill a processor. The
burst that each may have (an arriving client needs it) does not count for this limit. Each keeps one read and one frame
per `limits.KEEPALIVE_INTERVAL`: with less, a client that waits among 24,000 would seem dead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from p2p_copy.relay import limits
from p2p_copy.transport import limits as transport_limits
from p2p_copy.transport.token_bucket import TokenBucket

if TYPE_CHECKING:
    from p2p_copy.transport.tcp import TCPStream


@dataclass(slots=True)
class Newcomers:
    """How many connections of one relay are not paired; all their throttles share one."""

    count: int = 0


class Throttle:
    """The limits of one connection. Close it when the connection ends."""

    def __init__(self, newcomers: Newcomers, frames_per_second: int) -> None:
        """Begin with the limits before pairing. `frames_per_second` is the limit after it; 0 means none."""
        now = trio.current_time()
        self._stream: TCPStream | None = None
        self._newcomers = newcomers
        self._frames_per_second = frames_per_second
        self._new = True
        self._reads = TokenBucket(limits.EARLY_READS, limits.EARLY_READS_BURST, now)
        self._frames = TokenBucket(limits.EARLY_FRAMES, limits.EARLY_FRAMES_BURST, now)
        newcomers.count += 1

    def limit(self, stream: TCPStream) -> None:
        """Limit the reads of `stream` from now on."""
        self._stream = stream
        stream.most = limits.EARLY_READ
        stream.pace = self.read

    def pair(self) -> None:
        """Replace the limits of a connection that is not paired by those of one that is."""
        self._leave_newcomers()
        now = trio.current_time()
        self._reads = TokenBucket(
            limits.SMALL_READS_PER_SECOND, limits.SMALL_READS_PER_SECOND * limits.FRAME_BURST, now
        )
        rate = self._frames_per_second or 1
        self._frames = TokenBucket(rate, rate * limits.FRAME_BURST, now)
        if self._stream is not None:
            self._stream.most = transport_limits.RECEIVE_BUFFER

    def close(self) -> None:
        """Drop the stream, and stop counting among the connections that are not paired."""
        self._leave_newcomers()
        if self._stream is not None:
            self._stream.pace = None  # breaks a cycle of references
            self._stream = None

    def _leave_newcomers(self) -> None:
        self._newcomers.count -= self._new
        self._new = False

    def read(self, size: int) -> float:
        """Count a read of `size` bytes; return for how many seconds to put off the next one."""
        if self._new:
            self._reads.rate = self._share(limits.EARLY_READS, limits.EARLY_READS_TOTAL)
            return self._reads.delay_after(1, trio.current_time())
        # A long read earns credit for short ones: before each read of a payload there is one of its header.
        return self._reads.delay_after(1 - size / limits.FREE_READ, trio.current_time())

    def frames(self, count: int) -> float:
        """Count frames or short records; return for how many seconds to read no more."""
        if self._new:
            self._frames.rate = self._share(limits.EARLY_FRAMES, limits.EARLY_FRAMES_TOTAL)
        elif not self._frames_per_second:
            return 0.0
        return self._frames.delay_after(count, trio.current_time())

    def _share(self, rate: float, total: float) -> float:
        # Each is read from often enough that its pings and answers come in time, however many there are.
        return min(rate, max(total / self._newcomers.count, 1 / transport_limits.KEEPALIVE_INTERVAL))
