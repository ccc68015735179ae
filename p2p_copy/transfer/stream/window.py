"""The part of a stream in memory: at a sender what is not acknowledged, at a receiver what is not written.

It takes little more memory than its bytes, also if they are added one by one: some for each `limits.STREAM_PIECE`.
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
        """How many bytes are in it."""
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
        """Remove the bytes before the place `to`, which lies in the window, and return them."""
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
        """Yield the bytes from the place `at` on, none of the pieces longer than `most`."""
        place = self.start
        for block in self._blocks:
            place += len(block)
            if place > at:
                view = memoryview(block)[max(len(block) - (place - at), 0) :]
                for begin in range(0, len(view), most):
                    yield view[begin : begin + most]
