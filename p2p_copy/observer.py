"""Facts out: what a transfer tells whoever watches it.

An observer is told, never asked, and must not raise; who wants to be asked gives `receive` an `ask`. Its methods
are called in Trio's thread and return at once. Paths and sentences that reach it are escaped already: they are safe to
print.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Report:
    """How a transfer ended, the same on both sides. Bytes are those of file contents.

    Attributes:
        files: regular files that lie complete at the receiver.
        size: the sum of their sizes.
        failures: what was named or found and is not there now: unreadable, changed, refused names, conflicts.
        skipped: entries left as they were because the receiver asked for that.
        excluded: files and links, and directories with all that is in them, that patterns left out: those of this side,
            and at the sender those of the receiver, too.
        root: the digest over all names, sizes and contents, as hexadecimal digits.
        seconds: from the moment both ends were there.

    """

    files: int
    size: int
    failures: int
    skipped: int
    root: str
    seconds: float
    excluded: int = 0


@dataclass(frozen=True, slots=True)
class PreviewEntry:
    """Something at the top of what a sender has: its depth there, 0 or 1, its name, whether it is a directory, bytes.

    With `taken`, something of this name is in the output directory.
    """

    depth: int
    name: str
    directory: bool
    size: int
    taken: bool


@dataclass(frozen=True, slots=True)
class TransferPreview:
    """What a receiver's user sees before the answer. All that the sender says is a claim, and nothing relies on it.

    Attributes:
        files: how many files the sender has; at least, unless `counted`.
        size: their bytes; likewise.
        counted: the sender has counted all of them.
        names: how many names there are at the top.
        top: the first of them, and a few in each directory.
        taken: how many names among those in `top` exist in the output directory.
        free_size: bytes that may be written there.
        free_files: files that may be made there; None where nobody limits that.
        filtered: this side's patterns leave something out, which `files` and `size` do not know; `top` does.
        stream: it is one stream, whose length nobody knows.

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
        """Whether there is room for all that the sender has counted; patterns of this side may make it less."""
        return self.size <= self.free_size and (self.free_files is None or self.files <= self.free_files)


Ask = Callable[[TransferPreview], Awaitable[bool]]
"""Answers whether to receive. It may take `limits.ANSWER_TIMEOUT`, and is cancelled if the sender goes away."""


class Observer:
    """Watches and says nothing; subclasses override what they care about."""

    def connecting(self, relay: str) -> None:
        """The relay (scheme, host and port) is being called."""

    def waiting(self, relay: str) -> None:
        """The relay has us; the other side is not there yet."""

    def notice(self, sentence: str) -> None:
        """The relay, or our own side, has something to say to the user."""

    def lost(self, sentence: str, patience: float) -> None:
        """The other side or the relay was lost; this side comes back for so many seconds, and goes on."""

    def stalled(self, sentence: str, seconds: float) -> None:
        """Nothing has moved for so many seconds; the sentence, which has no end yet, says on whom it is."""

    def moving(self) -> None:
        """What was stalled moves again."""

    def paired(self) -> None:
        """Both sides are there and hold the same code."""

    def asked(self) -> None:
        """The receiver's user is shown what there is, and asked; this side, the sender, waits for the answer."""

    def accepted(self) -> None:
        """The answer was yes."""

    def declined(self, wait: float) -> None:
        """The answer was no; this side waits so many seconds more for somebody with the same code."""

    def links(self, count: int) -> None:
        """So many links carry the transfer now; it is one as long as nothing else was said since both sides met."""

    def total(self, files: int, size: int) -> None:
        """So many files and bytes in all, as far as the sender knows."""

    def spared(self, size: int) -> None:
        """So many bytes of what `progress` counts were at the receiver when both sides met, and need not be sent."""

    def progress(self, files: int, size: int) -> None:
        """So many files complete and bytes written at the receiver."""

    def problem(self, path: str, sentence: str) -> None:
        """One path will not arrive, and why."""

    def skipped(self, path: str) -> None:
        """One path was left as it was at the receiver, as asked."""

    def verifying(self) -> None:
        """The receiver has all that was sent; its receipt is awaited."""


class Discreet(Observer):
    """Passes on what meetings have to say, as far as it is new.

    Attributes:
        silent: two sides look for each other in turn in two places, and nobody wants to hear of each turn.

    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._told: set[str] = set()
        self.silent = False

    def connecting(self, relay: str) -> None:
        """Pass it on, unless in silence."""
        if not self.silent:
            self._observer.connecting(relay)

    def waiting(self, relay: str) -> None:
        """Pass it on, unless in silence."""
        if not self.silent:
            self._observer.waiting(relay)

    def notice(self, sentence: str) -> None:
        """Pass each sentence on once: a relay's terms are the same in every turn."""
        if sentence not in self._told:
            self._told.add(sentence)
            self._observer.notice(sentence)

    def links(self, count: int) -> None:
        """Pass it on."""
        self._observer.links(count)
