"""The part of a stream in memory: at a sender the bytes not yet acknowledged, at a receiver those not yet written.

Even bytes that are added one by one take little more memory than their size: they are joined to pieces of up to
`limits.STREAM_PIECE`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from p2p_copy.transfer import limits

if TYPE_CHECKING:
    from collections.abc import Iterator


class Window:
    """The bytes of a stream from `start` to `end`, both counted from its beginning. For one thread at a time."""

    def __init__(self) -> None:
        self._blocks: deque[bytes] = deque()
        self.start = 0
        self.end = 0

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return self.end - self.start

    @property
    def pieces(self) -> int:
        """How many pieces of memory hold the bytes."""
        return len(self._blocks)

    def put(self, data: bytes) -> None:
        """Add the next bytes."""
        if self._blocks and len(self._blocks[-1]) + len(data) <= limits.STREAM_PIECE:
            self._blocks[-1] += data
        elif data:
            self._blocks.append(data)
        self.end += len(data)

    def release(self, to: int) -> list[bytes | memoryview]:
        """Remove the bytes before the offset `to`, which lies in the window, and return them."""
        assert self.start <= to <= self.end, f"{to} is not in {self.start} to {self.end}"
        released: list[bytes | memoryview] = []
        while self.start < to:
            block = self._blocks.popleft()
            count = min(len(block), to - self.start)
            released.append(memoryview(block)[:count])
            if count < len(block):
                self._blocks.appendleft(block[count:])
            self.start += count
        return released

    def look(self, at: int, most: int) -> Iterator[memoryview]:
        """Yield the bytes from the offset `at` on, in pieces of at most `most` bytes."""
        end = self.start  # of the block
        for block in self._blocks:
            end += len(block)
            if end > at:
                view = memoryview(block)[max(len(block) - (end - at), 0) :]
                for begin in range(0, len(view), most):
                    yield view[begin : begin + most]
