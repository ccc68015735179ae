"""Parses a plain `send` or `receive` as `cli.app` would, by the same declarations, but without loading all of that.

Plain are words, and options with a value that is right, each once. For all else this returns nothing, and `cli.app`
parses it: help, mistakes, a configuration file. tests/cli/options/test_plain.py compares the two.
"""

from __future__ import annotations

import os
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from p2p_copy.cli.options.arguments import relay_words
from p2p_copy.cli.options.client import (
    ClientArguments,
    ReceiveArguments,
    SendArguments,
    ServerNames,
    TransferArguments,
)
from p2p_copy.cli.options.config_file import CONFIG_VARIABLE, default_path
from p2p_copy.cli.options.parameter import Parameter
from p2p_copy.cli.options.unused import unused
from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from p2p_copy.value import Value

_WORD: Final = {"send": "PATH", "receive": "CODE"}
"""The commands, and what their words are called."""

_NOT_CONVERTED: Final = {"", "none", "null"}
"""Values that may mean something else than their text."""


class _Token(NamedTuple):
    """A value of the command line, as converters take it."""

    value: str
    source: str = "cli"


class _NotPlain(Exception):
    """Something that `cli.app` has to parse."""


class Plain(NamedTuple):
    """A command line that was parsed."""

    command: str
    words: tuple[str, ...]
    transfer: TransferArguments
    client: ClientArguments
    own: SendArguments | ReceiveArguments

    def run(self) -> int:
        """Run the command and return its exit code; it raises what the command raises."""
        if isinstance(self.own, SendArguments):
            from p2p_copy.cli.commands.send import send

            return send(self.words, self.transfer, self.client, self.own)
        from p2p_copy.cli.commands.receive import receive

        return receive(self.words, self.transfer, self.client, self.own)


class _Option:
    """One option: how it is written, and how its values are read."""

    def __init__(self, field: str, hint: Any) -> None:
        self.field = field
        self.type: Any = hint.__origin__
        self.settings: dict[str, Any] = {}
        for each in hint.__metadata__:
            if type(each) is Parameter:
                self.settings |= each.settings
        self.name = f"--{field.replace('_', '-')}"
        self.is_relay = hint is ServerNames
        self.is_several = getattr(self.type, "__origin__", None) is tuple

    def value(self, texts: Sequence[str]) -> object:
        """Return the value of the option, given at least one text."""
        if not self.is_several and len(texts) > 1:
            raise _NotPlain
        if self.is_relay:
            return tuple(_relays(texts))
        if "parse" in self.settings:
            try:
                value = self.settings["parse"](texts[0])
            except ValueError:
                raise _NotPlain from None
            if "above" in self.settings and value <= self.settings["above"]:
                raise _NotPlain
            return value
        if "converter" in self.settings:
            try:
                return self.settings["converter"](self.type, [_Token(text) for text in texts])
            except ValueError:
                raise _NotPlain from None
        if self.is_several:
            return tuple(texts)
        if isinstance(self.type, type) and issubclass(self.type, Enum):
            members = {each.value: each for each in self.type}
            if texts[0] not in members:
                raise _NotPlain
            return members[texts[0]]
        return texts[0]


def _relays(texts: Sequence[str]) -> Iterator[str]:
    for text in texts:
        for word in relay_words(text):
            if "://" not in word:  # a name in the configuration file
                raise _NotPlain
            yield word


def plain_command(words: Sequence[str]) -> Plain | None:
    """Return a plain command line, parsed; None if `cli.app` has to parse it."""
    try:
        return _parsed(*words[:1], words=words[1:])
    except _NotPlain:
        return None


def _parsed(command: str = "", *, words: Sequence[str]) -> Plain:
    if command not in _WORD or _has_configuration():
        raise _NotPlain
    kinds: tuple[type[Value], ...] = (
        TransferArguments,
        ClientArguments,
        SendArguments if command == "send" else ReceiveArguments,
    )
    options = [
        {field: _Option(field, hint) for field, hint in kind.__init__.__annotations__.items() if hint}
        for kind in kinds
    ]
    by_name = {option.name: option for own in options for option in own.values()}
    by_name |= {option.settings["alias"]: option for option in by_name.values() if "alias" in option.settings}
    named: list[str] = []
    given: dict[str, list[str]] = {}
    rest = iter(words)
    for word in rest:
        if word == "--":
            named += rest
        elif not word.startswith("-"):
            named.append(word)
        else:
            _take(word, rest, by_name, given)
    if "" in named:
        raise _NotPlain
    if unused(command, given | {_WORD[command]: named}) is not None:
        raise _NotPlain
    _take_variables(by_name, given)
    made: list[Any] = [
        kind(**{field: _value(option, given) for field, option in own.items() if option.name in given})
        for kind, own in zip(kinds, options, strict=True)
    ]
    return Plain(command, tuple(named), *made)


def _has_configuration() -> bool:
    """Return whether there is a configuration file; the null device is what people name for none."""
    if named := os.environ.get(CONFIG_VARIABLE):
        return named != os.devnull
    try:
        os.stat(default_path())
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # cyclopts' way says what is wrong with it
        pass
    return True


def _take(word: str, rest: Iterator[str], options: dict[str, _Option], given: dict[str, list[str]]) -> None:
    """Put an option that is written like this, and its value, into `given`."""
    name, is_joined, value = word.partition("=")
    option = options.get(name)
    if option is None or option.settings.get("show") is False or option.field == "config":
        raise _NotPlain
    if option.type is bool:
        if is_joined or option.name in given:
            raise _NotPlain
        given[option.name] = []
        return
    if not is_joined:
        value = next(rest, "")
    if value.lower() in _NOT_CONVERTED or value.startswith("-"):
        raise _NotPlain
    given.setdefault(option.name, []).append(value)


def _take_variables(options: dict[str, _Option], given: dict[str, list[str]]) -> None:
    """Put values of environment variables into `given`, for options without one."""
    for option in options.values():
        variable = option.settings.get("env_var")
        if variable and option.name not in given and variable in os.environ:
            given[option.name] = os.environ[variable].split()
            if not given[option.name]:
                raise _NotPlain


def _value(option: _Option, given: dict[str, list[str]]) -> object:
    return True if option.type is bool else option.value(given[option.name])
