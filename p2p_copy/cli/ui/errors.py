"""Turns an exception into one sentence for the user and one exit code, without a traceback."""

from __future__ import annotations

import os
import traceback
from typing import TYPE_CHECKING, Final

from cyclopts import App, CycloptsError, MissingArgumentError, UnknownCommandError, UnknownOptionError

from p2p_copy.cli.ui.display import one_line, with_options
from p2p_copy.cli.ui.suggestions import did_you_mean
from p2p_copy.errors import P2PCopyError, SystemFailed, UsageError, exhausted, leaves
from p2p_copy.protocol.escape import escape

if TYPE_CHECKING:
    from p2p_copy.cli.ui.terminal import Terminal

DEBUG_VARIABLE: Final = "P2P_COPY_DEBUG"
"""The environment variable that asks for tracebacks when set to 1."""

_BUG: Final = 1
_SIGNAL: Final = 128
_SIGINT: Final = 2
_SIGPIPE: Final = 13


class Interrupted(Exception):
    """A signal stopped the command. `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def explain(error: BaseException, terminal: Terminal) -> int:
    """Write what happened, and return the exit code."""
    error = main_error(error)
    original, error = error, _of_the_system(error) or error
    if os.environ.get(DEBUG_VARIABLE) == "1":
        terminal.error("".join(traceback.format_exception(original)).rstrip())
    match error:
        case P2PCopyError():
            terminal.error(f"p2p-copy: {with_options(one_line(str(error)))}")
            # A CodeTypo has one; its module is not imported here, because few commands need it.
            suggestion = getattr(error, "suggestion", None)
            if suggestion and terminal.is_interactive:  # a log must not contain what may be the right code
                terminal.error(f"Did you mean {suggestion.text}?")
            return error.exit_code
        case CycloptsError():
            terminal.error(f"p2p-copy: {_sentence(error)}")
            terminal.error(" ".join(("Try: p2p-copy", *(error.command_chain or ()), "--help")))
            return UsageError.exit_code
        case Interrupted(number=number):
            terminal.error("p2p-copy: stopped by a signal.")
            return _SIGNAL + number
        case KeyboardInterrupt():
            terminal.error("p2p-copy: stopped by a signal.")
            return _SIGNAL + _SIGINT
        case BrokenPipeError():
            return _SIGNAL + _SIGPIPE  # the reader of the output has closed the pipe
        case _:
            terminal.error(
                f"p2p-copy: This is a bug in p2p-copy ({type(error).__name__}). Please report it, with what "
                f"you did and what {DEBUG_VARIABLE}=1 prints."
            )
            return _BUG


def _sentence(error: CycloptsError) -> str:
    """Return what is wrong with a command line. The library's own guesses at what was meant are too wild."""
    match error:
        case UnknownOptionError(token=token) if token.source == "cli":
            word = (token.keyword or token.value).split("=")[0]
            options = [
                name for argument in error.argument_collection if argument.show for name in argument.names
            ]
            return f"Unknown option: {escape(word)}.{did_you_mean(word, options)}"
        case UnknownCommandError(unused_tokens=[word, *_], app=App() as app):
            return f'Unknown command: "{escape(word)}".{did_you_mean(word, app)}'
        case MissingArgumentError(argument=argument) if argument is not None and argument.name.startswith(
            "-"
        ):
            return f"{error.keyword or argument.name} needs a value."
        case MissingArgumentError(argument=argument) if argument is not None:
            return f"{argument.name} is missing."
        case _:
            return str(error)


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
