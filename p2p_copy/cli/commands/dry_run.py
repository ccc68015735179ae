"""`--dry-run`: shows what would be transferred, and transfers nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_copy import preview
from p2p_copy.api import events
from p2p_copy.cli import limits
from p2p_copy.cli.ui.display import with_options
from p2p_copy.cli.ui.json_lines import Entry, JsonLines, Started, WouldSend
from p2p_copy.cli.ui.prompt import described
from p2p_copy.errors import NoSpace, PartialTransfer, TooMuch
from p2p_copy.units import amount, count
from p2p_copy.version import FULL_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p2p_copy import SourceItem, Symlinks
    from p2p_copy.cli.options.client import TransferArguments
    from p2p_copy.cli.ui.terminal import Terminal
    from p2p_copy.observer import TransferPreview
    from p2p_copy.options import Conflict


def would_send(
    paths: Sequence[str], symlinks: Symlinks, transfer: TransferArguments, terminal: Terminal, *, json: bool
) -> int:
    """List what would be sent to a receiver with portable names, without connecting; return exit code 0.

    With `json` the list and its end are objects for a program.

    Raises:
        NothingToSend: none of the paths can be sent, or one has no name of its own.
        UsageError: two paths have the same name, or a pattern has the wrong form.
        PartialTransfer: some of it could not be sent.
        ResultNotWritten: the list could not be written.
        BrokenPipeError: the reader of the list has closed its pipe.

    """
    items = preview(paths, symlinks=symlinks, only=transfer.only, exclude=transfer.exclude)
    shown = _Objects(terminal) if json else _Lines(terminal)
    counts = {"file": 0, "directory": 0, "symlink": 0}
    size = problems = excluded = unfinished = 0
    for item in items:
        if item.kind is not None:
            counts[item.kind] += 1
            size += item.size
            shown.entry(item)
            terminal.wait_for_reader()
        elif item.excluded:
            excluded += 1
        elif not item.path:
            unfinished += 1
        else:
            problems += 1
            shown.problem(item.path, item.reason)
    terminal.finish()
    if unfinished:
        files = count(unfinished, "unfinished file")
        shown.notice(f"Left out: {files} of p2p-copy itself (.p2p-copy-*).")
    shown.end(WouldSend(counts["file"], size, counts["directory"], counts["symlink"], excluded, problems))
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

    def entry(self, item: SourceItem) -> None:
        mark = {"file": "", "directory": "/", "symlink": f" -> {item.target}"}[item.kind or "file"]
        self._terminal.result(f"{item.path}{mark}")

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

    def entry(self, item: SourceItem) -> None:
        if item.kind is not None:
            self._lines.write(Entry(item.path, item.kind, item.size, item.target or None))

    def end(self, sums: WouldSend) -> None:
        self._lines.write(sums)


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
