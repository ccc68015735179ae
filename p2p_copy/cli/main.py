"""Runs one command line: a plain `send` or `receive` at once, any other through `cli.app`, which has all commands."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from p2p_copy.cli.options.arguments import wants_details, wants_json, with_serve_value, with_standard_input
from p2p_copy.cli.options.plain import plain_command
from p2p_copy.cli.ui.errors import explain
from p2p_copy.cli.ui.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; never raises.

    Args:
        argv: the words after the program's name; None for those of this process.

    """
    words = list(sys.argv[1:] if argv is None else argv)
    terminal = Terminal.standard(verbose=wants_details(words))
    try:
        exit_code = _run(with_standard_input(with_serve_value(words)), terminal)
        if exit_code == 0:
            terminal.finish()
    except (Exception, KeyboardInterrupt, BaseExceptionGroup) as error:
        exit_code = explain(error, terminal)
        if wants_json(words):
            from p2p_copy.cli.ui.json_lines import write_error

            write_error(error, terminal)
    with suppress(KeyboardInterrupt):  # the work is done, and the process ends anyway
        terminal.flush()
    return exit_code


def _run(words: Sequence[str], terminal: Terminal) -> int:
    if plain := plain_command(words):
        return plain.run()
    from p2p_copy.cli.app import run

    return run(words, terminal)
