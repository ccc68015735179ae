"""Writes pages and tables of docs/ from the program itself: `python -m tests.generate_reference`.

The pages are the command line (cli.md), the events of `--json` with their schema (events.md, events.schema.json), the
exit codes (exit-codes.md) and the tables for operators (operations.md). In other pages a table stands between two
comments, which name it; `p2p-copy help` shows the same.
"""

from __future__ import annotations

import logging
import re
from enum import Enum
from functools import partial, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from docs.figures import scaling
from p2p_copy.cli.app import app
from p2p_copy.cli.commands.relay_admin import QUESTIONS
from p2p_copy.cli.ui import topics
from p2p_copy.cli.ui.examples import EXAMPLES
from p2p_copy.cli.ui.topics import FORMS, PATTERNS, VARIABLES, WAYS_TO_GIVE_A_CODE
from p2p_copy.relay.admin.http_api import REQUESTS
from p2p_copy.relay.admin.metrics import METRICS
from p2p_copy.relay.admin.orders import ORDERS
from p2p_copy.relay.admin.settings import LIVE
from p2p_copy.relay.log.abuse import Abuse
from p2p_copy.relay.log.events import EVENTS
from p2p_copy.relay.pairing import Outcome
from tests import generate_events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cyclopts import App
    from cyclopts.argument import Argument

DOCS = Path(__file__).parents[1] / "docs"
RELAY = "run-relay-server"
AS_CODE = re.compile(
    r"(?<![\w`-])(?:--[a-z][a-z-]*[a-z]|P2P_COPY_[A-Z_]+|SIG[A-Z0-9]+|[a-z]+://[A-Z:]+|wss?://(?=[ ,;.])"
    r"|-(?= (?:alone|for) ))(?![\w`])"
)
"""Options, variables, signals, addresses and a lone dash in a sentence of the help."""

COMMAND_LINE = """\
# The command line

Every command with its options, made from the program itself by `python -m tests.generate_reference`.
`p2p-copy COMMAND --help` shows the same at a terminal.

More about it: [Sending and receiving](transfers.md), [Interrupted transfers](resuming.md), [Pipes](pipes.md),
[Receipts and verify](receipts.md), [Configuration](configuration.md) with the forms of times and sizes,
[Output](output.md) and [Exit codes](exit-codes.md).

- `p2p-copy --install-completion` lets your shell (bash, zsh, fish or PowerShell) complete commands, options, values,
  paths, named relays and unfinished transfers with Tab.
- A path that begins with `-` is written as `./-name`, or after `--`. A lone `-` is standard input.
- An option on the command line that has no effect there, such as `--name` without a pipe, is an error (exit
  code 2) that says why.
- The spelling of p2p-copy 0.1.x works too: a first word that is a `ws://` or `wss://` URL is the relay, and the
  next word is the code.
"""

EXIT_CODES = """\
# Exit codes

Every kind of failure has an exit code of its own. The sentence is the one that the command prints if it knows
nothing closer; [in a Python program](api.md#errors) the name is the class of the error, in `p2p_copy.errors`. This
page is made from the program by `python -m tests.generate_reference`.

`p2p-copy doctor` ends with the code of the first thing that is wrong, the one with which a transfer would end.
"""

RELAY_EXITS = """\
A relay that SIGTERM or Ctrl-C has stopped ends with 0: that is its success. Only the third signal ends it with the
number of the signal. `relay-admin` ends with 4 if there is no answer, or none within 15 seconds, with 8 if what
answers is no admin address of a relay, and with 9 if the relay refuses the order; it says why.

A relay that gets its certificate by itself (`--acme`) never ends because it has none: until the first one is there its
clients end with 4."""

OPERATIONS = """\
# Relay: options, metrics, log events

Every option, metric, log event, request and order of the relay, made from the program itself by
`python -m tests.generate_reference`. [Run a relay](relay.md), [Limits of a relay](relay-limits.md) and
[Watch a relay](monitoring.md) say how to use them.

## Options of run-relay-server

In the configuration file they stand in the table `[run-relay-server]`, without dashes. Live options can be
changed with `relay-admin ADDR set NAME VALUE` while the relay runs.
"""

TABLES = {
    "codes": (("way", "what it is, and who can read it"), WAYS_TO_GIVE_A_CODE),
    "variables": (("variable", "meaning"), VARIABLES),
    "forms": (("what", "form"), FORMS),
    "patterns": (("pattern", "matches"), PATTERNS),
    "costs": (("what", "processor time", "memory"), scaling.costs()),
    "measured": (
        (
            "load",
            "connections",
            "GiB",
            "processor s",
            "by the model",
            "MiB/s",
            "ms to pair, median / 99 %",
            "ms round trip, the same",
            "others' processors",
        ),
        scaling.measured(),
    ),
    "growth": (
        (
            "pairings",
            "in all",
            "processors, TLS",
            "without TLS",
            "memory",
            "descriptors",
            "relays by `--max-connections`",
            "all connect again",
        ),
        scaling.growth(),
    ),
}
"""Tables inside pages, by the name in their comments."""


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    for row in (head, ("---",) * len(head), *rows):
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
    yield ""


def as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, Enum):
        return str(value.value)
    if value is None or value == ():
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def commands() -> Iterator[str]:
    """Return the commands in the order of the help, those inside another one by both words."""
    for name in app:
        if not name.startswith("-"):
            inner = [word for word in app[name] if not word.startswith("-")]
            yield from (f"{name} {word}" for word in inner)
            if not inner:
                yield name


def find(command: str) -> App:
    return reduce(lambda outer, word: outer[word], command.split(), cast("App", app))


def arguments(command: str) -> Iterator[Argument]:
    """Return what the help of a command shows, in its order."""
    for argument in find(command).assemble_argument_collection():
        if argument.show:
            yield argument


def names(argument: Argument) -> list[str]:
    """Return how an option is written, as the help has it: `-o`, `--out`; nothing for a word."""
    return sorted(
        (name for name in argument.names if name.startswith("-")), key=lambda name: name.startswith("--")
    )


def grouped(command: str) -> Iterator[tuple[str, list[Argument]]]:
    """Return the options of a command under the headings of its help."""
    collection = find(command).assemble_argument_collection()
    for group in sorted(
        (one for one in collection.groups if isinstance(one.sort_key, int)), key=lambda one: one.sort_key
    ):
        yield group.name, [one for one in collection.filter_by(group=group) if one.show and names(one)]


def default(argument: Argument) -> str:
    """Return a default as the help has it, or nothing where the help has none."""
    value, shown = argument.field_info.default, argument.parameter.show_default
    if value is argument.field_info.empty or value is False or shown is False:
        return ""
    return f"`{shown(value)}`" if callable(shown) and value is not None else quoted(as_text(value))


def quoted(text: str) -> str:
    return f"`{text}`" if text else ""


def option(argument: Argument) -> tuple[str, ...]:
    parameter = argument.parameter
    choices = argument.get_choices() or ()
    value = parameter.metavar or ("CHOICE" if choices else "")
    meaning = [parameter.help or ""]
    if choices:
        meaning.append(f"One of {', '.join(f'`{choice}`' for choice in choices)}.")
    if parameter.env_var:
        meaning.append(f"Or `{'`, `'.join(parameter.env_var)}`.")
    *others, last = names(argument)
    spelled = ", ".join(f"`{name}`" for name in (*others, f"{last} {value}".strip()))
    return spelled, with_code(" ".join(meaning)), default(argument)


def relay_options() -> Iterator[str]:
    for heading, members in grouped(RELAY):
        rows = ((*option(one), "yes" if one.name.removeprefix("--") in LIVE else "") for one in members)
        yield f"**{heading}**\n"
        yield from table(("option", "meaning", "default", "live"), rows)


def words(command: str) -> Iterator[tuple[str, ...]]:
    for argument in arguments(command):
        if not names(argument):
            yield f"`{argument.name}`", with_code(argument.parameter.help or "")


def with_code(text: str) -> str:
    """Return a sentence of the help with its options, variables, signals and addresses as code."""
    return AS_CODE.sub(r"`\g<0>`", text)


def command_line() -> str:
    """Return docs/cli.md."""
    lines = [COMMAND_LINE]
    for command in commands():
        usage = (find(command).usage or "").removeprefix("Usage: ")
        lines += [f"## {command}", "", "```text", usage, "```", "", *paragraphs(find(command).help), ""]
        if rows := list(words(command)):
            lines += table(("word", "meaning"), rows)
        if examples := EXAMPLES.get(command):
            lines += [
                "```text",
                *(line for one in examples for line in (f"# {one.purpose}", one.command)),
                "```",
                "",
            ]
        if command == RELAY:
            lines += [
                "Its options are in [the tables for operators](operations.md#options-of-run-relay-server).",
                "",
            ]
            continue
        for heading, members in grouped(command):
            lines += [f"**{heading}**", "", *table(("option", "meaning", "default"), map(option, members))]
    return ending("\n".join(lines))


def paragraphs(text: str) -> Iterator[str]:
    for line in text.strip().splitlines():
        line = line.strip()
        also, colon, command = line.partition("Also: ")
        yield f"Also: `{command}`" if colon and not also else with_code(line)


def exit_codes() -> str:
    """Return docs/exit-codes.md."""
    rows = ((code, quoted(name), with_code(what)) for code, name, what in topics.exit_codes())
    lines = [EXIT_CODES, *table(("code", "name", "what happened"), rows), RELAY_EXITS]
    return ending("\n".join(lines))


def operations() -> str:
    """Return docs/operations.md."""
    lines = [
        OPERATIONS,
        *relay_options(),
        "## Log events",
        "",
        "One line each. `%(name)s` is a fact; in JSON it is a key of its own, beside `time`, `level`, `event` and",
        "`text`, `addresses` with `--log-addresses`, and `more` with `seconds` in a line that sums up a flood.",
        "",
        *table(
            ("event", "level", "text", "meaning"),
            (
                (
                    f"`{one.name}`",
                    logging.getLevelName(one.level).lower(),
                    f"`{one.text}`",
                    with_code(one.meaning),
                )
                for one in (*EVENTS, *(kind.event for kind in Abuse))
            ),
        ),
        f"A pair's outcome is one of: {', '.join(outcome.value for outcome in Outcome)}.",
        "",
        "## Metrics",
        "",
        *table(
            ("metric", "label", "meaning"),
            (
                (f"`{name}`", f"`{label}`" if label else "", with_code(meaning))
                for name, label, meaning in METRICS
            ),
        ),
        "## Requests at the admin address",
        "",
        *table(
            ("request", "meaning"),
            ((f"`{method} {path}`", with_code(meaning)) for (method, path), meaning in REQUESTS.items()),
        ),
        "## Orders of relay-admin",
        "",
        *table(
            ("order", "meaning"),
            (
                *((f"`{name}`", with_code(meaning)) for name, meaning in QUESTIONS.items()),
                *(
                    (f"`{' '.join((name, *order.words))}`", with_code(order.meaning))
                    for name, order in ORDERS.items()
                ),
            ),
        ),
    ]
    return ending("\n".join(lines))


def ending(text: str) -> str:
    return text.rstrip() + "\n"


def with_tables(name: str) -> str:
    """Return a page with its tables as they are today."""
    text = (DOCS / name).read_text(encoding="utf-8")

    def filled(match: re.Match[str]) -> str:
        head, rows = TABLES[match[2]]
        return "\n".join((match[1], "", *table(head, rows), match[3]))

    return re.sub(r"(<!-- table: ([a-z]+) -->)\n.*?(<!-- end of table -->)", filled, text, flags=re.DOTALL)


PAGES: dict[str, Callable[[], str]] = {
    "cli.md": command_line,
    "events.md": lambda: generate_events.page(table),
    "events.schema.json": generate_events.schema,
    "exit-codes.md": exit_codes,
    "operations.md": operations,
    "configuration.md": partial(with_tables, "configuration.md"),
    "transfers.md": partial(with_tables, "transfers.md"),
    "scaling.md": partial(with_tables, "scaling.md"),
}

if __name__ == "__main__":
    from tests.manual_pages import pages

    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
    for name, text in pages().items():
        (DOCS / "man" / name).write_text(text, encoding="utf-8")
