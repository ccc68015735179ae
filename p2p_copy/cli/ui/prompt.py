"""What a receiver's user sees before anything is received, and the question."""

from __future__ import annotations

import sys
from threading import Lock
from typing import TYPE_CHECKING, Final

import trio

from p2p_copy.cli import limits
from p2p_copy.cli.ui.display import displayed
from p2p_copy.options import Conflict
from p2p_copy.units import amount

if TYPE_CHECKING:
    from collections.abc import Iterator

    from p2p_copy.cli.ui.progress import Progress
    from p2p_copy.cli.ui.terminal import Terminal
    from p2p_copy.observer import TransferPreview

_QUESTION: Final = "Receive this? [y/N] "

_POLICY: Final = {
    Conflict.REFUSE: "Files that exist are kept, and the new ones count as not delivered.",
    Conflict.OVERWRITE: "Files that exist are replaced by the new ones.",
    Conflict.RENAME: "Both are kept: the new ones get a number.",
    Conflict.SKIP: "Files that exist are kept as they are.",
}
"""What becomes of names that are taken; a directory that exists is gone into whatever the policy."""


class Question:
    """Shows what would come and asks the person at the terminal; an end of input is a no."""

    def __init__(self, terminal: Terminal, progress: Progress, conflict: Conflict) -> None:
        """Ask at `terminal`; `progress` draws nothing meanwhile, and `conflict` is what was chosen for taken names."""
        self._terminal = terminal
        self._progress = progress
        self._conflict = conflict
        self._reading = Lock()
        self._typed: str | None = None

    async def __call__(self, outlook: TransferPreview) -> bool:
        """Return whether the answer is yes."""
        for line in described(outlook, self._conflict):
            self._terminal.error(line)
        with self._progress.asking(_QUESTION):
            await trio.to_thread.run_sync(self._read, abandon_on_cancel=True)
        answer, self._typed = self._typed or "", None
        if not answer.endswith("\n"):
            self._terminal.error("")
        return answer.strip().lower() in {"y", "yes"}

    def _read(self) -> None:
        with self._reading:  # somebody may wait here still for the answer to a question that was taken back
            if self._typed is None:
                self._typed = sys.stdin.readline()


def described(outlook: TransferPreview, conflict: Conflict) -> Iterator[str]:
    """Yield what is known of a transfer before it begins, line by line."""
    least = "" if outlook.counted else "at least "
    more = "" if outlook.counted else " The sender still counts."
    less = " --only and --exclude leave out some of that here." if outlook.filtered else ""
    files = "1 file" if outlook.files == 1 else f"{outlook.files} files"
    if outlook.stream:
        yield f"The sender has a pipe, whose length nobody knows.{less}"
    else:
        yield f"The sender has {least}{files}, {amount(outlook.size)}.{more}{less}"
    for named in outlook.top[: limits.PREVIEW_LINES]:
        what = "/" if named.directory else "" if outlook.stream else f"  {amount(named.size)}"
        name = displayed(named.name, limits.NAME_COLUMNS)
        indent = "  " * (1 + min(named.depth, limits.PREVIEW_INDENT))
        yield f"{indent}{name}{what}{'  (exists)' if named.taken else ''}"
    tops = sum(not named.depth for named in outlook.top[: limits.PREVIEW_LINES])
    if outlook.names > tops:
        yield f"  ... and {outlook.names - tops} more at the top"
    if outlook.taken:
        yield f"Names at the top that exist here: {outlook.taken}. {_POLICY[conflict]}"
    room = [f"{amount(outlook.free_size)} free"]
    if outlook.free_files is not None:
        room.append(f"{outlook.free_files} files can be made")
    fits = "" if outlook.fits else " That is not enough."
    yield f"Here: {', '.join(room)}.{fits}"
