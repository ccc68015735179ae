"""Asks the user during a transfer: whether to receive what there is, and whether both sides show the same words."""

from __future__ import annotations

import sys
from threading import Lock
from typing import TYPE_CHECKING, Final

import trio

from p2p_copy.cli import limits
from p2p_copy.cli.ui.display import displayed
from p2p_copy.cli.ui.progress import Progress
from p2p_copy.options import Conflict
from p2p_copy.units import amount, count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from p2p_copy.api.work import AcceptDeletion, Verify
    from p2p_copy.cli.ui.displays import Display
    from p2p_copy.cli.ui.terminal import Terminal
    from p2p_copy.observer import Deletion, TransferPreview

_QUESTION: Final = "Receive this? [y/N] "

_DELETES: Final = (
    "When everything has arrived, what the sender does not have in its directories is deleted here (--delete); you are "
    "asked again before that."
)

_REPLACE: Final = "{} exists already. Replace it? [y/N, all, none] "

_DELETE: Final = "Delete them? [y/N] "

_POLICY: Final = {
    Conflict.REFUSE: "Existing files are kept; their new versions will not be delivered.",
    Conflict.OVERWRITE: "Existing files are replaced by the new ones.",
    Conflict.RENAME: "Both are kept; the new files get a number.",
    Conflict.SKIP: "Existing files are kept; their new versions are skipped.",
    Conflict.ASK: "You are asked for each file that exists.",
    Conflict.UPDATE: "Files with the same size and time are up to date; others are replaced.",
}
"""What happens to names that exist already. An existing directory is always written into."""


class YesNo:
    """Asks questions at the terminal, one after the other; the end of input is a no."""

    def __init__(self, terminal: Terminal, progress: Progress) -> None:
        """Ask at `terminal`; `progress` draws nothing meanwhile."""
        self.progress = progress
        self._terminal = terminal
        self._reading = Lock()
        self._typed: str | None = None

    async def ask(self, question: str) -> bool:
        """Return whether the answer is yes."""
        return await self.read(question) in {"y", "yes"}

    async def read(self, question: str) -> str:
        """Return the answer, in small letters; empty at the end of the input."""
        self._typed = None  # what was typed while nothing was asked is no answer
        with self.progress.asking(question):
            await trio.to_thread.run_sync(self._read, abandon_on_cancel=True)
        answer, self._typed = self._typed or "", None
        if not answer.endswith("\n"):
            self._terminal.error("")
        return answer.strip().lower()

    def _read(self) -> None:
        with self._reading:  # a thread of an earlier question, which was cancelled, may still wait for a line
            if self._typed is None:
                self._typed = sys.stdin.readline()


class Question:
    """Shows what the sender has, and asks the user whether to receive it."""

    def __init__(
        self, terminal: Terminal, yes_no: YesNo, conflict: Conflict, *, delete: bool = False
    ) -> None:
        """Ask by `yes_no`; `conflict` says what happens to existing names, `delete` that others are deleted."""
        self._delete = delete
        self._terminal = terminal
        self._yes_no = yes_no
        self._conflict = conflict

    async def __call__(self, preview: TransferPreview) -> bool:
        """Return whether the answer is yes."""
        for line in described(preview, self._conflict):
            self._terminal.error(line)
        if self._delete:
            self._terminal.error(_DELETES)
        return await self._yes_no.ask(_QUESTION)


def yes_no_at(terminal: Terminal, display: Display) -> YesNo | None:
    """Return what asks the user; None if a program reads the `display`, and there is no user."""
    return YesNo(terminal, display) if isinstance(display, Progress) else None


class ReplaceQuestion:
    """Asks the user about each file that exists already; an answer counts until the program ends."""

    def __init__(self, yes_no: YesNo) -> None:
        """Ask by `yes_no`."""
        self._yes_no = yes_no
        self._answers: dict[str, bool] = {}
        self._all: bool | None = None

    async def __call__(self, path: str) -> bool:
        """Return whether the file is to be replaced."""
        if self._all is not None:
            return self._all
        if path not in self._answers:
            answer = await self._yes_no.read(_REPLACE.format(displayed(path, limits.NAME_COLUMNS)))
            if answer in {"a", "all", "none"}:
                self._all = answer != "none"
                return self._all
            self._answers[path] = answer in {"y", "yes"}
        return self._answers[path]


def asking_to_replace(terminal: Terminal, yes_no: YesNo | None) -> ReplaceQuestion | None:
    """Return what asks the user about files that exist already; None if there is no user."""
    return ReplaceQuestion(yes_no) if yes_no is not None and not terminal.why_unasked else None


def asking_to_delete(terminal: Terminal, yes_no: YesNo | None) -> AcceptDeletion:
    """Return what asks the user whether to delete what the sender does not have; without a user the answer is no."""

    async def ask(deletion: Deletion) -> bool:
        if yes_no is None or terminal.why_unasked:
            return False
        terminal.error(f"{count(deletion.count, 'entry', 'entries')} here that the sender does not have:")
        for path in deletion.first:
            terminal.error(f"  {displayed(path, limits.NAME_COLUMNS)}")
        if deletion.count > len(deletion.first):
            terminal.error(f"  ... and {deletion.count - len(deletion.first):,} more")
        return await yes_no.ask(_DELETE)

    return ask


def comparison(yes_no: YesNo | None) -> Verify | None:
    """Return what asks the user whether the other side shows the same words; None if nothing can be asked."""
    if yes_no is None:
        return None

    async def compare(words: tuple[str, str]) -> bool:
        await yes_no.progress.until_shown(words)
        return await yes_no.ask(f"Do both sides show {' '.join(words)}? [y/N] ")

    return compare


def described(preview: TransferPreview, conflict: Conflict) -> Iterator[str]:
    """Yield lines that describe a transfer before it begins."""
    least = "" if preview.counted else "at least "
    more = "" if preview.counted else " The sender is still counting."
    less = " --only and --exclude leave out some of it here." if preview.filtered else ""
    if preview.stream:
        yield f"The sender has a pipe of unknown length.{less}"
    else:
        yield f"The sender has {least}{count(preview.files, 'file')}, {amount(preview.size)}.{more}{less}"
    for named in preview.top[: limits.PREVIEW_LINES]:
        what = "/" if named.directory else "" if preview.stream else f"  {amount(named.size)}"
        name = displayed(named.name, limits.NAME_COLUMNS)
        indent = "  " * (1 + min(named.depth, limits.PREVIEW_INDENT))
        yield f"{indent}{name}{what}{'  (exists)' if named.taken else ''}"
    tops = sum(not named.depth for named in preview.top[: limits.PREVIEW_LINES])
    if preview.names > tops:
        yield f"  ... and {preview.names - tops} more at the top level"
    if preview.taken:
        exists = (
            "1 of these names already exists"
            if preview.taken == 1
            else f"{preview.taken} of these names already exist"
        )
        yield f"{exists}. {_POLICY[conflict]}"
    fits = "" if preview.fits else " That is not enough."
    files = ""
    if preview.free_files is not None and preview.files > preview.free_files:
        files = f", room for {count(preview.free_files, 'more file')}"
    yield f"Free space here: {amount(preview.free_size)}{files}.{fits}"
