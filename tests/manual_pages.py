"""Makes the manual pages of docs/man from the program itself; `python -m tests.generate_reference` writes them.

The wheel installs them in share/man/man1, where man(1) finds them if the program is in PATH. The text is that of
the help, in the macros of man(7), which groff and mandoc know.
"""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Final

from p2p_copy.cli.app import app
from p2p_copy.cli.ui.examples import EXAMPLES
from p2p_copy.cli.ui.topics import VARIABLES, exit_codes
from tests import generate_reference as reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cyclopts.argument import Argument

NAME: Final = "p2p-copy"


def pages() -> dict[str, str]:
    """Return each page by the name of its file: one of the program, one of each command."""
    commands = tuple(reference.commands())
    made = {f"{NAME}.1": page(NAME, app.help, whole(commands))}
    for command in commands:
        made[f"{title_of(command)}.1"] = page(title_of(command), reference.find(command).help, one(command))
    return made


def title_of(command: str) -> str:
    return f"{NAME}-{command.replace(' ', '-')}"


def page(title: str, about: str, lines: Iterable[str]) -> str:
    first = about.strip().splitlines()[0].rstrip(".")
    head = (
        '.\\" made by python -m tests.generate_reference',
        f'.TH {title.upper()} 1 "" "{NAME}" "{NAME}"',
        ".SH NAME",
        f"{roff(title)} \\- {roff(first)}",
    )
    return "\n".join((*head, *lines, ""))


def one(command: str) -> Iterator[str]:
    """Yield the lines about a command."""
    it = reference.find(command)
    usage = (it.usage or "").removeprefix(f"Usage: {NAME} {command}").strip()
    yield from (".SH SYNOPSIS", f".B {roff(f'{NAME} {command}')}", *([roff(usage)] if usage else []))
    yield ".SH DESCRIPTION"
    paragraphs = [line.strip() for line in it.help.strip().splitlines() if line.strip()]
    yield from "\n.PP\n".join("\n".join(filled(line)) for line in paragraphs).splitlines()
    words = [argument for argument in reference.arguments(command) if not reference.names(argument)]
    if words:
        yield ".SH ARGUMENTS"
        yield from entries((argument.name, argument.parameter.help or "") for argument in words)
    groups = tuple(reference.grouped(command))
    if groups:
        yield ".SH OPTIONS"
    for heading, members in groups:
        yield f".SS {roff(heading)}"
        yield from entries((spelled(argument), meaning(argument)) for argument in members)
    yield from examples(command)
    yield from (".SH SEE ALSO", f".BR {roff(NAME)} (1)")


def whole(commands: Iterable[str]) -> Iterator[str]:
    """Yield the lines about the program."""
    yield from (
        ".SH SYNOPSIS",
        f".B {roff(NAME)}",
        r"\fICOMMAND\fR [\fIOPTIONS\fR]",
        ".SH DESCRIPTION",
        *filled(app.help),
    )
    yield ".SH COMMANDS"
    rows = tuple((command, reference.find(command).help.strip().splitlines()[0]) for command in commands)
    yield from entries(rows)
    yield ".SH ENVIRONMENT"
    yield from entries(VARIABLES)
    yield ".SH EXIT STATUS"
    yield from entries((code, what) for code, _, what in exit_codes())
    yield from examples("")
    yield ".SH SEE ALSO"
    *first, last = [f".BR {roff(title_of(command))} (1)" for command, _ in rows]
    yield from (*(f"{line} ," for line in first), last)


def examples(command: str) -> Iterator[str]:
    if command in EXAMPLES:
        for number, (purpose, typed) in enumerate(EXAMPLES[command]):
            yield from (
                ".PP" if number else ".SH EXAMPLES",
                roff(purpose),
                ".PP",
                ".RS 4",
                ".EX",
                roff(typed),
                ".EE",
                ".RE",
            )


def entries(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, what in rows:
        yield from (".TP", f".B {roff(name)}", *filled(what))


def spelled(argument: Argument) -> str:
    value = argument.parameter.metavar or ("CHOICE" if argument.get_choices() else "")
    return f"{', '.join(reference.names(argument))} {value}".strip()


def meaning(argument: Argument) -> str:
    _, text, default = reference.option(argument)
    return f"{text} Default: {default}." if default else text


def filled(text: str) -> list[str]:
    """Return a paragraph as short lines, which roff fills again."""
    return [roff(line) for line in textwrap.wrap(text, 70, break_on_hyphens=False, break_long_words=False)]


def roff(text: str) -> str:
    """Return a text as roff takes it: no control character at the start of a line, minus signs where one types them."""
    text = re.sub("`", "", text).replace("\\", r"\e").replace("-", r"\-")
    return re.sub(r"^([.'])", r"\\&\1", text)
