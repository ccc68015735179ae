"""What a shell offers for a word when the user presses Tab, where it cannot know that itself. Imports nothing slow.

cyclopts calls these while a user types, and ignores what they raise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cyclopts.completion import CompletionContext


def transfers(_context: CompletionContext) -> Mapping[str, str]:
    """Return the unfinished transfers, by what `resume` takes, each with a description."""
    from p2p_copy import Client, default_state_dir
    from p2p_copy.cli.saved_transfers import described, short

    all_saved = Client(state_dir=default_state_dir()).saved()
    return {short(saved.id): described(saved) for saved in all_saved if saved.side is not None}


def explained(_context: CompletionContext) -> Iterable[str]:
    """Return what `help` explains."""
    from p2p_copy.cli.ui.examples import EXAMPLES
    from p2p_copy.cli.ui.topics import topics

    commands = (name for name in EXAMPLES if name and " " not in name)
    return (*commands, *topics(), "topics")


def orders(_context: CompletionContext) -> Iterable[str]:
    """Return the orders to a relay."""
    from p2p_copy.cli.commands.relay_admin import QUESTIONS
    from p2p_copy.relay.admin.orders import ORDERS

    return (*QUESTIONS, *ORDERS)


def configured(_context: CompletionContext) -> Iterable[str]:
    """Return the commands that have a table in the configuration file."""
    from p2p_copy.cli.options.config_file import COMMANDS

    return COMMANDS
