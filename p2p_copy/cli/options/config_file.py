"""Reads the configuration file: TOML, a table for each command and each named relay, and shared keys at the top.

    server = "work"                        # a relay below, or a URL, or a list; also: ca-file, pin, proxy, token-file
    [relay.work]
    url = "wss://relay.example:443"
    token-file = "~/.config/p2p-copy/token"
    [receive]
    out = "incoming"

A key is an option's name without dashes. An unknown key is an error: a setting must not be ignored silently. The first
of these that has a value counts: the command line, the environment, the relay's table, the command's table, the top.

`config_keys` checks the keys, `config_defaults` puts the values into the options.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from p2p_copy import escape, pasted
from p2p_copy.cli.options.arguments import is_url
from p2p_copy.errors import UsageError
from p2p_copy.files.user_directories import user_directory
from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cyclopts.completion import CompletionContext

    Table = dict[str, Any]

CONFIG_VARIABLE: Final = "P2P_COPY_CONFIG"
"""The environment variable in place of `--config`."""
CLIENTS: Final = ("send", "receive", "resume")
COMMANDS: Final = (*CLIENTS, "run-relay-server")
"""The commands that have a table."""
LIKE: Final = {"doctor": "receive"}
"""Commands without a table that use the one of another command, as far as they have its options."""
RELAYS: Final = "relay"
"""The table of tables for relays, by their names."""
SHARED: Final = ("server", "ca-file", "pin", "proxy", "token-file")
"""Keys at the top, for every client command that has the option."""
_TEXTS: Final = (*SHARED, "code", "code-file")
"""Keys of texts in every table. Checked here because the library's errors repeat a value, and these may be secret."""


class ConfigFile(NamedTuple):
    """A configuration file, or none: then `content` is empty and `exists` false."""

    path: str
    exists: bool
    content: Table

    @property
    def relays(self) -> Mapping[str, Table]:
        """The tables of the relays, by name."""
        tables: Mapping[str, Table] = self.content.get(RELAYS, {})
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
            f"{self.path or 'the configuration file'}.{meant(server, self.relays)}"
        )


def read(named: str = "") -> ConfigFile:
    """Return the file that `--config`, else the environment names, else the user's own, which need not exist.

    Raises:
        UsageError: the file cannot be read, or is not TOML, or a relay's table has no URL, or a value that may be
            secret is no text.

    """
    named = named or os.environ.get(CONFIG_VARIABLE, "")
    path = named or default_path()
    content = _load(path, must_exist=bool(named)) if path else None
    for key, value in (content or {}).items():
        if key in (*COMMANDS, RELAYS) and not isinstance(value, dict):
            raise UsageError(f"{path}: {key} must be a table.")
    _check_texts(path, "", content or {})
    for command in COMMANDS:
        _check_texts(path, f"[{command}]", (content or {}).get(command, {}))
    for name, table in (content or {}).get(RELAYS, {}).items():
        if not isinstance(table, dict) or not isinstance(table.get("url"), str) or not is_url(table["url"]):
            label = f"[{RELAYS}.{escape(name)}]"
            raise UsageError(f'{path}: {label} needs the URL of the relay: url = "wss://relay.example:443"')
        _check_texts(path, f"[{RELAYS}.{escape(name)}]", table)
    return ConfigFile(path, content is not None, content or {})


def _check_texts(path: str, label: str, table: Table) -> None:
    where = f" in {label}" if label else ""
    for key in _TEXTS:
        value = table.get(key, "")
        if (
            key == "server"
            and isinstance(value, list)
            and value
            and all(isinstance(each, str) for each in value)
        ):
            continue
        if not isinstance(value, str):
            what = "a text, or a list of texts" if key == "server" else "a text"
            raise UsageError(f"{path}: {key}{where} must be {what}.")


def default_path() -> str:
    """Return this platform's path of a user's configuration file; empty if the user has no such place."""
    base = user_directory("APPDATA") if os.name == "nt" else user_directory("XDG_CONFIG_HOME", ".config")
    return os.path.join(base, "p2p-copy", "config.toml") if base else ""


def _load(path: str, *, must_exist: bool) -> Table | None:
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


def relay_names(_context: CompletionContext) -> Iterable[str]:
    """Return the names of the relays, for a shell that completes one."""
    return read().relays


def meant(word: str, known: Iterable[str]) -> str:
    """Return " Did you mean X?" if a known word is near."""
    from p2p_copy.cli.ui.suggestions import did_you_mean  # imported only after a mistake

    return did_you_mean(word, known)
