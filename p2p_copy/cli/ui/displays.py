"""Chooses how a command shows what it does: to people, or with `--json` to a program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_copy.cli.ui.terminal import Terminal
from p2p_copy.version import FULL_NAME

if TYPE_CHECKING:
    from typing import TypeAlias

    from p2p_copy.cli.options.client import ClientArguments
    from p2p_copy.cli.ui.json_display import JsonDisplay
    from p2p_copy.cli.ui.progress import Progress

    Display: TypeAlias = Progress | JsonDisplay
    """Shows one transfer."""


def open_terminal(client: ClientArguments) -> Terminal:
    """Return the terminal of a command with these options."""
    return Terminal.standard(
        quiet=client.quiet or client.json,
        verbose=client.verbose,
        progress=client.progress,
        unasked="--no-input" if client.no_input else "--json" if client.json else None,
    )


def open_display(terminal: Terminal, client: ClientArguments, id_: str | None, *, sends: bool) -> Display:
    """Return what shows a transfer, in which this side sends or receives; `id_` is its name if it is saved."""
    if client.json:
        from p2p_copy.cli.ui.json_display import JsonDisplay

        return JsonDisplay(terminal, "send" if sends else "receive", id_)
    from p2p_copy.cli.ui.progress import Progress

    what = f"{FULL_NAME}, {'send' if sends else 'receive'}"
    terminal.detail(f"{what}, not saved." if id_ is None else f"{what}, saved as {id_}.")
    return Progress(terminal, sends=sends)
