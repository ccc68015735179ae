"""`p2p-copy help`: explains a command or a topic, without a network."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

from p2p_copy import escape
from p2p_copy.cli.ui.help import WIDEST, Printed, paragraph, table
from p2p_copy.cli.ui.suggestions import did_you_mean
from p2p_copy.cli.ui.terminal import Terminal
from p2p_copy.cli.ui.topics import topics
from p2p_copy.errors import UsageError
from p2p_copy.version import DOCUMENTATION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cyclopts import App

    from p2p_copy.cli.ui.topics import Topic

_ALL: Final = "topics"
"""The word that lists the topics."""


def help_(words: Sequence[str], app: App) -> int:
    """Print the help of a command, a topic, the list of topics or, without words, of all; return exit code 0.

    Raises:
        UsageError: there is no such command or topic.

    """
    known = topics()
    width = min(shutil.get_terminal_size().columns, WIDEST)
    word = words[0] if len(words) == 1 else ""
    if word in known:
        text = "\n".join(_lines(known[word], width))
    elif word == _ALL:
        rows = ((name, topic.about) for name, topic in known.items())
        more = ("Read one: p2p-copy help TOPIC", "Of the released version, on the web:", DOCUMENTATION)
        text = "\n".join(["Topics:", *table(rows, width), "", *more])
    elif not words or _is_command(words, app):
        printed = Printed()
        app.help_print(words, console=printed.console)
        text = printed.text()
    else:
        commands = [name for name in app if not name.startswith("-")]
        raise UsageError(
            f'There is no command or topic "{escape(" ".join(words))}".'
            f"{did_you_mean(words[0], (*commands, *known, _ALL))} All of them: p2p-copy help, p2p-copy help topics"
        )
    terminal = Terminal.standard()
    terminal.result(text)
    terminal.finish()
    return 0


def _is_command(words: Sequence[str], app: App) -> bool:
    return app.parse_commands(words)[0] == tuple(words)


def _lines(topic: Topic, width: int) -> list[str]:
    lines: list[str] = []
    for part in topic.parts:
        if isinstance(part, str):
            lines += ["", *paragraph(_bare(part), width)]
        else:
            lines += [
                "",
                *table(((_bare(left), _bare(right)) for left, right in part), width),
            ]
    return lines[1:]


def _bare(text: str) -> str:
    return text.replace("`", "")
