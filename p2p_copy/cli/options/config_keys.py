"""Checks the keys of the configuration file, and says where a key belongs that stands in the wrong place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from p2p_copy import escape
from p2p_copy.cli.options.config_file import CLIENTS, COMMANDS, RELAYS, SHARED
from p2p_copy.cli.options.groups import RELAY
from p2p_copy.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cyclopts import App
    from cyclopts.argument import ArgumentCollection

    from p2p_copy.cli.options.config_file import ConfigFile

_NOT_OF_ONE_RELAY: Final = {"server", "serve", "links"}
"""Options under the heading of relays that a relay's own table cannot have."""
_NO_KEYS: Final = {"config", "json", "of-relays"}
"""Options that no file has. Of the first two, who runs a command has to know in which form its output comes."""
_TOP: Final = ""
_ANY_RELAY: Final = f"{RELAYS}.NAME"


def keys_of_command(arguments: ArgumentCollection) -> set[str]:
    """Return the keys that the table of the command with these options can have."""
    names = (argument.name for argument in arguments)
    return {name.removeprefix("--") for name in names if name.startswith("--")} - _NO_KEYS


def keys_of_relay(arguments: ArgumentCollection) -> set[str]:
    """Return those of these options that the table of a relay can have."""
    names = (argument.name for argument in arguments if RELAY.group == argument.parameter.group)
    return {name.removeprefix("--") for name in names} - _NOT_OF_ONE_RELAY - _NO_KEYS


def check_top(file: ConfigFile, app: App) -> None:
    """Check the keys at the top of the file.

    Raises:
        UsageError: one is unknown there. It says where the key belongs, or which one was meant.

    """
    known = (*COMMANDS, RELAYS, *SHARED)
    for key in file.content:
        if key not in known:
            raise UsageError(f"{file.path}: unknown key: {escape(key)}.{_correction(key, known, app)}")


def check_command(file: ConfigFile, command: str, arguments: ArgumentCollection, app: App) -> None:
    """Check the keys of a command's table and, for a client, of the relays' tables.

    Raises:
        UsageError: one is unknown there. It says where the key belongs, or which one was meant.

    """
    tables = {command: (file.content.get(command, {}), keys_of_command(arguments))}
    if command in CLIENTS:
        known = {"url", *keys_of_relay(arguments)}
        tables |= {f"{RELAYS}.{name}": (table, known) for name, table in file.relays.items()}
    for label, (table, known) in tables.items():
        for key in table:
            if key not in known:
                raise UsageError(
                    f"{file.path}: [{escape(label)}] has an unknown key: {escape(key)}."
                    f"{_correction(key, known, app)}"
                )


def _correction(key: str, known: Iterable[str], app: App) -> str:
    """Return a sentence that says where a key belongs, or else which one was meant; empty if nothing is near.

    Args:
        key: what stands in a place that does not have it.
        known: the keys of this place.
        app: has all commands.

    """
    from p2p_copy.cli.ui.suggestions import did_you_mean, near  # imported only after a mistake

    places = _places(app)
    if any(key in keys for keys in places.values()):
        return _belongs(key, places)
    if here := did_you_mean(key, known):
        return here
    elsewhere = near(key, set().union(*places.values()))
    return f" Did you mean {elsewhere}?{_belongs(elsewhere, places)}" if elsewhere else ""


def _places(app: App) -> Mapping[str, set[str]]:
    """Return the keys of the top of the file, and of each of its tables. It looks at the options of all commands."""
    options = {command: app[command].assemble_argument_collection() for command in COMMANDS}
    tables = {command: keys_of_command(arguments) for command, arguments in options.items()}
    of_relay = set().union(*(keys_of_relay(options[command]) for command in CLIENTS))
    return {_TOP: set(SHARED), **tables, _ANY_RELAY: {"url", *of_relay}}


def _belongs(key: str, places: Mapping[str, set[str]]) -> str:
    *first, last = [f"[{place}]" for place, keys in places.items() if place != _TOP and key in keys]
    tables = f"in {', '.join(first)} or {last}" if first else f"in {last}"
    return f" It belongs {'at the top, or ' if key in places[_TOP] else ''}{tables}."
