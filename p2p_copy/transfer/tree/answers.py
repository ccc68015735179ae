"""Hands the receiver's answers from the event loop, which receives them, to the thread that acts on them."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, TypeAlias

from p2p_copy.protocol import limits as protocol_limits, wire

if TYPE_CHECKING:
    from p2p_copy.protocol.messages import Holds, Reject, Total, Unwanted

    Answer: TypeAlias = Reject | Unwanted | Holds | Total


class AnswerQueue:
    """Answers that were not acted upon yet, in the order in which they came.

    A receiver may send any number of them while the thread waits for a disk. So the queue is full when it has as many
    as one record may have. The caller then receives nothing more until the thread has taken them.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._answers: list[Answer] = []
        self._weight = 0

    def put(self, answer: Answer) -> None:
        """Add an answer."""
        with self._lock:
            self._answers.append(answer)
            self._weight += wire.weight(answer)

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be added before `take_all` is called."""
        with self._lock:
            return self._weight >= protocol_limits.MAX_RECORD_MESSAGES

    def take_all(self) -> list[Answer]:
        """Return all answers and forget them."""
        with self._lock:
            answers, self._answers, self._weight = self._answers, [], 0
        return answers
