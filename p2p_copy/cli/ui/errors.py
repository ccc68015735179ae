"""Turns an exception into one sentence for the user and one exit code, without a traceback."""

from __future__ import annotations

import os
import traceback
from typing import TYPE_CHECKING, Final

from p2p_copy.cli.ui.display import one_line, with_options
from p2p_copy.errors import (
    NotTheRelay,
    P2PCopyError,
    ProxyUnreachable,
    RelayUnreachable,
    SystemFailed,
    UsageError,
    exhausted,
    leaves,
)
from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    from p2p_copy.cli.ui.terminal import Terminal

DEBUG_VARIABLE: Final = "P2P_COPY_DEBUG"
"""The environment variable that asks for tracebacks when set to 1."""

_INTERRUPTED: Final = "Interrupted."

_BUG: Final = 1
_SIGNAL: Final = 128
_SIGINT: Final = 2
_SIGPIPE: Final = 13


_ON_THE_WAY: Final = RelayUnreachable, NotTheRelay, ProxyUnreachable
"""Errors of which `p2p-copy doctor` may know more."""


class Mistyped(UsageError):
    """The words of a command line are not those of any command; the sentence is shown as it is.

    Attributes:
        advice: what to try.

    """

    def __init__(self, sentence: str, advice: str) -> None:
        super().__init__(sentence)
        self.advice = advice


class Interrupted(Exception):
    """A signal stopped the command.

    Attributes:
        number: the signal's.
        advice: a sentence about how to go on; empty if there is nothing to continue.

    """

    def __init__(self, number: int, advice: str = "") -> None:
        super().__init__(number)
        self.number = number
        self.advice = advice


class Explanation(NamedTuple):
    """What an exception means.

    Attributes:
        cause: the exception that the sentence is about.
        sentence: what happened; empty if there is nothing to say.
        exit_code: the exit code of the process.

    """

    cause: BaseException
    sentence: str
    exit_code: int


def explain(error: BaseException, terminal: Terminal) -> int:
    """Write what happened, and return the exit code."""
    if os.environ.get(DEBUG_VARIABLE) == "1":
        terminal.error("".join(traceback.format_exception(main_error(error))).rstrip())
    cause, sentence, exit_code = explanation(error)
    if sentence:
        terminal.error(f"p2p-copy: {sentence}")
    # A CodeTypo has one; its module is not imported here, because few commands need it.
    suggestion = getattr(cause, "suggestion", None)
    if suggestion and terminal.is_interactive:  # a log must not contain what may be the right code
        terminal.error(f"Did you mean {suggestion.text}?")
    if isinstance(cause, Mistyped):
        terminal.error(cause.advice)
    if isinstance(cause, _ON_THE_WAY) and terminal.is_interactive:
        terminal.error("Try: p2p-copy doctor, with the same --server. It checks each step of the way.")
    return exit_code


def explanation(error: BaseException) -> Explanation:
    """Return what happened."""
    error = main_error(error)
    error = _of_the_system(error) or error
    match error:
        case Mistyped():
            return Explanation(error, str(error), error.exit_code)
        case P2PCopyError():
            return Explanation(error, with_options(one_line(str(error))), error.exit_code)
        case Interrupted(number=number, advice=advice):
            return Explanation(error, f"{_INTERRUPTED} {advice}".rstrip(), _SIGNAL + number)
        case KeyboardInterrupt():
            return Explanation(error, _INTERRUPTED, _SIGNAL + _SIGINT)
        case BrokenPipeError():
            return Explanation(error, "", _SIGNAL + _SIGPIPE)  # the reader of the output has closed the pipe
        case _:
            sentence = (
                f"This is a bug in p2p-copy ({type(error).__name__}). Please report it, with what "
                f"you did and what {DEBUG_VARIABLE}=1 prints."
            )
            return Explanation(error, sentence, _BUG)


def _of_the_system(error: BaseException) -> SystemFailed | None:
    """Return what an unexpected system error means; None if `error` is none."""
    if (failed := exhausted(error)) or not isinstance(error, OSError) or isinstance(error, BrokenPipeError):
        return failed
    try:
        os.getcwd()
    except OSError:
        return SystemFailed("The current directory was removed or cannot be entered. Change to another one.")
    return SystemFailed(
        f"This machine refuses something that p2p-copy needs: {error.strerror or type(error).__name__}. "
        f"{DEBUG_VARIABLE}=1 prints the details."
    )


def main_error(error: BaseException) -> BaseException:
    """Return the first P2PCopyError in a group, else its first exception."""
    causes = leaves(error)
    return next((cause for cause in causes if isinstance(cause, P2PCopyError)), causes[0])
