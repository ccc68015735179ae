"""Writes docs/operations.md from the program itself: `python -m tests.generate_operations`."""

from __future__ import annotations

import logging
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p_copy import errors
from p2p_copy.cli.app import app
from p2p_copy.cli.commands.relay_admin import QUESTIONS
from p2p_copy.cli.ui.display import with_options
from p2p_copy.relay.admin.http_api import REQUESTS
from p2p_copy.relay.admin.metrics import METRICS
from p2p_copy.relay.admin.orders import ORDERS
from p2p_copy.relay.admin.settings import LIVE
from p2p_copy.relay.log.abuse import Abuse
from p2p_copy.relay.log.events import EVENTS
from p2p_copy.relay.pairing import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PAGE = Path(__file__).parents[1] / "docs" / "operations.md"
COMMAND = "run-relay-server"


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    for row in (head, ("---",) * len(head), *rows):
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
    yield ""


def as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None or value == ():
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def options() -> Iterator[tuple[str, ...]]:
    for argument in app[COMMAND].assemble_argument_collection():
        names = [name for name in argument.names if name.startswith("--")]
        if not names:
            continue
        parameter = argument.parameter
        metavar = f" {parameter.metavar}" if parameter.metavar else ""
        default = argument.field_info.default
        live = "yes" if names[0].removeprefix("--") in LIVE else ""
        known = as_text(default) if default is not argument.field_info.empty else ""
        yield ", ".join(f"`{name}{metavar}`" for name in names), parameter.help or "", known, live


def exit_codes() -> Iterator[tuple[str, ...]]:
    yield "0", "Success; for a relay also an end that a signal ordered."
    yield "1", "A bug in p2p-copy."
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    ours = [kind for kind in kinds if issubclass(kind, errors.P2PCopyError)]
    seen = {1}
    for kind in sorted(ours, key=lambda kind: kind.exit_code):
        if kind.exit_code not in seen:
            seen.add(kind.exit_code)
            yield str(kind.exit_code), with_options((kind.__doc__ or "").strip())
    yield str(128 + signal.SIGINT), "Ctrl-C; a relay ends with 0 then."
    yield "141", "The program that read the result of a command closed the pipe before its end."
    yield str(128 + signal.SIGTERM), "SIGTERM; a relay ends with 0 then, and with this at the third signal."


def page() -> str:
    """Return the whole page."""
    lines = [
        "# Operations: the tables",
        "",
        "Every option, metric, log event, request and exit code of the relay, made from the program itself by",
        "`python -m tests.generate_operations`. [relay.md](relay.md) says how to use them.",
        "",
        f"## Options of {COMMAND}",
        "",
        "In the configuration file they stand in the table `[run-relay-server]`, without dashes. Live options can be",
        "changed with `relay-admin ADDR set NAME VALUE` while the relay runs.",
        "",
        *table(("option", "meaning", "default", "live"), options()),
        "## Log events",
        "",
        "One line each. `%(name)s` is a fact; in JSON it is a key of its own, beside `time`, `level`, `event` and",
        "`text`, `addresses` with `--log-addresses`, and `more` with `seconds` in a line that sums up a flood.",
        "",
        *table(
            ("event", "level", "text", "meaning"),
            (
                (f"`{one.name}`", logging.getLevelName(one.level).lower(), f"`{one.text}`", one.meaning)
                for one in (*EVENTS, *(kind.event for kind in Abuse))
            ),
        ),
        f"A pair's outcome is one of: {', '.join(outcome.value for outcome in Outcome)}.",
        "",
        "## Metrics",
        "",
        *table(
            ("metric", "label", "meaning"),
            ((f"`{name}`", f"`{label}`" if label else "", meaning) for name, label, meaning in METRICS),
        ),
        "## Requests at the admin address",
        "",
        *table(
            ("request", "meaning"),
            ((f"`{method} {path}`", meaning) for (method, path), meaning in REQUESTS.items()),
        ),
        "## Orders of relay-admin",
        "",
        *table(
            ("order", "meaning"),
            (
                *((f"`{name}`", meaning) for name, meaning in QUESTIONS.items()),
                *((f"`{' '.join((name, *order.words))}`", order.meaning) for name, order in ORDERS.items()),
            ),
        ),
        "## Exit codes",
        "",
        *table(("code", "meaning"), exit_codes()),
    ]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
