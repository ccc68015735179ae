"""Reads the configuration file: TOML, one table for each command, and shared keys of all clients at the top.

    server = "wss://relay.example:443"     # also: ca-file, token-file
    [receive]
    out = "incoming"

A key is an option's name without dashes. An unknown key is an error, at the top and in the table of the command that
runs: a setting must not be ignored silently. The command line and the environment take precedence.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from p2p_copy import pasted
from p2p_copy.cli.options.arguments import is_url
from p2p_copy.cli.options.client import CODE_VARIABLE, CONFIG_VARIABLE
from p2p_copy.errors import UsageError
from p2p_copy.files.user_directories import user_directory
from p2p_copy.protocol.escape import escape

if TYPE_CHECKING:
    from cyclopts import App
    from cyclopts.argument import ArgumentCollection

_OPTION: Final = "--config"
_CLIENTS: Final = ("send", "receive", "resume")
_TABLES: Final = (*_CLIENTS, "run-relay-server")
_SHARED: Final = ("server", "ca-file", "token-file")
"""For every client command that has the option."""
_NO_KEYS: Final = {"config", "json"}
"""Options that stand on the command line only: who runs a command has to know in which form its output comes."""
_CODE_KEYS: Final = ("code", "code-file")


def from_file(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Set every option without a value to that of the configuration file (a hook of cyclopts).

    Raises:
        UsageError: the file cannot be read, is not TOML or has an unknown key.

    """
    given = {argument.name: [token.value for token in argument.tokens] for argument in arguments}
    if _OPTION not in given or len(commands) != 1:
        return
    (command,) = commands
    named = (given[_OPTION] or [os.environ.get(CONFIG_VARIABLE, "")])[0]
    path = named or default_path()
    config = _load(path, must_exist=bool(named)) if path else {}
    options = {name.removeprefix("--") for name in given if name.startswith("--")} - _NO_KEYS
    table = _table(config, command, options, path)
    for key in table:
        if key not in options:
            raise UsageError(f"{path}: [{command}] has an unknown key: {key}")
    if _has_code(given):
        table = {key: value for key, value in table.items() if key not in _CODE_KEYS}
    if not table:
        return
    from cyclopts.config import Dict

    Dict({command: table}, source=path)(app, commands, arguments)


def default_path() -> str:
    """Return this platform's path of a user's configuration file; empty if the user has no such place."""
    base = user_directory("APPDATA") if os.name == "nt" else user_directory("XDG_CONFIG_HOME", ".config")
    return os.path.join(base, "p2p-copy", "config.toml") if base else ""


def _load(path: str, *, must_exist: bool) -> dict[str, Any]:
    try:
        with open(path, "rb") as stream:
            content = stream.read()
    except (FileNotFoundError, NotADirectoryError) as error:
        if not must_exist:
            return {}
        raise UsageError(f"{path}: there is no such configuration file.") from error
    except OSError as error:
        raise UsageError(f"{path}: the configuration cannot be read: {error.strerror}.") from error
    import tomllib  # imported only if there is a file

    try:
        return tomllib.loads(pasted.decode(content))
    except RecursionError:
        raise UsageError(f"{path}: the configuration is nested too deeply.") from None
    except ValueError as error:  # wrong TOML, or a number with too many digits
        raise UsageError(f"{path}: this is not TOML: {escape(str(error))}.") from error


def _table(config: dict[str, Any], command: str, options: set[str], path: str) -> dict[str, Any]:
    """Return the command's table, with the shared keys if it is a client's."""
    for key, value in config.items():
        if key not in _TABLES and key not in _SHARED:
            raise UsageError(f"{path}: unknown key: {key}")
        if not isinstance(value, dict if key in _TABLES else str):
            raise UsageError(f"{path}: {key} must be {'a table' if key in _TABLES else 'a text'}.")
    ours = options if command in _CLIENTS else ()
    shared = {key: config[key] for key in _SHARED if key in config and key in ours}
    own: dict[str, Any] = config.get(command, {})
    return shared | own


def _has_code(given: dict[str, list[str]]) -> bool:
    """Return whether the command line or the environment has a code, so that the file's is not used."""
    received = [word for word in given.get("CODE", []) if not is_url(word)]
    sent = [word for word in given.get("PATH", [])[:1] if is_url(word)]
    return bool(
        received or sent or given.get("--code") or given.get("--code-file") or os.environ.get(CODE_VARIABLE)
    )
