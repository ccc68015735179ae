"""Keeps what the receiver has answered, as long as that can still change what is sent.

The event loop puts the answers into a queue, and the thread that makes records acts on them.
"""

from __future__ import annotations

from collections import deque
from threading import Lock
from typing import TYPE_CHECKING, TypeAlias

from p2p_copy.errors import PeerMisbehaved
from p2p_copy.protocol import limits as protocol_limits, wire
from p2p_copy.protocol.messages import Reason
from p2p_copy.transfer import limits

if TYPE_CHECKING:
    from p2p_copy.files.source.entry import SourceEntry
    from p2p_copy.protocol.messages import Held, Holds, Reject, SameSegments, Total, Unwanted

    Answer: TypeAlias = Reject | Unwanted | Holds | SameSegments | Total


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


class PageAnswers:
    """The receiver's `Holds` messages. With `expected` it answers every page, without it none."""

    def __init__(self, *, expected: bool) -> None:
        self.expected = expected
        self._end = 0  # the first entry that was not answered for
        self._held: dict[int, Held] = {}
        self._same: set[int] = set()
        self._compare: set[int] = set()
        self._asked: dict[
            int, int
        ] = {}  # segments of which the receiver has not said yet whether it has them
        self._same_segments: dict[int, bytearray] = {}  # 0 or 1 for each segment
        self._whole: set[int] = set()

    def add(self, message: Holds, named: int) -> None:
        """Record the answer to one or more pages, after `named` entries were named.

        Raises:
            PeerMisbehaved: no answer was expected, or it is about entries that were never named or answered before.

        """
        indices = [held.index for held in message.files]
        if not self.expected or not self._end < message.end <= named:
            raise PeerMisbehaved("The receiver says what it holds of entries that were not named.")
        if indices and not self._end <= min(indices) <= max(indices) < message.end:
            raise PeerMisbehaved("The receiver says twice what it holds of an entry.")
        at = begin = self._end
        for first, count in message.same:
            if not at <= first < first + count <= message.end:
                raise PeerMisbehaved("The receiver says twice what it holds of an entry.")
            at = first + count
            self._same.update(range(first, at))
        if not all(begin <= index < message.end for index in message.compare):
            raise PeerMisbehaved("The receiver wants to compare an entry that is not in question.")
        self._compare.update(message.compare)
        self._held.update(zip(indices, message.files, strict=True))
        self._end = message.end

    def has(self, index: int) -> bool:
        """Return whether it is known what the receiver holds of this entry, and of all before it."""
        return not self.expected or index < self._end

    def take_same(self, index: int) -> bool:
        """Return whether the receiver says that a file is up to date, and forget it."""
        same = index in self._same
        self._same.discard(index)
        return same

    def take_compare(self, index: int) -> bool:
        """Return whether the receiver wants to know the digests of a file's segments, and forget it."""
        wants = index in self._compare
        self._compare.discard(index)
        return wants

    def ask(self, index: int, segments: int) -> None:
        """Record that the receiver was told the digests of more segments of a file, and is to answer."""
        self._asked[index] = self._asked.get(index, 0) + segments
        self._same_segments.setdefault(index, bytearray())

    def add_same_segments(self, message: SameSegments) -> None:
        """Record which segments of a file the receiver has.

        Raises:
            PeerMisbehaved: it was not asked that.

        """
        left = self._asked.get(message.index, 0) - len(message.same)
        known = self._same_segments.get(message.index, bytearray())
        if not message.same or left < 0 or message.first != len(known):
            raise PeerMisbehaved("The receiver says of segments that it has them, and was not asked.")
        if left:
            self._asked[message.index] = left
        else:
            del self._asked[message.index]
        known += bytes(message.same)  # in place: a large file has many
        if message.whole:
            self._whole.add(message.index)

    def has_compared(self, last: int) -> bool:
        """Return whether all segments of which the receiver was told are answered, of entries up to `last`."""
        return all(index > last for index in self._asked)

    def take_same_segments(self, index: int) -> tuple[bytes | bytearray, bool]:
        """Return which segments of a file the receiver has, and whether it has all of the file; forget it."""
        whole = index in self._whole
        self._whole.discard(index)
        return self._same_segments.pop(index, b""), whole

    def take_held(self, index: int) -> Held | None:
        """Return what the receiver holds of a file, and forget it."""
        return self._held.pop(index, None)


class Rejections:
    """The receiver's `Reject` messages.

    Attributes:
        failures: how many entries the receiver cannot take.
        skips: how many it leaves as they are, because its user wants that.
        unwanted: how many of these its patterns leave out.

    """

    def __init__(self) -> None:
        self.failures = 0
        self.skips = 0
        self.unwanted = 0
        self._count = 0
        self._indices: set[int] = set()
        self._next = 0  # the first entry whose contents were not sent
        self._open: frozenset[int] = frozenset()  # earlier directories that the walk has not finished

    def add(self, index: int, reason: Reason, named: int) -> None:
        """Record that the receiver rejects an entry, after `named` entries were named.

        Raises:
            PeerMisbehaved: there is no such entry, or more were rejected than were named.

        """
        self._count += 1
        if index >= named:
            raise PeerMisbehaved("The receiver speaks of an entry that was never named.")
        if self._count > named:
            raise PeerMisbehaved("The receiver refuses more entries than were named.")
        if reason is Reason.UNMADE:
            return  # an empty directory, which neither side counts
        if self._matters(index):
            self._indices.add(index)
        self.failures += reason.is_failure
        self.skips += not reason.is_failure
        self.unwanted += reason is Reason.EXCLUDED

    def has(self, found: SourceEntry) -> bool:
        """Return whether an entry, or a directory above it, was rejected."""
        return bool(self._indices) and (found.index in self._indices or self.above(found) is not None)

    def above(self, found: SourceEntry) -> SourceEntry | None:
        """Return the rejected directory that an entry lies in, None if there is none."""
        if not self._indices:
            return None
        above = found.parent
        while above is not None and above.index not in self._indices:
            above = above.parent
        return above

    def forget(self, last: SourceEntry) -> None:
        """Drop what changes nothing after the contents of `last`: all but the directories that are still open."""
        open_directories = set()
        above: SourceEntry | None = last
        while above is not None:
            open_directories.add(above.index)
            above = above.parent
        self._open, self._next = frozenset(open_directories), last.index + 1
        self._indices = {index for index in self._indices if self._matters(index)}

    def _matters(self, index: int) -> bool:
        return index >= self._next or index in self._open


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
        """Record that a page was announced that ends before the entry with number `end`."""
        if self._answered:
            self._pages.append((end, self.count))

    def page_answered(self, end: int) -> None:
        """Record that the receiver has answered all pages before the entry with number `end`."""
        while self._pages and self._pages[0][0] <= end:
            self._decide(self._pages.popleft()[1])

    def set_unwanted(self, number: int) -> None:
        """Record that the receiver does not want the omission with this number.

        Raises:
            PeerMisbehaved: it was not asked, or there is no such omission, or it was decided on before.

        """
        if not self._answered or not self._first <= number < self.count:
            raise PeerMisbehaved("The receiver does not want something that was not omitted.")
        self._first = number + 1
        self.unwanted += 1
        self._undecided.pop(number, None)

    def decide_all(self) -> None:
        """Count each undecided omission as a problem: the receiver decides on no more of them."""
        self._decide(self.count)

    def _decide(self, end: int) -> None:
        for number in sorted(self._undecided):
            if number < end:
                self._problems.append(self._undecided.pop(number))
