"""What `--json` writes: one object a line on standard output, for programs.

Rules:
1. Each object is a dataclass: an event of the API or its result, or one of those below. `event` has its name in snake
   case, `time` the seconds since 1970, and its fields follow. `OBJECTS` has all of them; docs/events.md and
   docs/events.schema.json are made from it.
2. The first object is a `Started`, or an `Error` if it did not come that far. Both have the version of this form.
3. The last object is the result of the command, or an `Error`.
4. All text is ASCII. Names and sentences are escaped, as for people, and sentences name options as the command line
   does.
"""

from __future__ import annotations

import json
import re
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from p2p_copy import Verdict, errors, escape
from p2p_copy.api import events
from p2p_copy.api.report import Report
from p2p_copy.cli.ui.display import one_line, with_options
from p2p_copy.cli.ui.errors import Interrupted, explanation
from p2p_copy.errors import P2PCopyError, PartialTransfer, ResultNotWritten, VerificationFailed
from p2p_copy.load.report import LoadReport
from p2p_copy.observer import TransferPreview

if TYPE_CHECKING:
    from p2p_copy.cli.ui.terminal import Terminal

VERSION: Final = 1
"""The version of this form. Objects and fields may be added to it; what exists keeps its meaning."""

_SENTENCES: Final = frozenset(("sentence", "reason", "how"))
"""Fields with prose, in which options may be named."""

INTERRUPTED: Final = "Interrupted"
BUG: Final = "Bug"
"""Names in an `Error` of what is no class in `p2p_copy.errors`."""

_SIDES: Final[dict[type[BaseException], Literal["this", "other", "relay"]]] = {
    errors.LocalError: "this",
    errors.PeerError: "other",
    errors.RelayError: "relay",
    Interrupted: "this",
    KeyboardInterrupt: "this",
}
"""Whose side failed, by the class of the error."""

_WORD: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The first object: what this command does.

    Attributes:
        version: the version of this form.
        program: name and version of the program.
        command: what runs; a resumed transfer is a `send` or a `receive`.
        id: the transfer's name for `p2p-copy resume` and `forget`; null if it is not saved.
        code: a code that `send` has generated, which the receiver needs; null for a code that was given, and if both
            sides have met before.
        receiver_command: the words of the command for the other machine, without the code; null at a receiver, and if
            both sides have met before.
        link: with `send --link` the link for the receiver's browser, with the code in it; else null.

    """

    version: int = VERSION
    program: str
    command: Literal["send", "receive", "resume", "verify", "doctor", "relay-load"]
    id: str | None = None
    code: str | None = None
    receiver_command: tuple[str, ...] | None = None
    link: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Error:
    """The last object of a command that failed.

    Attributes:
        version: the version of this form.
        error: the name of the error, as on the page about exit codes; `Interrupted` for a signal, `Bug` for a bug.
        exit_code: the command's exit code.
        side: whose side failed: this one, the other one, or the relay and the way to it; null if it may be either side.
        sentence: what happened, for a person.

    """

    version: int = VERSION
    error: str
    exit_code: int
    side: Literal["this", "other", "relay"] | None
    sentence: str


@dataclass(frozen=True, slots=True)
class Entry:
    """With `send --dry-run`: something that would be sent.

    Attributes:
        path: its path, as a receiver would name it.
        kind: what it is.
        size: its bytes; 0 for all but files.
        target: what a symlink points to; null for all others.

    """

    path: str
    kind: Literal["file", "directory", "symlink"]
    size: int
    target: str | None


@dataclass(frozen=True, slots=True)
class WouldSend:
    """The last object of `send --dry-run`.

    Attributes:
        files: how many files would be sent.
        size: their bytes.
        directories: how many directories.
        symlinks: how many symlinks.
        excluded: how many entries `--only` and `--exclude` leave out.
        problems: how many entries cannot be sent; if there are any, the exit code is 3.

    """

    files: int
    size: int
    directories: int
    symlinks: int
    excluded: int
    problems: int


@dataclass(frozen=True, slots=True)
class Difference:
    """With `verify`: something that differs from the receipt.

    Attributes:
        path: which entry; empty for the receipt itself.
        how: how it differs, to be read after the path.

    """

    path: str
    how: str


@dataclass(frozen=True, slots=True)
class Unfinished:
    """With `resume` and no ID: one transfer that can be resumed.

    Attributes:
        id: its name for `p2p-copy resume` and `forget`.
        began: when it began, in seconds since 1970.
        command: what began it; null for a program.
        paths: what is sent, or the directory that is written into.
        relays: the relays' addresses.
        running: whether another process is at it now.
        size: bytes that the receiver had when this was last saved.
        total: bytes of the whole transfer; null if they were not counted yet.

    """

    id: str
    began: float
    command: Literal["send", "receive"] | None
    paths: tuple[str, ...]
    relays: tuple[str, ...]
    running: bool
    size: int
    total: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """With `doctor`: what one check has found.

    Attributes:
        check: which one; a later version may have more of them.
        verdict: `good`; `warning`, with which transfers work; `wrong`; or `not_tried`, because an earlier check is
            wrong.
        sentence: what was found and, if it is wrong, what to change, for a person.
        error: with which error a transfer would fail here, as on the page about exit codes; null if it would not.
        exit_code: the exit code of that error; null without one.
        seconds: what was measured: how long it took; of `clock`, how far ahead the relay's is; null if nothing was.
        rate: the bytes per second that were measured; null if none were.
        relay: the address of the relay that it is about; null if it is about this machine.

    """

    check: str
    verdict: Literal["good", "warning", "wrong", "not_tried"]
    sentence: str
    error: str | None
    exit_code: int | None
    seconds: float | None
    rate: int | None
    relay: str | None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The last object of `doctor`.

    Attributes:
        good: how many checks are good.
        warnings: how many are a warning.
        wrong: how many are wrong.
        not_tried: how many were not tried.
        exit_code: the command's exit code: that of the first check that is wrong, or 0.

    """

    good: int
    warnings: int
    wrong: int
    not_tried: int
    exit_code: int


OBJECTS: Final[tuple[type[Any], ...]] = (
    Started,
    *get_args(events.Event),
    Report,
    Error,
    TransferPreview,
    Entry,
    WouldSend,
    Difference,
    Verdict,
    Unfinished,
    Checked,
    Diagnosis,
    LoadReport,
)
"""All objects."""


def event_name(kind: type[Any]) -> str:
    """Return the `event` of the objects of a class: `not_accepted` for NotAccepted."""
    return _WORD.sub("_", kind.__name__).lower()


def as_line(what: Any, now: float) -> str:
    """Return an object as JSON without a line end; `now` is in seconds since 1970."""
    fields = {name: _plain(name, value) for name, value in asdict(what).items()}
    return json.dumps({"event": event_name(type(what)), "time": round(now, 3), **fields})


def _plain(name: str, value: object) -> object:
    """Return the value of a field as JSON can express it."""
    match value:
        case dict():
            return {inner: _plain(inner, one) for inner, one in value.items()}
        case tuple() | list():
            return [_plain(name, one) for one in value]
        case Enum():
            return value.value
        case str():
            return with_options(one_line(value)) if name in _SENTENCES else escape(value)
        case _:
            return value


class JsonLines:
    """Writes objects to standard output. None of its methods blocks."""

    def __init__(self, terminal: Terminal) -> None:
        """Write through `terminal`; what its standard output says of lost lines is JSON from now on."""
        self._terminal = terminal
        terminal.describe_lost_results(lambda count: as_line(events.Missed(count), time.time()) + "\n")

    def write(self, what: object) -> None:
        """Write one of `OBJECTS`. Losing it is a failure: see `Terminal.result`."""
        self._terminal.result(as_line(what, time.time()))


def write_error(error: BaseException, terminal: Terminal) -> None:
    """Write the error that has ended a command as the last object, and wait for the reader unless it was interrupted.

    Nothing is written if the result came before and says the same, as the report of a partial transfer does.
    """
    cause, sentence, exit_code = explanation(error)
    if not sentence or isinstance(cause, PartialTransfer | VerificationFailed):
        return
    name, side = (
        name_of(cause),
        next((side for kind, side in _SIDES.items() if isinstance(cause, kind)), None),
    )
    JsonLines(terminal).write(Error(error=name, exit_code=exit_code, side=side, sentence=sentence))
    if name != INTERRUPTED:
        with suppress(BrokenPipeError, ResultNotWritten):
            terminal.finish()


def name_of(error: BaseException) -> str:
    """Return the name of the class of an error as the documentation has it."""
    match error:
        case P2PCopyError():
            return next(kind.__name__ for kind in type(error).mro() if "exit_code" in vars(kind))
        case Interrupted() | KeyboardInterrupt():
            return INTERRUPTED
        case _:
            return BUG
