"""`--dry-run`: shows what would be transferred, and transfers nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from p2p_copy.api import events
from p2p_copy.cli import limits
from p2p_copy.cli.ui.display import with_options
from p2p_copy.cli.ui.json_lines import Entry, JsonLines, Started, WouldSend
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
from p2p_copy.units import amount, count
from p2p_copy.version import FULL_NAME

if TYPE_CHECKING:
    from p2p_copy.cli.ui.terminal import Terminal
    from p2p_copy.files.source.entry import SourceTrees
    from p2p_copy.observer import TransferPreview
    from p2p_copy.options import Conflict


def would_send(trees: SourceTrees, terminal: Terminal, *, json: bool) -> int:
    """List what would be sent to a receiver with portable names, without connecting; return exit code 0.

    With `json` the list and its end are objects for a program.

    Raises:
        NothingToSend: none of the paths can be sent, or one has no name of its own.
        UsageError: two paths have the same name.
        PartialTransfer: some of it could not be sent.
        ResultNotWritten: the list could not be written.
        BrokenPipeError: the reader of the list has closed its pipe.

    """
    shown = _Objects(terminal) if json else _Lines(terminal)
    for sentence in check_paths(trees.paths):
        shown.notice(sentence)
    counts = dict.fromkeys(Kind, 0)
    size = problems = excluded = left = 0
    for found in walk(trees, InternalFiles(known_directories(None))):
        reason = _problem(found) if isinstance(found, SourceEntry) else found.reason
        if reason is Reason.EXCLUDED:
            excluded += 1
        elif found is UNFINISHED:
            left += 1
        elif reason is not None:
            problems += 1
            path = escape(found.inner_path) if isinstance(found, SourceEntry) else found.path
            shown.problem(path, SENTENCES[reason])
        elif isinstance(found, SourceEntry):
            counts[found.entry.kind] += 1
            size += found.entry.size
            shown.entry(found)
            terminal.wait_for_reader()
    terminal.finish()
    if left:
        shown.notice(unfinished(left))
    shown.end(
        WouldSend(counts[Kind.FILE], size, counts[Kind.DIRECTORY], counts[Kind.SYMLINK], excluded, problems)
    )
    if problems:
        raise PartialTransfer("Some entries cannot be sent (see above).")
    return 0


class _Lines:
    """Shows to the user what would be sent."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._problems = 0

    def notice(self, sentence: str) -> None:
        self._terminal.say(with_options(sentence))

    def problem(self, path: str, reason: str) -> None:
        self._problems += 1
        if self._problems <= limits.PROBLEM_LINES:
            self._terminal.error(f"Cannot be sent: {path} {with_options(reason)}")

    def entry(self, found: SourceEntry) -> None:
        self._terminal.result(_line(found))

    def end(self, sums: WouldSend) -> None:
        if self._problems > limits.PROBLEM_LINES:
            self._terminal.error(f"... and {self._problems - limits.PROBLEM_LINES} more that cannot be sent.")
        others = f" Excluded by --only or --exclude: {sums.excluded}." if sums.excluded else ""
        self._terminal.verdict(
            f"Would send {count(sums.files, 'file')}, {amount(sums.size)}, "
            f"{count(sums.directories, 'directory', 'directories')} and {count(sums.symlinks, 'symlink')}.{others}"
        )


class _Objects:
    """Writes for a program what would be sent."""

    def __init__(self, terminal: Terminal) -> None:
        self._lines = JsonLines(terminal)
        self._lines.write(Started(program=FULL_NAME, command="send"))

    def notice(self, sentence: str) -> None:
        self._lines.write(events.Notice(sentence))

    def problem(self, path: str, reason: str) -> None:
        self._lines.write(events.Problem(path, reason))

    def entry(self, found: SourceEntry) -> None:
        path, kind, target = found.inner_path, found.entry.kind, found.entry.target
        self._lines.write(
            Entry(path, _KINDS[kind], found.entry.size, target if kind is Kind.SYMLINK else None)
        )

    def end(self, sums: WouldSend) -> None:
        self._lines.write(sums)


_KINDS: Final[dict[Kind, Literal["file", "directory", "symlink"]]] = {
    Kind.FILE: "file",
    Kind.DIRECTORY: "directory",
    Kind.SYMLINK: "symlink",
}


def _problem(found: SourceEntry) -> Reason | None:
    """Return why a file cannot be opened; None if it can, or if it is no file."""
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


class ShowAndDecline:
    """Shows what would be received, and declines."""

    def __init__(
        self,
        terminal: Terminal,
        conflict: Conflict,
        max_size: int | None,
        max_files: int | None,
        *,
        json: bool,
    ) -> None:
        """Show results at `terminal`; the others are the user's options."""
        self._terminal = terminal
        self._json = json
        self._conflict = conflict
        self._max_size = max_size
        self._max_files = max_files
        self._preview: TransferPreview | None = None

    async def __call__(self, preview: TransferPreview) -> bool:
        """Show the preview, and answer no."""
        if self._json:
            JsonLines(self._terminal).write(preview)
        else:
            for line in described(preview, self._conflict):
                self._terminal.result(line)
        self._preview = preview
        return False

    def check_space(self) -> None:
        """Check that everything shown would fit.

        Raises:
            TooMuch: it is more than the options allow.
            NoSpace: it does not fit on the disk.

        """
        preview = self._preview
        if preview is None or preview.filtered:
            return
        if self._max_size is not None and preview.size > self._max_size:
            raise TooMuch(limit=self._max_size)
        if self._max_files is not None and preview.files > self._max_files:
            raise TooMuch(files=self._max_files)
        if not preview.fits:
            raise NoSpace("What the sender has does not fit on the disk here.")
