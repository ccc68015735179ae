"""Says what is wrong with a command line, in place of the library that parses it."""

from __future__ import annotations

from cyclopts import (
    App,
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)
from cyclopts.token import Token

from p2p_copy import escape
from p2p_copy.cli.ui.errors import Mistyped
from p2p_copy.cli.ui.suggestions import did_you_mean


def mistyped(error: CycloptsError) -> Mistyped:
    """Return the error for people that an error of the library is."""
    return Mistyped(_sentence(error), " ".join(("Try: p2p-copy", *(error.command_chain or ()), "--help")))


def _sentence(error: CycloptsError) -> str:
    """Return what is wrong with a command line. The library's own guesses at what was meant are too wild."""
    match error:
        case UnknownOptionError(token=token) if token.source == "cli":
            word = (token.keyword or token.value).split("=")[0]
            options = [
                name for argument in error.argument_collection if argument.show for name in argument.names
            ]
            return f"Unknown option: {escape(word)}.{did_you_mean(word, options)}"
        case UnknownCommandError(unused_tokens=[word, *_], app=App() as app) if word.startswith("-"):
            options = [name for name in app if name.startswith("-")]
            return f"Unknown option: {escape(word)}.{did_you_mean(word, options)}"
        case UnknownCommandError(unused_tokens=[word, *_], app=App() as app):
            return f'Unknown command: "{escape(word)}".{did_you_mean(word, app)}'
        case UnusedCliTokensError(unused_tokens=[word, *_]):
            return f'There is a word too many: "{escape(word)}".'
        case RepeatArgumentError(token=token) if token.source == "cli":
            return f"{token.keyword} is given more than once."
        case CoercionError(
            token=Token(source="cli", keyword=str() as option), target_type=type() as wanted
        ) if wanted is bool:
            return f"{option} takes no value."
        case MissingArgumentError(argument=argument) if argument is not None and argument.name.startswith(
            "-"
        ):
            return f"{error.keyword or argument.name} needs a value."
        case MissingArgumentError(argument=argument) if argument is not None:
            return f"{argument.name} is missing."
        case _:
            return str(error)
