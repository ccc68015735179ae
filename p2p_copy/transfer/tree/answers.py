"""Hands the receiver's answers from the event loop, which hears them, to the thread that acts on them."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, TypeAlias

from p2p_copy.protocol import limits as protocol_limits, wire

if TYPE_CHECKING:
    from p2p_copy.protocol.messages import Holds, Reject, Total, Unwanted

    Answer: TypeAlias = Reject | Unwanted | Holds | Total


class AnswerQueue:
    """Answers that nothing was done about yet, in the order in which they were heard.

    A receiver may send any number of them while the thread waits for a disk. So `put` says when they are as many as
    one record may have: the caller then hears no more until the thread has taken these.
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
        """Whether no more answers should be heard before `take_all` is called."""
        with self._lock:
            return self._weight >= protocol_limits.MAX_RECORD_MESSAGES

    def take_all(self) -> list[Answer]:
        """Return all answers and forget them."""
        with self._lock:
            answers, self._answers, self._weight = self._answers, [], 0
        return answers
