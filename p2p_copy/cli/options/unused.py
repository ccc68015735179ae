"""Refuses options that have no effect in their command line, rather than ignoring them silently.

Only options on the command line count. The configuration file and the environment hold defaults for many commands, and
a default is used where it applies. `--dry-run` is added to a command line to try it, so it refuses nothing. Whether
`--ca-file` and `--pin` have an effect depends on the relay, so `inputs.refuse_needless_tls_options` decides that later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from p2p_copy.cli.options.arguments import STANDARD, is_url
from p2p_copy.errors import UsageError
from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cyclopts import App
    from cyclopts.argument import ArgumentCollection

    _Given = Mapping[str, Sequence[str]]
    """The options and words of the command line, by name, each with its values."""


class _Rule(NamedTuple):
    """If `holds`, the options have no effect; `sentence` says why."""

    holds: Callable[[_Given], object]
    options: tuple[str, ...]
    sentence: str


_ONE_STATE: Final = "a transfer through a pipe cannot be resumed"


_OUTPUT: Final = (
    _Rule(lambda given: "--quiet" in given, ("--verbose",), "--quiet prints nothing but errors"),
    _Rule(lambda given: "--json" in given, ("--verbose",), "--json writes all events"),
)

_RULES: Final[dict[str, tuple[_Rule, ...]]] = {
    "send": (
        *_OUTPUT,
        _Rule(
            lambda given: is_url(given["PATH"][0]) if given.get("PATH") else False,
            ("--server",),
            "the relay is named by the URL already",
        ),
        _Rule(
            lambda given: (
                "--code" in given or "--code-file" in given or is_url((given.get("PATH") or ("",))[0])
            ),
            ("--code-words",),
            "it is for a new code, and there is one already",
        ),
        _Rule(
            lambda given: "--serve" in given,
            ("--server", "--ca-file", "--pin", "--proxy", "--token-file"),
            "with --serve this side is the relay itself",
        ),
        _Rule(
            lambda given: "--serve" in given,
            ("--state-dir",),
            "with --serve the relay ends with this command, so the transfer cannot be resumed",
        ),
        _Rule(
            lambda given: "--serve" in given,
            ("--link",),
            "with --serve this side is the relay, and a browser would need one with a certificate and a page",
        ),
        _Rule(
            lambda given: STANDARD in given.get("PATH", ()),
            ("--symlinks", "--preserve", "--only", "--exclude", "--dry-run"),
            "it is about files, and standard input is none",
        ),
        _Rule(lambda given: STANDARD in given.get("PATH", ()), ("--state-dir",), _ONE_STATE),
        _Rule(
            lambda given: STANDARD in given.get("PATH", ()),
            ("--verify",),
            "it asks at the terminal, and what is typed there is sent",
        ),
        _Rule(
            lambda given: STANDARD not in given.get("PATH", ()),
            ("--name",),
            "it names what comes from standard input: p2p-copy send - --name NAME",
        ),
    ),
    "receive": (
        *_OUTPUT,
        _Rule(
            lambda given: is_url(given["CODE"][0]) if given.get("CODE") else False,
            ("--server",),
            "the relay is named by the URL already",
        ),
        _Rule(
            lambda given: STANDARD in given.get("--out", ()),
            (
                "--on-conflict",
                "--preserve",
                "--only",
                "--exclude",
                "--checksum",
                "--delete",
                "--dry-run",
                "--reverify",
            ),
            "it is about files, and standard output is none",
        ),
        _Rule(lambda given: STANDARD in given.get("--out", ()), ("--state-dir",), _ONE_STATE),
    ),
    "resume": (
        *_OUTPUT,
        _Rule(
            lambda given: "ID" not in given,
            (
                "--ca-file",
                "--pin",
                "--proxy",
                "--token-file",
                "--wait",
                "--patience",
                "--deadline",
                "--limit-rate",
                "--links",
                "--receipt",
            ),
            "without an ID the unfinished transfers are only listed",
        ),
    ),
    "run-relay-server": (
        _Rule(
            lambda given: "--no-tls" in given, ("--reload-certs",), "with --no-tls there is no certificate"
        ),
    ),
}


def refuse_unused(_app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Refuse options that have no effect in this command line (a hook of cyclopts).

    Raises:
        UsageError: there is one. The message names it, with the reason.

    """
    given: dict[str, list[str]] = {}
    for argument in arguments:
        for token in argument.tokens:
            if token.source == "cli":
                given.setdefault(argument.name, []).append(token.value)
                given.setdefault(token.keyword or argument.name, []).append(token.value)
    for command in commands:
        if (sentence := unused(command, given)) is not None:
            raise UsageError(sentence)


def unused(command: str, given: _Given) -> str | None:
    """Return the sentence about an option that has no effect in this command line; None if all have."""
    for rule in _RULES.get(command, ()):
        without = [option for option in rule.options if option in given]
        if without and rule.holds(given):
            return f"{without[0]} has no effect here: {rule.sentence}. Leave it out."
    return None
