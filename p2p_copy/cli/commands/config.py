"""`p2p-copy config`: shows which values the options have, and where each comes from."""

from __future__ import annotations

import os
import re
from enum import Enum
from typing import TYPE_CHECKING, Final

from p2p_copy import default_state_dir, escape
from p2p_copy.cli.options.client import CODE_VARIABLE, TOKEN_VARIABLE
from p2p_copy.cli.options.config_file import COMMANDS, CONFIG_VARIABLE, default_path, read
from p2p_copy.cli.ui.suggestions import did_you_mean
from p2p_copy.cli.ui.terminal import Terminal
from p2p_copy.errors import UsageError
from p2p_copy.options import STATE_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cyclopts import App
    from cyclopts.argument import Argument, ArgumentCollection

_HIDDEN: Final = "(hidden)"
_SECRET: Final = {"--code"}
_URLS: Final = {"--server", "--proxy"}
_LOGIN: Final = re.compile(r"^([a-z0-9]+://)?.*@", re.IGNORECASE | re.DOTALL)
"""User and password in a URL, which may have no scheme, and a password with an @ in it."""

_VARIABLES: Final = {
    "--code": CODE_VARIABLE,
    "--token-file": TOKEN_VARIABLE,
    "--state-dir": STATE_VARIABLE,
    "--config": CONFIG_VARIABLE,
}
"""Variables that commands read themselves if the option is not given; the first two have the secret and no path."""

_DEFAULT: Final = "default"


def show(words: Sequence[str], app: App) -> int:
    """Print each option of a command with its value and its origin, or of all commands only what is no default.

    Raises:
        UsageError: there is no such command, or the configuration file or an option is wrong.

    """
    if words and words[0] not in COMMANDS:
        raise UsageError(
            f'"{escape(words[0])}" has no configuration.{did_you_mean(words[0], COMMANDS)} '
            f"These have: {', '.join(COMMANDS)}."
        )
    terminal = Terminal.standard()
    lines: list[str] = []
    for command in words[:1] or COMMANDS:
        rows = [row for row in _rows(_parsed(app, [command, *words[1:]])) if words or row[2] != _DEFAULT]
        lines += [f"{command}:", *(_table(rows) if rows else ["  nothing but defaults"]), ""]
    file = read()
    relays = f"; relays: {', '.join(map(escape, file.relays))}" if file.relays else ""
    lines.append(f"Configuration file: {escape(file.path)}{relays if file.exists else ' (there is none)'}")
    terminal.result("\n".join(lines))
    terminal.finish()
    return 0


def path() -> int:
    """Print the path of the configuration file.

    Raises:
        UsageError: this user has no such place.

    """
    named = os.environ.get(CONFIG_VARIABLE) or default_path()
    if not named:
        raise UsageError(
            f"There is no place for a configuration file here: no home directory. Name one in {CONFIG_VARIABLE}."
        )
    terminal = Terminal.standard()
    terminal.result(named)
    terminal.finish()
    return 0


def _parsed(app: App, words: Sequence[str]) -> ArgumentCollection:
    """Return the options of a command line, each with the values that it has and their sources."""
    found: list[ArgumentCollection] = []
    hooks = app.config
    app.config = (*hooks, lambda _app, _commands, arguments: found.append(arguments))
    try:
        app.parse_args(words, exit_on_error=False, print_error=False)
    finally:
        app.config = hooks
    return found[0]


def _rows(arguments: ArgumentCollection) -> Iterator[tuple[str, str, str]]:
    """Yield each option, its value as text, and where it comes from."""
    for argument in arguments:
        if not argument.show or not argument.name.startswith("--"):
            continue
        name = argument.name
        variable = _VARIABLES.get(name, "")
        if argument.tokens:
            value, origin = _given(argument), _origin(argument)
        elif os.environ.get(variable):
            is_secret = variable in (CODE_VARIABLE, TOKEN_VARIABLE)
            value, origin = _HIDDEN if is_secret else os.environ[variable], f"environment, {variable}"
        else:
            value, origin = _default(argument), _DEFAULT
        if value:
            value = _LOGIN.sub(r"\1***@", value) if name in _URLS else value
            yield name, _HIDDEN if name in _SECRET else escape(value), origin


def _given(argument: Argument) -> str:
    values = [
        ("on" if token.implicit_value else "off") if isinstance(token.implicit_value, bool) else token.value
        for token in argument.tokens
    ]
    return " ".join(values)


def _origin(argument: Argument) -> str:
    token = argument.tokens[0]
    match token.source:
        case "cli":
            return "command line"
        case "env":
            return f"environment, {token.keyword}"
        case source:
            return escape(source)


def _default(argument: Argument) -> str:
    """Return a default as the help has it; empty if an option that is not given means nothing."""
    if argument.name == "--state-dir":
        return default_state_dir()
    value, shown = argument.field_info.default, argument.parameter.show_default
    if value is argument.field_info.empty or value is None or value == ():
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    if callable(shown):
        return str(shown(value))
    return (
        str(value.value)
        if isinstance(value, Enum)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def _table(rows: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, value, origin in rows:
        yield f"  {name:{widths[0]}}  {value:{widths[1]}}  {origin}"
