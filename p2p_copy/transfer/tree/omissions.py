"""Counts what cannot be sent although it was named or found, unless the receiver does not want it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from p2p_copy.errors import PeerMisbehaved
from p2p_copy.transfer import limits

if TYPE_CHECKING:
    from p2p_copy.protocol.messages import Reason


class Omissions:
    """The `Omitted` messages, numbered from 0.

    If the receiver answers every page (`answered`), it may say that it does not want an omitted entry. Then nothing is
    missing. So an omission becomes one of the `problems` only when the page after it has been answered; without
    answers, at once.

    Attributes:
        count: how many there are.
        unwanted: how many of these the receiver does not want.

    """

    def __init__(self, problems: list[tuple[str, Reason]], *, answered: bool) -> None:
        self.count = 0
        self.unwanted = 0
        self._problems = problems
        self._answered = answered
        self._undecided: dict[int, tuple[str, Reason]] = {}
        self._first = 0  # the first number that the receiver may still say it does not want
        self._pages: deque[tuple[int, int]] = deque()  # the end of a page, and of what was omitted before it

    def add(self, path: str, reason: Reason) -> None:
        """Count something that is not sent; `path` is escaped."""
        if not self._answered:
            self._problems.append((path, reason))
        else:
            self._undecided[self.count] = path, reason
            if len(self._undecided) > limits.UNDECIDED:
                self._decide(self.count + 1 - limits.UNDECIDED)
        self.count += 1

    def end_page(self, end: int) -> None:
        """Note that a page was announced that ends before the entry with number `end`."""
        if self._answered:
            self._pages.append((end, self.count))

    def page_answered(self, end: int) -> None:
        """Note that the receiver has answered all pages before the entry with number `end`."""
        while self._pages and self._pages[0][0] <= end:
            self._decide(self._pages.popleft()[1])

    def set_unwanted(self, number: int) -> None:
        """Note that the receiver does not want the omission with this number.

        Raises:
            PeerMisbehaved: it was not asked, or there is no such omission, or it was decided on before.

        """
        if not self._answered or not self._first <= number < self.count:
            raise PeerMisbehaved("The receiver does not want something that was not omitted.")
        self._first = number + 1
        self.unwanted += 1
        self._undecided.pop(number, None)

    def decide_all(self) -> None:
        """Count all that is undecided as a problem: the receiver will decide no more of it."""
        self._decide(self.count)

    def _decide(self, end: int) -> None:
        for number in sorted(self._undecided):
            if number < end:
                self._problems.append(self._undecided.pop(number))
