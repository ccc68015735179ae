"""What a transfer reports while it runs, and at its end.

An observer only listens: its methods return nothing, must not raise or block, and are called in Trio's thread. A
question to the user goes through the `ask` of `receive` instead. Paths and sentences that reach an observer are escaped
already, so they are safe to print.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from p2p_copy.value import FrozenValue


class Report(FrozenValue):
    """How a transfer ended, the same on both sides. Bytes are those of file contents.

    Attributes:
        files: regular files that are complete at the receiver.
        size: the sum of their sizes.
        failures: entries that were not delivered: unreadable, changed, refused names, conflicts.
        skipped: entries left as they were because the receiver asked for that.
        excluded: files and symlinks, and directories with everything in them, that patterns left out: those of this
            side, and at the sender those of the receiver, too.
        up_to_date: how many of `files` the receiver had already, the same by size and time, or by their
            contents, so that they were not sent.
        deleted: at the receiver, what was deleted because the sender does not have it; a directory counts once.
        root: the digest over all names, sizes and contents, as hexadecimal digits.
        seconds: time since both sides were connected.

    """

    files: int
    size: int
    failures: int
    skipped: int
    root: str
    seconds: float
    excluded: int = 0
    up_to_date: int = 0
    deleted: int = 0


class PreviewEntry(FrozenValue):
    """One of the first entries that a sender has.

    Attributes:
        depth: 0 for what the user named, 1 for what is in it.
        name: its name, without directories.
        directory: whether it is a directory.
        size: its bytes.
        taken: whether the output directory has something of this name.

    """

    depth: int
    name: str
    directory: bool
    size: int
    taken: bool


class TransferPreview(FrozenValue):
    """What a receiver's user sees before the question. What the sender says in it is a claim: nothing relies on it.

    Attributes:
        files: how many files the sender has; a lower bound unless `counted`.
        size: the bytes of these files; a lower bound unless `counted`.
        counted: whether the sender has counted all of them.
        names: how many entries are at the top level.
        top: the first of them, and a few in each directory.
        taken: how many names in `top` exist in the output directory.
        free_size: bytes that may be written there.
        free_files: files that may be created there; None if there is no limit.
        filtered: this side's patterns leave something out; `top` takes that into account, `files` and `size` do not.
        stream: it is one stream, of unknown length.

    """

    files: int
    size: int
    counted: bool
    names: int
    top: tuple[PreviewEntry, ...]
    taken: int
    free_size: int
    free_files: int | None
    filtered: bool
    stream: bool = False

    @property
    def fits(self) -> bool:
        """Whether there is space for all that the sender has counted; this side's patterns may reduce that."""
        return self.size <= self.free_size and (self.free_files is None or self.files <= self.free_files)


class Deletion(FrozenValue):
    """What a receiver is about to delete, because the sender does not have it.

    Attributes:
        count: how many files, symlinks and directories; a directory counts once, with all that is in it.
        first: the first of their paths below the output directory, escaped; that of a directory ends with a `/`.

    """

    count: int
    first: tuple[str, ...]


AskReplace = Callable[[str], Awaitable[bool]]
"""Answers whether to replace a file of the receiver, given its escaped path; it may take any time."""

AskDelete = Callable[[Deletion], Awaitable[bool]]
"""Answers whether to delete. It has `limits.DELETE_TIMEOUT`, since the sender waits meanwhile."""

Ask = Callable[[TransferPreview], Awaitable[bool]]
"""Answers whether to receive. It may take `limits.ANSWER_TIMEOUT`, and is cancelled if the sender disconnects."""


UNANSWERED: Final = "p2p-copy asked this function a question, and its error has ended the transfer."
"""The note that the error of such a function gets. It also tells the other side that this is no bug of p2p-copy."""

Verify = Callable[[tuple[str, str]], Awaitable[bool]]
"""Answers whether the other side shows the same two words. It may take as long as `Ask`, and is cancelled likewise."""


class Observer:
    """Ignores every report; subclasses override what they need."""

    def connecting(self, relay: str, proxy: str | None = None) -> None:
        """This side is connecting to the relay, perhaps through a proxy (scheme, host and port of each)."""

    def waiting(self, relay: str, seconds: float) -> None:
        """This side is connected to the relay; the other side is not yet, and is waited for this long."""

    def met_at(self, relay: str) -> None:
        """The other side has come to this relay, and the key exchange begins."""

    def notice(self, sentence: str) -> None:
        """The relay, or this side, has something to tell the user."""

    def lost(self, sentence: str, patience: float, pause: float) -> None:
        """The other side or the relay was lost, or is still out of reach.

        This side tries to reconnect in `pause` seconds, and gives up after `patience` seconds.
        """

    def stalled(self, sentence: str, seconds: float) -> None:
        """Nothing has moved for `seconds`; `sentence`, without a full stop, says what the transfer waits for."""

    def moving(self) -> None:
        """Data moves again after a stall."""

    def paired(self, words: tuple[str, str], peer_verifies: bool) -> None:
        """Both sides are connected, and their codes match.

        Both show the same `words`. If `peer_verifies`, the other side's user is asked whether they do, before anything
        is transferred.
        """

    def asked(self) -> None:
        """The receiver's user is asked whether to receive; this side, the sender, waits for the answer."""

    def accepted(self) -> None:
        """The receiver's user said yes."""

    def declined(self, wait: float) -> None:
        """The receiver's user declined; for `seconds` more this side waits for a receiver with the same code."""

    def links(self, count: int) -> None:
        """The transfer has `count` links now. After each `paired` it has one again."""

    def total(self, files: int, size: int) -> None:
        """The sender has counted how many files and bytes there are in all."""

    def spared(self, size: int) -> None:
        """Of the bytes in `progress`, the receiver had `size` before this connection; they need not be sent."""

    def progress(self, files: int, size: int, path: str = "") -> None:
        """How many files the receiver has completed, how many bytes it has written, and which file is under way."""

    def problem(self, path: str, sentence: str) -> None:
        """One path is not delivered, and why."""

    def skipped(self, path: str) -> None:
        """One path was left as it was at the receiver, because it asked for that."""

    def deleted(self, path: str) -> None:
        """One path here was deleted, because the sender does not have it."""

    def verifying(self) -> None:
        """The receiver has all that was sent; its receipt is awaited."""


class NoticeOnce:
    """Tells an observer each notice once, however often both sides reconnect."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._told: set[str] = set()

    def notice(self, *sentences: str) -> None:
        """Pass on the sentences that were not passed on before."""
        for sentence in sentences:
            if sentence not in self._told:
                self._told.add(sentence)
                self._observer.notice(sentence)


class ConnectObserver(Observer):
    """Passes on what connecting reports, each notice once: a relay's terms are the same every time.

    Attributes:
        silent: both sides are trying two rooms in turn, and the user need not see each try.
        left: seconds for which the other side is waited for in all, if in several tries; 0 if this one is the last.

    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._once = NoticeOnce(observer)
        self.silent = False
        self.left = 0.0

    def connecting(self, relay: str, proxy: str | None = None) -> None:
        """Pass it on, unless silent."""
        if not self.silent:
            self._observer.connecting(relay, proxy)

    def waiting(self, relay: str, seconds: float) -> None:
        """Pass it on, unless silent, with the time of all tries: a user waits for the other side, not for a room."""
        if not self.silent:
            self._observer.waiting(relay, max(seconds, self.left))

    def met_at(self, relay: str) -> None:
        """Pass it on."""
        self._observer.met_at(relay)

    def notice(self, sentence: str) -> None:
        """Pass it on, once."""
        self._once.notice(sentence)

    def links(self, count: int) -> None:
        """Pass it on."""
        self._observer.links(count)
