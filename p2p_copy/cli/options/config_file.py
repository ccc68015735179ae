"""Reads the configuration file: TOML, a table for each command and each named relay, and shared keys at the top.

    server = "work"                        # a relay below, or a URL; also: ca-file, proxy, token-file
    [relay.work]
    url = "wss://relay.example:443"
    token-file = "~/.config/p2p-copy/token"
    [receive]
    out = "incoming"

A key is an option's name without dashes. An unknown key is an error: a setting must not be ignored silently. The first
of these that has a value counts: the command line, the environment, the relay's table, the command's table, the top.

cyclopts puts the values into the options (`cyclopts.config.Dict`). Its `Toml` class is not used: it knows neither
shared keys nor relays, and would accept an unknown key at the top.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from p2p_copy import pasted
from p2p_copy.cli.options.arguments import is_url
from p2p_copy.cli.options.client import CODE_VARIABLE, CONFIG_VARIABLE, TOKEN_VARIABLE
from p2p_copy.cli.options.groups import RELAY
from p2p_copy.errors import UsageError
from p2p_copy.files.user_directories import user_directory
from p2p_copy.options import STATE_VARIABLE
from p2p_copy.protocol.escape import escape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cyclopts import App
    from cyclopts.argument import Argument, ArgumentCollection

    _Table = dict[str, Any]

_OPTION: Final = "--config"
CLIENTS: Final = ("send", "receive", "resume")
COMMANDS: Final = (*CLIENTS, "run-relay-server")
"""The commands that have a table."""
_RELAYS: Final = "relay"
"""The table of tables for relays, by their names."""
_SHARED: Final = ("server", "ca-file", "proxy", "token-file")
"""Keys at the top, for every client command that has the option."""
_NOT_OF_ONE_RELAY: Final = {"server", "serve", "links"}
"""Options under the heading of relays that a relay's own table cannot have."""
_NO_KEYS: Final = {"config", "json"}
"""Options that stand on the command line only: who runs a command has to know in which form its output comes."""
_CODE_KEYS: Final = {"code", "code-file"}
_VARIABLES: Final = {"token-file": TOKEN_VARIABLE, "state-dir": STATE_VARIABLE}
"""Variables that come before the file, and are read by the commands themselves."""


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A configuration file, or none: then `content` is empty and `exists` false."""

    path: str
    exists: bool
    content: _Table

    @property
    def relays(self) -> Mapping[str, _Table]:
        """The tables of the relays, by name."""
        tables: Mapping[str, _Table] = self.content.get(_RELAYS, {})
        return tables

    def relay(self, server: str) -> str | None:
        """Return the name of the relay with this name or URL; None for a URL that has no table.

        Raises:
            UsageError: it is neither a URL nor a relay's name.

        """
        server = server.strip()
        if server in self.relays:
            return server
        named = [name for name, table in self.relays.items() if table["url"].strip() == server]
        if named or "://" in server or not server:
            return named[0] if named else None
        raise UsageError(  # the text is not repeated: it may be a code in the wrong place
            "--server takes a URL, such as wss://relay.example:443, or the name of a relay in "
            f"{self.path or 'the configuration file'}.{_meant(server, self.relays)}"
        )


def from_file(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Set every option without a value to that of the configuration file (a hook of cyclopts).

    Raises:
        UsageError: the file cannot be read, is not TOML or has an unknown key.

    """
    by_name = {argument.name: argument for argument in arguments}
    if _OPTION not in by_name or len(commands) != 1:
        return
    (command,) = commands
    file = read(_first_value(by_name[_OPTION]))
    options = {name.removeprefix("--") for name in by_name if name.startswith("--")} - _NO_KEYS
    of_relays = {
        name.removeprefix("--")
        for name, argument in by_name.items()
        if RELAY.group == argument.parameter.group
    } - _NOT_OF_ONE_RELAY
    _check(file, command, options, of_relays)
    own: _Table = file.content.get(command, {})
    top: _Table = {key: file.content[key] for key in _SHARED if key in file.content and key in options}
    layers = [(f"[{command}]", own), ("", top if command in CLIENTS else {})]
    if command in CLIENTS and (name := file.relay(_server(by_name, top | own, file))) is not None:
        table = file.relays[name]
        layers.insert(0, (f"[{_RELAYS}.{name}]", {key: table[key] for key in table if key in of_relays}))
    left_out = {key for key, variable in _VARIABLES.items() if os.environ.get(variable)}
    if _has_code(by_name):
        left_out |= _CODE_KEYS
    for label, table in layers:
        if values := {key: _expanded(by_name, key, table[key]) for key in table if key not in left_out}:
            from cyclopts.config import Dict

            Dict({command: values}, source=f"{file.path} {label}".rstrip())(app, commands, arguments)
    _set_url(by_name.get("--server"), file)


def read(named: str = "") -> ConfigFile:
    """Return the file that `--config`, else the environment names, else the user's own, which need not exist.

    Raises:
        UsageError: the file cannot be read, or is not TOML, or a relay's table has no URL.

    """
    named = named or os.environ.get(CONFIG_VARIABLE, "")
    path = named or default_path()
    content = _load(path, must_exist=bool(named)) if path else None
    for key, value in (content or {}).items():
        known = (*COMMANDS, _RELAYS, *_SHARED)
        if key not in known:
            raise UsageError(f"{path}: unknown key: {escape(key)}.{_meant(key, known)}")
        if not isinstance(value, str if key in _SHARED else dict):
            raise UsageError(f"{path}: {key} must be {'a text' if key in _SHARED else 'a table'}.")
    for name, table in (content or {}).get(_RELAYS, {}).items():
        if not isinstance(table, dict) or not isinstance(table.get("url"), str) or not is_url(table["url"]):
            label = f"[{_RELAYS}.{escape(name)}]"
            raise UsageError(f'{path}: {label} needs the URL of the relay: url = "wss://relay.example:443"')
    return ConfigFile(path, content is not None, content or {})


def default_path() -> str:
    """Return this platform's path of a user's configuration file; empty if the user has no such place."""
    base = user_directory("APPDATA") if os.name == "nt" else user_directory("XDG_CONFIG_HOME", ".config")
    return os.path.join(base, "p2p-copy", "config.toml") if base else ""


def _load(path: str, *, must_exist: bool) -> _Table | None:
    try:
        with open(path, "rb") as stream:
            content = stream.read()
    except (FileNotFoundError, NotADirectoryError) as error:
        if not must_exist:
            return None
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


def _check(file: ConfigFile, command: str, options: set[str], of_relays: set[str]) -> None:
    """Check the keys of the command's table and, for a client, of the relays' tables."""
    _check_keys(file, command, file.content.get(command, {}), options)
    if command in CLIENTS:
        for name, table in file.relays.items():
            _check_keys(file, f"{_RELAYS}.{name}", table, {"url", *of_relays})


def _check_keys(file: ConfigFile, label: str, table: _Table, known: set[str]) -> None:
    for key in table:
        if key not in known:
            raise UsageError(
                f"{file.path}: [{escape(label)}] has an unknown key: {escape(key)}.{_meant(key, known)}"
            )


def _meant(word: str, known: Any) -> str:
    from p2p_copy.cli.ui.suggestions import did_you_mean  # imported only after a mistake

    return did_you_mean(word, known)


def _first_value(argument: Argument | None) -> str:
    return argument.tokens[0].value if argument is not None and argument.tokens else ""


def _server(by_name: Mapping[str, Argument], defaults: _Table, file: ConfigFile) -> str:
    """Return what names the relay of this command line: a URL, or a relay's name; empty if nothing does."""
    if "--serve" in by_name and (by_name["--serve"].tokens or "serve" in defaults):
        return ""
    if "--server" not in by_name:  # of `resume`, the transfer knows its relay
        id_, state_dir = _first_value(by_name.get("ID")), _first_value(by_name.get("--state-dir"))
        if not id_ or not file.relays:
            return ""
        from p2p_copy.cli.saved_transfers import relay_of

        return relay_of(id_, state_dir or str(defaults.get("state-dir", "")))
    word = _first_value(by_name.get("PATH") or by_name.get("CODE"))
    server = word if is_url(word) else _first_value(by_name["--server"]) or defaults.get("server", "")
    return pasted.value(server) if isinstance(server, str) else ""


def _expanded(by_name: Mapping[str, Argument], key: str, value: Any) -> Any:
    """Return a value with `~` expanded if it is a path, as a shell does on the command line."""
    is_path = isinstance(value, str) and by_name[f"--{key}"].parameter.metavar in ("FILE", "DIR")
    return os.path.expanduser(value) if is_path else value


def _set_url(server: Argument | None, file: ConfigFile) -> None:
    """Put the URL of a relay in place of its name."""
    if server is not None:
        server.tokens = [
            token.evolve(value=file.relays[name]["url"])
            if (name := pasted.value(token.value)) in file.relays
            else token
            for token in server.tokens
        ]


def _has_code(by_name: Mapping[str, Argument]) -> bool:
    """Return whether the command line or the environment has a code, so that the file's is not used."""
    words = {
        name: [token.value for token in by_name[name].tokens] if name in by_name else []
        for name in ("CODE", "PATH", "--code", "--code-file")
    }
    received = [word for word in words["CODE"] if not is_url(word)]
    sent = [word for word in words["PATH"][:1] if is_url(word)]
    return bool(received or sent or words["--code"] or words["--code-file"] or os.environ.get(CODE_VARIABLE))
