"""Keeps the receiver's answers to manifest pages: what it holds of the entries, and which pages it has answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_copy.errors import PeerMisbehaved

if TYPE_CHECKING:
    from p2p_copy.protocol.messages import Held, Holds


class PageAnswers:
    """The receiver's `Holds` messages. With `expected` it answers every page, without it none."""

    def __init__(self, *, expected: bool) -> None:
        self._expected = expected
        self._end = 0  # the first entry that was not answered for
        self._held: dict[int, Held] = {}

    def add(self, message: Holds, named: int) -> None:
        """Note the answer to one or more pages, after `named` entries were named.

        Raises:
            PeerMisbehaved: no answer was expected, or it is about entries that were never named or answered before.

        """
        indices = [held.index for held in message.files]
        if not self._expected or not self._end < message.end <= named:
            raise PeerMisbehaved("The receiver says what it holds of entries that were not named.")
        if indices and not self._end <= min(indices) <= max(indices) < message.end:
            raise PeerMisbehaved("The receiver says twice what it holds of an entry.")
        self._held.update(zip(indices, message.files, strict=True))
        self._end = message.end

    def has(self, index: int) -> bool:
        """Return whether it is known what the receiver holds of this entry, and of all before it."""
        return not self._expected or index < self._end

    def take_held(self, index: int) -> Held | None:
        """Return what the receiver holds of a file, and forget it."""
        return self._held.pop(index, None)
