"""`--dry-run`: what a transfer would be, without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_copy.cli import limits
from p2p_copy.cli.ui.prompt import described
from p2p_copy.errors import NoSpace, PartialTransfer, TooMuch
from p2p_copy.files.source.entry import SourceEntry
from p2p_copy.files.source.internal_files import InternalFiles
from p2p_copy.files.source.reader import SourceFailed, open_source
from p2p_copy.files.source.walk import UNFINISHED, walk
from p2p_copy.files.state.store import known_directories
from p2p_copy.files.user_paths import check_paths
from p2p_copy.protocol.escape import escape
from p2p_copy.protocol.messages import Kind, Reason
from p2p_copy.transfer.reasons import SENTENCES, unfinished
from p2p_copy.units import amount

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p2p_copy.cli.ui.terminal import Terminal
    from p2p_copy.files.selection import Selection
    from p2p_copy.observer import TransferPreview
    from p2p_copy.options import Conflict, Symlinks


def would_send(paths: Sequence[str], links: Symlinks, selection: Selection, terminal: Terminal) -> int:
    """Name all that would be sent to a receiver that takes portable names, and return exit code 0. Nobody is called.

    Raises:
        NothingToSend: none of the paths can be sent, or one has no name of its own.
        UsageError: two paths have the same name.
        PartialTransfer: some of it could not be sent.
        ResultNotWritten: the list could not be written.
        BrokenPipeError: whoever read the list has seen enough.

    """
    for sentence in check_paths(paths):
        terminal.error(sentence)
    counts = dict.fromkeys(Kind, 0)
    size = problems = excluded = left = 0
    own = InternalFiles(known_directories(None))
    for found in walk(paths, symlinks=links, portable_names=True, selection=selection, internal=own):
        reason = _problem(found) if isinstance(found, SourceEntry) else found.reason
        if reason is Reason.EXCLUDED:
            excluded += 1
        elif found is UNFINISHED:
            left += 1
        elif reason is not None:
            problems += 1
            if problems <= limits.PROBLEM_LINES:
                path = escape(found.inner_path) if isinstance(found, SourceEntry) else found.path
                terminal.error(f"Cannot be sent: {path} {SENTENCES[reason]}")
        elif isinstance(found, SourceEntry):
            counts[found.entry.kind] += 1
            size += found.entry.size
            terminal.result(_line(found))
            terminal.wait_for_reader()
    terminal.finish()
    if problems > limits.PROBLEM_LINES:
        terminal.error(f"... and {problems - limits.PROBLEM_LINES} more that cannot be sent.")
    if left:
        terminal.say(unfinished(left))
    others = f" Left out by --only or --exclude: {excluded}." if excluded else ""
    terminal.verdict(
        f"Would send {counts[Kind.FILE]} files, {amount(size)}, {counts[Kind.DIRECTORY]} directories and "
        f"{counts[Kind.SYMLINK]} links.{others}"
    )
    if problems:
        raise PartialTransfer("Some of it cannot be sent; it is listed above.")
    return 0


def _problem(found: SourceEntry) -> Reason | None:
    """Return why something that was found cannot be read, as far as opening it tells."""
    if found.entry.kind is not Kind.FILE:
        return None
    try:
        with open_source(found):
            return None
    except SourceFailed as failure:
        return failure.reason


def _line(found: SourceEntry) -> str:
    path = escape(found.inner_path)
    match found.entry.kind:
        case Kind.DIRECTORY:
            return f"{path}/"
        case Kind.SYMLINK:
            return f"{path} -> {escape(found.entry.target)}"
        case Kind.FILE:
            return path


class WouldReceive:
    """Answers no, having shown what would come."""

    def __init__(
        self, terminal: Terminal, conflict: Conflict, max_size: int | None, max_files: int | None
    ) -> None:
        """Show it as results at `terminal`; `max_size` and `max_files` are what was chosen."""
        self._terminal = terminal
        self._conflict = conflict
        self._max_size = max_size
        self._max_files = max_files
        self._outlook: TransferPreview | None = None

    async def __call__(self, outlook: TransferPreview) -> bool:
        """Show it; the answer is no."""
        for line in described(outlook, self._conflict):
            self._terminal.result(line)
        self._outlook = outlook
        return False

    def check_room(self) -> None:
        """Find out whether all of what was shown would fit.

        Raises:
            TooMuch: it is more than was chosen.
            NoSpace: it would not.

        """
        outlook = self._outlook
        if outlook is None or outlook.filtered:
            return
        if self._max_size is not None and outlook.size > self._max_size:
            raise TooMuch(limit=self._max_size)
        if self._max_files is not None and outlook.files > self._max_files:
            raise TooMuch(files=self._max_files)
        if not outlook.fits:
            raise NoSpace("What the sender has does not fit here.")
