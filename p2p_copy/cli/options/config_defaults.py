"""Sets options that neither the command line nor the environment has to their values in the configuration file.

cyclopts does it (`cyclopts.config.Dict`), a table at a time. Its `Toml` class is not used: it knows neither shared keys
nor relays, and would accept an unknown key at the top.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from p2p_copy import pasted
from p2p_copy.cli.options.arguments import is_url, relay_words
from p2p_copy.cli.options.client import CODE_VARIABLE, TOKEN_VARIABLE, OfRelays
from p2p_copy.cli.options.config_file import CLIENTS, LIKE, RELAYS, SHARED, read
from p2p_copy.cli.options.config_keys import check_command, check_top, keys_of_command, keys_of_relay
from p2p_copy.options import STATE_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cyclopts import App
    from cyclopts.argument import Argument, ArgumentCollection

    from p2p_copy.cli.options.config_file import ConfigFile, Table

_OPTION: Final = "--config"
_OF_ALL: Final = "limit-rate"
"""An option that a relay's own table can have, and that concerns the whole transfer: the smallest of several counts."""
_CODE_KEYS: Final = {"code", "code-file"}
_VARIABLES: Final = {"token-file": TOKEN_VARIABLE, "state-dir": STATE_VARIABLE}
"""Variables that come before the file, and are read by the commands themselves."""


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
    check_top(file, app.app_stack.current_frame[0])
    options, of_relays = keys_of_command(arguments), keys_of_relay(arguments)
    named = LIKE.get(command, command)
    own: Table = file.content.get(named, {})
    if named == command:
        check_command(file, command, arguments, app.app_stack.current_frame[0])
    else:
        own = {key: own[key] for key in own if key in options}
    is_client = named in CLIENTS
    top: Table = {key: file.content[key] for key in SHARED if key in file.content and key in options}
    layers = [(f"[{named}]", own), ("", top if is_client else {})]
    left_out = {key for key, variable in _VARIABLES.items() if os.environ.get(variable)}
    if _has_code(by_name):
        left_out |= _CODE_KEYS
    if is_client:
        servers = _servers(by_name, top | own, file)
        names = [name for server in servers if (name := file.relay(server)) is not None]
        if len(servers) > 1:
            if _OF_ALL in of_relays:
                layers.insert(0, _smallest_rate(file, names))
            given = {name.removeprefix("--") for name, argument in by_name.items() if argument.tokens}
            _set_own(by_name, file, names, of_relays - given - left_out - {_OF_ALL})
        elif names:
            table = file.relays[names[0]]
            layers.insert(
                0, (f"[{RELAYS}.{names[0]}]", {key: table[key] for key in table if key in of_relays})
            )
    for label, table in layers:
        if values := {key: _expanded(by_name, key, table[key]) for key in table if key not in left_out}:
            from cyclopts.config import Dict

            Dict({command: values}, source=f"{file.path} {label}".rstrip())(app, commands, arguments)
    _set_urls(by_name.get("--server"), file)


def _first_value(argument: Argument | None) -> str:
    return argument.tokens[0].value if argument is not None and argument.tokens else ""


def _servers(by_name: Mapping[str, Argument], defaults: Table, file: ConfigFile) -> list[str]:
    """Return what names the relays of this command line: URLs, and relays' names."""
    if "--serve" in by_name and (by_name["--serve"].tokens or "serve" in defaults):
        return []
    if "--server" not in by_name:  # of `resume`, the transfer knows its relays
        id_, state_dir = _first_value(by_name.get("ID")), _first_value(by_name.get("--state-dir"))
        if not id_ or not file.relays:
            return []
        from p2p_copy.cli.saved_transfers import relays_of

        return list(relays_of(id_, state_dir or str(defaults.get("state-dir", ""))))
    word = _first_value(by_name.get("PATH") or by_name.get("CODE"))
    if is_url(word):
        return [pasted.value(word)]
    default = defaults.get("server", "")
    values = [token.value for token in by_name["--server"].tokens] or (
        [default] if isinstance(default, str) else default
    )
    return [word for value in values for word in relay_words(value)]


def _smallest_rate(file: ConfigFile, names: Sequence[str]) -> tuple[str, Table]:
    """Return the smallest limit of the rate that the tables of these relays have, and where it stands, as a layer."""
    rates = [(file.relays[name][_OF_ALL], name) for name in names if _OF_ALL in file.relays[name]]
    if not rates:
        return "", {}
    from p2p_copy.units import parse_rate

    rate, name = min(rates, key=lambda each: parse_rate(str(each[0])))
    return f"[{RELAYS}.{name}]", {_OF_ALL: rate}


def _set_own(by_name: Mapping[str, Argument], file: ConfigFile, names: Sequence[str], keys: set[str]) -> None:
    """Hand over what each of several relays has alone, but for options that have a value already."""
    tables = {
        file.relays[name]["url"]: {
            key: str(_expanded(by_name, key, value))
            for key, value in file.relays[name].items()
            if key in keys
        }
        for name in names
    }
    from cyclopts.token import Token

    own = Token(source=f"{file.path} [{RELAYS}]", implicit_value=OfRelays(tables))
    by_name["--of-relays"].append(own)


def _expanded(by_name: Mapping[str, Argument], key: str, value: Any) -> Any:
    """Return a value with `~` expanded if it is a path, as a shell does on the command line."""
    is_path = isinstance(value, str) and by_name[f"--{key}"].parameter.metavar in ("FILE", "DIR")
    return os.path.expanduser(value) if is_path else value


def _set_urls(server: Argument | None, file: ConfigFile) -> None:
    """Make a token of each relay that is named, with its URL in place of its name."""
    if server is not None:
        server.tokens = [
            token.evolve(value=file.relays[word]["url"] if word in file.relays else word)
            for token in server.tokens
            for word in relay_words(token.value)
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
