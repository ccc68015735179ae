"""Shows a transfer to a program: `--json`. It is used as `progress.Progress` is, which shows it to people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from p2p_copy.api import events
from p2p_copy.cli.ui.json_lines import JsonLines, Started
from p2p_copy.version import FULL_NAME

if TYPE_CHECKING:
    from p2p_copy.api.report import Report
    from p2p_copy.cli.ui.announcement import Announcement
    from p2p_copy.cli.ui.terminal import Terminal


class JsonDisplay:
    """Writes the events of one transfer, and its report.

    Of `Progress` events it writes the last one, each time that `draw` is called.
    """

    def __init__(self, terminal: Terminal, command: Literal["send", "receive"], id_: str | None) -> None:
        """Write through `terminal` what becomes of a command; `id_` names the transfer if it is saved."""
        self._terminal = terminal
        self._lines = JsonLines(terminal)
        self._command = command
        self._id = id_
        self._progress: events.Progress | None = None  # the last one that was not written
        self._is_vital = False  # no program can have read what the receiver needs

    def start(self, announcement: Announcement | None) -> None:
        """Write the first object, with what the receiver's user must know if there is something."""
        code = command = link = None
        if announcement is not None:
            code, command, self._is_vital, _, link = announcement
        self._lines.write(
            Started(
                program=FULL_NAME,
                command=self._command,
                id=self._id,
                code=code,
                receiver_command=command,
                link=link or None,
            )
        )

    def show(self, event: events.Event) -> None:
        """Write an event, or store it if it is a `Progress`."""
        match event:
            case events.Progress():
                self._progress = event
                return
            case events.Paired():
                self._progress = None  # of the connection before
                if self._is_vital:
                    self._is_vital = False
                    self._terminal.forgive_lost_results()
        self._lines.write(event)

    def draw(self, now: float) -> None:
        """Write how far the transfer is; `now` is not used.

        Raises:
            BrokenPipeError: the reader has closed its pipe before the receiver had the code.
            ResultNotWritten: the code could not be written.

        """
        if self._is_vital:
            self._terminal.check()
        if self._progress is not None and self._terminal.wants_progress:
            self._lines.write(self._progress)
        self._progress = None

    @property
    def is_full(self) -> bool:
        """Whether so much waits for the reader that `show` should not be called."""
        return not self._terminal.has_room_for_results

    lacks_bar = False
    """Whether `load_bar` is to be called: a program needs none."""

    def load_bar(self) -> None:
        """Do nothing."""

    def resume(self, sentence: str) -> None:
        """Print nothing: the first object has the ID of the transfer, and the `resumed` event has the bytes."""

    def notice(self, sentence: str) -> None:
        """Write a sentence of the command line."""
        self._lines.write(events.Notice(sentence))

    def close(self) -> None:
        """Do nothing: there is no live line."""

    def done(self, report: Report) -> None:
        """Write the report."""
        self._lines.write(report)
