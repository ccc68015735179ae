"""The queue of messages that have come over a link and were not received from it yet.

The link's reader puts pieces in, and waits until they are taken before it reads again. A piece can be taken as soon as
it was put in.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import trio

from p2p_copy.transport import limits

if TYPE_CHECKING:
    from p2p_copy.transport.splice import SplicedBytes


class Piece(NamedTuple):
    """A message, or a part of one.

    Attributes:
        data: its bytes; or spliced bytes, on a link that splices.
        last: whether the message ends with it.
        is_text: whether the message is text; its bytes are UTF-8, and a piece may end inside a character.

    """

    data: bytes | SplicedBytes
    last: bool = True
    is_text: bool = False

    @classmethod
    def whole(cls, message: bytes | str) -> Piece:
        """Return a message as one piece."""
        return cls(message.encode(), is_text=True) if isinstance(message, str) else cls(message)

    @property
    def weight(self) -> int:
        """Bytes of memory that it takes, an empty one included."""
        return len(self.data) + limits.PIECE_COST


class Inbox:
    """Pieces in order, and then an end.

    One read may bring many of them, and they are taken before the next one. So the inbox is as large as one read.

    Attributes:
        weight: bytes of memory that the pieces take.
        listening_since: Trio's time since when a task has been waiting for a piece; infinite while none does.

    """

    def __init__(self) -> None:
        self._pieces: deque[Piece] = deque()
        self._receivers = trio.lowlevel.ParkingLot()
        self._readers = trio.lowlevel.ParkingLot()
        self._has_ended = self._is_unwanted = False
        self.weight = 0
        self.listening_since = math.inf

    def put(self, piece: Piece) -> None:
        """Add a piece. Before the next read, `wait_empty`."""
        if not self._is_unwanted:
            self._pieces.append(piece)
            self.weight += piece.weight
            if self._receivers:
                self._receivers.unpark_all()

    def end(self) -> None:
        """Let receivers know that nothing more will come."""
        self._has_ended = True
        self._receivers.unpark_all()

    def discard(self) -> None:
        """Throw away all pieces, and all that will come."""
        self._is_unwanted = True
        self.pop_all()

    async def wait_empty(self) -> None:
        """Wait until every piece is taken."""
        while self._pieces:
            await self._readers.park()

    async def wait_for_piece(self) -> bool:
        """Wait until there is a piece; return False if there is none and there will be none."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._pieces and not self._has_ended:
            self.listening_since = trio.current_time()
            try:
                await self._receivers.park()
            finally:
                self.listening_since = math.inf
        return bool(self._pieces)

    def pop(self) -> Piece:
        """Take the first piece."""
        piece = self._pieces.popleft()
        self.weight -= piece.weight
        if not self._pieces:
            self._readers.unpark_all()
        return piece

    def pop_all(self) -> list[Piece]:
        """Take all pieces."""
        pieces = list(self._pieces)
        self._pieces.clear()
        self.weight = 0
        self._readers.unpark_all()
        return pieces
