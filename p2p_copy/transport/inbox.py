"""What has come over a link and was not taken yet: the place where one who reads and one who wants it meet."""

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
        data: bytes; or a parcel that stands for bytes, on a link with a duct.
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
    """Pieces in order, and then an end. What is put there is seen when it is shown.

    Attributes:
        weight: bytes of memory that everything takes that was put here.
        ended: nothing more will come, as far as is shown.
        listening_since: Trio's time since when somebody has been waiting here; infinite while nobody does.

    """

    def __init__(self) -> None:
        self._coming: list[Piece] = []
        self._pieces: deque[Piece] = deque()
        self._takers = trio.lowlevel.ParkingLot()
        self._givers = trio.lowlevel.ParkingLot()
        self._useless = False
        self._ending = False
        self.weight = 0
        self.ended = False
        self.listening_since = math.inf

    def put(self, piece: Piece) -> None:
        """Add one. Whoever puts more than there should be waits for `empty` first."""
        if not self._useless:
            self._coming.append(piece)
            self.weight += piece.weight

    def end(self) -> None:
        """Say that nothing more will come."""
        self._ending = True

    def show(self) -> None:
        """Let everybody see what was put here, and the end."""
        self._pieces += self._coming
        self._coming.clear()
        self.ended = self._ending
        if self._pieces or self.ended:
            self._takers.unpark_all()

    def discard(self) -> None:
        """Throw everything away, and all that will come, because nobody wants it any more."""
        self._useless = True
        self._coming.clear()
        self._pieces.clear()
        self.weight = 0
        self._givers.unpark_all()

    async def empty(self) -> None:
        """Wait until all is taken."""
        while self._pieces:
            await self._givers.park()

    async def filled(self) -> bool:
        """Wait until there is something; False if there is nothing and there will be nothing."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._pieces and not self.ended:
            self.listening_since = trio.current_time()
            try:
                await self._takers.park()
            finally:
                self.listening_since = math.inf
        return bool(self._pieces)

    def take(self) -> Piece:
        """Take the first piece."""
        piece = self._pieces.popleft()
        self.weight -= piece.weight
        if not self._pieces:
            self._givers.unpark_all()
        return piece

    def take_all(self) -> list[Piece]:
        """Take all pieces."""
        pieces = list(self._pieces)
        self._pieces.clear()
        self.weight = sum(piece.weight for piece in self._coming)
        self._givers.unpark_all()
        return pieces
