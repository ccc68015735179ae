"""Options that the rest of a command line leaves without any effect: they are refused, and never silently ignored.

Only what stands on the command line counts. The configuration file and the environment hold defaults for many commands,
and a default is used where it applies. `--dry-run` is put behind the command that is tried, so it refuses nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from p2p_copy.cli.options.arguments import STANDARD, is_url
from p2p_copy.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cyclopts import App
    from cyclopts.argument import ArgumentCollection

    _Given = Mapping[str, Sequence[str]]
    """What stands on the command line: names of options and words, each with its values; absent if not given."""


class _Rule(NamedTuple):
    """While `holds`, the options have no effect, for the reason that `sentence` tells."""

    holds: Callable[[_Given], object]
    options: tuple[str, ...]
    sentence: str


_WITHOUT_TLS: Final = "with ws:// there is no certificate"

_ONE_STATE: Final = "what goes through a pipe cannot be gone on with later"


def _is_without_tls(given: _Given, words: str) -> bool:
    """Tell whether the relay that stands on the command line, as URL in front or as option, is one without TLS."""
    relay = [*(word for word in given.get(words, ())[:1] if is_url(word)), *given.get("--server", ())]
    return any(each.strip().lower().startswith("ws://") for each in relay)


_RULES: Final[dict[str, tuple[_Rule, ...]]] = {
    "send": (
        _Rule(lambda given: _is_without_tls(given, "PATH"), ("--ca-file",), _WITHOUT_TLS),
        _Rule(
            lambda given: is_url(given["PATH"][0]) if given.get("PATH") else False,
            ("--server",),
            "the relay is named by the URL already",
        ),
        _Rule(
            lambda given: "--serve" in given,
            ("--server", "--ca-file", "--token-file"),
            "with --serve this side is the relay itself, and no other is called",
        ),
        _Rule(
            lambda given: "--serve" in given,
            ("--state-dir",),
            "with --serve the relay ends with this command, so nothing can be gone on with later",
        ),
        _Rule(
            lambda given: STANDARD in given.get("PATH", ()),
            ("--symlinks", "--preserve", "--only", "--exclude", "--dry-run"),
            "it is about files, and nothing is known of what comes from standard input",
        ),
        _Rule(lambda given: STANDARD in given.get("PATH", ()), ("--state-dir",), _ONE_STATE),
        _Rule(
            lambda given: STANDARD not in given.get("PATH", ()),
            ("--name",),
            "it names what comes from standard input: p2p-copy send - --name NAME",
        ),
    ),
    "receive": (
        _Rule(lambda given: _is_without_tls(given, "CODE"), ("--ca-file",), _WITHOUT_TLS),
        _Rule(
            lambda given: is_url(given["CODE"][0]) if given.get("CODE") else False,
            ("--server",),
            "the relay is named by the URL already",
        ),
        _Rule(
            lambda given: STANDARD in given.get("--out", ()),
            ("--on-conflict", "--preserve", "--only", "--exclude", "--dry-run", "--reverify"),
            "it is about files, and nothing is known of what goes to standard output",
        ),
        _Rule(lambda given: STANDARD in given.get("--out", ()), ("--state-dir",), _ONE_STATE),
    ),
    "resume": (
        _Rule(
            lambda given: "ID" not in given,
            (
                "--ca-file",
                "--token-file",
                "--wait",
                "--patience",
                "--deadline",
                "--streams",
                "--receipt",
            ),
            "without an ID the unfinished transfers are listed, and none goes on",
        ),
    ),
    "run-relay-server": (
        _Rule(
            lambda given: "--no-tls" in given,
            ("--reload-certs",),
            "with --no-tls there is no certificate",
        ),
    ),
}


def refuse_unused(_app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Refuse options of the command line that the rest of it leaves without effect (a hook of cyclopts).

    Raises:
        UsageError: there is one. It is named, with the reason.

    """
    given: dict[str, list[str]] = {}
    for argument in arguments:
        for token in argument.tokens:
            if token.source == "cli":
                given.setdefault(argument.name, []).append(token.value)
                given.setdefault(token.keyword or argument.name, []).append(token.value)
    for command in commands:
        for rule in _RULES.get(command, ()):
            unused = [option for option in rule.options if option in given]
            if unused and rule.holds(given):
                raise UsageError(f"{unused[0]} has no effect here: {rule.sentence}. Leave it out.")
